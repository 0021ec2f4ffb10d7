"""The signal dies on its way through the layers.

## What it detects
Outputs of linear and convolution layers whose spread falls exponentially from layer to layer, or which, beneath their
biases, carry hardly anything of the input any more while the loss stands still.

## Why it matters
Where each layer multiplies the scale by a half, ten layers leave a thousandth of it. The last layers then see the
same numbers for every sample, cannot tell one from another, and the gradient, which passes the same weights
backwards, vanishes too.

## How it is computed
From the standard deviation over all elements of a module's output (no unit), in two ways:

- **with depth**: an exponential fitted through the layers between two normalizations falls steadily (correlation with
  depth of at most −0.8, by a tenth or more per layer), and a layer is below `total` of the chain's first;
- **beneath the biases**: a layer's variance less that of its bias is the part that its input brings about. The
  product of these parts over the layers so far estimates how much of a layer's spread still depends on the data.
  Where the loss does not move, an estimate below `signal` of the first layer's spread counts.

A softmax between two layers, the second of which takes as many inputs as the first has units, makes them share a sum
of 1: it is told where the loss has not been learned (critical where it does not move).

Either must hold in half of `window` records. Layers before a normalization, logits, embeddings, recurrent layers and
modules that start at zero are not judged. Critical where the loss does not move; for information only where it has
been learned nonetheless.

## What to try
1. Initialize for the non-linearity: `torch.nn.init.kaiming_normal_(w, nonlinearity="relu")`, `xavier_normal_` for
   tanh. PyTorch's default makes a deep stack of linear layers shrink by about 0.4 per layer.
2. `tb_nnhealth.init.lsuv_(model, batch)` scales each layer to unit variance on a real batch.
3. Add normalization layers or residual connections.

## When it is harmless
At the start of training with Adam, which soon restores the scale; before normalization layers; in a branch that
starts at zero by design.

## References
- [Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural
  networks](https://proceedings.mlr.press/v9/glorot10a.html)
- [He et al. 2015, Delving Deep into Rectifiers](https://arxiv.org/abs/1502.01852)
- [Mishkin and Matas 2015, All you need is a good init (LSUV)](https://arxiv.org/abs/1511.06422)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Floats, History, Run
from tb_nnhealth.rules.activations.silence import rectified, silent_altogether
from tb_nnhealth.rules.activations.softmax_between import normalized_to_one
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
from tb_nnhealth.rules.evidence.progress import Progress, progress
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import closest, hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes, share_of, window_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.initial_scale import with_scale
from tb_nnhealth.rules.wording import short

STEADY = -0.8
PER_LAYER = 0.9
SHORTEST_CHAIN = 3

LEAST = 6
"""Records where they lie apart."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.ACTIVATION):
        return CouldNotCheck("watch a model whose modules are called in training: writer.watch(model, optimizer)")
    squashed = normalized_to_one(case.run, history)
    if squashed:
        return Ill(squashed)
    groups = [chain for chain in chains(history) if len(chain) >= SHORTEST_CHAIN]
    names = tuple(name for chain in groups for name in chain)
    if not names:
        return NotApplicable(f"no {SHORTEST_CHAIN} hidden linear layers follow each other without a normalization")
    usual = int(case.options["window"])
    window = window_of(history.steps, usual, LEAST)
    held = share_of(window, usual)
    if len(history) < window:
        return TooLittleData(f"{len(history)} records so far, {window} needed")

    std = aligned(history.table(schema.ACTIVATION, schema.STD), names)
    own = np.sqrt(_share_of_data(history, names, std))
    measured = np.isfinite(std)
    if not measured.any():
        return NotApplicable("no activation of a hidden linear layer was measured")
    seen = progress(case.run, history)
    total = case.options.per_subject("total", names)
    signal = case.options.per_subject("signal", names)
    cut = _behind_silence(history, names)
    fallen, falls, carried = (np.full_like(std, np.nan) for _ in range(3))
    for chain in groups:
        at = standing(chain, names)
        fallen[:, at] = _relative(std[:, at], std[:, at])
        falls[:, at] = _falls(std[:, at])[:, None]
        carried[:, at] = _relative(np.cumprod(own[:, at], axis=1) * std[:, at], std[:, at])
    fallen[cut], carried[cut] = np.nan, np.nan
    hits: dict[str, Hit] = {}
    if seen is not None and seen.stuck:
        for episode in episodes(
            carried < signal,
            measured & np.isfinite(carried),
            history.steps,
            window=window,
            share=held,
        ):
            hits[names[episode.column]] = _hit(
                names, episode, carried, signal, "of the signal, beneath its bias,", seen
            )
    for episode in episodes((fallen < total) & (falls > 0), measured, history.steps, window=window, share=held):
        hits[names[episode.column]] = _hit(names, episode, fallen, total, "of the spread", seen)
    if hits:
        return Ill(with_scale(list(hits.values()), history.layout, "below"))
    near = closest(
        np.where(falls > 0, fallen, np.nan),
        float(total.max()),
        "below",
        names,
        history.steps,
        "activation spread with depth",
    )
    return Passed(near)


def _behind_silence(history: History, names: Sequence[str]) -> Any:
    """Records in which a layer before lets nothing through, shape (records, names): what is missing did not fade."""
    place = {module.name: i for i, module in enumerate(history.layout.modules)}
    rectifiers, _, _ = rectified(history)
    silent = silent_altogether(history, rectifiers)
    where = np.array([place[rectifier] for rectifier in rectifiers], np.int64)
    first = np.where(silent, where, len(place)).min(axis=1, initial=len(place))
    return first[:, None] < np.array([place[name] for name in names], np.int64)


