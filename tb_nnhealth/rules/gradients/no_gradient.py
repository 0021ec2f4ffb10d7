"""A trainable parameter receives no gradient.

## What it detects
Parameters that require a gradient and that an optimizer holds, but which get none, or exactly zero in every element,
record after record, while other parameters of the same optimizer do. Or none of them does, though the backward pass
reaches the modules' outputs: the gradients are cleared, or lost, between `backward()` and `step()`.

## Why it matters
Such a parameter never learns. Most often the graph is cut by mistake: a `.detach()`, `.data`, `torch.no_grad()`,
`.item()`, a conversion to NumPy, an `argmax` or a comparison between this parameter and the loss; or a module is
built but never called.

## How it is computed
The gradient at the optimizer's step is absent, or its root mean square is exactly 0, in `records` records running in
which another parameter of that optimizer has one. Zero counts for weight matrices at a learning rate above 0 only: a
bias may well have none, and a branch behind a zero-initialized layer has none until the first step.

Where no parameter at all has a gradient, it counts that the gradient by the output of a module that holds some is
above 0 in the same records, and that no weight has changed since; three records over twenty steps are enough. Where no
gradient was ever there, it counts that the optimizer steps at a rate above 0 and no weight has changed. A loss that
gives no gradient any more, as a hinge loss at 0, does not. Where all had one and none has any more, though the
optimizer goes on stepping and no weight changes, it is told from there on: a freezing that nobody took back.

A module without parameters that only passes on what it is given (a rectifier, dropout, pooling), between two layers
whose outputs do get a gradient, and whose own never does, is called in vain: its result is not used.

Critical where half of the trained weights are concerned and the loss has not been learned, a warning for a weight
matrix, for information for vectors, where gradients arrive again later, where they used to arrive and the loss has
been learned without (an expert that a router no longer chooses), and for the recurrent matrix of a direction whose
other weights do get one: only one step of that direction is used.

## What to try
1. Call `zero_grad()` before `backward()` or after `step()`, never between them, where no parameter has a gradient.
2. Search the code between the last layer named and the loss for `.detach()`, `.data`, `no_grad()`, `.item()`,
   `.numpy()`, `argmax`, and tensors rebuilt by `torch.tensor(...)`.
3. Check that the module is called in `forward`, and that its output is used in the loss.
4. If it is meant to rest, say so: `parameter.requires_grad_(False)`, and leave it out of the optimizer.
5. If the gradient is zero rather than absent, look at the layers behind it: dead rectifiers, a factor of zero, a
   masked loss.

## When it is harmless
A head that only another task or phase uses, an unused pooler of a pretrained model, an expert that is not chosen. In
a bidirectional network of which only the output at the last position is used, the backward direction has made one
step from a state of zero there: its recurrent matrix has no part in it.

## References
- [PyTorch, Autograd mechanics](https://pytorch.org/docs/stable/notes/autograd.html)
- [37 Reasons why your Neural Network is not working, number
  23](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

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
from tb_nnhealth.rules.evidence.progress import Progress, progress
from tb_nnhealth.rules.evidence.weights import Mask, Weights, aligned, weights_of
from tb_nnhealth.rules.gradients.unused_outputs import unused_outputs
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent

MOST = 0.5
"""Share of the trained elements from which the cut concerns the model as a whole."""

FEWEST_OF_ALL, LONG_OF_ALL = 3, 20
"""Records and steps that suffice where all parameters are without: sparse records span many steps."""

ROUNDING = 1e-6
"""Relative difference up to which two measurements of the same weights may part."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.layout.optimizers:
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    everything = weights_of(history)
    weights = everything.only(everything.trained)
    records = int(case.options["records"])
    if not weights.names:
        held = everything.only(np.array([p.optimizer >= 0 for p in everything.parameters], bool))
        once = np.isfinite(held.gradient) & (held.gradient > 0)
        if held.names and (since := _since(history, held, once)) is not None:
            return Ill([_left_behind(held, since, records)])
        return NotApplicable("no parameter is trained by a watched optimizer")
    if len(history) < records:
        return TooLittleData(f"{len(history)} records so far, {records} needed")

    arrived = np.isfinite(weights.gradient) & (weights.gradient > 0)
    absent = ~np.isfinite(weights.gradient)
    if (lost := _lost_by_all(history, weights, arrived, records)) is not None:
        return Ill([_lost(weights, lost, bool(absent[lost.fired].all()), progress(case.run, history), records)])
    alive = others_alive(weights, arrived)
    if (since := _since(history, weights, arrived)) is not None:
        return Ill([_left_behind(weights, since, records)])
    if not alive.any():
        if (never := _never(history, weights, arrived, records)) is not None:
            return Ill([_without_backward(weights, never, records)])
        return NotApplicable("no parameter receives a gradient")
    zero = (weights.gradient == 0) & weights.matrix & ~(weights.lr == 0)
    judged = alive & np.isfinite(weights.weight) & (absent | zero | arrived)
    found = episodes(absent | zero, judged, weights.steps, window=records, share=1.0)
    unused = unused_outputs(history)
    if not found:
        return Ill(unused) if unused else Passed()
    concerned = {episode.column for episode in found if episode.active}
    share = float(weights.numel[list(concerned)].sum() / weights.numel.sum())
    seen = progress(case.run, history)
    learned = seen is not None and seen.learned
    one_step = {name for name in weights.names if makes_one_step(name, weights, arrived)}
    return Ill([*unused, *(_hit(weights, episode, absent, share, records, learned, one_step) for episode in found)])


