"""Weights start far too large or too small for the number of inputs that each unit sums over.

## What it detects
Linear and convolution layers whose initial weights are several times off what Xavier's and He's schemes ask for,
where the first activations show that the signal grows or fades because of it.

## Why it matters
A unit sums over its fan-in: its output has the scale of its input only where the weights' standard deviation is about
1/√fan_in. Weights five times too large multiply the signal by five in each layer, forwards and, as gradients,
backwards; weights too small let it fade. Saturated or dead units, a first loss far from chance, exploding or
vanishing gradients all follow from it.

## How it is computed
The root mean square of a weight matrix before the first step, against √(2 / fan_in) (He), √(2 / (fan_in + fan_out))
(Xavier) and 1/√(3 fan_in) (PyTorch's default), no unit. It counts as too large above `factor` times the largest of
them, too small below the smallest over `factor`; and where each of three or more layers in succession is `together`
times off, the same way, by 100 in all. The first record must bear it out:

- too large: the standard deviation of the layer's output is above `factor` (for the last layer of a regression, times
  the targets' size);
- too small: what flows into every later layer, estimated from their outputs, weights and biases, is `factor` times
  smaller than what flows into this one, and no normalization follows, which ends a succession as well. So branches that
  are small by design beside a residual stream do not count. Nor need it be shown
  where all of three and more layers are too small and none is normalized: then nothing but biases flows on.

A recurrent matrix (`weight_hh`) counts as too large at three times the size of an orthogonal one: the state is
multiplied by that in each step of time. A bias of an LSTM or GRU in which a whole gate began beyond 5, on the side that
shuts it, counts too, unless it reaches as far to the other side.

Not judged: embeddings, attention weights, weights that start at zero, layers whose output is
normalized, a small last layer, networks that had been trained before. For information where the loss has been learned
nonetheless, unless weights too large made the first loss six times a constant answer's; critical where it stands or
diverges.

## What to try
1. Initialize for the non-linearity: `torch.nn.init.kaiming_normal_(w, nonlinearity="relu")`, `xavier_normal_` for tanh.
   The finding names the standard deviation expected.
2. `tb_nnhealth.init.lsuv_(model, batch)` scales each layer to unit variance on a real batch.
3. Add normalization layers: they make a layer's scale irrelevant.

## When it is harmless
Where a normalization or a residual connection sets the scale anew, and where Adam repairs it in the first hundred
steps.

## References
- [Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural
  networks](https://proceedings.mlr.press/v9/glorot10a.html)
- [He et al. 2015, Delving Deep into Rectifiers](https://arxiv.org/abs/1502.01852)
- [37 Reasons why your Neural Network is not working, number
  28](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Run
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
from tb_nnhealth.rules.evidence.progress import ENOUGH, VERY_SURE, Progress, first_loss_above, progress
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.layers_at_start import layers_at_start
from tb_nnhealth.rules.weights.off_scale import off_scale, outgrown, too_large, too_small
from tb_nnhealth.rules.weights.recurrent_gain import recurrent_gains
from tb_nnhealth.rules.weights.shut_gates import shut_gates


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.ACTIVATION):
        return CouldNotCheck("watch a model whose modules are called in training: writer.watch(model, optimizer)")
    if not len(history):
        return TooLittleData("no records so far")
    layers, recurrent = layers_at_start(history), recurrent_gains(history, "info") + shut_gates(history, "info")
    if not layers and not recurrent:
        return NotApplicable("no trained linear layer was measured in the first record")
    seen = progress(case.run, history)
    if seen is not None and seen.fine_tuning:
        return NotApplicable("the loss began well below that of a constant answer: the weights had been trained before")
    factor = case.options.per_subject("factor", [x.scale.parameter for x in layers]).tolist()
    large = too_large(history, layers, factor, case.options["together"])
    small = too_small(layers, factor, case.options["together"])
    if not large and not small and not recurrent:
        return Passed()
    if seen is not None and not seen.enough and not seen.diverged:
        return TooLittleData(f"{seen.points} points of the loss so far, {ENOUGH} needed to tell whether it does harm")
    told = _severity(seen)
    sure: Severity = "warning" if told == "info" and first_loss_above(history) > VERY_SURE else told
    return Ill(
        recurrent_gains(history, sure)
        + shut_gates(history, told)
        + [off_scale(history, layers[i], i, f, "above", sure) for i, f in large.items()]
        + [
            off_scale(history, layers[i], i, f, "below", "info" if outgrown(history, layers[i], f) else told)
            for i, f in small.items()
        ]
    )


def _severity(seen: Progress | None) -> Severity:
    if seen is None or seen.learned:
        return "info"
    return "critical" if seen.stuck or seen.diverged else "warning"


def _scaled(
    factor: float, layers: Sequence[int] = range(6), *, loss: float | None = 2.31, residual: bool = False
) -> Network:
    """Weights of ``layers`` times ``factor`` from the start, and activations as they follow from it."""
    network, gain = Network(), 1.0
    for i in range(network.depth):
        parameter = next(p for p in network.layout.parameters if p.name == network.weight(i))
        if i in layers:
            parameter.initial_rms *= factor
            network.scale(schema.WEIGHT, network.weight(i), factor)
            gain *= factor
        network.scale(schema.ACTIVATION, network.layer(i), gain)
        network.set(schema.WEIGHT, f"layers.{i}.bias", std=0.0, rms=0.0)
        if residual:
            gain = 1.0
    return network if loss is None else network.set(schema.LOSS, "", mean=loss)


def _normalized() -> Run:
    network = _scaled(10)
    for module in network.layout.modules:
        module.normalized = True
    return network.run()


def _small_before_a_norm() -> Run:
    """A transformer's weights of standard deviation 0.02, and a normalization before the head."""
    return _scaled(0.1).add_module("norm", "LayerNorm").run()


