"""The gradient is so large that no step along it can be trusted.

## What it detects
Weight matrices whose gradient is so large for their size that the slightest change of them would change the loss by
many times what a constant answer costs, and gradients that grow from layer to layer towards the input.

## Why it matters
A large gradient means that the loss is a cliff: a step of any usual length goes over its edge. Plain gradient descent
diverges at once, Adam wanders, and in half precision the gradient overflows. The usual reasons are weights that start
too large in a deep or recurrent network, targets that are not normalized, or a learning rate that has already driven
the weights far out.

## How it is computed
For each weight matrix: ‖gradient‖ × ‖weights‖ / L, where L is the loss of the best constant answer (ln C for C
classes; for a mean squared error the variance of the targets or, where they are small, the first loss up to 1). It
has no unit and says how strongly the loss answers to a relative change of the weights; neither the scale of the
weights nor that of the loss moves it. It fires above
`sensitivity` in three of five records, or three of twenty, or at once at a thousand times that. Where L is not known,
the greatest loss so far stands in, and the limit is ten times higher.

Independently, a record is ill where the gradient's root mean square grows towards the input by a factor of
`depth_growth` in all, steadily (correlation with depth below −0.8), over at least six matrices.

Gradients are those that the optimizer applies: after clipping, only the growth with depth can be seen. Critical at a
hundred times the limit or where the loss diverges; for information only where the loss has been learned nonetheless.

## What to try
1. Clip the gradients' norm: `torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)` before `optimizer.step()`.
2. Check the initialization: `kaiming_normal_` for ReLU, `orthogonal_` for recurrent weights, or
   `tb_nnhealth.init.lsuv_(model, batch)`.
3. Normalize inputs and regression targets to mean 0 and standard deviation 1.
4. Add normalization layers; in recurrent networks use LSTM or GRU, or shorter sequences.
5. Lower the learning rate, if the gradients grew during training.

## When it is harmless
In single batches that Adam's averages and clipping absorb. If it lasts, it is not.

## References
- [Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural
  networks](https://arxiv.org/abs/1211.5063)
- [He et al. 2015, Delving Deep into Rectifiers](https://arxiv.org/abs/1502.01852)
- [Philipp et al. 2017, The exploding gradient problem demystified](https://arxiv.org/abs/1712.05577)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Floats, Run
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
from tb_nnhealth.rules.evidence.depth import slopes
from tb_nnhealth.rules.evidence.flow import flow_of
from tb_nnhealth.rules.evidence.progress import Progress, loss_scale, progress
from tb_nnhealth.rules.evidence.weights import Weights, weights_of
from tb_nnhealth.rules.hits import closest, hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.initial_scale import with_scale
from tb_nnhealth.rules.wording import short

UNKNOWN_LOSS = 10.0
AT_ONCE = 1000.0
FEWEST_LAYERS = 6
STEADY = -0.8
WAYS = ((1, 1.0, AT_ONCE), (5, 0.6, 1.0), (20, 0.15, 1.0))
"""Records, share of them that must be ill, and factor on the limit, of each way to fire."""
ADVICE = (
    "Clip the gradients' norm before optimizer.step(): torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).",
    "Check the initialization: kaiming_normal_ (ReLU), orthogonal_ (recurrent weights), or tb_nnhealth.init.lsuv_.",
    "Normalize inputs and regression targets to mean 0 and standard deviation 1.",
    "Lower the learning rate, if the gradients grew during training.",
)


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.GRADIENT):
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    everything = weights_of(history)
    weights = everything.matrices_in_depth()
    if not weights.names:
        return NotApplicable("no weight matrix is trained by a watched optimizer")
    if not np.isfinite(weights.gradient).any():
        return TooLittleData("no gradients recorded yet")

    seen = progress(case.run, history)
    scale, known = loss_scale(case.run, history)
    ways = {tuple(strand.along) for strand in flow_of(history).strands([p.module for p in weights.parameters])}
    hits = [
        hit
        for way in sorted(ways)
        for hit in _with_depth(weights.only(np.array(way)), case.options["depth_growth"], seen)
    ]
    limit = case.options.per_subject("sensitivity", weights.names) * (1.0 if known else UNKNOWN_LOSS)
    felt = sensitivity(weights, scale)
    judged = np.isfinite(felt)
    hits += [
        _hit(weights, episode, felt, float(limit[episode.column]), scale, seen)
        for episode in _lasting(felt, judged, limit, weights)
    ]
    if hits:
        return Ill(with_scale(hits, history.layout, "above"))
    if not judged.any():
        return CouldNotCheck('pass criterion= to watch(), or writer.add_scalar("loss/train", loss, step)')
    return Passed(closest(felt, float(limit.min()), "above", weights.names, weights.steps, "loss sensitivity"))


def sensitivity(weights: Weights, loss: float) -> Floats:
    """‖gradient‖ × ‖weights‖ / ``loss``, shape (records, n); NaN where unmeasured."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = weights.gradient.astype(np.float64) * weights.weight * weights.numel / loss
    return np.asarray(np.minimum(product, 1e38), np.float32)