def _lost_by_all(history: History, weights: Weights, arrived: Mask, records: int) -> Episode | None:
    """The last stretch of ``records`` or more in which gradients reach the outputs of modules and not their parameters.

    None where there is none. The weights must stand still all the while: a gradient that is applied where nobody sees
    it is not lost.
    """
    modules = list(dict.fromkeys(p.module for p in weights.parameters))
    outputs = aligned(history.table(schema.ACTIVATION_GRADIENT, schema.RMS), modules)
    reached = (np.nan_to_num(outputs) > 0).any(axis=1)
    moved = np.abs(np.diff(weights.weight, axis=0)) > ROUNDING * weights.weight[:-1]
    still = np.concatenate(([True], ~moved.any(axis=1)))
    off = (weights.lr == 0).all(axis=1)
    lost = reached & ~arrived.any(axis=1) & ~off
    lost[1:] &= still[1:] | ~lost[:-1]
    run = len(lost) - int(np.argmin(lost[::-1])) if not lost.all() else 0
    steps = weights.steps
    held = len(lost) - run
    if held < records and (held < FEWEST_OF_ALL or steps[-1] - steps[run] < LONG_OF_ALL):
        return None
    last, fired = len(lost) - 1, run + min(records, held) - 1
    count = len(lost) - run
    return Episode(0, int(steps[run]), int(steps[fired]), int(steps[last]), count, True, run, fired, last)


def _never(history: History, weights: Weights, arrived: Mask, records: int) -> Episode | None:
    """All of the log, where the optimizer steps at a rate above 0 and no parameter has a gradient or moves."""
    still = ~(np.abs(np.diff(weights.weight, axis=0)) > ROUNDING * weights.weight[:-1]).any()
    seen = np.isfinite(history.table(schema.GRADIENT, schema.NAN_COUNT).values).any()
    rates = history.table(schema.LEARNING_RATE, schema.MEAN).values  # told where an optimizer steps
    if arrived.any() or seen or not still or not np.isfinite(rates).any() or (weights.lr == 0).all():
        return None
    steps, last = weights.steps, len(weights.steps) - 1
    return Episode(0, int(steps[0]), int(steps[records - 1]), int(steps[last]), last + 1, True, 0, records - 1, last)


