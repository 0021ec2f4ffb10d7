"""A hidden layer's outputs are one large number with little upon it.

## What it detects
Linear and convolution layers whose outputs all lie far on one side of zero, so that what differs between samples and
units is small beside what they share.

## Why it matters
The next layer sees a constant input with a faint signal on it. The constant acts as a second bias with a large
gradient: steps must be small because of it, and the signal is learned slowly. Behind a ReLU such a layer is wholly open
or wholly dead; behind a tanh it is saturated.

## How it is computed
|mean| / standard deviation over all elements of a module's output (no unit), for hidden linear and convolution layers
of eight units or more whose output goes into no normalization. It fires above `ratio` in half of `window` records.
Outputs without any spread (a dead layer) are not judged. For information; a warning where the loss does not move,
or has only come down to what a constant answer costs.

## What to try
1. Normalize the inputs to mean 0 and standard deviation 1; a feature such as a year or a price shifts all that follows.
2. Put batch or layer normalization after the layer.
3. Start biases at 0, and look for what has driven them: a learning rate that is too high.
4. Use ELU, GELU or SiLU, whose outputs lie nearer to mean 0 than ReLU's.

## When it is harmless
Before softmax, which is blind to what its inputs share, and where the loss falls nonetheless.

## References
- [37 Reasons why your Neural Network is not working, number
  33](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [LeCun et al. 1998, Efficient BackProp](https://link.springer.com/chapter/10.1007/3-540-49430-8_2)
- [Clevert et al. 2015, Exponential Linear Units](https://arxiv.org/abs/1511.07289)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tb_nnhealth import schema
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
from tb_nnhealth.rules.evidence.depth import chains
from tb_nnhealth.rules.evidence.progress import ENOUGH, STUCK, Progress, progress
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import closest, hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes, share_of, window_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

FEWEST_UNITS = 8
EXPLAINS = 0.5
"""Share of the outputs' mean from which a layer's bias is named as its cause."""
ADVICE = (
    "Normalize the inputs to mean 0 and standard deviation 1.",
    "Put batch or layer normalization after this layer.",
    "Start its bias at 0, and lower the learning rate if the shift came during training.",
    "Use ELU, GELU or SiLU, whose outputs lie nearer to mean 0 than ReLU's.",
)

LEAST = 6
"""Records where they lie apart."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    rows = {history.layout.rows[i].subject: history.layout.rows[i] for i in history.rows(schema.ACTIVATION)}
    if not rows:
        return CouldNotCheck("watch a model whose modules are called in training: writer.watch(model, optimizer)")
    before_softmax = {m.name for m in history.layout.modules if m.nonlinearity in ("softmax", "log_softmax")}
    names = tuple(
        name
        for chain in chains(history)
        for name in chain
        if name in rows and name not in before_softmax and _units(rows[name].shape) >= FEWEST_UNITS
    )
    if not names:
        return NotApplicable("no hidden linear layer's output goes without a normalization")
    usual = int(case.options["window"])
    window = window_of(history.steps, usual, LEAST)
    if len(history) < window:
        return TooLittleData(f"{len(history)} records so far, {window} needed")
    mean = aligned(history.table(schema.ACTIVATION, schema.MEAN), names)
    std = aligned(history.table(schema.ACTIVATION, schema.STD), names)
    shift = np.where(std > 1e-6 * np.abs(mean), np.abs(mean) / std, np.nan).astype(np.float32)
    judged = np.isfinite(shift)
    if not judged.any():
        return NotApplicable("no activation of a hidden linear layer was measured")
    limit = case.options.per_subject("ratio", names)
    found = episodes(shift > limit, judged, history.steps, window=window, share=share_of(window, usual))
    if not found:
        return Passed(
            closest(shift, float(limit.min()), "above", names, history.steps, "shift of the activations' mean")
        )
    seen = progress(case.run, history)
    biases = {p.module: p for p in history.layout.parameters if len(p.shape) == 1 and p.name.endswith("bias")}
    hits = []
    for e in found:
        name, at_onset = names[e.column], float(mean[e.first, e.column])
        cause = biases.get(name) if e.first == 0 else None
        explained = cause is not None and cause.initial_rms > EXPLAINS * abs(at_onset)
        value = worst(shift, e, "above")
        hits.append(_hit(name, e, value, float(limit[e.column]), at_onset, seen, cause if explained else None))
    return Ill(hits)


