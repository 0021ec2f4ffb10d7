"""A bias runs away: it grows steadily, far beyond the answers that are asked for.

## What it detects
Biases of the last layer that move further from zero, record by record, and are many times as large as any answer that
the targets ask for, while the loss does not fall.

So are regression targets far from zero, to which the bias has to travel step by step while the loss is a multiple of
what their mean would cost.

## Why it matters
The output bias is the answer given to every sample. Where it grows without end, the answer depends less and less on the
input. A loss that rewards size, a penalty with the wrong sign, a learning rate of its own that is too high, or batches
of one class push it.

## How it is computed
The largest absolute element of the last layer's bias, relative to the largest of 1, the targets' root mean square (for
regression) and where it started (no unit). It fires above `size` while the bias has grown by a tenth in each half of
`window` records, in nine tenths of `window` records, and where the loss has not fallen by 3 % meanwhile.

Targets are far from zero where their mean is `far` times their standard deviation; that counts while a mean squared
error is five times their variance, or an absolute one more than twice their standard deviation, after 60 losses.

Critical where the loss diverges; for information where it had been learned before, or is not known.

Told at once where a criterion of margins (`SoftMarginLoss`) is given targets of 0 and 1: a 0 asks for nothing, so that
all outputs, and the bias first, go the one way.

## What to try
1. Look at the sign of each term of the loss that contains outputs or biases, and at `maximize=` of the optimizer.
2. Look at the learning rate of the bias's parameter group.
3. Check the class shares of the batches: one class alone drives its bias up for ever.
4. For regression, normalize the targets to mean 0 and standard deviation 1, or start the bias at their mean.

## When it is harmless
Before a softmax a constant added to all outputs changes nothing; and where the targets themselves are large.

## References
- [37 Reasons why your Neural Network is not working, number
  33](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Karpathy, A Recipe for Training Neural Networks (initialize the final
  bias)](https://karpathy.github.io/2019/04/25/recipe/)"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
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
from tb_nnhealth.rules.evidence.constant_answer import ABSOLUTE
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.evidence.targets import targets_of
from tb_nnhealth.rules.evidence.weights import aligned, weights_of
from tb_nnhealth.rules.hits import closest, hit
from tb_nnhealth.rules.persistence import Episode
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.margin_targets import targets_of_zero
from tb_nnhealth.rules.weights.runaway import keeps_growing, lasting, severity
from tb_nnhealth.rules.wording import short

TENTH_TWICE = 1.21
COSTLY = 5.0
FEWEST_POINTS = 60
ADVICE = (
    "Look at the sign of each term of the loss that contains outputs or biases, and at maximize= of the optimizer.",
    "Look at the learning rate of the bias's parameter group.",
    "Check the class shares of the batches: one class alone drives its bias up for ever.",
    "For regression, normalize the targets to mean 0 and standard deviation 1.",
)


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.layout.optimizers:
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    names = output_biases(history)
    if not names:
        return NotApplicable("the last layer has no trained bias")
    if (far := _far_targets(case.run, history, names[0], case.options["far"])) is not None:
        return Ill([far])
    if (asked := targets_of_zero(history, names[0])) is not None:
        return Ill([asked])
    window = int(case.options["window"])
    high, low = (aligned(history.table(schema.WEIGHT, statistic), names) for statistic in (schema.MAX, schema.MIN))
    size = np.fmax(np.abs(high), np.abs(low)).astype(np.float64)
    judged = np.isfinite(size)
    if judged.sum(axis=0).max(initial=0) < 2 * window:
        return TooLittleData(f"{int(judged.sum(axis=0).max(initial=0))} records so far, {2 * window} needed")
    relative = size / usual_size(history, size)
    limit = case.options.per_subject("size", names)
    found = lasting(keeps_growing(size, window, TENTH_TWICE) & (relative > limit), judged, history.steps, window)
    hits = [
        _hit(names[episode.column], episode, size, relative, float(limit[episode.column]), told)
        for episode in found
        if (told := severity(case.run, history, episode)) is not None
    ]
    if hits:
        return Ill(hits)
    return Passed(
        closest(relative.astype(np.float32), float(limit.min()), "above", names, history.steps, "output bias")
    )


def _far_targets(run: Run, history: History, name: str, limit: float) -> Hit | None:
    """Targets of a regression that are a long way off, and the loss that this costs."""
    seen = progress(run, history)
    steps = history.steps
    kind = history.layout.criterion.type
    if kind not in ("MSELoss", *ABSOLUTE) or seen is None or not len(steps):
        return None
    costly = COSTLY if kind == "MSELoss" else COSTLY**0.5
    targets = targets_of(history)
    if targets is None or not seen.now > costly * seen.naive > 0 or seen.points < FEWEST_POINTS:
        return None
    away, spread = abs(float(np.median(targets.mean))), math.sqrt(targets.variance)
    if not away > limit * spread > 0:
        return None
    fired = int(np.searchsorted(steps[:-1], steps[0] + FEWEST_POINTS))
    episode = Episode(0, int(steps[0]), int(steps[fired]), int(steps[-1]), len(steps), True, 0, fired, len(steps) - 1)
    return hit(
        episode,
        name,
        severity="warning",
        statistic="targets_mean_over_std",
        unit="1",
        value=away / spread,
        limit=limit,
        direction="above",
        healthy=(0.0, 1.0),
        message=f"The targets lie {short(away)} from 0, {short(away / spread)} of their standard deviations, and"
        f" `{name}` must travel there: the loss is {short(seen.now)}, the mean alone would cost {short(seen.naive)}.",
        advice=(ADVICE[3], f"Or start the bias at the targets' mean: nn.init.constant_(bias, {short(away)})."),
        more={"targets_mean": away, "targets_std": spread},
    )


def output_biases(history: History) -> tuple[str, ...]:
    """Trained biases of the module with a weight matrix that is called last."""
    weights = weights_of(history)
    matrices = weights.matrices_in_depth()
    if not matrices.names:
        return ()
    last = matrices.parameters[-1].module
    return tuple(
        p.name
        for p, trained in zip(weights.parameters, weights.trained, strict=True)
        if trained and p.module == last and len(p.shape) == 1 and p.name.endswith("bias")
    )


def usual_size(history: History, size: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a bias may well be, shape (biases,): 1, its own start, or the size of targets that are no class indices."""
    start = size[np.argmax(np.isfinite(size), axis=0), np.arange(size.shape[1])]
    usual = np.fmax(start, 1.0)
    targets = history.table(schema.TARGET, schema.RMS).values
    if history.layout.criterion.type and not history.layout.criterion.classes and np.isfinite(targets).any():
        usual = np.fmax(usual, float(np.nanmax(targets)))
    return np.asarray(usual)