def _share_of_data(history: History, names: Sequence[str], std: Floats) -> Floats:
    """Share of each output's variance that its input brings about, not the bias; shape of ``std``, 1 without bias."""
    biases = {p.module: p.name for p in history.layout.parameters if len(p.shape) == 1 and p.name.endswith("bias")}
    bias = aligned(history.table(schema.WEIGHT, schema.STD), [biases.get(name, "") for name in names])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1 - np.square(bias.astype(np.float64) / std)
    return np.asarray(np.where(np.isfinite(share), np.clip(share, 1e-6, 1), 1), np.float32)


def _relative(values: Floats, std: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(std[:, :1] > 0, values / std[:, :1], np.nan), np.float32)


def _falls(std: Floats) -> Any:
    _, factor, correlation = total_change(std)
    return (correlation <= STEADY) & (factor <= PER_LAYER)


def _severity(seen: Progress | None) -> Severity:
    if seen is None:
        return "warning"
    return "info" if seen.learned else "critical" if seen.stuck else "warning"


def _hit(names: Sequence[str], episode: Episode, values: Floats, limits: Any, what: str, seen: Progress | None) -> Hit:
    name, limit = names[episode.column], float(limits[episode.column])
    onset = float(values[episode.first, episode.column])
    stands = f"; the loss stands at {short(seen.now)}" if seen is not None and seen.stuck else ""
    return hit(
        episode,
        name,
        severity=_severity(seen),
        statistic="activation_std_relative_to_first_layer",
        unit="1",
        value=worst(values, episode, "below"),
        limit=limit,
        direction="below",
        healthy=(0.1, 10),
        message=f"Only {short(onset)} {what} of the first layer is left in `{name}`{stands}.",
        advice=(
            "Initialize for the non-linearity: torch.nn.init.kaiming_normal_ (ReLU), xavier_normal_ (tanh).",
            "Scale each layer to unit variance on a real batch: tb_nnhealth.init.lsuv_(model, batch).",
            "Add normalization layers or residual connections.",
        ),
        rank=-float(episode.column),
    )


def _with_depth(factor: float, depth: int = 10, *, loss: float | None = 2.3026, recovers: int | None = None) -> Network:
    network = Network(depth=depth, nonlinearity="tanh")
    t = np.arange(200)
    for i in range(depth):
        exponent = i * (1.0 if recovers is None else np.clip(1 - t / recovers, 0, 1))
        network.scale(schema.ACTIVATION, network.layer(i), factor**exponent)
        network.set(schema.WEIGHT, f"layers.{i}.bias", std=0.0)
    if loss is not None:
        network.set(schema.LOSS, "", mean=loss)
    return network


def _beneath_biases(share: float, *, stands: bool) -> Run:
    """Every layer's spread is that of its bias but for ``share`` of its standard deviation."""
    network = Network(depth=8, nonlinearity="tanh")
    for i in range(8):
        std = network.get(schema.ACTIVATION, network.layer(i), schema.STD)
        network.set(schema.WEIGHT, f"layers.{i}.bias", std=std * np.sqrt(1 - share**2))
    if stands:
        network.set(schema.LOSS, "", mean=2.3026)
    return network.run()


def _normalized() -> Run:
    network = _with_depth(0.4)
    for module in network.layout.modules:
        module.normalized = True
    return network.run()


def _softmax_between(loss: Any) -> Run:
    network = Network()
    for module in network.layout.modules:
        if module.name in ("layers.1", "layers.3"):
            module.nonlinearity = "softmax"
    return network.set(schema.LOSS, "", mean=loss).run()


EXAMPLES = (
    Example("A softmax between the layers", lambda: _softmax_between(2.2), True, "layers.1", 0),
    Example(
        "A softmax between the layers, and the loss is learned",
        lambda: _softmax_between(np.linspace(2.3, 0.3, 200)),
        False,
        outcome="Passed",
    ),
    Example("Weights a tenth of what they should be", lambda: _with_depth(0.1).run(), True, "layers.3", 0),
    Example("Half per layer, ten layers", lambda: _with_depth(0.5).run(), True, "layers.7", 0),
    Example("Hidden beneath the biases", lambda: _beneath_biases(0.1, stands=True), True, "layers.4", 0),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("Falls less than the limit", lambda: _with_depth(0.7, depth=10).run(), False, outcome="Passed"),
    Example("Large biases, but the loss falls", lambda: _beneath_biases(0.1, stands=False), False, outcome="Passed"),
    Example(
        "Recovers within the first steps",
        lambda: _with_depth(0.5, loss=None, recovers=9).run(),
        False,
        outcome="Passed",
    ),
    Example("Every layer normalized", _normalized, False, outcome="NotApplicable"),
)

RULE = Rule(
    id="vanishing-activations",
    healthy="The signal reaches the last layer",
    ill="Activations vanishing",
    group="activations",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "total", 1e-2, "1", "spread relative to the chain's first layer", "healthy trainings of ours stay above 0.1"
        ),
        Option(
            "signal",
            1e-4,
            "1",
            "estimated spread that depends on the data, relative likewise",
            "PyTorch's default initialization reaches it at about 11 layers, where plain SGD stops to learn",
        ),
        Option(
            "window", 20, "records", "records of which half must be ill", "time that Adam takes to restore the scale"
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "vanishing-gradients",
        "over-regularized",
        "dead-units",
        "loss-not-decreasing",
        "slow-start",
        "constant-output",
        "update-ratio-too-low",
        "no-gradient",
        "learning-rate-too-low",
        "underfitting",
    ),
    statistic="activation-std",
)
