"""The first loss is far from what an untrained network should have.

## What it detects
A first loss well above that of a guess (critical numbers in the initialization or the targets), or, as information,
well below it (a pre-trained network, the answer leaking into the input, or a criterion that is not given what it
expects).

## Why it matters
An untrained classifier of C classes should be unsure: ln C nats. Starting far above, the first hundreds of steps only
undo the initialization, and what is built then is built on damaged layers. Starting far below, it knows something
that it should not.

## How it is computed
The criterion's value in the first record (nats for cross-entropies), if that is within the first steps of the
training and reduction is "mean". The guess costs ln C for `CrossEntropyLoss` and `NLLLoss` over C classes, ln 2 for
binary cross-entropies; a function that `observe` shows class indices for is taken for a cross-entropy. Above: more
than `factor` times the guess and at least two nats more; beyond `warn` times it is a warning where the loss (median
of three records) is still above the guess after `recovers` steps, beyond `far` times at once. Below: less than 0.4 of
it. For `MSELoss` it fires where the loss exceeds 100 times the targets' mean square: a warning where the prediction's
RMS exceeds 10, or the loss is still above twice that mean square after 150 steps, as for targets of a tiny unit. Also
where targets of a size beyond 20, and 20 times the first outputs', cost three times their variance: a warning where
that lasts 150 steps, critical where the loss becomes infinite. At least `samples` samples must stand behind the loss.

A model of sequences may be given its answers: the class indices asked for are the next ones of its own input, and its
attention gives weight to later positions, or a recurrent layer reads both ways (critical where the loss is below 0.3
times the guess); or they are those at the same place, where all its attention is causal. Without such layers it is for
information, where the loss is below 0.05 times the guess.

## What to try
1. Normalize the inputs to mean 0 and standard deviation 1: the commonest reason for large first outputs.
2. Scale down the last layer (standard deviation 0.01, bias 0; for rare classes, bias = log of their odds).
3. Initialize by the layer's fan: Kaiming for ReLU, Xavier for tanh; embeddings shared with the output: std 0.02.
4. Regression: standardize the targets.
5. Too low: look for the label among the inputs, and for test samples in the training data.

## When it is harmless
Networks that were trained before start low, which is why that is only information, and meet new classes with a high
first loss, which falls below the guess within some tens of steps. A criterion of your own, or one
that sums over the batch, is not judged.

## References
- [Stanford CS231n: sanity checks](https://cs231n.github.io/neural-networks-3/#sanitycheck)
- [A recipe for training neural networks: verify loss at init](https://karpathy.github.io/2019/04/25/recipe/)
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Direction, Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    GIVEN,
    Case,
    Closest,
    CouldNotCheck,
    Example,
    Hit,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.evidence.targets import targets_of
from tb_nnhealth.rules.loss.answer_given import answer_given
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

FIRST_STEPS = 5
"""The first record must lie within the training's first steps; later ones have learned already."""
NATS_ABOVE = 2.0
LOW = 0.4
SQUARES_ABOVE = 100.0
OUTPUT_RMS = 10.0
FAR_TARGETS, BEYOND_CONSTANT = 20.0, 3.0
"""Size of the targets, absolute and over the first outputs', and first loss over that of their mean, which are far."""
DWARFED, SLOW_STEPS = 2.0, 150
FAR_ABOVE = 1e4
"""Outputs of a hundred times the targets' size; from less, a network comes down in some hundred steps."""
"""Times the targets' mean square above which the loss stays for so many steps, where the targets are too small."""
SUM = 0.3
"""Share of (samples x guess) above which the loss of a function is taken for a sum over the samples."""
OUTPUTS_EXPLAIN = 0.3
"""Least RMS of the outputs : loss for which a function's loss is put down to the outputs, not to other terms."""
CRITERION_LINE = "pass criterion= to watch(), so that the loss and its kind are known"


