"""Samples that the loss passes over: it is lower than the wrong answers among them allow."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.loss.settled import FEWEST_VALIDATIONS, accuracies
from tb_nnhealth.rules.wording import percent, short

POSSIBLE = 0.5
"""Validation loss over the least that the wrong answers cost, below which weights must be at work."""
SAME_UNIT = 2.0
"""Times by which the logged training loss may differ from the criterion's, to be taken for the same."""


def passed_over(run: Run, history: History) -> Hit | None:
    """The finding on a mean cross-entropy whose validation loss and accuracy cannot both be of the same samples.

    An answer is wrong only where the right class has a probability of a half at most: that costs ln 2 nats.
    """
    criterion, recorded = history.layout.criterion, losses.criterion_loss(history)
    logged, validation = losses.scalar_loss(run, "train"), losses.scalar_loss(run, "val")
    if (
        criterion.type not in ("CrossEntropyLoss", "")
        or criterion.classes < 2
        or criterion.reduction not in ("", "mean")
    ):
        return None
    if recorded is None or logged is None or validation is None or len(run.watches) != 1:
        return None
    ends = [float(np.mean(_tail(curve))) for curve in (recorded, logged)]
    if not 0 < max(ends) < SAME_UNIT * min(ends):
        return None
    _, accuracy = accuracies(run)
    seen = validation.finite()
    if math.isnan(accuracy) or len(seen) < FEWEST_VALIDATIONS:
        return None
    told, least = float(np.median(_tail(seen))), (1 - accuracy) * math.log(2)
    if not 0 < told < POSSIBLE * least:
        return None
    return Hit(
        subject="target",
        first_step=int(recorded.steps[0]),
        fired_step=int(seen.steps[-1]),
        last_step=int(seen.steps[-1]),
        count=len(seen),
        active=True,
        severity="warning",
        statistic="validation loss over the least that its wrong answers cost",
        unit="1",
        value=told / least,
        limit=POSSIBLE,
        direction="below",
        message=(
            f"{percent(1 - accuracy)} of the answers in validation are wrong, which costs {short(least)} nats at the"
            f" least, and `{seen.subject}` is {short(told)}: most samples hardly count in the loss."
        ),
        advice=(
            "Look at the weights of the classes: `CrossEntropyLoss(weight=…)` takes the inverse of their frequencies.",
            "Check `ignore_index` and masks: how many samples does the mean go over?",
        ),
        more={"accuracy": accuracy, "loss": told},
    )


def _tail(curve: losses.LossCurve) -> curves.Values:
    values = curve.finite().values
    return values[-max(3, len(values) // 5) :] if len(values) else np.full(1, np.nan)
