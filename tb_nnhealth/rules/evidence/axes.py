"""Scalars may count epochs, samples or tokens where records count optimizer steps: wall time tells which is which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import History, Run

APART = 2.0
"""Ratio of two counts at the same moment from which they do not count the same thing."""
FEWEST = 3

Steps = NDArray[np.int64]
Walls = NDArray[np.float64]


def optimizer_steps(run: Run, steps: Steps, walls: Walls) -> Steps:
    """The optimizer's step at each point of a scalar, int64 of shape (n,).

    ``steps`` and ``walls`` (s) are the scalar's own, ascending. They are returned as they are where they count
    optimizer steps, or where nothing tells: no records, or no times. Behind the last record, which may be long before
    the end of a run, steps go on at the pace of the last half of the records.
    """
    history = max(run.watches.values(), key=len, default=None)
    if history is None or not _apart(history, steps, walls):
        return steps
    recorded = history.steps.astype(np.float64)
    between = np.interp(walls, history.walls, recorded)
    half = len(history) // 2
    taken, seconds = recorded[-1] - recorded[half], history.walls[-1] - history.walls[half]
    pace = taken / seconds if seconds > 0 else 0.0
    return np.asarray(between + pace * np.maximum(walls - history.walls[-1], 0.0)).astype(np.int64)


def _apart(history: History, steps: Steps, walls: Walls) -> bool:
    if min(len(history), len(steps)) < FEWEST or not (walls[-1] > walls[0] and history.walls[-1] > history.walls[0]):
        return False
    common = min(walls[-1], history.walls[-1])
    scalar = float(np.interp(common, walls, steps.astype(np.float64)))
    recorded = float(np.interp(common, history.walls, history.steps.astype(np.float64)))
    if recorded < 1 and scalar < 1:
        return False
    return not recorded / APART < max(scalar, 1.0) < max(recorded, 1.0) * APART
