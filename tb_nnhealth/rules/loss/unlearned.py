"""A loss that had been learned and stands at a constant answer's cost again, told by a few means over many steps."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.loss.judged_loss import chance

LEARNED, LOST = 0.5, 0.95
"""Shares of a constant answer's cost: at most the one before, at least the other since."""
SINCE = 3
"""Points since, all of them lost."""
AVERAGED_STEPS = 10
"""Steps of the optimizer that each point stands for, so that chance does not lift three of them."""


def unlearned_since(run: Run) -> tuple[losses.LossCurve, int, float] | None:
    """The logged training loss, the index from which it has been lost, and what a constant answer costs."""
    naive, scalar = chance(run), losses.scalar_loss(run, "train")
    if not np.isfinite(naive) or scalar is None:
        return None
    curve = scalar.finite()
    if len(curve) < SINCE + 2:
        return None
    taken = curve.at_optimizer(run).steps
    lost = curve.values >= LOST * naive
    since = int(np.flatnonzero(~lost)[-1]) + 1 if (~lost).any() else 0
    averaged = taken[-1] - taken[0] >= AVERAGED_STEPS * (len(curve) - 1)
    learned = since > 0 and curve.values[:since].min() <= LEARNED * naive
    return (curve, since, naive) if averaged and learned and len(curve) - since >= SINCE else None
