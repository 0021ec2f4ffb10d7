"""Targets of 0 and 1 for a criterion that takes -1 and 1."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.data.batch_rows import number
from tb_nnhealth.rules.hits import lasting

MARGINS = ("SoftMarginLoss", "HingeEmbeddingLoss")
"""Criteria of sign times output: a target of 0 gives no gradient, whatever the output."""
RECORDS = 10


def targets_of_zero(history: History, bias: str) -> Hit | None:
    """The finding on the last ``bias``, None where the targets are those that the criterion takes."""
    kind = history.layout.criterion.type
    low, high, zero = (number(history, schema.TARGET, "", name) for name in (schema.MIN, schema.MAX, schema.ZERO_SHARE))
    seen = np.flatnonzero(np.isfinite(low) & np.isfinite(high) & (zero > 0))
    if kind not in MARGINS or len(seen) < RECORDS or (low[seen] < 0).any() or (high[seen] > 1).any():
        return None
    steps, share = history.steps[seen], float(np.median(zero[seen]))
    return Hit(
        subject=bias,
        **lasting(steps, RECORDS - 1),
        severity="critical",
        statistic="targets of zero",
        unit="share of the targets",
        value=share,
        limit=0.0,
        direction="above",
        healthy=(0.0, 0.0),
        message=f"`{kind}` takes targets of -1 and 1; {100 * share:.0f} % are 0, and ask for nothing: the outputs"
        f" all go up, `{bias}` first.",
        more={GIVEN: True},
        advice=("Map the targets: 2 * y - 1. Or use BCEWithLogitsLoss, which takes 0 and 1.",),
    )
