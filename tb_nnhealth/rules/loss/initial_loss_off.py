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
The criterion's value in the first record (nats for cross-entropies), if that is within the first steps of the training
and reduction is "mean". The guess costs ln C for `CrossEntropyLoss` and `NLLLoss` over C classes, ln 2 for binary
cross-entropies; a function that `observe` shows class indices for is taken for a cross-entropy. Above: more than
`factor` times the guess and at least two nats more; beyond `warn` times it is a warning where the loss (median of three
records) is still above the guess after `recovers` steps, beyond `far` times at once. Below: less than 0.4 of it. For
`MSELoss` it fires where the loss exceeds 100 times the targets' mean square: a warning where the prediction's RMS
exceeds 10, or the loss is still above twice that mean square after 150 steps, as for targets of a tiny unit; targets of
zeros, as for the residual of an equation, are not judged. Also where targets of a size beyond 20, and 20 times the
first outputs', cost three times their variance: a warning where that lasts 150 steps, critical where the loss becomes
infinite; or where they lie about zero, and half of their variance has not been gained in 100 steps, for information. At
least `samples` samples must stand behind the loss.

`CrossEntropyLoss` may be given a 0 or 1 for each class, and more than one 1 for each sample, which then compete for one
probability: a warning, and information for more than 100 classes, of which a multinomial may be meant.

A model of sequences may be given its answers: the class indices asked for are the next ones of its own input, and its
attention gives weight to later positions, or a recurrent layer reads both ways (critical where the loss is below 0.3
times the guess). Without such layers it is for information, where the loss is below 0.05 times the guess. There it
also counts that they are those at the same place: a warning where all attention is causal, else for information, as
for the same tokens in an input behind the first, as of a decoder. A model that shifts them inside has more to learn:
where three in ten samples were seen before, so that they may be known by heart, the loss must be below half of what
their first token costs, the tokens' entropy over the length. Tokens that were given one place before, shifted the wrong
way, are told likewise (drawn at random they are for information: an echo). Also for information where most, but not
all, are given at the same place, and layers may look there.

## What to try
1. Normalize the inputs to mean 0 and standard deviation 1: the commonest reason for large first outputs.
2. Scale down the last layer (standard deviation 0.01, bias 0; for rare classes, bias = log of their odds).
3. Initialize by the layer's fan: Kaiming for ReLU, Xavier for tanh; embeddings shared with the output: std 0.02.
4. Regression: standardize the targets.
5. Too low: look for the label among the inputs, and for test samples in the training data.

## When it is harmless
Networks that were trained before start low, which is why that is only information, and meet new classes with a high
first loss, which falls below the guess within some tens of steps; where the layer that answers is frozen, it is
information however long that takes. A criterion of your own, or one that sums over the batch, is not judged.

## References
- [Stanford CS231n: sanity checks](https://cs231n.github.io/neural-networks-3/#sanitycheck)
- [A recipe for training neural networks: verify loss at init](https://karpathy.github.io/2019/04/25/recipe/)
"""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
    Example,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.loss.answer_given import answer_given
from tb_nnhealth.rules.loss.answer_given_examples import ANSWERS
from tb_nnhealth.rules.loss.first_cross_entropy import first_cross_entropy
from tb_nnhealth.rules.loss.first_squared_error import squared_error
from tb_nnhealth.rules.loss.several_classes import several_classes
from tb_nnhealth.rules.synthetic import Network

FIRST_STEPS = 5
"""The first record must lie within the training's first steps; later ones have learned already."""
CRITERION_LINE = "pass criterion= to watch(), so that the loss and its kind are known"


def check(case: Case) -> Outcome:
    history = case.history
    if history is None or not (history.layout.criterion.type or history.layout.criterion.classes > 1):
        return CouldNotCheck(CRITERION_LINE)
    if given := answer_given(case.run, history):
        return Ill(given)
    if (several := several_classes(history)) is not None:
        return Ill([several])
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
        return squared_error(case.run, history, first, step)
    return first_cross_entropy(history, curve, case.options)


def _first(
    loss: float, *, reduction: str = "mean", criterion: str = "CrossEntropyLoss", classes: int = 10, time: float = 40
) -> Run:
    network = Network(criterion=criterion, classes=classes)
    network.layout.criterion.reduction = reduction
    network.layout.parameters[-2].shape[0] = classes
    curve = loss * np.exp(-network.at / time)
    return network.set(schema.LOSS, "", mean=curve, rms=curve, min=curve, max=curve).run()


def _frozen() -> Run:
    run = _first(13.0, time=1000)
    for parameter in run.watches[schema.DEFAULT_WATCH].layout.parameters:
        parameter.trainable = False
    return run


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


def _wide() -> Run:
    """Targets about 0 with a spread of 100; the loss comes down slowly."""
    network = Network(criterion="MSELoss")
    network.set(schema.TARGET, "", mean=0.0, std=100.0, rms=100.0).set(
        schema.PREDICTION, "", mean=0.1, std=0.5, rms=0.5
    )
    return network.set(schema.LOSS, "", mean=np.linspace(1e4, 8e3, network.steps)).run()


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


def _several(ones: float, classes: int = 8) -> Run:
    """Targets of 0 and 1, so many of them 1 for each sample."""
    network = Network(classes=classes)
    for row in network.layout.rows:
        if row.kind in (schema.TARGET, schema.PREDICTION):
            row.dtype, row.shape[:] = "float32", (32, classes)
    share = ones / classes
    return network.set(schema.TARGET, "", mean=share, rms=share**0.5, std=(share - share**2) ** 0.5).run()


def _unwatched() -> Run:
    network = Network()
    network.layout.ClearField("criterion")
    return network.run()


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
        Example("outputs far too large", lambda: _first(40.0), ill=True, subject="loss", first_step=0),
        Example("two classes", lambda: _first(9.0, criterion="BCEWithLogitsLoss", classes=2), ill=True, subject="loss"),
        Example("a frozen output layer: information", _frozen, ill=True, subject="loss", first_step=0),
        Example("a trained network: information", lambda: _first(0.1), ill=True, subject="loss", first_step=0),
        Example("just above the limit", lambda: _first(4.7), ill=True, subject="loss"),
        Example("high, and below the guess only after 40 steps", lambda: _first(7.5), ill=True, subject="loss"),
        Example("high, and soon below the guess: information", lambda: _first(8.0, time=8), ill=True, subject="loss"),
        Example("just below the limit", lambda: _first(4.5), ill=False, outcome="Passed"),
        Example("at the guess", lambda: _first(2.35), ill=False, outcome="Passed"),
        Example("squared error of huge outputs", lambda: _regression(300.0), ill=True, subject="loss"),
        Example("squared error of an untrained network", lambda: _regression(0.5), ill=False, outcome="Passed"),
        Example("targets of zeros", lambda: _regression(0.5, of=0.0), ill=False, outcome="NotApplicable"),
        Example("targets of a tiny unit, stays", lambda: _regression(0.5, of=1e-3), ill=True, subject="loss"),
        Example("targets of a wide spread, not reached: information", _wide, ill=True, subject="loss"),
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
        Example("two of eight classes for each sample", lambda: _several(2.0), ill=True, subject="loss"),
        Example("thirty of a thousand: information", lambda: _several(30.0, 1000), ill=True, subject="loss"),
        Example("one of eight, given as ones and zeros", lambda: _several(1.0), ill=False, outcome="Passed"),
        *ANSWERS,
    ),
    page=__doc__ or "",
    causes=("slow-start", "learning-rate-too-high", "constant-output"),
)
