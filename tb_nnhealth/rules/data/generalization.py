"""Whether the loss on other data has parted from that on the training data, for rules on the data."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Case, Ill, Options
from tb_nnhealth.rules.evidence import losses, tags
from tb_nnhealth.rules.loss import overfitting
from tb_nnhealth.rules.wording import short

FEWEST_POINTS, ENOUGH_POINTS = 3, 6
BEHIND, FAR_BEHIND = 3.0, 6.0
"""Validation loss : training loss, from which validation is left behind; of fewer than ``ENOUGH_POINTS`` points …"""
UNLEARNED = 0.35
"""… where it stands above this share of where it began."""


def parted(run: Run) -> str:
    """How validation departs from training, as half a sentence, or "" where it does not, or is not logged."""
    if tags.moving_target(run):
        return ""
    validation, training = losses.comparable_validation(run), losses.training_loss(run)
    if validation is None or training is None:
        return ""
    val, train = validation.finite().values, training.finite().values
    if len(val) < FEWEST_POINTS or len(train) < FEWEST_POINTS:
        return ""
    now, trained = (float(np.median(values[-max(3, len(values) // 10) :])) for values in (val, train))
    behind = BEHIND if min(len(val), len(train)) >= ENOUGH_POINTS else FAR_BEHIND
    left_behind = now > behind * trained and now > UNLEARNED * max(val[0], float(np.median(train[:3])))
    if not left_behind and not _overfitted(run):
        return ""
    return f"the validation loss stands at {short(now)}, the training loss at {short(trained)}"


def _overfitted(run: Run) -> bool:
    history = next(iter(run.watches.values()), None)
    outcome = overfitting.check(Case(run, history, "", Options(overfitting.RULE.options)))
    return isinstance(outcome, Ill) and any(hit.severity != "info" for hit in outcome.hits)