def _since(history: History, weights: Weights, arrived: Mask) -> Episode | None:
    """The last stretch in which the optimizer steps at a rate above 0, and no parameter has a gradient any more.

    None where there was no gradient before, the stretch is short, a weight moves in it, or a module's output is still
    reached: whether that is lost is asked elsewhere.
    """
    some = np.flatnonzero(arrived.any(axis=1))
    if not some.size or len(arrived) - some[-1] <= LONG_OF_ALL:
        return None
    after = slice(int(some[-1]) + 1, None)
    values = weights.weight[after]
    still = not (np.abs(np.diff(values, axis=0)) > ROUNDING * values[:-1]).any()
    rates = history.table(schema.LEARNING_RATE, schema.MEAN).values[after]
    absent = not np.isfinite(weights.gradient[after]).any()
    stepping = np.isfinite(rates).any(axis=1).mean(dtype=np.float64) > 0.5 if rates.shape[1] else False
    if not still or not absent or not stepping or (rates == 0).all():
        return None
    steps, first, last = weights.steps, int(some[-1]) + 1, len(arrived) - 1
    fired, count = first + LONG_OF_ALL - 1, last - first + 1
    return Episode(0, int(steps[first]), int(steps[fired]), int(steps[last]), count, True, first, fired, last)


def _left_behind(weights: Weights, episode: Episode, records: int) -> Hit:
    return replace(
        _lost(weights, episode, True, None, records),
        message=f"From step {episode.first_step:,} on no parameter has a gradient, though the optimizer goes on"
        " stepping: they were frozen, or cut off from the loss, and nobody has taken that back.",
        advice=(
            "Look for requires_grad_(False) without its way back: call requires_grad_(True) before these steps.",
            "Look for no_grad() or eval-only code that is entered and not left.",
        ),
    )


def _without_backward(weights: Weights, episode: Episode, records: int) -> Hit:
    return replace(
        _lost(weights, episode, True, None, records),
        message=f"In {episode.count} records the optimizer stepped, and no parameter had a gradient or changed:"
        " backward() is not called on this model's loss before step(), or what it found is cleared before.",
        advice=(
            "Call loss.backward() between zero_grad() and step(), in this order.",
            "Take the loss as the criterion returns it: .item(), .detach() and torch.tensor(...) cut it off.",
            "Check that the model given to the optimizer is the one that backward() goes through.",
        ),
    )


def _lost(weights: Weights, episode: Episode, none: bool, seen: Progress | None, records: int) -> Hit:
    """The finding on the model as a whole."""
    learned = seen is not None and seen.learned
    return hit(
        episode,
        "",
        severity="warning" if learned else "critical",
        statistic="records_without_gradient",
        unit="records",
        value=float(episode.count),
        limit=float(records),
        direction="above",
        healthy=(0.0, 0.0),
        message=f"From step {episode.first_step:,} on no parameter has a gradient{'' if none else ' but zero'} when the"
        " optimizer steps, and no weight changes, though the backward pass reaches the modules' outputs: the gradients"
        " are cleared or lost between backward() and step().",
        advice=(
            "Call zero_grad() before backward() or after step(), never between them.",
            "Look at what is done to the gradients before step(): hooks, clipping, masks, .grad set to None or zero.",
            "Check that the model given to the optimizer is the one that backward() goes through.",
        ),
        more={"share_of_weights": 1.0, "absent": none},
        rank=1e9,
    )


def others_alive(weights: Weights, arrived: Mask) -> NDArray[np.bool_]:
    """Whether, at each record, another parameter of the same optimizer received a gradient; shape (records, n)."""
    optimizer = np.array([p.optimizer for p in weights.parameters])
    alive = np.zeros(arrived.shape, bool)
    for index in np.unique(optimizer):
        of = optimizer == index
        alive[:, of] = (arrived[:, of].sum(axis=1, keepdims=True) - arrived[:, of]) > 0
    return alive


def makes_one_step(name: str, weights: Weights, arrived: Mask) -> bool:
    """Whether ``name`` is a recurrent matrix whose direction gets gradients, but only for a step from a state of zero.

    Names are those of ``torch.nn.RNNBase``: weight_hh_l1_reverse beside weight_ih_l1_reverse.
    """
    beside = name.replace("weight_hh_", "weight_ih_")
    if beside == name or beside not in weights.names:
        return False
    own, other = weights.names.index(name), weights.names.index(beside)
    return bool(arrived[:, other].any() and not arrived[:, own].any())


def _severity(matrix: bool, active: bool, share: float, *, before: bool, learned: bool, one_step: bool) -> Severity:
    if not matrix or not active or one_step or (before and learned):
        return "info"
    return "critical" if share >= MOST and not learned else "warning"