def _small_on_both_sides() -> Run:
    """A transformer's weights of standard deviation 0.02, its normalized outputs pooled by a layer of that scale."""
    network = _scaled(0.1, range(5)).add_module("norm", "LayerNorm")
    modules = list(network.layout.modules)
    del network.layout.modules[:]
    network.layout.modules.extend([*modules[:4], modules[-1], *modules[4:-1]])
    return network.run()


def _zero_at_start() -> Run:
    network = _scaled(1.0)
    next(p for p in network.layout.parameters if p.name == "layers.3.weight").initial_rms = 0.0
    return network.run()


def _gated(low: float, high: float, kind: str = "LSTM") -> Run:
    """A recurrent layer whose bias reaches from ``low`` to ``high``, a whole gate of it at the greater of the two."""
    network = Network().add_module("rnn", kind)
    bias = network.layout.parameters.add()
    bias.CopyFrom(network.layout.parameters[0])
    bias.name, bias.module, bias.initial_rms = "rnn.bias_ih_l0", "rnn", max(-low, high) / 2
    network.add_row(schema.WEIGHT, bias.name, min=low, max=high)
    return network.set(schema.LOSS, "", mean=2.3).run()


def _recurrent(gain: float) -> Run:
    network = Network()
    matrix = network.layout.parameters.add()
    matrix.CopyFrom(network.layout.parameters[0])
    matrix.name, matrix.module, matrix.initial_rms = "rnn.weight_hh_l0", "rnn", gain / network.width**0.5
    return network.set(schema.LOSS, "", mean=2.3).run()


EXAMPLES = (
    Example("Ten times too large", lambda: _scaled(10).run(), True, "layers.0.weight", 0),
    Example("One layer, ten times too large", lambda: _scaled(10, [2]).run(), True, "layers.2.weight", 0),
    Example("Three times too large, in every layer", lambda: _scaled(3).run(), True, "layers.0.weight", 0),
    Example("A tenth in every layer", lambda: _scaled(0.05).run(), True, "layers.0.weight", 0),
    Example("A recurrent matrix of gain 4", lambda: _recurrent(4.0), True, "rnn.weight_hh_l0", 0),
    Example("A recurrent matrix of gain 1", lambda: _recurrent(1.0), False, outcome="Passed"),
    Example("A forget gate at a bias of -8", lambda: _gated(-8.0, 0.1), True, "rnn.bias_ih_l0", 0),
    Example("An update gate of a GRU at 8", lambda: _gated(-0.1, 8.0, "GRU"), True, "rnn.bias_ih_l0", 0),
    Example("A forget gate at a bias of 8: it remembers", lambda: _gated(-0.1, 8.0), False, outcome="Passed"),
    Example("Biases spread over time scales", lambda: _gated(-6.9, 6.9), False, outcome="Passed"),
    Example("Just above the limit", lambda: _scaled(7, [1]).run(), True, "layers.1.weight", 0),
    Example(
        "Too large, and learned: information only", lambda: _scaled(10, [2], loss=None).run(), True, "layers.2.weight"
    ),
    Example("Just below the limit", lambda: _scaled(4.8, [1]).run(), False, outcome="Passed"),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example(
        "Branches small by design, beside a residual stream",
        lambda: _scaled(0.02, [1, 3], residual=True).run(),
        False,
        outcome="Passed",
    ),
    Example("Small weights, and a normalization behind them", _small_before_a_norm, False, outcome="Passed"),
    Example(
        "Small weights, a normalization, and one small layer behind it", _small_on_both_sides, False, outcome="Passed"
    ),
    Example("A small last layer", lambda: _scaled(0.01, [5]).run(), False, outcome="Passed"),
    Example("A layer that starts at zero", _zero_at_start, False, outcome="Passed"),
    Example("Every output normalized", _normalized, False, outcome="Passed"),
    Example("Trained before", lambda: _scaled(10, loss=0.3).run(), False, outcome="NotApplicable"),
)

RULE = Rule(
    id="poor-init-scale",
    healthy="Initial weights of a usual scale",
    ill="Initial weights of a poor scale",
    group="weights",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "factor",
            5,
            "1",
            "how far a layer may be off every usual scheme",
            "schemes differ among each other by a factor of 2.5",
        ),
        Option(
            "together",
            2,
            "1",
            "how far each of several layers in succession may be off",
            "twice per layer is 100-fold after seven",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "exploding-activations",
        "vanishing-activations",
        "exploding-gradients",
        "vanishing-gradients",
        "gradient-spike",
        "no-gradient",
        "saturated-units",
        "dead-units",
        "activation-mean-shift",
        "constant-output",
        "update-ratio-too-low",
        "update-ratio-too-high",
        "diverging-weights",
        "initial-loss-off",
        "loss-not-decreasing",
        "loss-diverging",
        "loss-oscillating",
        "loss-spike",
        "slow-start",
        "underfitting",
        "learning-rate-too-high",
        "learning-rate-too-low",
        "low-precision-range",
    ),
)
