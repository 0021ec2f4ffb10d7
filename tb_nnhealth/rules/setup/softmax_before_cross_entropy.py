"""The criterion expects logits and is given probabilities: softmax, or sigmoid, is applied twice.

## What it detects
Predictions given to `CrossEntropyLoss` that are already probability vectors, predictions given to
`BCEWithLogitsLoss` that never leave the interval from 0 to 1, and logits that are squashed by a last tanh, sigmoid or
ReLU.

## Why it matters
The second softmax can give the right one of C classes at most e / (e + C - 1): for ten classes the loss cannot fall
below 1.46, for a thousand not below 5.9, and gradients shrink as the network becomes sure. It learns, slowly, and
looks like a hard problem.

## How it is computed
Share of samples whose prediction has no negative element and sums to 1 within 1e-3, record by record (unit: share of
samples). It fires where that is at least `share` in each of ten records and the predictions are not constant. For a
function that `observe` shows class indices for, also: at least five classes, predictions sure of their answers, and a
loss that never leaves what two softmaxes can cost. For `BCEWithLogitsLoss`: all elements of each of thirty records
within (0, 1), beginning around 0.5. Also where the last module called is a tanh, sigmoid, ReLU or the like, and all
predictions lie within its bounds: logits are to be unbounded.

A function that the autograd graph of the loss shows to be given the output of softmax or sigmoid, or of a log_softmax
over another dimension than that of the classes, is told as such, also where the loss has further terms. So is one that
is given the products of vectors of length 1, which no temperature scales (a warning): softmax of C numbers between
-1 and 1 costs at least log(1 + (C - 1) / e^2).

## What to try
1. Return the logits: take `softmax`, `log_softmax` or `sigmoid` out of the model's forward.
2. Where probabilities are needed, apply softmax to the logits after the loss, and in evaluation only.
3. If the model must return probabilities, take their logarithm and use `NLLLoss`, or `BCELoss` for sigmoid.

## When it is harmless
Never; some training is possible all the same. Log-probabilities given to `CrossEntropyLoss` are harmless and not
reported.

## References
- [PyTorch: CrossEntropyLoss](https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html)
- [PyTorch: BCEWithLogitsLoss](https://pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html)
- [Wang et al. (2017), NormFace: L2 hypersphere embedding for face verification](https://arxiv.org/abs/1704.06369)
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    Case,
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
from tb_nnhealth.rules.evidence.losses import criterion_loss
from tb_nnhealth.rules.loss.initial_loss_off import CRITERION_LINE
from tb_nnhealth.rules.persistence import window_of
from tb_nnhealth.rules.synthetic import Network

RECORDS, LEAST = 10, 5
"""Records that are judged, and where they lie apart."""
SEEN_IN_THE_GRAPH = 3
BOUNDED = {
    "softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, math.inf), "relu6": (0.0, 6.0),
    "hardtanh": (-1.0, 1.0), "hardsigmoid": (0.0, 1.0), "softsign": (-1.0, 1.0),
}  # fmt: skip
"""What squashes a last layer's outputs, as a module or as a function behind it, and between which bounds."""
BINARY_RECORDS, BINARY_LEAST = 30, 12
"""Logits of a narrow output may lie between 0 and 1 for a while; those of a network that learns do not stay there."""
SURE_OF_NO, SURE_OF_YES = 0.1, 0.9
"""What a sigmoid that learns comes to answer."""
AROUND_HALF = 0.25
CONSTANT = 1e-7
FEWEST_CLASSES = 5
SURE = 0.7
"""Mean of the sum of squared probabilities from which one softmax would cost less than two can."""

ADVICE = (
    "Return the logits: take softmax or sigmoid out of the model's forward; the criterion applies it.",
    "Apply softmax to the logits after the loss, where probabilities are needed.",
    "If the model must return probabilities, use NLLLoss on their logarithm, or BCELoss.",
)

ADVICE_COSINES = (
    "Divide the cosines by a temperature, 0.05 to 0.2, or multiply them by a learned scale that begins near 14.",
)


def check(case: Case) -> Outcome:
    history = case.history
    if history is None:
        return CouldNotCheck(CRITERION_LINE)
    if (named := _in_the_graph(history)) is not None:
        return named
    kind = history.layout.criterion.type
    if not kind:
        return _of_a_function(history, case.options["share"])
    if kind == "CrossEntropyLoss":
        return _softmax_twice(history, case.options["share"])
    if kind == "BCEWithLogitsLoss":
        return _sigmoid_twice(history)
    return NotApplicable(f"{kind} does not take logits, or is not known to")


