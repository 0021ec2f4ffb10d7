"""The units of a layer are copies of each other.

## What it detects
Weight matrices of which half of the units or more (rows, output channels) are exact copies of another, and stay so
after the first updates.

## Why it matters
Units that start equal receive equal gradients and stay equal: a layer of 512 such units computes what a single one
does. The usual reason is an initialization with zeros or a constant.

## How it is computed
The share of a weight's units that are element by element the same as an earlier unit (no unit). It is recorded for
the first steps and then with the histograms; a weight that is zero or constant throughout needs no comparison. A
record is judged once the weight has been moved by two updates, or at the sixth record where it does not move at all.
One judged record above `share` suffices, for equal numbers do not come about by chance; but the units must have been
copies ever since they were first compared. Where the loss has not moved,
two successive layers that both start as copies count as well, even if they part later. So does every weight matrix of
a network in which all of them, two and more, start as copies: the biases alone tell its units apart.

Weights that are zero by design at the start (the last layer of a residual branch, LoRA's B, a classifier) receive
different gradients for each unit, and part in the first update. Embeddings, vectors, single units and weights without
gradient are not judged, nor are rows that pruning has set to zero in an otherwise non-zero weight, nor units that
became equal later: by clipping or quantizing the weights, or as NaN. Critical, but a
warning where the loss has been learned nonetheless, or where the units have parted; information where both.

## What to try
1. Initialize with random numbers: `torch.nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")`; only biases
   may be zero.
2. Look for `nn.init.zeros_`, `nn.init.constant_`, `torch.zeros`, `torch.ones` or `torch.empty` on this weight.
3. Where copies are wanted at the start (growing a network), add a little noise to break the tie.

## When it is harmless
Never for hidden layers that are to learn different features.

## References
- [Deep Learning (Goodfellow et al. 2016), chapter 8.4, Parameter initialization
  strategies](https://www.deeplearningbook.org/contents/optimization.html)
- [CS231n, Weight initialization: all zero](https://cs231n.github.io/neural-networks-2/#init)
"""

from __future__ import annotations

import numpy as np

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
from tb_nnhealth.rules.evidence.progress import ENOUGH, Progress, progress
from tb_nnhealth.rules.evidence.weights import Weights, weights_of
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.copied_units import (
    MOVES,
    at_the_start,
    copied_share,
    in_succession,
    parted,
    several_units,
    since_the_start,
    throughout,
)
from tb_nnhealth.rules.weights.initial_scale import Scale, layer_scale
from tb_nnhealth.rules.wording import short

AFTER = {True: ", and still are after the first updates", False: " at the start"}


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.GRADIENT):
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    weights = weights_of(history).matrices_in_depth()
    weights = weights.only(several_units(weights))
    if not weights.names:
        return NotApplicable("no trained weight matrix has several units")
    copied = copied_share(history, weights)
    if not np.isfinite(copied).any():
        return NotApplicable("copies were not looked for")
    judged = np.isfinite(copied) & parted(weights)
    if not judged.any():
        return TooLittleData(f"no record yet after {MOVES} updates")

    limit = case.options.per_subject("share", weights.names)
    seen = progress(case.run, history)
    found = episodes(since_the_start(copied >= limit, copied), judged, weights.steps, window=1)
    if seen is not None and seen.stuck:
        told = {episode.column for episode in found}
        found += [episode for episode in in_succession(weights, copied >= limit) if episode.column not in told]
    elif seen is not None and seen.points >= ENOUGH and throughout(history, copied >= limit):
        told = {episode.column for episode in found}
        found += [at_the_start(weights, copied >= limit, i) for i in range(len(weights.names)) if i not in told]
    if not found:
        return Passed()
    names = [weights.names[episode.column] for episode in found]
    scales = [layer_scale(history.layout, name) for name in names]
    limits = [float(limit[episode.column]) for episode in found]
    return Ill([_hit(weights, *told, copied, seen) for told in zip(found, limits, scales, strict=True)])


