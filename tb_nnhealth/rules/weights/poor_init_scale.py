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
  smaller than what flows into this one, and no normalization follows. So branches that are small by design beside a
  residual stream do not count.

A recurrent matrix (`weight_hh`) counts as too large at three times the size of an orthogonal one: the state is
multiplied by that in each step of time.

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

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Floats, History, Run
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
from tb_nnhealth.rules.evidence.depth import BREAKING_TYPES
from tb_nnhealth.rules.evidence.progress import ENOUGH, VERY_SURE, Progress, first_loss_above, progress
from tb_nnhealth.rules.evidence.weights import SMALLEST_MATRIX, aligned
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.initial_scale import Scale, scale_of
from tb_nnhealth.rules.weights.recurrent_gain import recurrent_gains
from tb_nnhealth.rules.wording import short

FEWEST_TOGETHER = 3
IN_ALL = 100.0
REGRESSION = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")


@dataclass(frozen=True)
class Layer:
    """A trained weight matrix with what its module gave out in the first record.

    ``high``, ``low``: the largest and the least scale that any of the usual schemes gives it. ``std``: of the output;
    ``inflow``: estimated root mean square of the input. Both NaN where not measured.
    """

    scale: Scale
    module: str
    std: float
    inflow: float
    normalized: bool
    renormalized: bool
    """A normalization is called after the layer, if not upon its output."""

    @property
    def high(self) -> float:
        return max(math.sqrt(2 / self.scale.fan_in), math.sqrt(2 / (self.scale.fan_in + self.scale.fan_out)))

    @property
    def low(self) -> float:
        return min(1 / math.sqrt(3 * self.scale.fan_in), math.sqrt(2 / (self.scale.fan_in + self.scale.fan_out)))


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.ACTIVATION):
        return CouldNotCheck("watch a model whose modules are called in training: writer.watch(model, optimizer)")
    if not len(history):
        return TooLittleData("no records so far")
    layers, recurrent = layers_at_start(history), recurrent_gains(history, "info")
    if not layers and not recurrent:
        return NotApplicable("no trained linear layer was measured in the first record")
    seen = progress(case.run, history)
    if seen is not None and seen.fine_tuning:
        return NotApplicable("the loss began well below that of a constant answer: the weights had been trained before")
    factor = case.options.per_subject("factor", [x.scale.parameter for x in layers]).tolist()
    together = case.options["together"]
    large = {i: factor[i] for i, x in enumerate(layers) if x.scale.rms > factor[i] * x.high}
    small = {i: factor[i] for i, x in enumerate(layers) if x.scale.rms < x.low / factor[i]}
    large |= {i: together for i in in_succession([x.scale.rms / x.high for x in layers], together) if i not in large}
    small |= {i: together for i in in_succession([x.low / x.scale.rms for x in layers], together) if i not in small}
    size = _answer_size(history)
    large = {i: f for i, f in large.items() if _shows_large(layers, [j for j in large if j >= i], factor[i], size)}
    small = {i: f for i, f in small.items() if _shows_small(layers, i, factor[i])}
    if not large and not small and not recurrent:
        return Passed()
    if seen is not None and seen.points < ENOUGH and not seen.diverged:
        return TooLittleData(f"{seen.points} points of the loss so far, {ENOUGH} needed to tell whether it does harm")
    told = _severity(seen)
    sure: Severity = "warning" if told == "info" and first_loss_above(history) > VERY_SURE else told
    return Ill(
        recurrent_gains(history, sure)
        + [_hit(history, layers[i], i, f, "above", sure) for i, f in large.items()]
        + [_hit(history, layers[i], i, f, "below", told) for i, f in small.items()]
    )


def layers_at_start(history: History) -> list[Layer]:
    """Every trained linear layer in forward order, as the first record shows it."""
    called = [m for m in history.layout.modules if m.called]
    std = _first(history, schema.ACTIVATION, [m.name for m in called])
    matrices: dict[str, list[Any]] = {}
    biases: dict[str, str] = {}
    for p in history.layout.parameters:
        if len(p.shape) > 1:
            matrices.setdefault(p.module, []).append(p)
        elif p.name.endswith("bias"):
            biases[p.module] = p.name
    bias = np.nan_to_num(_first(history, schema.WEIGHT, [biases.get(m.name, "") for m in called]))
    last_norm = max((i for i, m in enumerate(called) if "Norm" in m.type), default=-1)
    found = []
    for i, module in enumerate(called):
        of_module = matrices.get(module.name, [])
        if len(of_module) != 1 or any(part in module.type for part in (*BREAKING_TYPES, "Bilinear")):
            continue
        p = of_module[0]
        if not _is_judged(p):
            continue
        scale = scale_of(p, module)
        own = math.sqrt(max(std[i] ** 2 - bias[i] ** 2, 0.0)) if math.isfinite(std[i]) else math.nan
        found.append(
            Layer(
                scale=scale,
                module=module.name,
                std=float(std[i]),
                inflow=own / (scale.rms * math.sqrt(scale.fan_in)),
                normalized=bool(module.normalized),
                renormalized=i < last_norm,
            )
        )
    return found


