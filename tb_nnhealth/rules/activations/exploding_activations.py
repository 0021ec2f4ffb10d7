"""Activations grow far beyond the scale they started with, or that their input has.

## What it detects
Outputs of linear and convolution layers whose spread grows exponentially from layer to layer, that are many times
larger than the network's input, or that have grown many times larger than they were.

## Why it matters
Initialization aims at outputs of standard deviation about 1 in every layer. Where each layer multiplies the scale by
two, twenty layers make a million of it: the loss starts absurdly high, softmax and sigmoid saturate, gradients
explode, half precision overflows. Activations that grow during training tell of steps that are too large.

## How it is computed
From the standard deviation over all elements of a module's output (no unit), in four ways, and from attention's logits:

- **with depth**: an exponential fitted through the layers between two normalizations grows more than `total`-fold in
  all and by a tenth or more per layer, steadily (correlation with depth of at least 0.8), in three of five records,
  or a fifth of `total` in the first record, where the first loss is three times a constant answer's cost;
- **by one layer**: a layer exceeds the median of the ten before it in its chain `total`-fold, likewise;
- **against the input**: more than `absolute` times the larger of 1 and the input's own standard deviation, likewise;
- **in time**: more than `growth` times the larger of its own start and 1 (for regression, of a third of the targets'
  standard deviation), in half of ten records;
- **attention**: the largest logit of a module's heads (the scaled product of a query and a key) exceeds `logit`, and
  three times its own start, in half of ten readings. Critical where the loss diverges or does not move, for information
  where it comes down below 0.8 of its start all the same.

Outputs that go into a normalization layer, logits, embeddings and recurrent layers' bounded outputs are not judged,
nor modules that start at zero. Critical at a hundred times a limit or where the loss diverges or does not move; for
information only where the loss has been learned nonetheless, unless the first one was six times a constant answer's.

## What to try
1. Initialize for the non-linearity: `torch.nn.init.kaiming_normal_(w, nonlinearity="relu")`, `xavier_normal_` for
   tanh.
2. `tb_nnhealth.init.lsuv_(model, batch)` scales each layer to unit variance on a real batch.
3. Add normalization layers between linear layers.
4. If they grew during training, lower the learning rate or add weight decay.
5. Normalize the inputs to mean 0 and standard deviation 1.
6. Attention: normalize queries and keys (QK-norm), or lower the learning rate.

## When it is harmless
In residual streams, which grow with the square root of depth or linearly; in layers before a normalization; where a
regression's targets are large themselves.

## References
- [He et al. 2015, Delving Deep into Rectifiers](https://arxiv.org/abs/1502.01852)
- [Mishkin and Matas 2015, All you need is a good init (LSUV)](https://arxiv.org/abs/1511.06422)
- [Zhai et al. 2023, Stabilizing transformer training by preventing attention entropy collapse (σReparam)](https://arxiv.org/abs/2303.06296)
- [Kimi K2, QK-clip of attention logits beyond 100](https://arxiv.org/abs/2507.20534)
- [CS231n, Weight initialization](https://cs231n.github.io/neural-networks-2/#init)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.derive import ACTIVATION_STD_HEALTHY
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Floats, History, Run
from tb_nnhealth.rules.activations.attention_heads import attending, growing_logits
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
from tb_nnhealth.rules.evidence.depth import chains, standing, total_change
from tb_nnhealth.rules.evidence.progress import VERY_SURE, Progress, first_loss_above, progress
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import closest, hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.initial_scale import with_scale
from tb_nnhealth.rules.wording import short

AT_ONCE = 5
AT_ONCE_FACTOR = 100.0
"""How far beyond the limit one record suffices: the next one may be NaN already."""
MEMORY = 10
"""Layers before it that a layer is compared with."""
PLACES_AT_ONCE = 64
"""Bounds the memory in which that is done."""
STEADY = 0.8
PER_LAYER = 1.1
"""Growth per layer below which depth alone, as in a residual stream, explains a large total."""
TARGET_SHARE = 0.3
SURE = 3.0
"""First loss over a constant answer's cost from which the growth with depth is seen to do harm."""
SURE_SHARE = 0.2
"""Share of the limit that suffices then."""
INITIALIZE = (
    "Initialize for the non-linearity: torch.nn.init.kaiming_normal_ (ReLU), xavier_normal_ (tanh).",
    "Scale each layer to unit variance on a real batch: tb_nnhealth.init.lsuv_(model, batch).",
    "Add normalization layers between the linear ones.",
)
CALM = (
    "Lower the learning rate: the activations grew during training.",
    "Add normalization layers, or weight decay.",
    "Clip the gradients' norm: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).",
)


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.ACTIVATION):
        return CouldNotCheck("watch a model whose modules are called in training: writer.watch(model, optimizer)")
    groups = chains(history.layout)
    names = tuple(name for chain in groups for name in chain)
    if not len(history):
        return TooLittleData("no records so far")
    seen = progress(case.run, history)
    attention = growing_logits(case, seen)
    if not names:
        return (
            Ill(attention)
            if attention
            else NotApplicable("every linear layer's output is normalized or is the prediction")
        )

    std = aligned(history.table(schema.ACTIVATION, schema.STD), names)
    measured = np.isfinite(std)
    if not measured.any():
        return NotApplicable("no activation of a hidden linear layer was measured")
    judge = _Judge(names, history.steps, seen)
    scale = np.fmax(1.0, spread(history, schema.INPUT))
    large = np.asarray(std / scale, np.float32)
    limit = case.options.per_subject("absolute", names)
    judge.add(
        episodes(large > limit, measured, history.steps, window=AT_ONCE, share=0.6),
        large,
        limit,
        "of the input's",
        INITIALIZE,
    )

    grown = np.asarray(std / _start(std, history), np.float32)
    growth = case.options.per_subject("growth", names)
    judge.add(episodes(grown > growth, measured, history.steps, window=10), grown, growth, "of its start", CALM)

    total = case.options.per_subject("total", names)
    alone = np.concatenate([relative_to_before(std[:, standing(chain, names)]) for chain in groups], axis=1)
    found = episodes(alone > total, measured, history.steps, window=AT_ONCE, share=0.6)
    judge.add(found, alone, total, "of the layers' before it", INITIALIZE)
    deep = np.concatenate([relative_to_first(std[:, standing(chain, names)]) for chain in groups], axis=1)
    steady = np.concatenate(
        [np.repeat(_grows(std[:, standing(c, names)])[:, None], len(c), axis=1) for c in groups], axis=1
    )
    for window, factor in ((1, AT_ONCE_FACTOR), (AT_ONCE, 1.0)):
        found = episodes((deep > total * factor) & steady, measured, history.steps, window=window, share=0.6)
        judge.add(found, deep, total, "of the chain's first layer's", INITIALIZE)
    above = first_loss_above(history)
    if above > SURE:
        judge.begins_badly = above > VERY_SURE
        opening = np.arange(len(history))[:, None] == 0
        found = episodes((deep > SURE_SHARE * total) & steady & opening, measured, history.steps, window=1)
        judge.add(found, deep, SURE_SHARE * total, "of the chain's first layer's", INITIALIZE)
    if judge.hits or attention:
        return Ill(with_scale([*judge.hits.values(), *attention], history.layout, "above"))
    return Passed(closest(grown, float(growth.min()), "above", names, history.steps, "activation growth"))


