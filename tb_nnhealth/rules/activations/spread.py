"""The standard deviation of activations, set against other layers and against the start.

``std`` is throughout that over all elements of modules' outputs, float32 of shape (records, modules), NaN where not
measured. The modules of a chain stand in forward order between two normalizations (``evidence.depth.chains``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, History
from tb_nnhealth.rules.evidence.depth import total_change

MEMORY = 10
"""Layers before it that a layer is compared with."""
PLACES_AT_ONCE = 64
"""Bounds the memory in which that is done."""
STEADY = 0.8
"""Least correlation of the logarithm with depth."""
PER_LAYER = 1.1
"""Growth per layer below which depth alone, as in a residual stream, explains a large total."""
TARGET_SHARE = 0.3
"""Of a regression's targets' standard deviation, that activations may well reach."""


def spread(history: History, kind: str) -> Floats:
    """Median over the records of the largest standard deviation of a kind's rows, shape (); NaN without any."""
    std = history.table(kind, schema.STD).values
    finite = np.where(np.isfinite(std), std, np.nan)
    return np.asarray(np.nanmedian(finite) if np.isfinite(finite).any() else np.nan, np.float32)


def relative_to_first(std: Floats) -> Floats:
    """Each place of a chain over the chain's first, shape (records, places)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(std[:, :1] > 0, std / std[:, :1], np.nan), np.float32)


def relative_to_before(std: Floats) -> Floats:
    """Each place of a chain over the median of the ``MEMORY`` before it, shape (records, places); NaN for the first.

    Over what that was at first where it is less now: where the others vanish, the place has not exploded.
    """
    against = np.full_like(std, np.nan)
    padded = np.concatenate((np.full((len(std), MEMORY), np.nan, std.dtype), std), axis=1)
    before = np.lib.stride_tricks.sliding_window_view(padded, MEMORY, axis=1)
    for first in range(1, std.shape[1], PLACES_AT_ONCE):
        some = slice(first, min(first + PLACES_AT_ONCE, std.shape[1]))
        against[:, some] = _medians(before[:, some])
    against = np.fmax(against, against[np.argmax(np.isfinite(against), axis=0), np.arange(std.shape[1])])
    return np.asarray(np.where(against > 0, std / against, np.nan), np.float32)


def _medians(values: Floats) -> Floats:
    """The median along the last axis of what is not NaN; NaN where all is."""
    ordered = np.sort(values, axis=-1)  # NaN comes last
    count = np.count_nonzero(~np.isnan(ordered), axis=-1)[..., None]
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1).astype(np.float64)
    return np.asarray(((low + np.take_along_axis(ordered, count // 2, axis=-1)) / 2)[..., 0], np.float32)


def grows_with_depth(std: Floats) -> NDArray[np.bool_]:
    """Whether the spread grows steadily along a chain, by ``PER_LAYER`` or more from each to the next; (records,)."""
    _, factor, correlation = total_change(std)
    return np.asarray((correlation >= STEADY) & (factor >= PER_LAYER))


def relative_to_start(std: Floats, history: History) -> Floats:
    """Each module over its first measured value, but no less than 1 or ``TARGET_SHARE`` of a regression's targets."""
    first = std[np.argmax(np.isfinite(std), axis=0), np.arange(std.shape[1])]
    regression = history.layout.criterion.type and not history.layout.criterion.classes
    targets = TARGET_SHARE * spread(history, schema.TARGET) if regression else np.float32("nan")
    start = np.asarray(np.fmax(np.fmax(first, 1.0), targets), np.float32)
    return np.asarray(std / start, np.float32)