def _lasting(felt: Floats, judged: NDArray[np.bool_], limit: NDArray[np.float64], weights: Weights) -> list[Episode]:
    found: dict[int, Episode] = {}
    for window, share, factor in WAYS:
        for episode in episodes(felt > limit * factor, judged, weights.steps, window=window, share=share):
            earlier = found.get(episode.column)
            if earlier is None or episode.count > earlier.count:
                found[episode.column] = episode
    return list(found.values())


def _severity(excess: float, seen: Progress | None) -> Severity:
    if seen is not None and seen.learned:
        return "info"
    return "critical" if excess > 100 or (seen is not None and (seen.diverged or seen.stuck)) else "warning"


def _hit(weights: Weights, episode: Episode, felt: Floats, limit: float, loss: float, seen: Progress | None) -> Hit:
    name = weights.names[episode.column]
    value = worst(felt, episode, "above")
    gradient = float(weights.gradient[episode.first, episode.column] * np.sqrt(weights.numel[episode.column]))
    onset = float(felt[episode.first, episode.column])
    return hit(
        episode,
        name,
        severity=_severity(value / limit, seen),
        statistic="loss_sensitivity",
        unit="1",
        value=value,
        limit=limit,
        direction="above",
        healthy=(0.01, 50),
        message=f"The gradient of `{name}` has norm {short(gradient)} at step {episode.first_step}: moving the weights"
        f" by 1 % would change the loss by up to {short(0.01 * onset * loss)}, to first order; a usual loss is"
        f" {short(loss)}.",
        advice=ADVICE,
        more={"gradient_norm": gradient, "loss_scale": loss},
        rank=value,
    )


def _with_depth(weights: Weights, limit: float, seen: Progress | None) -> list[Hit]:
    """Growth of the gradient towards the input, as a hit on the first layer."""
    if len(weights.names) < FEWEST_LAYERS:
        return []
    slope, steady = slopes(weights.gradient)
    with np.errstate(over="ignore"):
        growth = np.exp(-slope * (len(weights.names) - 1)).astype(np.float32)[:, None]
    ill = (growth > limit) & (steady <= STEADY)[:, None]
    found = episodes(ill, np.isfinite(growth), weights.steps, window=20)
    first, last = weights.names[0], weights.names[-1]
    return [
        hit(
            episode,
            first,
            severity="info" if seen is not None and seen.learned else "warning",
            statistic="gradient_growth_towards_input",
            unit="1",
            value=worst(growth, episode, "above"),
            limit=limit,
            direction="above",
            healthy=(0.01, 30),
            message=f"From `{last}` back to `{first}` the gradient grows {short(worst(growth, episode, 'above'))}×.",
            advice=(ADVICE[1], "Add normalization layers or residual connections.", ADVICE[0]),
        )
        for episode in found
    ]


def _scaled(factor: float | NDArray[np.float64], *layers: int, depth: int = 6, learned: bool = False) -> Network:
    network = Network(depth=depth)
    for i in layers or range(depth):
        network.scale(schema.GRADIENT, network.weight(i), factor)
    if not learned:
        network.set(schema.LOSS, "", mean=8.0)
    return network


def _after(step: int, factor: float) -> NDArray[np.float64]:
    return np.where(np.arange(200) >= step, factor, 1.0)


