"""The straight line through a stretch of a noisy curve, and how surely it falls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tb_nnhealth.rules.evidence import curves

BLOCKS = 24
"""Medians that stand for a stretch: enough for a slope, few enough that neighbours hardly share noise."""
FEWEST = 4


@dataclass(frozen=True)
class Line:
    """The line's values at both ends of the stretch, and the standard error of its ``fall``."""

    start: float
    end: float
    error: float

    @property
    def fall(self) -> float:
        return self.start - self.end

    @property
    def surely_falls(self) -> bool:
        return self.fall > 4 * self.error

    @property
    def surely_rises(self) -> bool:
        return -self.fall > 4 * self.error


def line(values: curves.Values) -> Line:
    """Theil and Sen's line through at most ``BLOCKS`` block medians of ``values``, float64 of shape (n,).

    The error comes from the medians' robust scatter about the line (MAD), so that noise which hangs together over a
    few points counts in full; infinite for fewer than ``FEWEST`` points.
    """
    if len(values) < FEWEST:
        level = curves.median(values) if len(values) else math.nan
        return Line(level, level, math.inf)
    _, medians = curves.blocks(np.arange(len(values)), values, BLOCKS)
    n = len(medians)
    at = np.arange(n, dtype=np.float64)
    later, earlier = np.triu_indices(n, 1)[::-1]
    slope = curves.median((medians[later] - medians[earlier]) / (at[later] - at[earlier]))
    middle = curves.median(medians - slope * (at - at.mean()))
    scatter = curves.sigma(medians - middle - slope * (at - at.mean()))
    half = slope * (n - 1) / 2
    return Line(middle - half, middle + half, scatter * math.sqrt(12 / n))