def _hit(
    name: str,
    episode: Episode,
    size: NDArray[np.float64],
    relative: NDArray[np.float64],
    limit: float,
    told: Severity,
) -> Hit:
    first, last = (float(size[i, episode.column]) for i in (episode.first, episode.last))
    return hit(
        episode,
        name,
        severity=told,
        statistic="bias_relative_to_usual",
        unit="1",
        value=float(np.nanmax(relative[episode.first : episode.last + 1, episode.column])),
        limit=limit,
        direction="above",
        healthy=(0.0, 3.0),
        message=f"The largest element of `{name}` has gone from {short(first)} to {short(last)} between steps"
        f" {episode.first_step:,} and {episode.last_step:,}, and the loss is no lower for it.",
        advice=ADVICE,
        more={"first": first, "last": last},
        rank=last,
    )


def _running(curve: NDArray[np.float64], *, gain: bool = False, layer: int = 5, steps: int = 200) -> Network:
    network = Network(steps=steps)
    network.set(schema.WEIGHT, f"layers.{layer}.bias", max=curve, min=-0.1, rms=curve / 4)
    return network if gain else network.set(schema.LOSS, "", mean=2.3 + 0.01 * np.arange(float(steps)))


def _far(mean: float, loss: float) -> Run:
    """Targets around ``mean`` with a standard deviation of 10."""
    network = Network().set(schema.TARGET, "", mean=mean, std=10.0, rms=mean)
    network.layout.criterion.type = "MSELoss"
    network.layout.criterion.classes = 0
    return network.set(schema.LOSS, "", mean=loss).run()