class _Judge:
    """Collects one hit for each subject: of several ways to be ill, the one that began first."""

    def __init__(self, names: tuple[str, ...], steps: NDArray[np.int64], seen: Progress | None) -> None:
        self.names, self.steps, self.seen = names, steps, seen
        self.hits: dict[str, Hit] = {}
        self.begins_badly = False

    def add(
        self, found: list[Episode], values: Floats, limits: NDArray[np.float64], what: str, advice: tuple[str, ...]
    ) -> None:
        for episode in found:
            name, limit = self.names[episode.column], float(limits[episode.column])
            value = worst(values, episode, "above")
            earlier = self.hits.get(name)
            if earlier is None or (-episode.first_step, value / limit) > (
                -earlier.first_step,
                earlier.value / earlier.limit,
            ):
                self.hits[name] = hit(
                    episode,
                    name,
                    severity=self._severity(value / limit),
                    statistic="activation_std",
                    unit="1",
                    value=value,
                    limit=limit,
                    direction="above",
                    healthy=ACTIVATION_STD_HEALTHY,
                    message=f"The standard deviation of `{name}` reaches {short(value)} times that {what}"
                    f" from step {episode.first_step} on; the limit is {short(limit)}.",
                    advice=advice,
                    more={"compared_with": f"that {what}"},
                    rank=-float(episode.column),
                )

    def _severity(self, excess: float) -> Severity:
        if self.seen is not None and self.seen.learned:
            return "warning" if self.begins_badly else "info"
        return (
            "critical"
            if excess > 100 or (self.seen is not None and (self.seen.diverged or self.seen.stuck))
            else "warning"
        )


