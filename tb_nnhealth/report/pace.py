"""How many steps lie between neighbouring records of a run lately."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.history import History, Run, Series

RECORDS = 32
"""The newest so many are looked at: a cadence may change, and old records may be thinned."""


def pace(run: Run) -> float:
    """The median, of the longest watch, or of the longest scalar where nothing was watched; 1 where it is not known."""
    logs: list[History | Series] = [history for history in run.watches.values() if len(history)]
    longest = max(logs or run.scalars.values(), key=len, default=None)
    if longest is None or len(longest) < 2:
        return 1.0
    return max(1.0, float(np.median(np.diff(longest.steps[-RECORDS:]))))
