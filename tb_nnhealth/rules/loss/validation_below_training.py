"""A validation loss that lies below the training loss throughout: training is made harder than the task."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.losses import LossCurve, comparable_validation
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.settled import Rest
from tb_nnhealth.rules.wording import names, percent, short

VERY_POOR = 0.8
"""Share of the untrained level above which what training makes harder does harm for sure."""
UNLEARNED = 0.95
"""The same, above which nothing of what training asks for is learned, though what validation asks for is."""
THROUGHOUT = 0.8
"""Share of the validation loss's points since the middle that must lie below."""


def validation_gap(run: Run, end: Rest) -> float:
    """How far validation lies below training, as a share of training's loss; 0 where it does not throughout.

    It must exceed three sigma of both noises, of which the training loss's counts for a third.
    """
    validation = comparable_validation(run)
    if validation is None or not np.isfinite(end.validation):
        return 0.0
    values = validation.finite().values
    since = values[len(values) // 2 :]
    below = (since < end.training).mean()
    sure = end.training - end.validation > 3 * math.hypot(end.noise / 3, end.validation_noise)
    return (end.training - end.validation) / end.training if below >= THROUGHOUT and sure else 0.0


def validation_below_training(curve: LossCurve, end: Rest, gap: float, limit: float, layout: Any) -> Hit:
    """The finding on ``gap``, above ``limit``; ``layout`` of the watched model, or None, tells where dropout is."""
    since = len(curve) - len(curve) // 3
    dropouts = [m.name for m in layout.modules if "Dropout" in m.type] if layout is not None else []
    known = end.known and end.share > VERY_POOR
    apart = known and end.share > UNLEARNED and not dropouts
    return Hit(
        subject=curve.subject,
        **lasting(curve.steps, -1, since=since),
        severity="warning" if known else "info",
        statistic="validation below training",
        unit="share of the training loss",
        value=gap,
        limit=limit,
        direction="above",
        message=(
            f"`{curve.subject}` rests at {short(end.training)}, {percent(end.share)} of the untrained level, while "
            f"validation is at {short(end.validation)}, {percent(gap)} lower: training is made harder than the task."
            + (" Its inputs and targets may not belong together." if apart else "")
        ),
        advice=(
            *(
                ("Check that augmentation changes input and target together: a flipped image, its mask flipped.",)
                if apart
                else ()
            ),
            *((f"Lower the dropout in {names(dropouts)}.",) if dropouts else ()),
            *(("Lower dropout's probability, to 0.1 in hidden layers.",) if layout is None else ()),
            "Milder augmentation, mixup and label smoothing.",
            "Check that both losses have the same terms: a penalty may be part of the training loss alone.",
        ),
        more={"loss": end.training, "validation_loss": end.validation, "untrained": end.untrained},
    )
