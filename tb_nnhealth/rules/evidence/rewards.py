"""What a policy earns: where the loss is measured on data that it brings about itself, this tells whether it learns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tb_nnhealth.history import Run, Series
from tb_nnhealth.phases import parts
from tb_nnhealth.rules.evidence import curves, tags
from tb_nnhealth.rules.evidence.once import once

EPISODE = frozenset(("ep", "episode", "episodic"))
FEWEST = 10
SIGMAS = 3.0
KEPT = 0.5
"""Share of all that the smoothed reward has ever moved that it must end above its beginning."""


@dataclass(frozen=True)
class Gain:
    """``first`` and ``last``: medians of the first and the last points of the scalar ``tag``, the last one higher."""

    tag: str
    first: float
    last: float


def rewards(run: Run) -> Iterator[tuple[str, Series]]:
    """The scalars that hold a reward or a return, in the order of the log; none where the model itself gives them."""
    for tag, series in () if tags.preferences(run) else run.scalars.items():
        words = set(parts(tag))
        if words & tags.REWARDS or ("ret" in words and words & EPISODE):
            yield tag, series


@once
def earned(run: Run) -> Gain | None:
    """The first reward that has risen well above its noise, and kept most of what it gained."""
    for tag, series in rewards(run):
        values = np.asarray(series.values, np.float64)
        if len(values) >= FEWEST and np.isfinite(values).all() and (gain := _risen(tag, values)) is not None:
            return gain
    return None


def _risen(tag: str, values: curves.Values) -> Gain | None:
    few = max(3, len(values) // 10)
    first, last = float(np.median(values[:few])), float(np.median(values[-few:]))
    error = curves.noise(values) * curves.ERROR_OF_MEDIAN * math.sqrt(2 / few)
    moved = float(np.ptp(curves.smooth(values, few)))
    return Gain(tag, first, last) if last - first > max(SIGMAS * error, KEPT * moved, 0.0) else None
