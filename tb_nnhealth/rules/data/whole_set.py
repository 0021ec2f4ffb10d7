"""Whether each batch is the same set of samples, in another order: all there are."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.data.batch_rows import number
from tb_nnhealth.rules.hits import lasting

RECORDS = 10
FEWEST = 100
SAME = 1e-5
"""Differences, relative to the root mean square, up to which sums over the same numbers part, in another order."""
STATISTICS = (schema.RMS, schema.MIN, schema.MAX, schema.MEAN)
"""The mean as well: rows of sines and cosines have all the same length and bounds."""


def whole_set(history: History) -> Hit | None:
    """For information: one step is made for each pass over the data. None where batches differ, or repeat exactly."""
    samples = int(history.layout.batch_size)
    inputs = np.array([number(history, schema.INPUT, "", name) for name in STATISTICS])
    again = number(history, schema.REPEATED, "input")
    seen = np.isfinite(inputs).all(axis=0) & (again == 0)
    if samples < FEWEST or seen.sum() < RECORDS or seen.sum() < len(again) // 2:
        return None
    told = inputs[:, seen]
    if not (np.ptp(told, axis=1) <= SAME * told[0].max()).all() or not np.ptp(inputs[1:, seen].mean(axis=1)):
        return None
    steps = history.steps[seen]
    return Hit(
        subject="",
        **lasting(steps, RECORDS - 1),
        severity="info",
        statistic="steps for each pass over the data",
        unit="1",
        value=1.0,
        limit=10.0,
        direction="below",
        message=f"Each batch holds the same {samples} samples, in another order: one step for each pass over the data.",
        advice=(
            "Give DataLoader a batch_size of 32 to 512: many steps for each pass learn sooner.",
            "Look for batch_size=len(dataset), or batch_size=None on a data set of batches: both give all at once.",
        ),
        more={"batch_size": samples},
    )
