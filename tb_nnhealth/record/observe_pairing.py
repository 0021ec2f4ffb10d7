"""Whether the tokens asked for belong to the sequences that are given, or to others of the same batch."""

from __future__ import annotations

from typing import Any

import torch

_FEWEST, _MOST = 8, 64
"""Tokens of a sequence that tell it from all others, and that are compared."""
_ASKED = 256
"""Sequences of a batch that are looked for."""


def elsewhere(given: Any, wanted: Any, counted: Any) -> float:
    """Share of the sequences asked for that come next in another sequence of the batch than their own.

    ``given`` and ``wanted`` int, ``counted`` bool, (samples, positions) or turned: the greater share of both readings.
    0 where sequences are too short or too alike to be told apart.
    """
    return max(_elsewhere(given, wanted, counted), _elsewhere(given.t(), wanted.t(), counted.t()))


def _elsewhere(given: Any, wanted: Any, counted: Any) -> float:
    length = wanted.shape[1]
    compared = min(length - 1, _MOST)
    if len(wanted) < 2 or compared < _FEWEST:
        return 0.0
    counted, wanted = counted[:_ASKED, :compared], wanted[:_ASKED, :compared]
    weights = torch.randint(1 << 62, (compared,), generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    asked, follows = (rows.long() @ weights for rows in (wanted, given[:, 1 : compared + 1]))  # hashes
    _, place, times = torch.unique(asked, return_inverse=True, return_counts=True)
    # Padding is alike everywhere, and what is left out of the loss belongs to nothing.
    told = counted.all(1) & (wanted != wanted[:, :1]).any(1) & (times[place] == 1)
    if 2 * int(told.sum()) < len(asked):
        return 0.0
    return float((torch.isin(asked, follows) & (asked != follows[: len(asked)]) & told).sum()) / int(told.sum())
