"""NLLLoss is given numbers that are no log-probabilities.

## What it detects
Logits, or probabilities, given to `NLLLoss`, `KLDivLoss` or `CTCLoss`: the `log_softmax` before it is missing.

## Why it matters
`NLLLoss` only picks the right class's number and changes its sign. Of logits it can be lowered without bound by
making them all larger, and teaches nothing of which class it is. Of probabilities it is minus the probability: from
-1 to 0, with next to no gradient where the network is sure and wrong.

## How it is computed
Share of samples whose prediction is a vector of logarithms of probabilities: none above 0, their exponentials sum to
1 (unit: share of samples). It fires where that is below `share` in each of ten records. Without that measure: the
greatest prediction above 0.01 in each of ten records; so for `KLDivLoss` and `CTCLoss`. Where the loss is a function,
and `observe` hands over probabilities and class indices, it fires on losses that lie between -1 and 0.

A function that the autograd graph of the loss shows to be given probabilities, a layer's raw outputs or a log_softmax
over another dimension than that of the classes is told as such; so are a likelihood that picks the right class by hand,
and a binary cross-entropy of raw outputs that a clamp, not a sigmoid, makes numbers from 0 to 1.

## What to try
1. Take `CrossEntropyLoss` instead, and give it the logits: it applies `log_softmax` itself.
2. Or end the model with `nn.LogSoftmax(dim=1)`; `nn.Softmax` is not enough, and `dim` is that of the classes.

## When it is harmless
Scores that are logarithms but sum to less than 1 (independent classes by `logsigmoid`) are reported as a warning.

## References
- [PyTorch: NLLLoss](https://pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html)
- [PyTorch: CrossEntropyLoss](https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html)
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Direction, Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    GIVEN,
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
from tb_nnhealth.rules.data.batch_rows import Curve, number
from tb_nnhealth.rules.evidence.losses import criterion_loss
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent, short

RECORDS = 10
SEEN_IN_THE_GRAPH = 3
NO_LOGARITHM = 0.01
"""A prediction above this cannot be the logarithm of a probability."""
PROBABLE = 0.99
OF_LOGARITHMS = ("KLDivLoss", "CTCLoss")
GRAPH = ("nll_loss", "likelihood", "kl_div", "ctc_loss", "binary_cross_entropy")
"""Functions that take probabilities or their logarithms, as the graph of a loss names them."""
NLL_LINE = "pass criterion=nn.NLLLoss() to watch(), so that the kind of the loss is known"
ADVICE = (
    "Give the logits to nn.CrossEntropyLoss, which applies log_softmax itself.",
    "Or end the model with nn.LogSoftmax(dim=1), over the classes, and keep NLLLoss; nn.Softmax is not enough.",
)
OF_OTHERS = ("Give it logits.log_softmax(-1), over the dimension of the classes; softmax alone is not enough.",)

GRAPH_ADVICE = {
    "nll_loss": ADVICE,
    "binary_cross_entropy": (
        "Give the logits, without clamp, to binary_cross_entropy_with_logits, which applies sigmoid itself.",
        "Or apply torch.sigmoid to them before binary_cross_entropy; no clamp is needed then.",
    ),
}


def check(case: Case) -> Outcome:
    history = case.history
    if history is None:
        return CouldNotCheck(NLL_LINE)
    if (named := _in_the_graph(history)) is not None:
        return named
    criterion = history.layout.criterion
    if not criterion.type:
        return _of_a_function(history)
    if criterion.type in OF_LOGARITHMS:
        return _greatest(history, criterion.type)
    if criterion.type != "NLLLoss":
        return NotApplicable(f"{criterion.type} takes no log-probabilities, or is not known to")
    share, highest = number(history, schema.LOG_PROBABILITY), number(history, schema.PREDICTION, "", schema.MAX)
    probable = number(history, schema.PREDICTION, "", schema.PROBABILITY_SHARE)
    if np.isfinite(share).any():
        least = case.options["share"]
        return _judged(history, share < least, np.isfinite(share), share, least, "below", highest, probable)
    seen = np.isfinite(highest)
    return _judged(history, highest > NO_LOGARITHM, seen, highest, NO_LOGARITHM, "above", highest, probable)


def _in_the_graph(history: History) -> Outcome | None:
    """Ill where the graph of the loss shows a likelihood of what is no logarithm of probabilities."""
    table = history.table(schema.OPERAND, schema.MEAN)
    for i, subject in enumerate(table.subjects):
        function, _, given = subject.partition("<")
        at = np.flatnonzero(np.isfinite(table.values[:, i]))
        if function not in GRAPH or len(at) < SEEN_IN_THE_GRAPH:
            continue
        steps = history.steps[at]
        hit = Hit(
            subject="prediction", first_step=int(steps[0]), fired_step=int(steps[SEEN_IN_THE_GRAPH - 1]),
            last_step=int(steps[-1]), count=len(at), active=True, severity="critical",
            statistic="predictions that are no log-probabilities", unit="share of records", value=1.0, limit=1.0,
            direction="above", healthy=(0.0, 0.0), advice=GRAPH_ADVICE.get(function, OF_OTHERS),
            message=_told_by_the_graph(function, given, len(at)),
        )  # fmt: skip
        return Ill([hit])
    return None


def _told_by_the_graph(function: str, given: str, records: int) -> str:
    if function == "binary_cross_entropy":
        return (
            f"F.{function} is given what comes out of {given}, cut off by clamp to what a probability may be, in "
            f"{records} records: no sigmoid makes it one, and an answer beyond the bounds gets no gradient."
        )
    name = "A likelihood written by hand" if function == "likelihood" else f"F.{function}"
    told = f"{name} is given what comes out of {given}, not logarithms of probabilities of the classes"
    return f"{told}, in {records} records."


def _greatest(history: History, criterion: str) -> Outcome:
    """By the greatest number given, of losses that take logarithms of probabilities of any shape."""
    probable, highest = (number(history, schema.PREDICTION, "", s) for s in (schema.PROBABILITY_SHARE, schema.MAX))
    above = np.where(np.isfinite(highest), highest, 0.0) > NO_LOGARITHM
    seen = np.isfinite(highest)
    return _judged(history, above, seen, highest, NO_LOGARITHM, "above", highest, probable, criterion)


def _of_a_function(history: History) -> Outcome:
    """Probabilities observed beside class indices, whose loss is minus the right one's probability."""
    if history.layout.criterion.classes < 2:
        return CouldNotCheck(NLL_LINE)
    curve = criterion_loss(history)
    probable = number(history, schema.PREDICTION, "", schema.PROBABILITY_SHARE)
    if curve is None or len(curve) < RECORDS:
        return CouldNotCheck(NLL_LINE)
    if (curve.values >= 0).all():
        return Passed()
    highest = number(history, schema.PREDICTION, "", schema.MAX)
    negative = (probable >= PROBABLE) & bool(((curve.values >= -1) & (curve.values < 0)).all())
    if not negative.any():
        return CouldNotCheck(NLL_LINE)
    return _judged(history, negative, np.isfinite(probable), highest, NO_LOGARITHM, "above", highest, probable)


