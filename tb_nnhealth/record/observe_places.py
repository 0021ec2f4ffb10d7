"""What one number for each place of an answer costs under a binary cross-entropy, as the mean image of masks does."""

from __future__ import annotations

from typing import Any

import torch

FEWEST_SAMPLES = 16
"""Of fewer the mean at each place tells of these samples rather than of the place."""
BATCHES = 32
"""Batches that are looked at: targets of one training cost the same throughout."""


def cost_of_places(block: Any) -> Any:
    """Mean entropy of the targets' mean at each position, in nats: float64, 0-d, NaN where targets are no shares.

    ``block``: (samples, positions), numbers from 0 to 1. The mean of n samples is their own, which costs them less than
    it costs others by variance / (2 n p (1 - p)) to the first order (Miller 1955, for shares of zeros and ones); that
    is added. None for too few samples or a single position.
    """
    samples, positions = block.shape
    if samples < FEWEST_SAMPLES or positions < 2:
        return None
    values = block.double()
    share = values.mean(0)
    variance = values.var(0, correction=1)
    of_two = share * (1 - share)
    own = torch.where(of_two > 0, variance / (2 * samples * of_two.clamp_min(torch.finfo(of_two.dtype).tiny)), 0.0)
    cost = (torch.special.entr(share) + torch.special.entr(1 - share) + own).mean()
    return torch.where((values >= 0).all() & (values <= 1).all(), cost, torch.nan)