def _is_judged(p: Any) -> bool:
    return bool(
        p.trainable
        and p.fan_in > 0
        and p.fan_out > 0
        and p.initial_rms > 0
        and math.isfinite(p.initial_rms)
        and math.prod(p.shape) >= SMALLEST_MATRIX
        and not p.name.endswith(("_v", "_g", "original0", "original1"))
    )


def _first(history: History, kind: str, subjects: Sequence[str]) -> Floats:
    """The standard deviations in the first record, shape (subjects,)."""
    return np.asarray(aligned(history.table(kind, schema.STD), subjects)[0], np.float64)


def in_succession(off: Sequence[float], together: float) -> list[int]:
    """Places of at least three layers in succession that are each ``together`` times off, and ``IN_ALL`` in all."""
    found: list[int] = []
    run: list[int] = []
    for i, value in enumerate([*off, 0.0]):
        if value >= together:
            run.append(i)
            continue
        if len(run) >= FEWEST_TOGETHER and math.prod(off[j] for j in run) >= IN_ALL:
            found += run
        run = []
    return found


def _answer_size(history: History) -> float:
    """How large the answers may well be: the targets' size for a regression, else 1."""
    targets = history.table(schema.TARGET, schema.RMS).values
    regression = history.layout.criterion.type in REGRESSION
    return max(1.0, float(np.nanmedian(targets))) if regression and np.isfinite(targets).any() else 1.0


def _shows_large(layers: Sequence[Layer], places: list[int], factor: float, answer_size: float) -> bool:
    """Whether the layers at ``places``, the one judged first, give out large numbers, at least together."""
    limits = {i: factor * (answer_size if i == len(layers) - 1 else 1.0) for i in places}
    return not layers[places[0]].normalized and any(layers[i].std > limits[i] for i in places)


def _shows_small(layers: Sequence[Layer], i: int, factor: float) -> bool:
    later = [x.inflow for x in layers[i + 1 :] if math.isfinite(x.inflow)]
    apart = not layers[i].normalized and not layers[i].renormalized
    return apart and bool(later) and max(later) < layers[i].inflow / factor


def _severity(seen: Progress | None) -> Severity:
    if seen is None or seen.learned:
        return "info"
    return "critical" if seen.stuck or seen.diverged else "warning"


def _hit(history: History, layer: Layer, place: int, factor: float, direction: str, told: Severity) -> Hit:
    above, scale = direction == "above", layer.scale
    step, last = int(history.steps[0]), int(history.steps[-1])
    times = scale.rms / scale.expected if above else scale.expected / scale.rms
    shown = f"its outputs begin with a standard deviation of {short(layer.std)}"
    return Hit(
        subject=scale.parameter,
        first_step=step,
        fired_step=step,
        last_step=last if told != "info" else step,
        count=1,
        active=told != "info",
        severity=told,
        statistic="initial_rms",
        unit="1",
        value=scale.rms,
        limit=factor * layer.high if above else layer.low / factor,
        direction="above" if above else "below",
        healthy=(layer.low, layer.high),
        message=f"`{scale.parameter}` starts with a root mean square of {short(scale.rms)}; {scale.scheme} expects"
        f" {short(scale.expected)} for fan-in {scale.fan_in}: {short(times)} times too {'large' if above else 'small'},"
        f" and {shown}.",
        advice=(
            f"Initialize `{scale.parameter}` with standard deviation {short(scale.expected)}: {scale.call}.",
            "Scale each layer to unit variance on a real batch: tb_nnhealth.init.lsuv_(model, batch).",
            "Add normalization layers, which make the scale of a layer's weights irrelevant.",
        ),
        more={
            "expected": scale.expected,
            "fan_in": scale.fan_in,
            "fan_out": scale.fan_out,
            "activation_std": layer.std,
        },
        rank=-float(place),
    )


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


def _zero_at_start() -> Run:
    network = _scaled(1.0)
    next(p for p in network.layout.parameters if p.name == "layers.3.weight").initial_rms = 0.0
    return network.run()


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
