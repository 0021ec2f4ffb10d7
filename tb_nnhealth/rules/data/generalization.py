"""Whether the loss on other data has parted from that on the training data, for rules on the data."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Case, Ill, Options
from tb_nnhealth.rules.evidence import losses, tags
from tb_nnhealth.rules.loss import overfitting
from tb_nnhealth.rules.loss.settled import accuracies
from tb_nnhealth.rules.wording import percent, short

FEWEST_POINTS, ENOUGH_POINTS = 3, 6
BEHIND, FAR_BEHIND = 3.0, 6.0
"""Validation loss : training loss, from which validation is left behind; of fewer than ``ENOUGH_POINTS`` points …"""
UNLEARNED = 0.35
"""… where it stands above this share of where it began."""
GAP, TIMES_WRONG = 0.15, 4.0
"""Training accuracy less that of validation, and how many times as many answers are wrong there."""


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
        return _accuracy_gap(run)
    return f"the validation loss stands at {short(now)}, the training loss at {short(trained)}"


def _accuracy_gap(run: Run) -> str:
    right, held_out = accuracies(run)
    if not (right - held_out > GAP and 1 - held_out > TIMES_WRONG * (1 - right)):
        return ""
    return f"the validation accuracy stands at {percent(held_out)}, the training accuracy at {percent(right)}"


def _overfitted(run: Run) -> bool:
    history = next(iter(run.watches.values()), None)
    outcome = overfitting.check(Case(run, history, "", Options(overfitting.RULE.options)))
    return isinstance(outcome, Ill) and any(hit.severity != "info" for hit in outcome.hits)