def _severity(lasting: bool, seen: Progress | None) -> Severity:
    if seen is None or seen.stuck:
        return "critical"
    if lasting:
        return "warning" if seen.learned else "critical"
    return "info" if seen.learned else "warning"


def _hit(
    weights: Weights, episode: Episode, limit: float, scale: Scale | None, copied: Floats, seen: Progress | None
) -> Hit:
    column = episode.column
    name, units = weights.names[column], int(weights.parameters[column].shape[0])
    looked = np.flatnonzero(np.isfinite(copied[:, column]))
    since = looked[looked <= episode.first]
    lasting = bool(copied[looked[-1], column] >= limit)
    begun = Episode(
        column,
        int(weights.steps[since[0]]),
        episode.fired_step,
        episode.last_step,
        episode.count + len(since) - 1,
        episode.active,
        int(since[0]),
        episode.fired,
        episode.last,
    )
    value = float(np.nanmax(copied[episode.first : episode.last + 1, column]))
    zero = bool(weights.weight[episode.first, column] == 0)
    random = "Initialize with random numbers"
    if scale is not None:
        random += f" of standard deviation {short(scale.expected)} ({scale.scheme} for fan-in {scale.fan_in})"
    return hit(
        begun,
        name,
        severity=_severity(lasting, seen),
        statistic="copied_units",
        unit="share of units",
        value=value,
        limit=limit,
        direction="above",
        healthy=(0.0, 0.0),
        message=f"{round(value * units)} of the {units} units of `{name}` are exact copies of another"
        f"{', all of them zero' if zero else ''}{AFTER[lasting]}: the layer computes what"
        f" {max(1, units - round(value * units))} would.",
        advice=(
            f"{random}: {'torch.nn.init.kaiming_uniform_(weight)' if scale is None else scale.call}.",
            f"Look for nn.init.zeros_, nn.init.constant_, torch.zeros or torch.ones on `{name}`; biases may be zero.",
            "Where copies are wanted, as in growing a network, add a little noise to break the tie.",
        ),
        more={"units": units},
        rank=value - 1e-6 * float(weights.position[column]),
    )


def _copied(share: float, until: int = 200, *, layer: int = 1, zero: bool = False, still: bool = False) -> Network:
    """A layer whose units are copies until a record, compared in the first three records and in every fiftieth."""
    network, t = Network(), np.arange(200)
    for i in range(network.depth):
        looked = (t < 3) | (t % 50 == 0)
        network.set(schema.WEIGHT, network.weight(i), copied_share=np.where(looked, 0.0, np.nan))
    network.set(
        schema.WEIGHT,
        network.weight(layer),
        copied_share=np.where((t < 3) | (t % 50 == 0), np.where(t < until, share, 0.0), np.nan),
    )
    if zero:
        now = np.where(t < until, 0.0, 0.1)
        network.set(
            schema.WEIGHT,
            network.weight(layer),
            rms=now,
            std=now,
            min=-now,
            max=now,
            zero_share=(t < until).astype(float),
        )
    if still:
        network.set(schema.UPDATE, network.weight(layer), rms=0.0)
        network.set(schema.GRADIENT, network.weight(layer), rms=0.0)
    return network.set(schema.LOSS, "", mean=2.2)


def _all_constant(loss: float) -> Run:
    """Every weight matrix begins constant; random biases let the units part after the first update."""
    network = Network()
    for i in range(network.depth):
        network.set(schema.WEIGHT, network.weight(i), copied_share=np.where(np.arange(200) < 1, 0.99, 0.0))
    return network.set(schema.LOSS, "", mean=np.linspace(2.3, loss, 200)).run()


def _pruned() -> Run:
    return _copied(0.6).set(schema.WEIGHT, "layers.1.weight", zero_share=0.62).run()


def _clipped() -> Run:
    """Clipped after every step, as a Wasserstein critic's: more and more rows are the same corner of the range."""
    return Network().set(schema.WEIGHT, "layers.1.weight", copied_share=np.linspace(0, 0.7, 200)).run()