def _judged(
    history: History, ill: NDArray[np.bool_], seen: NDArray[np.bool_], values: Curve, limit: float,
    direction: Direction, highest: Curve, probable: Curve, criterion: str = "NLLLoss",
) -> Outcome:  # fmt: skip
    if seen.sum() < RECORDS:
        return TooLittleData(f"{int(seen.sum())} records of the prediction, {RECORDS} are needed")
    if not ill[seen][-RECORDS:].all():
        return Passed()
    at = np.flatnonzero(ill & seen)
    top = float(np.nanmax(highest[at])) if np.isfinite(highest[at]).any() else 0.0
    probabilities = float(np.nan_to_num(probable[at]).mean()) >= PROBABLE
    severity: Severity = "critical" if top > NO_LOGARITHM else "warning"
    value = float(np.median(values[at]))
    if probabilities:
        told = f"`{criterion}` is given probabilities (up to {short(top)}), not their logarithms"
    elif top > NO_LOGARITHM:
        told = f"`{criterion}` is given values up to {short(top)}, no logarithms of probabilities"
    else:
        told = f"`{criterion}` is given scores below 0 of which {percent(1 - value)} do not sum to a probability of 1"
    if probabilities:
        told += {
            "NLLLoss": ": it cannot fall below -1 and hardly teaches.",
            "KLDivLoss": ": it falls below 0, the least that a divergence can be, and teaches something else.",
        }.get(criterion, ": what it takes for likely is not, and it teaches something else.")
    elif top > NO_LOGARITHM:
        told += ": it can fall without bound and teach nothing."
    else:
        told += ": look at the dimension that log_softmax is taken over."
    steps = history.steps
    hit = Hit(
        subject="prediction",
        first_step=int(steps[at[0]]),
        fired_step=int(steps[at[min(RECORDS, len(at)) - 1]]),
        last_step=int(steps[at[-1]]),
        count=len(at),
        active=True,
        severity=severity,
        statistic="predictions that are log-probabilities" if direction == "below" else "greatest prediction",
        unit="share of samples" if direction == "below" else "1",
        value=value,
        limit=limit,
        direction=direction,
        message=told,
        advice=ADVICE if criterion == "NLLLoss" else OF_OTHERS,
        more={"greatest_prediction": top, GIVEN: True},
    )
    return Ill([hit])