def _in_the_graph(history: History) -> Outcome | None:
    """Ill where the graph of the loss shows a function that is given what it computes itself."""
    functions = {"cross_entropy": "softmax", "binary_cross_entropy_with_logits": "sigmoid"}
    table = history.table(schema.OPERAND, schema.MEAN)
    for i, subject in enumerate(table.subjects):
        function, _, given = subject.partition("<")
        seen = np.isfinite(table.values[:, i])
        if function in functions and given == "cosine" and seen.sum() >= SEEN_IN_THE_GRAPH:
            return Ill([_of_cosines(history, seen)])
        if function in functions and seen.sum() >= SEEN_IN_THE_GRAPH:
            told = f"In {seen.sum()} records F.{function} is given what comes out of {given}, and it applies "
            told += f"{functions[function]} itself."
            return Ill([_hit(history, seen, SEEN_IN_THE_GRAPH, 1.0, 1.0, "share of records", told)])
    return None


def _of_cosines(history: History, seen: NDArray[np.bool_]) -> Hit:
    """Logits between -1 and 1: the right one of C classes gets at most e^2 / (e^2 + C - 1)."""
    told = "F.cross_entropy is given cosines, between -1 and 1, by no temperature: no answer can be sure"
    classes = int(history.layout.criterion.classes)
    told += f", and with {classes} classes the loss cannot fall below {_floor(classes, 2.0):.2f}." if classes else "."
    hit = _hit(history, seen, SEEN_IN_THE_GRAPH, 1.0, 1.0, "share of records", told)
    return replace(hit, severity="warning", statistic="logits that are cosines", advice=ADVICE_COSINES)


def _softmax_twice(history: History, share: float) -> Outcome:
    if history.layout.criterion.classes == 1:
        return NotApplicable("there is one class")
    probable, std = _prediction(history, schema.PROBABILITY_SHARE), _prediction(history, schema.STD)
    seen = np.isfinite(probable)
    needed = window_of(history.steps, RECORDS, LEAST)
    if seen.sum() < needed:
        return TooLittleData(f"{int(seen.sum())} records of the prediction, {needed} are needed")
    ill = (probable >= share) & (std > CONSTANT)
    if not ill[seen][-needed:].all():
        return _squashed(history, seen)
    classes = int(history.layout.criterion.classes)
    floor = _floor(classes) if classes else 0.0
    told = "The predictions given to CrossEntropyLoss are probabilities already, and it applies softmax again"
    told += f": with {classes} classes the loss cannot fall below {floor:.2f}." if classes else "."
    return Ill([_hit(history, ill & seen, needed, float(probable[seen][-1]), share, "share of samples", told)])


def _squashed(history: History, seen: NDArray[np.bool_]) -> Outcome:
    """Ill where the last layer's outputs go through a bounded function or a rectifier before the softmax."""
    called = [module for module in history.layout.modules if module.called]
    last = (
        next((name for name in (called[-1].type.lower(), called[-1].nonlinearity) if name in BOUNDED), "")
        if called
        else ""
    )
    low, high = _prediction(history, schema.MIN), _prediction(history, schema.MAX)
    bounds = BOUNDED.get(last)
    if bounds is None or not ((low[seen] >= bounds[0]) & (high[seen] <= bounds[1])).all():
        return Passed()
    if bounds[1] < math.inf:
        harm = f"is between {bounds[0]:g} and {bounds[1]:g}, so that no answer can be sure"
        classes = int(history.layout.criterion.classes)
        if classes:
            floor = math.log(1 + (classes - 1) * math.exp(bounds[0] - bounds[1]))
            harm += f": with {classes} classes the loss cannot fall below {floor:.2f}"
    else:
        harm = "cannot be below 0: a class is never told to be unlikely, and a silent output gets no gradient"
    told = f"The predictions given to {history.layout.criterion.type} come out of {last}: each logit {harm}."
    return Ill([_hit(history, seen, min(RECORDS, int(seen.sum())), 1.0, 1.0, "share of records", told)])


