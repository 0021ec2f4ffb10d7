"""A first cross-entropy, beside what a guess among the classes costs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Closest, Ill, NotApplicable, Options, Outcome, Passed, TooLittleData
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.loss.first_loss import first_loss_hit, stays_above

SUM = 0.3
"""Share of (samples x guess) above which the loss of a function is taken for a sum over the samples."""
OUTPUTS_EXPLAIN = 0.3
"""Least RMS of the outputs : loss for which a function's loss is put down to the outputs, not to other terms."""
NATS_ABOVE = 2.0
LOW = 0.4


def first_cross_entropy(history: History, curve: losses.LossCurve, limit: Options) -> Outcome:
    """``limit``: the rule's options; ``curve``: what the criterion returned, from the training's first steps on."""
    criterion, first, step = history.layout.criterion, float(curve.values[0]), int(curve.steps[0])
    guess = guess_costs(criterion)
    if math.isnan(guess):
        return NotApplicable(f"what a guess costs is not known for {criterion.type}")
    samples = _samples(history, criterion.classes)
    if 0 < samples < limit["samples"]:
        return TooLittleData(f"{samples} samples stand behind the first loss, {limit['samples']:.0f} are needed")
    if not criterion.type and first > SUM * samples * guess:
        return NotApplicable("the loss seems to be a sum over the batch")
    high = max(limit["factor"] * guess, guess + NATS_ABOVE)
    more = {"guess": guess, "classes": int(criterion.classes)}
    if first > high:
        new = (answering := _answering(history)) and all(p.trainable for p in answering)
        told = new and (bool(criterion.type) or _outputs_explain(history, first))
        harmful = told and first > limit["warn"] * guess
        if harmful and first <= limit["far"] * guess:
            harmful = stays_above(curve, guess, limit["recovers"])
        severity: Severity = "warning" if harmful else "info"
        return Ill([first_loss_hit(first, step, high, "above", severity, _above(first, guess, criterion), more)])
    if first < LOW * guess and _answering(history):
        return Ill([first_loss_hit(first, step, LOW * guess, "below", "info", _below(first, guess), more)])
    return Passed(Closest(min(1.0, max(0.0, (first - guess) / (high - guess))), losses.CRITERION, step, "first loss"))


def guess_costs(criterion: Any) -> float:
    """Loss, in nats, of an answer that gives every class the same probability; NaN where it is not known.

    A function that is given class indices (``observe``) is taken for a cross-entropy.
    """
    if criterion.type in ("CrossEntropyLoss", "NLLLoss", "") and criterion.classes > 1:
        return math.log(criterion.classes)
    if criterion.type in ("BCEWithLogitsLoss", "BCELoss"):
        return math.log(2)
    return math.nan


def _samples(history: History, classes: int) -> int:
    """Answers that the loss is the mean of, 0 where the prediction's shape is not known."""
    rows = history.rows(schema.PREDICTION)
    if not rows:
        return 0
    elements = int(np.prod(history.layout.rows[rows[0]].shape, dtype=np.int64))
    return elements // classes if classes > 2 else elements


def _outputs_explain(history: History, first: float) -> bool:
    """Whether the first outputs are so large that a cross-entropy of them may be ``first``."""
    output = history.table(schema.PREDICTION, schema.RMS).values
    return bool(output.size and output[0, 0] > OUTPUTS_EXPLAIN * first)


def _answering(history: History) -> list[Any]:
    """The parameters that make the answers: weights of one row for each class, or of several.

    None has it where answers are distances to other samples of the batch: no layer could make these smaller, and those
    between random features tell much already. Frozen ones were trained before, on other data perhaps.
    """
    classes = int(history.layout.criterion.classes)
    parameters = list(history.layout.parameters)
    matrices = [p for p in parameters if len(p.shape) > 1]
    if not matrices:
        return parameters
    last = matrices[-1:] if classes <= 2 or matrices[-1].shape[0] % classes == 0 else []
    return [p for p in matrices if classes > 2 and classes in p.shape] or last


def _above(first: float, guess: float, criterion: Any) -> str:
    of = f"{criterion.classes} classes" if criterion.classes > 2 else "two classes"
    return (
        f"The first loss is {first:.3g}, a guess among {of} costs {guess:.3g}: the network is sure of "
        "wrong answers before it has learned from these data, because its outputs are too large."
    )


def _below(first: float, guess: float) -> str:
    return (
        f"The first loss is {first:.3g}, where a guess costs {guess:.3g}: the network was trained before, or the "
        "answer leaks into the input."
    )
