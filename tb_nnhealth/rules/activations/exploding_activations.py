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

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.rules.activations.attention_heads import attending, growing_logits
from tb_nnhealth.rules.activations.explosions import Explosion, first_explosions
from tb_nnhealth.rules.activations.spread import (
    grows_with_depth,
    relative_to_before,
    relative_to_first,
    relative_to_start,
    spread,
)
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
    Example,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence.depth import chains, standing
from tb_nnhealth.rules.evidence.progress import VERY_SURE, first_loss_above, progress
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import closest
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.initial_scale import with_scale

AT_ONCE_FACTOR = 100.0
"""How far beyond the limit one record suffices: the next one may be NaN already."""
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
    groups = chains(history)
    names = tuple(name for chain in groups for name in chain)
    if not len(history):
        return TooLittleData("no records so far")
    seen = progress(case.run, history)
    attention = growing_logits(case, seen)
    if not names:
        normalized = NotApplicable("every linear layer's output is normalized or is the prediction")
        return Ill(attention) if attention else normalized

    std = aligned(history.table(schema.ACTIVATION, schema.STD), names)
    if not np.isfinite(std).any():
        return NotApplicable("no activation of a hidden linear layer was measured")
    places = [standing(chain, names) for chain in groups]
    large = np.asarray(std / np.fmax(1.0, spread(history, schema.INPUT)), np.float32)
    grown = relative_to_start(std, history)
    alone = np.concatenate([relative_to_before(std[:, at]) for at in places], axis=1)
    deep = np.concatenate([relative_to_first(std[:, at]) for at in places], axis=1)
    steady = np.stack([grows_with_depth(std[:, at]) for at in places], axis=1)
    steady = steady.repeat([len(at) for at in places], axis=1)
    absolute, growth, total = (case.options.per_subject(name, names) for name in ("absolute", "growth", "total"))
    of_first = "that of the chain's first layer's"
    ways = [
        Explosion(large > absolute, large, absolute, "that of the input's", INITIALIZE),
        Explosion(grown > growth, grown, growth, "that of its start", CALM, window=10, share=0.5),
        Explosion(alone > total, alone, total, "that of the layers' before it", INITIALIZE),
        Explosion((deep > AT_ONCE_FACTOR * total) & steady, deep, total, of_first, INITIALIZE, window=1),
        Explosion((deep > total) & steady, deep, total, of_first, INITIALIZE),
    ]
    above = first_loss_above(history)
    if above > SURE:
        opening, some, harmful = np.arange(len(history))[:, None] == 0, SURE_SHARE * total, above > VERY_SURE
        at_start = (deep > some) & steady & opening
        ways.append(Explosion(at_start, deep, some, of_first, INITIALIZE, window=1, harmful=harmful))
    hits = [*first_explosions(ways, names, history.steps, np.isfinite(std), seen), *attention]
    if hits:
        return Ill(with_scale(hits, history.layout, "above"))
    return Passed(closest(grown, float(growth.min()), "above", names, history.steps, "activation growth"))


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