def _hit(
    weights: Weights, episode: Episode, absent: Mask, share: float, records: int, learned: bool, one_step: Set[str]
) -> Hit:
    column = episode.column
    name, matrix = weights.names[column], bool(weights.matrix[column])
    none = bool(absent[episode.fired, column])
    before = bool(
        np.nanmax(np.where(absent[: episode.first + 1, column], 0, weights.gradient[: episode.first + 1, column])) > 0
    )
    since = f"from step {episode.first_step} on" if before else "at any step"
    whole = f", {percent(share)} of all trained weights are without" if episode.active and share > 0 else ""
    if name in one_step:
        whole += "; of this direction only one step is used"
    return hit(
        episode,
        name,
        severity=_severity(matrix, episode.active, share, before=before, learned=learned, one_step=name in one_step),
        statistic="records_without_gradient",
        unit="records",
        value=float(episode.count),
        limit=float(records),
        direction="above",
        healthy=(0.0, 0.0),
        message=f"`{name}` gets {'no gradient' if none else 'a gradient of exactly zero'} {since}:"
        f" {episode.count} records, while other parameters of its optimizer do{whole}.",
        advice=(
            f"Search between `{name}` and the loss for .detach(), .data, torch.no_grad(), .item(), .numpy() or argmax."
            if none
            else f"Look behind `{name}` for dead rectifiers, a factor of zero or a loss that is masked out.",
            "Check that the module is called in forward() and that its output enters the loss.",
            f"If it is meant to rest, freeze it: {name}.requires_grad_(False), and leave it out of the optimizer.",
        ),
        more={"share_of_weights": share, "absent": none},
        rank=(1e9 if matrix else 0.0) - float(weights.position[column]),
    )


def _absent(*layers: int, since: int = 0, until: int | None = None, biases: bool = True) -> Run:
    network = Network()
    for i in layers:
        for name in (f"layers.{i}.weight", f"layers.{i}.bias") if biases else (f"layers.{i}.bias",):
            kept = network.get(schema.GRADIENT, name, schema.RMS)
            network.absent(schema.GRADIENT, name, since).absent(schema.UPDATE, name, since)
            if until is not None:
                kept[since:until] = np.nan
                network.set(schema.GRADIENT, name, rms=kept)
    return network.set(schema.LOSS, "", mean=2.2).run()


def _zero_until(step: int) -> Run:
    network = Network()
    rms = np.where(np.arange(200) < step, 0.0, 1e-3)
    return network.set(schema.GRADIENT, network.weight(2), rms=rms).run()


def _converged() -> Run:
    """A hinge loss that has reached zero: nobody gets a gradient any more."""
    network = Network()
    for kind, rms in ((schema.GRADIENT, 1e-3), (schema.ACTIVATION_GRADIENT, 1e-4)):
        for row in [row for row in network.layout.rows if row.kind == kind]:
            network.set(kind, row.subject, rms=np.where(np.arange(200) < 100, rms, 0.0))
    for name in [p.name for p in network.layout.parameters]:
        network.set(schema.WEIGHT, name, rms=0.2)
    return network.run()


def _cleared(since: int, *, moving: bool = False) -> Run:
    """Gradients of zero for every parameter; the weights stand still, or move as if they had some."""
    network = Network()
    cleared = np.arange(200) >= since
    for name in [p.name for p in network.layout.parameters]:
        network.set(schema.GRADIENT, name, rms=np.where(cleared, 0.0, 1e-3))
        kept = network.get(schema.WEIGHT, name, schema.RMS)
        network.set(schema.WEIGHT, name, rms=kept if moving else np.where(cleared, kept[since], kept))
    return network.set(schema.LOSS, "", mean=2.2).run()


def _never_called() -> Run:
    network = Network()
    for name in [p.name for p in network.layout.parameters]:
        network.absent(schema.GRADIENT, name).absent(schema.UPDATE, name).set(schema.WEIGHT, name, rms=0.2)
    return network.set(schema.LOSS, "", mean=2.3).run()


def _frozen() -> Run:
    network = Network()
    for parameter in network.layout.parameters:
        if parameter.name.startswith(("layers.0", "layers.1")):
            parameter.trainable = False
            network.absent(schema.GRADIENT, parameter.name).absent(schema.UPDATE, parameter.name)
    return network.run()


