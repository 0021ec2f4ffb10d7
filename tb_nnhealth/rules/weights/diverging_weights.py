"""Weights grow and grow, and nothing is gained by it.

## What it detects
Weight matrices whose norm keeps doubling while the loss does not fall.

## Why it matters
Weights that grow by a factor per step grow without bound: activations and gradients follow, until a softmax saturates
or a number overflows. The reasons are few: a penalty with the wrong sign, an objective that is maximized where it
should be minimized, a learning rate at which each step overshoots, gradients that nobody clears.

## How it is computed
The root mean square of a weight matrix, or the scale that default initialization gives it where that is larger: weights
that start near zero may grow freely up to there. It must have grown by `doubling` within `window` records, by equal
parts in both halves, in nine tenths of `window` records: about fourfold in all, and no single jump. Weights whose
output is normalized are not judged: their scale has no effect, and grows by itself without weight decay. Nor is growth
told that has brought the loss down by 3 %; a loss that falls faster and faster below zero has no bound, and is no gain.
With such a loss any growth counts that is `doubling` squared in all and goes on to the end. Slower growth, such as
Adam's by equal parts, counts where the loss rises with it through the second half of the run: by half in that half,
and on through each quarter of it, and `doubling` squared in all.

Critical where the loss diverges; for information where it had been learned before, or is not known.

## What to try
1. Look at the sign of every term of the loss, and at `maximize=` of the optimizer.
2. Lower the learning rate; call `optimizer.zero_grad()` before each backward pass.
3. Use weight decay of the right sign: `torch.optim.AdamW(..., weight_decay=0.01)`.
4. Normalize the layers' outputs, or clip the gradients' norm.
5. Bound a critic: clip its weights, penalize its gradient, or normalize its weights by their spectral norm.

## When it is harmless
Where the loss falls with it: weights that have to become large for large targets, and the last layer of a classifier
that is sure of its answers.

## References
- [37 Reasons why your Neural Network is not working, number
  33](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Arjovsky et al. 2017, Wasserstein GAN](https://arxiv.org/abs/1701.07875)
- [Braiek and Khomh 2022, TheDeepChecker (diverging parameters)](https://arxiv.org/abs/2204.00694)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Run
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
from tb_nnhealth.rules.evidence.weights import Weights, weights_of
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode, window_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.runaway import keeps_growing, lasting, severity, swelling, without_bound
from tb_nnhealth.rules.wording import short

ADVICE = (
    "Look at the sign of every term of the loss, and at maximize= of the optimizer.",
    "Lower the learning rate, and call optimizer.zero_grad() before each backward pass.",
    "Use weight decay of the right sign: torch.optim.AdamW(..., weight_decay=0.01).",
)
BOUND = (
    "Give the objective a bound: clip a critic's weights, penalize its gradient (WGAN-GP), or use"
    " torch.nn.utils.parametrizations.spectral_norm.",
    *ADVICE,
)

LEAST = 6
"""Records of a window where they lie apart: the same growth in fewer steps."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.layout.optimizers:
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    everything = weights_of(history)
    normalized = {m.name for m in history.layout.modules if m.normalized}
    free = np.array([p.module not in normalized for p in everything.parameters], bool)
    weights = everything.only(everything.trained & everything.matrix & free)
    if not weights.names:
        return NotApplicable("no trained weight matrix whose output is not normalized")
    window = window_of(weights.steps, int(case.options["window"]), LEAST)
    judged = np.isfinite(weights.weight)
    sizes = np.fmax(weights.weight.astype(np.float64), weights.natural_rms)
    doubling = case.options["doubling"]
    endless = without_bound(case.run, history, sizes, doubling**2)
    swollen = swelling(case.run, history, sizes, doubling)
    if not (endless or swollen) and judged.sum(axis=0).max() < 2 * window:
        return TooLittleData(f"{int(judged.sum(axis=0).max())} records so far, {2 * window} needed")
    found = lasting(keeps_growing(sizes, window, doubling), judged, weights.steps, window)
    hits = [
        _hit(weights, episode, told, doubling, "and the loss is no lower for it", ADVICE)
        for episode in found
        if (told := severity(case.run, history, episode)) is not None
    ]
    told_already = {hit.subject for hit in hits}
    hits += [
        _hit(weights, episode, "warning", doubling, "and the loss rises with them", ADVICE)
        for episode in swollen
        if weights.names[episode.column] not in told_already
    ]
    told_already = {hit.subject for hit in hits}
    hits += [
        _hit(weights, episode, "warning", doubling, "and the loss falls without end", BOUND)
        for episode in endless
        if weights.names[episode.column] not in told_already
    ]
    return Ill(hits) if hits else Passed()