def check(case: Case) -> Outcome:
    history = case.history
    if history is None or not (history.layout.criterion.type or history.layout.criterion.classes > 1):
        return CouldNotCheck(CRITERION_LINE)
    if given := answer_given(history):
        return Ill(given)
    criterion = history.layout.criterion
    if criterion.reduction not in ("", "mean"):
        return NotApplicable(f"the criterion's reduction is {criterion.reduction!r}: its level depends on the batch")
    curve = losses.criterion_loss(history)
    if curve is None:
        return TooLittleData("the criterion has not been called in a measured step")
    if int(curve.steps[0]) > FIRST_STEPS:
        return NotApplicable(f"the first record is of step {int(curve.steps[0]):,}, when training was under way")
    first, step = float(curve.values[0]), int(curve.steps[0])
    if not math.isfinite(first):
        return NotApplicable("the first loss is not finite")
    if criterion.type == "MSELoss":
        return _squared_error(case.run, history, first, step)
    guess = guess_costs(criterion)
    if math.isnan(guess):
        return NotApplicable(f"what a guess costs is not known for {criterion.type}")
    samples = _samples(history, criterion.classes)
    if 0 < samples < case.options["samples"]:
        return TooLittleData(f"{samples} samples stand behind the first loss, {case.options['samples']:.0f} are needed")
    if not criterion.type and first > SUM * samples * guess:
        return NotApplicable("the loss seems to be a sum over the batch")
    high = max(case.options["factor"] * guess, guess + NATS_ABOVE)
    more = {"guess": guess, "classes": int(criterion.classes)}
    if first > high:
        told = bool(criterion.type) or _outputs_explain(history, first)
        harmful = told and first > case.options["warn"] * guess
        if harmful and first <= case.options["far"] * guess:
            harmful = _stays_above(curve, guess, case.options["recovers"])
        severity: Severity = "warning" if harmful else "info"
        return Ill([_hit(first, step, high, "above", severity, _above(first, guess, criterion), more)])
    if first < LOW * guess:
        return Ill([_hit(first, step, LOW * guess, "below", "info", _below(first, guess), more)])
    return Passed(Closest(min(1.0, max(0.0, (first - guess) / (high - guess))), losses.CRITERION, step, "first loss"))


def _stays_above(curve: losses.LossCurve, guess: float, steps: float) -> bool:
    """Whether the loss, seen for that many steps, has not been below ``guess`` within them."""
    finite = curve.finite()
    opening = finite.steps <= finite.steps[0] + steps
    return bool(finite.steps[-1] > finite.steps[0] + steps and curves.smooth(finite.values[opening], 3).min() > guess)


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


def _squared_error(run: Run, history: History, first: float, step: int) -> Outcome:
    target = history.table(schema.TARGET, schema.RMS).values
    prediction = history.table(schema.PREDICTION, schema.RMS).values
    if not target.size or not prediction.size or np.isnan(target[0, 0]) or np.isnan(prediction[0, 0]):
        return TooLittleData("the target or the prediction was not measured in the first record")
    square, output = float(target[0, 0]) ** 2, float(prediction[0, 0])
    limit = SQUARES_ABOVE * square
    if not first > limit:
        return _far_targets(run, history, first, step, output) or Passed()
    curve = losses.criterion_loss(history)
    stays = curve is not None and first > FAR_ABOVE * square and _stays_above(curve, DWARFED * square, SLOW_STEPS)
    dwarfed = output > OUTPUT_RMS or stays
    message = (
        f"The first squared error is {short(first)}, {short(first / square) if square else 'far'} times what an output "
        f"of 0 would cost: the untrained network's outputs (RMS {short(output)}) dwarf the targets."
    )
    return Ill([_hit(first, step, limit, "above", "warning" if dwarfed else "info", message, {"output_rms": output})])


def _far_targets(run: Run, history: History, first: float, step: int, output: float) -> Outcome | None:
    """Ill where targets in units of their own lie far beyond what an untrained network answers."""
    mean, std = (float(history.table(schema.TARGET, name).values[0, 0]) for name in (schema.MEAN, schema.STD))
    size = math.hypot(mean, std)
    variance = targets.variance if (targets := targets_of(history)) is not None else math.nan
    if not (size > FAR_TARGETS and size > FAR_TARGETS * output and first > BEYOND_CONSTANT * variance > 0):
        return None
    curve = losses.criterion_loss(history)
    slow = curve is not None and _stays_above(curve, variance, SLOW_STEPS)
    logged = losses.training_loss(run) or curve
    burst = logged is not None and not np.isfinite(logged.values[-1])
    message = (
        f"The first squared error is {short(first)}, where the mean of the targets would cost {short(variance)}: they "
        f"lie about {short(mean)} with a spread of {short(std)}, and the network's outputs begin at {short(output)}."
    )
    severity: Severity = "critical" if burst else "warning" if slow else "info"
    more: dict[str, Any] = {"target_mean": mean} | ({GIVEN: True} if burst else {})
    hit = _hit(first, step, BEYOND_CONSTANT * variance, "above", severity, message, more)
    return Ill(
        [
            replace(
                hit,
                advice=(
                    "Scale the targets to mean 0 and standard deviation 1.",
                    "Or set the bias of the last layer to the targets' mean.",
                ),
            )
        ]
    )