def _units(shape: tuple[int, ...]) -> int:
    return int(shape[1] if len(shape) >= 4 else shape[-1]) if len(shape) > 1 else 0


def _harms(seen: Progress | None) -> bool:
    """Whether nothing has been learned but, at best, a constant answer."""
    return seen is not None and (seen.stuck or (seen.points >= ENOUGH and seen.now > STUCK * seen.naive))


def _hit(
    name: str, episode: Episode, value: float, limit: float, mean: float, seen: Progress | None, bias: Any | None
) -> Hit:
    begun = "" if bias is None else f": its bias begins at {short(bias.initial_rms)} (root mean square)"
    start = () if bias is None else (f"Start `{bias.name}` at 0: torch.nn.init.zeros_(module.bias).",)
    return hit(
        episode,
        name,
        severity="warning" if _harms(seen) else "info",
        statistic="activation_mean_over_std",
        unit="1",
        value=value,
        limit=limit,
        direction="above",
        healthy=(0.0, 2.0),
        message=f"The outputs of `{name}` lie around {short(mean)}, up to {short(value)} of their standard deviations"
        f" from 0{begun}.",
        advice=(*start, *ADVICE),
        more={"mean": mean},
        rank=-float(episode.column),
    )


def _shifted(ratio: float, *, stands: bool = False, since: int = 0, until: int = 200, layer: int = 2) -> Network:
    network, t = Network(), np.arange(200)
    std = network.get(schema.ACTIVATION, network.layer(layer), schema.STD)
    mean = np.where((t >= since) & (t < until), ratio * std, 0.02 * std)
    network.set(schema.ACTIVATION, network.layer(layer), mean=mean)
    return network.set(schema.LOSS, "", mean=2.31) if stands else network


def _biases_of_ten() -> Run:
    """The loss comes down to the cost of a guess, and no further."""
    network = _shifted(18)
    next(p for p in network.layout.parameters if p.name == "layers.2.bias").initial_rms = 10.0
    return network.set(schema.LOSS, "", mean=2.3 + 5 * np.exp(-np.arange(200) / 5)).run()


def _normalized() -> Run:
    network = _shifted(20, stands=True)
    for module in network.layout.modules:
        module.normalized = True
    return network.run()


def _dead() -> Run:
    network = _shifted(20, stands=True)
    return network.set(schema.ACTIVATION, "layers.2", mean=3.0, std=0.0).run()


EXAMPLES = (
    Example("Twenty deviations from 0", lambda: _shifted(20, stands=True).run(), True, "layers.2", 0),
    Example("The other side of 0", lambda: _shifted(-20).run(), True, "layers.2", 0),
    Example("From step 90 on", lambda: _shifted(9, since=90).run(), True, "layers.2", 90),
    Example("Biases that begin at ten", _biases_of_ten, True, "layers.2", 0),
    Example("Just above the limit", lambda: _shifted(5.2).run(), True, "layers.2", 0),
    Example("Just below the limit", lambda: _shifted(4.8).run(), False, outcome="Passed"),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("For four records only", lambda: _shifted(20, until=4).run(), False, outcome="Passed"),
    Example(
        "The last layer, whose answer lies far from 0", lambda: _shifted(20, layer=5).run(), False, outcome="Passed"
    ),
    Example("A dead layer without any spread", _dead, False, outcome="Passed"),
    Example("Every layer normalized", _normalized, False, outcome="NotApplicable"),
)

RULE = Rule(
    id="activation-mean-shift",
    healthy="Activations centred",
    ill="Activations far from zero",
    group="activations",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option(
            "ratio",
            5,
            "1",
            "|mean| / standard deviation of a layer's outputs",
            "37 Reasons, number 33; healthy trainings of ours stay below 2",
        ),
        Option("window", 10, "records", "records of which half must be ill", "time that Adam takes to centre a layer"),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "dead-units",
        "saturated-units",
        "vanishing-gradients",
        "loss-not-decreasing",
        "slow-start",
        "constant-output",
        "initial-loss-off",
        "learning-rate-too-high",
        "update-ratio-too-high",
        "no-gradient",
        "exploding-gradients",
        "underfitting",
    ),
    statistic="activation-mean",
)