def spread(history: History, kind: str) -> Floats:
    """Median over the records of the largest standard deviation of a kind's rows, shape (); NaN without any."""
    std = history.table(kind, schema.STD).values
    finite = np.where(np.isfinite(std), std, np.nan)
    return np.asarray(np.nanmedian(finite) if np.isfinite(finite).any() else np.nan, np.float32)


def relative_to_first(std: Floats) -> Floats:
    """Each place of a chain over the chain's first, shape (records, places)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(std[:, :1] > 0, std / std[:, :1], np.nan), np.float32)


def relative_to_before(std: Floats) -> Floats:
    """Each place of a chain over the median of those before it, shape (records, places); NaN for the first."""
    against = np.full_like(std, np.nan)
    padded = np.concatenate((np.full((len(std), MEMORY), np.nan, std.dtype), std), axis=1)
    before = np.lib.stride_tricks.sliding_window_view(padded, MEMORY, axis=1)
    for first in range(1, std.shape[1], PLACES_AT_ONCE):
        some = slice(first, min(first + PLACES_AT_ONCE, std.shape[1]))
        against[:, some] = _medians(before[:, some])
    return np.asarray(np.where(against > 0, std / against, np.nan), np.float32)


def _medians(values: Floats) -> Floats:
    """The median along the last axis of what is not NaN; NaN where all is."""
    ordered = np.sort(values, axis=-1)  # NaN comes last
    count = np.count_nonzero(~np.isnan(ordered), axis=-1)[..., None]
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1).astype(np.float64)
    return np.asarray(((low + np.take_along_axis(ordered, count // 2, axis=-1)) / 2)[..., 0], np.float32)


def _grows(std: Floats) -> NDArray[np.bool_]:
    _, factor, correlation = total_change(std)
    return np.asarray((correlation >= STEADY) & (factor >= PER_LAYER))


def _start(std: Floats, history: History) -> Floats:
    """What each module's growth is measured against, shape (modules,)."""
    first = std[np.argmax(np.isfinite(std), axis=0), np.arange(std.shape[1])]
    regression = history.layout.criterion.type and not history.layout.criterion.classes
    targets = TARGET_SHARE * spread(history, schema.TARGET) if regression else np.float32("nan")
    return np.asarray(np.fmax(np.fmax(first, 1.0), targets), np.float32)


def _with_depth(factor: float, depth: int = 10) -> Network:
    network = Network(depth=depth)
    for i in range(depth):
        network.scale(schema.ACTIVATION, network.layer(i), factor**i)
    return network.set(schema.LOSS, "", mean=2.0)


def _sure(factor: float) -> Run:
    """A growth with depth that makes the first answers large; the loss comes down from there."""
    return _with_depth(factor).set(schema.LOSS, "", mean=2.0 + 24.0 * np.exp(-np.arange(200) / 10)).run()