def _given(share: float, highest: float, *, probable: float = 0.0) -> Network:
    network = Network(criterion="NLLLoss").add_row(schema.LOG_PROBABILITY, "", mean=share)
    return network.set(schema.PREDICTION, "", max=highest, probability_share=probable)


def _without_share(highest: float) -> Run:
    return Network(criterion="NLLLoss").set(schema.PREDICTION, "", max=highest).run()


def _diverging(highest: float, criterion: str = "KLDivLoss") -> Run:
    return Network(criterion=criterion).set(schema.PREDICTION, "", max=highest).run()


def _observed(loss: float) -> Run:
    """Probabilities and class indices handed over by ``observe``, with the loss of a function."""
    network = Network().set(schema.PREDICTION, "", max=0.9, min=0.0, probability_share=1.0)
    network.layout.criterion.type = ""
    return network.set(schema.LOSS, "", mean=loss).run()


def _graph(operand: str) -> Run:
    network = Network(criterion="")
    network.layout.criterion.classes = 0
    return network.add_row(schema.OPERAND, operand, mean=1.0).run()


RULE = Rule(
    id="nll-without-log-softmax",
    healthy="NLLLoss given log-probabilities",
    ill="NLLLoss without log-softmax",
    group="set-up",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option("share", 0.5, "share of samples", "least share that are log-probabilities", "all are, or none is"),
    ),
    examples=(
        Example("seen in the graph of the loss", lambda: _graph("nll_loss<linear"), ill=True, subject="prediction"),
        Example(
            "over the samples",
            lambda: _graph("nll_loss<log_softmax over dimension 0"),
            ill=True,
            subject="prediction",
        ),
        Example(
            "written by hand, over the samples",
            lambda: _graph("likelihood<log_softmax over dimension 0"),
            ill=True,
            subject="prediction",
        ),
        Example(
            "raw outputs cut off to probabilities",
            lambda: _graph("binary_cross_entropy<linear"),
            ill=True,
            subject="prediction",
        ),
        Example("another function there", lambda: _graph("huber_loss<softmax"), ill=False, outcome="CouldNotCheck"),
        Example("logits", lambda: _given(0.0, 3.0).run(), ill=True, subject="prediction", first_step=0),
        Example(
            "probabilities", lambda: _given(0.0, 0.9, probable=1.0).run(), ill=True, subject="prediction", first_step=0
        ),
        Example("log_softmax over the batch", lambda: _given(0.02, -0.1).run(), ill=True, subject="prediction"),
        Example("logits, in a log without the share", lambda: _without_share(2.0), ill=True, subject="prediction"),
        Example("probabilities to a function", lambda: _observed(-0.7), ill=True, subject="prediction"),
        Example("probabilities to a divergence", lambda: _diverging(0.9), ill=True, subject="prediction"),
        Example("logits to CTCLoss", lambda: _diverging(4.0, "CTCLoss"), ill=True, subject="prediction"),
        Example("log-probabilities to CTCLoss", lambda: _diverging(-0.1, "CTCLoss"), ill=False, outcome="Passed"),
        Example("probabilities to F.kl_div", lambda: _graph("kl_div<softmax"), ill=True, subject="prediction"),
        Example("log-probabilities to a divergence", lambda: _diverging(-1e-4), ill=False, outcome="Passed"),
        Example("just below the limit", lambda: _given(0.45, -1e-4).run(), ill=True, subject="prediction"),
        Example("just above the limit", lambda: _given(0.55, -1e-4).run(), ill=False, outcome="Passed"),
        Example("log-probabilities", lambda: _given(1.0, -1e-4).run(), ill=False, outcome="Passed"),
        Example("log-probabilities, without the share", lambda: _without_share(-1e-6), ill=False, outcome="Passed"),
        Example("probabilities beside a loss of logits", lambda: _observed(0.7), ill=False, outcome="Passed"),
        Example("a negative loss of one's own", lambda: _observed(-4.0), ill=False, outcome="CouldNotCheck"),
        Example("cross-entropy", lambda: Network().run(), ill=False, outcome="NotApplicable"),
        Example(
            "five records", lambda: Network(steps=5, criterion="NLLLoss").run(), ill=False, outcome="TooLittleData"
        ),
    ),
    page=__doc__ or "",
    causes=(
        "initial-loss-off", "loss-diverging", "loss-not-decreasing", "underfitting", "diverging-weights",
        "diverging-bias", "exploding-activations", "exploding-gradients", "update-ratio-too-high",
        "update-ratio-too-low", "gradient-spike", "non-finite", "constant-output", "slow-start",
        "saturated-units", "vanishing-gradients", "learning-rate-too-low", "learning-rate-too-high",
        "overfitting", "still-improving", "loss-oscillating", "loss-spike",
    ),
)  # fmt: skip