def _of_a_function(history: History, share: float) -> Outcome:
    """Probabilities observed beside class indices: ill where the loss never leaves what softmax of them can cost.

    They may also have been made from the logits for ``observe`` alone; then a network that is sure of its answers
    has a far smaller loss.
    """
    classes = int(history.layout.criterion.classes)
    probable, rms = _prediction(history, schema.PROBABILITY_SHARE), _prediction(history, schema.RMS)
    seen = np.isfinite(probable)
    if classes < 2 or not seen.any():
        return CouldNotCheck(CRITERION_LINE)
    if seen.sum() >= RECORDS and not (probable[seen][-RECORDS:] >= share).all():
        return Passed()
    curve = criterion_loss(history)
    sure = classes * float(np.median(rms[seen][-RECORDS:])) ** 2  # the mean over samples of the sum of p squared
    if curve is None or classes < FEWEST_CLASSES or not sure > SURE:
        return CouldNotCheck(CRITERION_LINE)
    if not ((curve.values > _floor(classes)) & (curve.values < math.log(classes - 1 + math.e))).all():
        return Passed()
    return _softmax_twice(history, share)


def _floor(classes: int, width: float = 1.0) -> float:
    """The least that softmax over ``classes`` of logits in an interval of ``width`` can cost; 1 of probabilities."""
    return math.log(1 + (classes - 1) * math.exp(-width))


def _sigmoid_twice(history: History) -> Outcome:
    low, high, mean = (_prediction(history, name) for name in (schema.MIN, schema.MAX, schema.MEAN))
    seen = np.isfinite(low) & np.isfinite(high)
    needed = window_of(history.steps, BINARY_RECORDS, BINARY_LEAST)
    if seen.sum() < needed:
        bounded = _squashed(history, seen) if seen.sum() >= window_of(history.steps, RECORDS, LEAST) else None
        little = TooLittleData(f"{int(seen.sum())} records of the prediction, {needed} are needed")
        return bounded if isinstance(bounded, Ill) else little
    within = (low > 0) & (high <= 1) & (high - low > CONSTANT)
    starts_at_half = abs(float(mean[seen][0]) - 0.5) < AROUND_HALF
    if not within[seen].all() or not starts_at_half or _small_logits(history, low[seen], high[seen]):
        return _squashed(history, seen)
    told = (
        "The predictions given to BCEWithLogitsLoss never leave the interval from 0 to 1: they are probabilities "
        "already, and it applies sigmoid again, so that no sample can be given less than 0.5 or more than 0.73."
    )
    return Ill([_hit(history, within & seen, needed, 1.0, 1.0, "share of records", told)])