def _in_time(final: float, layer: int = 2) -> Network:
    network = Network()
    growth = np.where(np.arange(200) < 60, 1.0, final)
    return network.scale(schema.ACTIVATION, network.layer(layer), growth).set(schema.LOSS, "", mean=2.0)


def _one_layer(factor: float, loss: float = 9.0) -> Run:
    network = Network()
    for i in range(3, 6):
        network.scale(schema.ACTIVATION, network.layer(i), factor)
    return network.set(schema.LOSS, "", mean=loss).run()


def _residual() -> Run:
    network = Network(depth=40)
    for i in range(40):
        network.scale(schema.ACTIVATION, network.layer(i), 1.0 + 5 * i)
    return network.run()


def _normalized() -> Run:
    network = _with_depth(3.0)
    for module in network.layout.modules:
        module.normalized = True
    return network.run()


def _large_input() -> Run:
    network = Network().set(schema.INPUT, "", std=75.0, rms=140.0)
    for i in range(6):
        network.scale(schema.ACTIVATION, network.layer(i), 120.0)
    return network.run()


EXAMPLES = (
    Example("Weights three times too large, ten layers", lambda: _with_depth(3.0).run(), True, "layers.5", 0),
    Example("Twice per layer", lambda: _with_depth(2.0).run(), True, "layers.7", 0),
    Example("One layer multiplies the scale by 300", lambda: _one_layer(300.0), True, "layers.3", 0),
    Example("One layer multiplies the scale by 50", lambda: _one_layer(50.0, 3.0), False, outcome="Passed"),
    Example("A thousandfold growth during training", lambda: _in_time(1000.0).run(), True, "layers.2", 60),
    Example("Just above the limit in time", lambda: _in_time(42.0).run(), True, "layers.2", 60),
    Example("Half as much again per layer, and a first loss of 26", lambda: _sure(1.5), True, "layers.8", 0),
    Example("Below the limit with depth, and a first loss of 26", lambda: _sure(1.3), False, outcome="Passed"),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("Just below the limit in time", lambda: _in_time(26.0).run(), False, outcome="Passed"),
    Example("Below the limit with depth", lambda: _with_depth(1.5).run(), False, outcome="Passed"),
    Example("A residual stream that grows linearly", _residual, False, outcome="Passed"),
    Example("Inputs that are large themselves", _large_input, False, outcome="Passed"),
    Example("Attention logits of 300", lambda: attending(logit=300.0).run(), True, "attention", 60),
    Example("One head's logits just above 100", lambda: attending(logit=105.0, ill=1).run(), True, "attention", 60),
    Example("Attention logits just below 100", lambda: attending(logit=95.0).run(), False, outcome="Passed"),
    Example(
        "Attention logits large from the start, and no larger since",
        lambda: attending(logit=150.0, before=(130.0, 0.6)).run(),
        False,
        outcome="Passed",
    ),
    Example("Every layer normalized", _normalized, False, outcome="NotApplicable"),
)

RULE = Rule(
    id="exploding-activations",
    healthy="Activations keep their scale",
    ill="Activations exploding",
    group="activations",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "total", 100, "1", "growth of the standard deviation with depth", "healthy trainings of ours stay below 10"
        ),
        Option("absolute", 1e4, "1", "standard deviation over the input's", "range of half precision is 6.5e4"),
        Option(
            "growth", 30, "1", "growth of the standard deviation in time", "healthy trainings of ours stay below 12"
        ),
        Option("logit", 100, "largest of the heads", "attention logit", "QK-clip begins at 100"),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "exploding-gradients",
        "update-ratio-too-high",
        "non-finite",
        "saturated-units",
        "dead-units",
        "initial-loss-off",
        "loss-diverging",
        "loss-not-decreasing",
        "vanishing-gradients",
        "loss-spike",
        "gradient-spike",
        "learning-rate-too-high",
        "loss-oscillating",
        "underfitting",
    ),
    statistic="activation-std",
)
