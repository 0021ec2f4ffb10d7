"""What a histogram by octaves (bins of floor(log2 |x|)) tells of a tensor's distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema

Counts = NDArray[np.float64]

SECOND, FOURTH = 7 / 3, 31 / 5
"""Mean of x² and x⁴ over [1, 2), of elements spread evenly over their octave."""


def by_exponent(counts: NDArray[np.int32]) -> Counts:
    """Counts of the elements that are neither zero nor non-finite, shape (…, ``schema.EXPONENT_BINS``)."""
    return np.asarray(counts[..., 1:-1], np.float64)


def kurtosis(counts: NDArray[np.int32]) -> Counts:
    """Fourth moment about 0 over the square of the second, without zeros, of each histogram: shape (…,).

    3 for a normal distribution, 1.8 for an even one; NaN without elements. Octaves tell it within some percent.
    """
    of = by_exponent(counts)
    total = of.sum(axis=-1)
    top = schema.EXPONENT_BINS - 1 - np.argmax(of[..., ::-1] > 0, axis=-1)
    scale = np.exp2(2.0 * (np.arange(schema.EXPONENT_BINS) - top[..., None]))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        second = SECOND * (of * scale).sum(axis=-1) / total
        fourth = FOURTH * (of * scale**2).sum(axis=-1) / total
        return np.asarray(fourth / second**2)


def share_below(counts: NDArray[np.int32], exponent: int) -> float:
    """Share of the elements above 0 whose size is below 2^``exponent``; NaN where there are none."""
    of = by_exponent(counts)
    total = of.sum()
    return float(of[: exponent - schema.EXPONENT_LOW].sum() / total) if total else float("nan")