def _discarded() -> Run:
    """A rectifier called between two layers, whose output no gradient comes back to."""
    network = Network()
    modules = list(network.layout.modules)
    network.add_module("activation", "ReLU")
    added = network.layout.modules[-1]
    del network.layout.modules[:]
    network.layout.modules.extend([*modules[:2], added, *modules[2:]])
    return network.add_row(schema.ACTIVATION, "activation", mean=0.3, rms=0.6, std=0.5).run()


def _never_thawed(since: int) -> Run:
    network = Network()
    for parameter in network.layout.parameters:
        parameter.trainable = False
        network.absent(schema.GRADIENT, parameter.name, since).absent(schema.UPDATE, parameter.name, since)
        kept = network.get(schema.WEIGHT, parameter.name, schema.RMS)
        network.set(schema.WEIGHT, parameter.name, rms=np.where(np.arange(200) < since, kept, kept[since]))
    return network.run()


def _now_and_then() -> Run:
    """An expert that is chosen in every fifth batch."""
    network = Network()
    rms = np.where(np.arange(200) % 5 == 0, 1e-3, np.nan)
    return network.set(schema.GRADIENT, network.weight(3), rms=rms).run()


def _chosen_no_more() -> Run:
    network = Network()
    return network.absent(schema.GRADIENT, network.weight(2), since=40).run()


def _one_step_of_a_direction() -> Run:
    """Layers 2 and 3 are the input and the recurrent matrix of a reverse direction, used at the last position only."""
    network = Network().set(schema.GRADIENT, "layers.3.weight", rms=0.0).set(schema.LOSS, "", mean=2.2)
    names = {"layers.2.weight": "cells.weight_ih_l1_reverse", "layers.3.weight": "cells.weight_hh_l1_reverse"}
    for parameter in network.layout.parameters:
        parameter.name = names.get(parameter.name, parameter.name)
    for row in network.layout.rows:
        row.subject = names.get(row.subject, row.subject)
    return network.run()


EXAMPLES = (
    Example("Encoder detached by mistake", lambda: _absent(0, 1, 2, 3), True, "layers.0.weight", 0),
    Example("One module never used", lambda: _absent(3), True, "layers.3.weight", 0),
    Example("The graph is cut at step 80", lambda: _absent(2, since=80), True, "layers.2.weight", 80),
    Example("An expert that is chosen no more, and the loss falls: information only", _chosen_no_more, True),
    Example("One step of a reverse direction: information only", _one_step_of_a_direction, True),
    Example("Multiplied by zero", lambda: _zero_until(200), True, "layers.2.weight", 0),
    Example("Ten records without: just enough", lambda: _zero_until(10), True, "layers.2.weight", 0),
    Example("Cleared between backward and step", lambda: _cleared(0), True, "", 0),
    Example("Cleared too late from step 190 on: just enough", lambda: _cleared(190), True, "", 190),
    Example("Cleared too late from step 191 on: not enough", lambda: _cleared(191), False, outcome="Passed"),
    Example("No backward pass before the step", _never_called, True, "", 0),
    Example("None seen, but the weights move", lambda: _cleared(0, moving=True), False, outcome="NotApplicable"),
    Example("A result that nobody takes", _discarded, True, "activation", 0),
    Example("Frozen at step 60, and never thawed", lambda: _never_thawed(60), True, "", 60),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("Nine records without: not enough", lambda: _zero_until(9), False, outcome="Passed"),
    Example("Behind a layer that starts at zero", lambda: _zero_until(1), False, outcome="Passed"),
    Example("Converged: no gradient anywhere", _converged, False, outcome="Passed"),
    Example("Deliberately frozen", _frozen, False, outcome="Passed"),
    Example("An expert chosen now and then", _now_and_then, False, outcome="Passed"),
)

RULE = Rule(
    id="no-gradient",
    healthy="Every trainable parameter gets a gradient",
    ill="Parameters without gradient",
    group="gradients",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "records",
            10,
            "records",
            "records running without a gradient",
            "longer than a branch that starts at zero needs",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "loss-not-decreasing",
        "underfitting",
        "slow-start",
        "learning-rate-too-low",
        "still-improving",
        "constant-output",
    ),
    statistic="gradient-norm",
)
