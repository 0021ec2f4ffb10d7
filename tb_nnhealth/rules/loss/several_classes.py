"""Targets of a cross-entropy over classes with several ones for each sample: they compete for one probability."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.data.batch_rows import is_integer, number, shape_of
from tb_nnhealth.rules.evidence.losses import CRITERION
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.wording import short

RECORDS = 3
SUM = 1.05
"""Of a sample's shares, in the mean over a batch, from which they are no shares of one; rounding makes no more."""
YES_OR_NO = 1e-3
FEW = 100
"""Classes; of more, as of all that is for sale, the likelihood of a multinomial is meant (Liang et al. 2018)."""
ADVICE = (
    "Where several labels may be true at once, use BCEWithLogitsLoss, which asks of each by itself.",
    "Where one class is meant, give its index, or divide the targets of each sample by their sum.",
)


def several_classes(history: History) -> Hit | None:
    """The finding on ``CrossEntropyLoss`` given yes or no for each class, more than one yes for each sample."""
    criterion = history.layout.criterion
    target, prediction = shape_of(history, schema.TARGET) or (), shape_of(history, schema.PREDICTION) or ()
    if criterion.type != "CrossEntropyLoss" or is_integer(history, schema.TARGET) or len(target) < 2:
        return None
    if tuple(target) != tuple(prediction) or target[1] != criterion.classes:
        return None
    mean, rms = (number(history, schema.TARGET, "", name) for name in (schema.MEAN, schema.RMS))
    seen = np.flatnonzero(np.isfinite(mean) & np.isfinite(rms))
    if len(seen) < RECORDS:
        return None
    total = float(np.median(mean[seen])) * int(criterion.classes)
    binary = bool((np.abs(rms[seen] ** 2 - mean[seen]) < YES_OR_NO).all())
    if not (binary and total > SUM):
        return None
    return Hit(
        subject=CRITERION,
        **lasting(history.steps[seen], RECORDS - 1),
        severity="warning" if criterion.classes <= FEW else "info",
        statistic="sum of a sample's targets",
        unit="1",
        value=total,
        limit=SUM,
        direction="above",
        message=(
            f"CrossEntropyLoss is given targets of 0 and 1, of which {short(total)} of {criterion.classes} are 1 for"
            " each sample: they compete for one probability, and the loss cannot come near 0."
        ),
        advice=ADVICE,
        more={GIVEN: True, "classes": int(criterion.classes)},
    )