def _hit(
    weights: Weights, episode: Episode, told: Severity, doubling: float, harm: str, advice: tuple[str, ...]
) -> Hit:
    column = episode.column
    first, last = (float(weights.weight[i, column]) for i in (episode.first, episode.last))
    return hit(
        episode,
        weights.names[column],
        severity=told,
        statistic="weight_growth",
        unit="1",
        value=max(last / first, doubling) if first > 0 else doubling,
        limit=doubling,
        direction="above",
        healthy=(0.5, 2.0),
        message=f"The weights of `{weights.names[column]}` have grown from {short(first)} to {short(last)} (root mean"
        f" square) between steps {episode.first_step:,} and {episode.last_step:,}, {harm}.",
        advice=advice,
        more={"first": first, "last": last},
        rank=last / first if first > 0 else 0.0,
    )


def _growing(
    per_step: float, *, gain: bool = False, layer: int = 1, since: int = 0, until: int = 200, start: float = 1.0
) -> Network:
    network, t = Network(), np.arange(200.0)
    factor = start * per_step ** np.clip(t - since, 0, until - since)
    network.scale(schema.WEIGHT, network.weight(layer), factor)
    return network if gain else network.set(schema.LOSS, "", mean=2.2 + 0.001 * t)


def _critic(falls: Any) -> Run:
    """A layer grows evenly to five times its start, and the loss falls below zero."""
    network = Network()
    return network.scale(schema.WEIGHT, network.weight(1), 1 + _T / 45).set(schema.LOSS, "", mean=-falls).run()


def _normalized() -> Run:
    network = _growing(1.1)
    for module in network.layout.modules:
        module.normalized = True
    return network.run()


_T = np.arange(200.0)
_TURNS = 2.3 * np.exp(-_T / 20) + 0.01 * np.maximum(0, _T - 60)
_FALLS = 2.3 * np.exp(-_T / 20) + 0.2


def _evenly(loss: Any) -> Run:
    """A layer grows by equal parts, to nine times its start."""
    return Network().scale(schema.WEIGHT, "layers.1.weight", 1 + _T / 25).set(schema.LOSS, "", mean=loss).run()


EXAMPLES = (
    Example("Doubles every seven steps", lambda: _growing(1.1).run(), True, "layers.1.weight"),
    Example("From step 80 on", lambda: _growing(1.1, since=80).run(), True, "layers.1.weight"),
    Example("Just above the limit", lambda: _growing(1.09).run(), True, "layers.1.weight"),
    Example("A critic without bounds", lambda: _critic(0.1 + _T**2), True, "layers.1.weight"),
    Example("A likelihood that has a bound", lambda: _critic(3 * (1 - np.exp(-_T / 40))), False, outcome="Passed"),
    Example("By equal parts, and the loss rises again", lambda: _evenly(_TURNS), True, "layers.1.weight"),
    Example("By equal parts, and the loss falls", lambda: _evenly(_FALLS), False, outcome="Passed"),
    Example("Just below the limit", lambda: _growing(1.035).run(), False, outcome="Passed"),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("The loss falls with it", lambda: _growing(1.1, gain=True).run(), False, outcome="Passed"),
    Example("A single jump", lambda: _growing(50, since=60, until=61).run(), False, outcome="Passed"),
    Example("From near zero to the usual scale", lambda: _growing(1.03, start=1e-3).run(), False, outcome="Passed"),
    Example("Every output normalized", _normalized, False, outcome="NotApplicable"),
    Example("Twenty records", lambda: Network(steps=20).run(), False, outcome="TooLittleData"),
)

RULE = Rule(
    id="diverging-weights",
    healthy="Weights keep their size",
    ill="Weights growing without bound",
    group="weights",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "doubling",
            2,
            "1 per window",
            "growth that is too quick",
            "weights of healthy trainings double once or twice in all",
        ),
        Option(
            "window",
            12,
            "records",
            "records within which they grow so, and for which that must hold",
            "shorter growth is the opening's, or a step that was too large",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "exploding-activations",
        "exploding-gradients",
        "saturated-units",
        "dead-units",
        "non-finite",
        "loss-diverging",
        "loss-not-decreasing",
        "loss-oscillating",
        "gradient-spike",
        "diverging-bias",
        "loss-spike",
        "slow-start",
        "still-improving",
    ),
    statistic="weight-norm",
)