def _large_targets() -> Network:
    network = _running(_EXPONENTIAL)
    network.layout.criterion.type = "MSELoss"
    network.layout.criterion.classes = 0
    return network.set(schema.TARGET, "", rms=300.0, std=20.0)


_T = np.arange(200.0)
_EXPONENTIAL = 0.1 * 1.04**_T
"""Reaches 10 at record 117 and 240 at the end."""


def _margins(low: float, zeros: float) -> Run:
    network = Network(criterion="SoftMarginLoss")
    return network.set(schema.TARGET, "", mean=0.5 * (low + 1), std=0.5, min=low, max=1.0, zero_share=zeros).run()


EXAMPLES = (
    Example("Grows by 4 % per step", lambda: _running(_EXPONENTIAL).run(), True, "layers.5.bias"),
    Example(
        "Just above the limit", lambda: _running(12.0 * _EXPONENTIAL / _EXPONENTIAL[150]).run(), True, "layers.5.bias"
    ),
    Example(
        "Just below the limit", lambda: _running(9.5 * _EXPONENTIAL / _EXPONENTIAL[199]).run(), False, outcome="Passed"
    ),
    Example("Years as targets", lambda: _far(1990.0, 3.9e6), True, "layers.5.bias", 0),
    Example("Years as targets, reached", lambda: _far(1990.0, 90.0), False, outcome="Passed"),
    Example("Targets three deviations away", lambda: _far(35.0, 1300.0), False, outcome="Passed"),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("The loss falls with it", lambda: _running(_EXPONENTIAL, gain=True).run(), False, outcome="Passed"),
    Example("Large, and at rest", lambda: _running(np.full(200, 30.0)).run(), False, outcome="Passed"),
    Example("A single jump", lambda: _running(np.where(_T < 100, 0.1, 50.0)).run(), False, outcome="Passed"),
    Example("Margins of 0 and 1", lambda: _margins(0.0, 0.4), True, "layers.5.bias", 0),
    Example("Margins of -1 and 1", lambda: _margins(-1.0, 0.0), False, outcome="Passed"),
    Example("Targets as large", lambda: _large_targets().run(), False, outcome="Passed"),
    Example("A hidden layer's", lambda: _running(_EXPONENTIAL, layer=2).run(), False, outcome="Passed"),
    Example("Twenty records", lambda: _running(_EXPONENTIAL[:20], steps=20).run(), False, outcome="TooLittleData"),
)

RULE = Rule(
    id="diverging-bias",
    healthy="Output bias in bounds",
    ill="Output bias running away",
    group="weights",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "far",
            4,
            "1",
            "mean of the targets over their standard deviation",
            "to answer 0 costs 16 times what is to be learned",
        ),
        Option(
            "size",
            10,
            "1",
            "largest element relative to the largest of 1, the targets and its start",
            "a bias of 10 gives one class odds of e^10",
        ),
        Option(
            "window",
            12,
            "records",
            "records within which it grows by a fifth, and for which that must hold",
            "a bias that finds its place slows down",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "loss-diverging",
        "loss-not-decreasing",
        "constant-output",
        "exploding-gradients",
        "dead-units",
        "non-finite",
        "loss-oscillating",
        "underfitting",
        "slow-start",
    ),
)