def _broken() -> Run:
    """Random weights of which all are NaN from record 50 on: bit by bit the same, but no copies."""
    network, t = Network(), np.arange(200)
    network.set(schema.WEIGHT, "layers.1.weight", copied_share=np.where(t < 50, 0.0, 63 / 64))
    return network.spoil(schema.WEIGHT, "layers.1.weight", 50, nan=4096).run()


def _warm_up() -> Run:
    """Zero-initialized, and the learning rate is 0 in the first four steps."""
    network, t = _copied(63 / 64, until=5, zero=True), np.arange(200)
    network.set(schema.LEARNING_RATE, "0.0", mean=np.where(t < 4, 0.0, 1e-3))
    network.set(schema.UPDATE, "layers.1.weight", rms=np.where(t < 4, 0.0, 1e-3))
    return network.run()


def _clipped_before() -> Run:
    """A critic's weights, which are clipped before the first step: most of them lie at the ends of the range."""
    network = Network()
    for i in range(network.depth):
        network.set(schema.WEIGHT, network.weight(i), rms=0.0095, min=-0.01, max=0.01, copied_share=0.7)
    return network.run()


def _all_zero() -> Run:
    """Zero in every weight, random biases: units part after some steps, too late to learn anything."""
    network, t = Network(), np.arange(200)
    for i in range(network.depth):
        now = np.where(t < 3, 0.0, 1e-4)
        network.set(
            schema.WEIGHT, network.weight(i), rms=now, std=now, min=-now, max=now, zero_share=(t < 3).astype(float)
        )
        network.set(schema.WEIGHT, network.weight(i), copied_share=np.where(t < 3, 63 / 64, 0.0))
        network.set(schema.UPDATE, network.weight(i), rms=np.where(t < 2, 0.0, 1e-5))
    return network.set(schema.LOSS, "", mean=2.3).run()


EXAMPLES = (
    Example("Every matrix constant at the start", lambda: _all_constant(1.9), True, "layers.0.weight", 0),
    Example("A constant in every weight of a layer", lambda: _copied(63 / 64).run(), True, "layers.1.weight", 0),
    Example(
        "All zero, and no gradient ever",
        lambda: _copied(63 / 64, zero=True, still=True).run(),
        True,
        "layers.1.weight",
        0,
    ),
    Example("Zero in all layers, loss at chance ever since", _all_zero, True, "layers.0.weight", 0),
    Example("Clipped to a range from the start", _clipped_before, False, outcome="NotApplicable"),
    Example("Half of the units", lambda: _copied(0.5).run(), True, "layers.1.weight", 0),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("Slightly less than half", lambda: _copied(0.45).run(), False, outcome="Passed"),
    Example(
        "Starts at zero, parts in the first update",
        lambda: _copied(63 / 64, until=1, zero=True).run(),
        False,
        outcome="Passed",
    ),
    Example("Starts at zero, learning rate 0 at first", _warm_up, False, outcome="Passed"),
    Example("Rows pruned to zero", _pruned, False, outcome="Passed"),
    Example("Weights clipped to a range become equal", _clipped, False, outcome="Passed"),
    Example("Weights turn NaN", _broken, False, outcome="Passed"),
)

RULE = Rule(
    id="symmetric-units",
    healthy="Units differ from each other",
    ill="Units are copies of each other",
    group="weights",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "share",
            0.5,
            "share of units",
            "units that are exact copies of another",
            "copies never come about by chance",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "loss-not-decreasing",
        "exploding-activations",
        "exploding-gradients",
        "update-ratio-too-high",
        "initial-loss-off",
        "underfitting",
        "slow-start",
        "no-gradient",
        "constant-output",
        "dead-units",
        "saturated-units",
        "update-ratio-too-low",
        "vanishing-gradients",
        "vanishing-activations",
        "frozen-parameters",
        "learning-rate-too-low",
    ),
)