def _towards_input(factor: float) -> Run:
    network = Network(depth=8)
    for i in range(8):
        network.scale(schema.GRADIENT, network.weight(i), 1e-4 * factor ** (7 - i))
    return network.set(schema.LOSS, "", mean=2.0).run()


def _spikes(every: int) -> Run:
    return _scaled(np.where(np.arange(200) % every == 3, 1e4, 1.0), 2).run()


def _loss_in_hundreds() -> Run:
    """A regression on targets of hundreds: gradients in the thousands, and nothing wrong."""
    network = _scaled(1e4, learned=True)
    network.layout.criterion.type = "MSELoss"
    network.set(schema.TARGET, "", std=150.0, rms=200.0)
    return network.set(schema.LOSS, "", mean=22500 * np.exp(-np.arange(200) / 100)).run()


def _targets_all_alike(value: float) -> Run:
    """The residual of an equation, compared with zeros; the answer of a discriminator, with ones."""
    network = _scaled(1.0, learned=True)
    network.layout.criterion.type = "MSELoss"
    network.set(schema.TARGET, "", mean=value, std=0.0, rms=abs(value))
    return network.set(schema.LOSS, "", mean=np.exp(-network.at / 40)).run()


def _small_targets(factor: float) -> Run:
    """A regression on targets of 0.01: the first answers are ten times as large, and cost a thousand times more."""
    network = _scaled(factor * np.exp(-np.arange(200) / 30), learned=True).scale(
        schema.GRADIENT, "layers.2.weight", 2.0
    )
    network.layout.criterion.type = "MSELoss"
    network.set(schema.TARGET, "", std=0.01, rms=0.01)
    return network.set(schema.LOSS, "", mean=8e-5 + 0.05 * np.exp(-np.arange(200) / 15)).run()


# The synthetic network's sensitivity is 1e-3 × 0.18 × 64² / ln 10 = 0.31.
EXAMPLES = (
    Example("From the start", lambda: _scaled(1e5, 2).run(), True, "layers.2.weight", 0),
    Example("Set in during training", lambda: _scaled(_after(120, 1e5), 4).run(), True, "layers.4.weight", 120),
    Example("Just above the limit", lambda: _scaled(1200, 1).run(), True, "layers.1.weight", 0),
    Example("Every fifth batch", lambda: _spikes(5), True, "layers.2.weight", 3),
    Example("Grows towards the input, under clipping", lambda: _towards_input(4.0), True, "layers.0.weight", 0),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("Just below the limit", lambda: _scaled(800, 1).run(), False, outcome="Passed"),
    Example("A single spike in fifty batches", lambda: _spikes(50), False, outcome="Passed"),
    Example("Grows a little towards the input", lambda: _towards_input(1.8), False, outcome="Passed"),
    Example("A loss in the thousands", _loss_in_hundreds, False, outcome="Passed"),
    Example("Targets of zeros", lambda: _targets_all_alike(0.0), False, outcome="Passed"),
    Example("Targets of ones", lambda: _targets_all_alike(1.0), False, outcome="Passed"),
    Example("Targets of a hundredth", lambda: _small_targets(1.0), False, outcome="Passed"),
    Example("Targets of a hundredth, and exploding", lambda: _small_targets(1e6), True, "layers.2.weight", 0),
)

RULE = Rule(
    id="exploding-gradients",
    healthy="Gradients of usable size",
    ill="Gradients exploding",
    group="gradients",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "sensitivity",
            300,
            "1",
            "‖gradient‖ ‖weights‖ / loss of a constant answer",
            "healthy trainings of ours stay below 50, exploding ones exceed 3,000",
        ),
        Option(
            "depth_growth",
            1000,
            "1",
            "growth of the gradient from the last to the first layer",
            "healthy trainings of ours stay below 30",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "non-finite",
        "update-ratio-too-high",
        "loss-diverging",
        "loss-spike",
        "gradient-spike",
        "loss-not-decreasing",
        "dead-units",
        "saturated-units",
        "loss-oscillating",
        "learning-rate-too-high",
        "update-ratio-too-low",  # Adam goes on dividing by the squares of what exploded
        "learning-rate-too-low",
        "underfitting",
    ),
    statistic="gradient-norm",
)