def _small_logits(history: History, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
    """Whether the last layer's outputs lie between 0 and 1 by chance: nothing is seen to bound them, nor do they reach
    for the bounds, as the answers of a sigmoid do that learns."""
    called = [module for module in history.layout.modules if module.called]
    unbounded = bool(called) and "Linear" in called[-1].type and not called[-1].nonlinearity
    return unbounded and float(low.min()) > SURE_OF_NO and float(high.max()) < SURE_OF_YES


def _prediction(history: History, statistic: str) -> NDArray[np.float64]:
    values = history.table(schema.PREDICTION, statistic).values
    if not values.shape[1]:
        return np.full(len(history), np.nan)
    return values[:, 0].astype(np.float64)


def _hit(
    history: History, ill: NDArray[np.bool_], needed: int, value: float, limit: float, unit: str, message: str
) -> Hit:
    steps, at = history.steps, np.flatnonzero(ill)
    return Hit(
        subject="prediction",
        first_step=int(steps[at[0]]),
        fired_step=int(steps[at[min(needed, len(at)) - 1]]),
        last_step=int(steps[at[-1]]),
        count=len(at),
        active=True,
        severity="critical",
        statistic="predictions that are probabilities",
        unit=unit,
        value=value,
        limit=limit,
        direction="above",
        healthy=(0.0, 0.5),
        message=message,
        advice=ADVICE,
    )


def _predicting(share: float, std: float = 0.1, classes: int = 10) -> Run:
    network = Network(classes=classes)
    network.set(schema.PREDICTION, "", probability_share=share, std=std, mean=1 / classes, min=0.0, max=0.9)
    return network.run()


def _observed(loss: float, rms: float) -> Run:
    """Probabilities over ten classes handed over by ``observe``, with the loss of a function."""
    network = Network().set(schema.PREDICTION, "", probability_share=1.0, std=0.2, rms=rms, min=0.0, max=0.99)
    network.layout.criterion.type = ""
    return network.set(schema.LOSS, "", mean=loss).run()


def _behind(nonlinearity: str, low: float, high: float) -> Run:
    """Logits whose last layer is followed by a function, and the range of what comes out of it."""
    network = Network().set(schema.PREDICTION, "", probability_share=0.0, std=0.4, min=low, max=high)
    network.layout.modules[-1].nonlinearity = nonlinearity
    return network.run()


def _binary(low: float, high: float, mean: float, *, records: int = 200, behind: str = "") -> Run:
    network = Network(steps=records, criterion="BCEWithLogitsLoss", classes=2)
    network.layout.modules[-1].nonlinearity = behind
    return network.set(schema.PREDICTION, "", min=low, max=high, mean=mean, std=0.2).run()


def _graph(operand: str) -> Run:
    network = Network(criterion="")
    network.layout.criterion.classes = 0
    return network.add_row(schema.OPERAND, operand, mean=1.0).run()


RULE = Rule(
    id="softmax-before-cross-entropy",
    healthy="The criterion is given what it expects",
    ill="Softmax applied twice",
    group="set-up",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "share", 0.99, "share of samples", "samples that are probability vectors", "logits never are but by chance"
        ),
    ),
    examples=(
        Example(
            "seen in the graph of the loss", lambda: _graph("cross_entropy<softmax"), ill=True, subject="prediction"
        ),
        Example("cosines, by no temperature", lambda: _graph("cross_entropy<cosine"), True, "prediction"),
        Example("another function there", lambda: _graph("huber_loss<softmax"), ill=False, outcome="CouldNotCheck"),
        Example("a tanh behind the last layer", lambda: _behind("tanh", -0.9, 0.95), True, "prediction", 0),
        Example("a ReLU behind the last layer", lambda: _behind("relu", 0.0, 7.0), True, "prediction", 0),
        Example("a tanh, and a layer behind it", lambda: _behind("tanh", -4.0, 3.0), False, outcome="Passed"),
        Example("softmax, then cross-entropy", lambda: _predicting(1.0), ill=True, subject="prediction", first_step=0),
        Example("sigmoid, then BCEWithLogitsLoss", lambda: _binary(0.02, 0.97, 0.5), ill=True, subject="prediction"),
        Example(
            "a sigmoid behind the last layer, seen in fourteen records",
            lambda: _binary(1e-9, 0.8, 0.1, records=14, behind="sigmoid"),
            ill=True,
            subject="prediction",
        ),
        Example(
            "numbers like probabilities in fourteen records",
            lambda: _binary(0.02, 0.97, 0.5, records=14),
            ill=False,
            outcome="TooLittleData",
        ),
        Example("a thousand classes", lambda: _predicting(1.0, 0.01, classes=1000), ill=True, subject="prediction"),
        Example("logits", lambda: Network().run(), ill=False, outcome="Passed"),
        Example("some samples look like probabilities", lambda: _predicting(0.98), ill=False, outcome="Passed"),
        Example("constant outputs of an output layer that starts at zero", lambda: _predicting(1.0, 0.0), ill=False),
        Example("binary logits", lambda: _binary(-3.0, 4.0, 0.1), ill=False, outcome="Passed"),
        Example("binary logits that happen to be small", lambda: _binary(0.02, 0.2, 0.1), ill=False, outcome="Passed"),
        Example("squared error", lambda: Network(criterion="MSELoss").run(), ill=False, outcome="NotApplicable"),
        Example("probabilities to a function", lambda: _observed(1.7, 0.3), ill=True, subject="prediction"),
        Example("probabilities beside a loss of logits", lambda: _observed(0.3, 0.3), ill=False, outcome="Passed"),
        Example("unsure probabilities", lambda: _observed(2.1, 0.15), ill=False, outcome="CouldNotCheck"),
        Example("five records", lambda: Network(steps=5).run(), ill=False, outcome="TooLittleData"),
    ),
    page=__doc__ or "",
    causes=(
        "loss-not-decreasing",
        "vanishing-gradients",
        "learning-rate-too-low",
        "underfitting",
        "update-ratio-too-low",
        "saturated-units",
        "slow-start",
        "still-improving",
        "constant-output",
    ),
)