def _above(first: float, guess: float, criterion: Any) -> str:
    of = f"{criterion.classes} classes" if criterion.classes > 2 else "two classes"
    return (
        f"The first loss is {first:.3g}, a guess among {of} costs {guess:.3g}: the network is sure of "
        "wrong answers before it has learned any, because its outputs are too large."
    )


def _below(first: float, guess: float) -> str:
    return (
        f"The first loss is {first:.3g}, where a guess costs {guess:.3g}: the network was trained before, or the "
        "answer leaks into the input."
    )


def _hit(
    first: float,
    step: int,
    limit: float,
    direction: Direction,
    severity: Severity,
    message: str,
    more: dict[str, Any],
) -> Hit:
    advice = (
        (
            "Normalize the inputs to mean 0 and standard deviation 1.",
            "Scale down the last layer: standard deviation 0.01, bias 0.",
            "Initialize by the layer's fan: Kaiming for ReLU, Xavier for tanh.",
        )
        if direction == "above"
        else (
            "If the network was trained before, all is well.",
            "If not, look for the label among the inputs, and for test samples in the training data.",
        )
    )
    return Hit(
        subject=losses.CRITERION,
        first_step=step,
        fired_step=step,
        last_step=step,
        count=1,
        active=False,
        severity=severity,
        statistic="first loss",
        unit="unit of the loss",
        value=first,
        limit=limit,
        direction=direction,
        message=message,
        advice=advice,
        more=more,
    )


def _first(
    loss: float, *, reduction: str = "mean", criterion: str = "CrossEntropyLoss", classes: int = 10, time: float = 40
) -> Run:
    network = Network(criterion=criterion, classes=classes)
    network.layout.criterion.reduction = reduction
    curve = loss * np.exp(-network.at / time)
    return network.set(schema.LOSS, "", mean=curve, rms=curve, min=curve, max=curve).run()


def _resumed() -> Run:
    network = Network()
    network.at = network.at + 5000
    return network.set(schema.LOSS, "", mean=40.0).run()


def _regression(output: float, of: float = 1.0) -> Run:
    """Targets of standard deviation ``of``."""
    network = Network(criterion="MSELoss")
    network.set(schema.TARGET, "", mean=0.0, std=of, rms=of).set(schema.PREDICTION, "", rms=output)
    return network.set(schema.LOSS, "", mean=output**2 + of**2).run()


def _far(*, burst: bool) -> Run:
    """Targets of 1500 with a spread of 300 to a network that answers with numbers of about 1."""
    network = Network(criterion="MSELoss")
    network.set(schema.TARGET, "", mean=1500.0, std=300.0, rms=1530.0)
    network.set(schema.PREDICTION, "", mean=0.1, std=0.5, rms=0.5)
    network.set(schema.LOSS, "", mean=np.where(network.at < 8, 2.3e6, 5e4))
    network.loss(np.where(np.arange(200) < 8, 2.3e6, math.nan if burst else 5e4))
    return network.run()


def _one_sample() -> Run:
    network = Network().set(schema.LOSS, "", mean=9.0)
    for row in network.layout.rows:
        if row.kind == schema.PREDICTION:
            row.shape[0] = 1
    return network.run()


def _observed(first: float, output: float) -> Run:
    """Outputs and class indices handed over by ``observe``, with the loss of a function."""
    network = Network().set(schema.LOSS, "", mean=first * np.exp(-np.arange(200) / 40))
    network.layout.criterion.type = network.layout.criterion.reduction = ""
    return network.set(schema.PREDICTION, "", rms=output).run()


def _unwatched() -> Run:
    network = Network()
    network.layout.ClearField("criterion")
    return network.run()


def _next_token(*, now: float, blind: float = math.nan, following: float = 1.0, same: float = 0.0) -> Run:
    """A model of sequences of 24 tokens of 20 kinds, with one head of attention; ``now``: its loss in the end."""
    network = Network(classes=20)
    for row in network.layout.rows:
        if row.kind in (schema.INPUT, schema.TARGET):
            row.dtype, row.shape[:] = "int64", (32, 24)
    network.add_row(schema.TOKENS, "next", mean=following).add_row(schema.TOKENS, "same", mean=same)
    if not math.isnan(blind):
        network.add_row(schema.ATTENTION, "attention:0", (24,), mean=0.9, max=1.0, zero_share=blind)
    return network.set(schema.LOSS, "", mean=now + (math.log(20) - now) * np.exp(-network.at / 30)).run()


RULE = Rule(
    id="initial-loss-off",
    healthy="First loss as expected",
    ill="First loss off",
    group="loss",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "factor",
            2.0,
            "first loss : loss of a guess",
            "highest first loss",
            "default initializations stay below 1.5",
        ),
        Option(
            "warn",
            3.0,
            "first loss : loss of a guess",
            "beyond it is a warning",
            "pixels from 0 to 16 reach 2.1, and learn",
        ),
        Option(
            "far",
            6.0,
            "first loss : loss of a guess",
            "beyond it is a warning at once",
            "trained networks that met new classes began at 3.6 in ours",
        ),
        Option(
            "recovers",
            25,
            "steps",
            "time in which a loss that began lower than that may fall below the guess",
            "trained networks that met new classes needed 17 steps in ours",
        ),
        Option("samples", 8, "samples", "least samples behind the first loss", "judgement"),
    ),
    examples=(
        Example("next tokens without a mask", lambda: _next_token(now=0.2, blind=0.0), ill=True, subject="loss"),
        Example("the tokens themselves", lambda: _next_token(now=0.1, blind=1.0, following=0.1, same=1.0), ill=True),
        Example("next tokens, sure of all: information", lambda: _next_token(now=0.01), ill=True, subject="loss"),
        Example("next tokens under a mask", lambda: _next_token(now=1.2, blind=1.0), ill=False, outcome="Passed"),
        Example(
            "tags of a text read as a whole",
            lambda: _next_token(now=0.2, blind=0.0, following=0.1),
            ill=False,
            outcome="Passed",
        ),
        Example("outputs far too large", lambda: _first(40.0), ill=True, subject="loss", first_step=0),
        Example("two classes", lambda: _first(9.0, criterion="BCEWithLogitsLoss", classes=2), ill=True, subject="loss"),
        Example("a trained network: information", lambda: _first(0.1), ill=True, subject="loss", first_step=0),
        Example("just above the limit", lambda: _first(4.7), ill=True, subject="loss"),
        Example("high, and below the guess only after 40 steps", lambda: _first(7.5), ill=True, subject="loss"),
        Example("high, and soon below the guess: information", lambda: _first(8.0, time=8), ill=True, subject="loss"),
        Example("just below the limit", lambda: _first(4.5), ill=False, outcome="Passed"),
        Example("at the guess", lambda: _first(2.35), ill=False, outcome="Passed"),
        Example("squared error of huge outputs", lambda: _regression(300.0), ill=True, subject="loss"),
        Example("squared error of an untrained network", lambda: _regression(0.5), ill=False, outcome="Passed"),
        Example("targets of a tiny unit, stays", lambda: _regression(0.5, of=1e-3), ill=True, subject="loss"),
        Example("targets far away, and the loss bursts", lambda: _far(burst=True), ill=True, subject="loss"),
        Example("targets far away, and soon reached: information", lambda: _far(burst=False), ill=True, subject="loss"),
        Example("a sum over the batch", lambda: _first(74.0, reduction="sum"), ill=False, outcome="NotApplicable"),
        Example(
            "a criterion of one's own", lambda: _first(40.0, criterion="FocalLoss"), ill=False, outcome="NotApplicable"
        ),
        Example("watched from step 5,000 on", _resumed, ill=False, outcome="NotApplicable"),
        Example("one sample", _one_sample, ill=False, outcome="TooLittleData"),
        Example("observed, outputs far too large", lambda: _observed(20.0, 30.0), ill=True, subject="loss"),
        Example("observed, a sum", lambda: _observed(74.0, 0.5), ill=False, outcome="NotApplicable"),
        Example("observed, at the guess", lambda: _observed(2.35, 0.5), ill=False, outcome="Passed"),
        Example("no criterion watched", _unwatched, ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=("slow-start", "learning-rate-too-high"),
)
