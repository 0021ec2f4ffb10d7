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
bias may well have none, and a branch behind a zero-initialized layer has none until the first step. An embedding that
began at zero and has a gradient of zero is multiplied with zeros: that is given, and no symptom.

Where no parameter at all has a gradient, it counts that the gradient by the output of a module that holds some is
above 0 in the same records, and that no weight has changed since; three records over twenty steps are enough. Where no
gradient was ever there, it counts that the optimizer steps at a rate above 0 and no weight has changed. A loss that
gives no gradient any more, as a hinge loss at 0, does not; but one that stands above a fifth of where it began, while
the gradient of every parameter is exactly zero in eight of ten records. Where all had one and none has any more, though
the optimizer goes on stepping and no weight changes, it is told from there on: a freezing that nobody took back.

A module without parameters that only passes on what it is given (a rectifier, dropout, pooling), between two layers
whose outputs do get a gradient, and whose own never does, is called in vain: its result is not used.

Critical where half of the trained weights are concerned and the loss has not been learned, a warning for a weight
matrix, for information for vectors, where gradients arrive again later, where they used to arrive and the loss has
been learned without (an expert that a router no longer chooses), for the recurrent matrix of a direction whose other
weights do get one (only one step of that direction is used), and for a weight of the last of like, numbered blocks,
where it gets one in all blocks before and the rest of its own block does (what it makes only a further one would take).
So is less than a twentieth of the weights that stands behind all that learns, where the loss has been learned: a result
on the side, as that of BERT's pooler where the loss takes the tokens.

A criterion that is exactly 0 from its first value on, while every gradient is zero, asks for nothing: critical.
Elements of the last layer's bias whose gradient is exactly zero, the same number in half of the records and no fewer in
any: answers that are cut off behind the model, or not asked for (information where the loss has been learned). A call
in vain is critical where the loss does not move.

## What to try
1. Call `zero_grad()` before `backward()` or after `step()`, never between them, where no parameter has a gradient.
2. Search the code between the last layer named and the loss for `.detach()`, `.data`, `no_grad()`, `.item()`,
   `.numpy()`, `argmax`, and tensors rebuilt by `torch.tensor(...)`.
3. Check that the module is called in `forward`, and that its output is used in the loss.
4. If it is meant to rest, say so: `parameter.requires_grad_(False)`, and leave it out of the optimizer.
5. If the gradient is zero rather than absent, look at the layers behind it: dead rectifiers, a factor of zero, a
   masked loss.

## When it is harmless
A head that only another task or phase uses, an unused pooler of a pretrained model, an expert that is not chosen, what
the last block would hand on to a next one (N-BEATS' backcast, WaveNet's residual, edges in graph networks). In
a bidirectional network of which only the output at the last position is used, the backward direction has made one
step from a state of zero there: its recurrent matrix has no part in it.

## References
- [PyTorch, Autograd mechanics](https://pytorch.org/docs/stable/notes/autograd.html)
- [37 Reasons why your Neural Network is not working, number
  23](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
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
from tb_nnhealth.rules.evidence.weights import Mask, Weights, weights_of
from tb_nnhealth.rules.gradients.flat_loss import flat_loss
from tb_nnhealth.rules.gradients.model_without_gradient import cleared, left_frozen, without_backward
from tb_nnhealth.rules.gradients.parameter_without_gradient import others_alive, parameters_without_gradient
from tb_nnhealth.rules.gradients.silent_answers import silent_answers
from tb_nnhealth.rules.gradients.unused_outputs import unused_outputs
from tb_nnhealth.rules.persistence import window_of
from tb_nnhealth.rules.synthetic import Network

LEAST = 6
"""Records where they lie apart."""


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
        frozen = left_frozen(history, held, _arrived(held), records) if held.names else None
        return Ill([frozen]) if frozen is not None else NotApplicable("no parameter is trained by a watched optimizer")
    records = window_of(history.steps, records, LEAST)
    if len(history) < records:
        return TooLittleData(f"{len(history)} records so far, {records} needed")

    arrived = _arrived(weights)
    whole = cleared(case.run, history, weights, arrived, records) or left_frozen(history, weights, arrived, records)
    whole = whole or flat_loss(case.run, history, weights)
    if whole is not None:
        return Ill([whole])
    alive = others_alive(weights, arrived)
    if not alive.any():
        never = without_backward(history, weights, arrived, records)
        return Ill([never]) if never is not None else NotApplicable("no parameter receives a gradient")
    found = [
        *unused_outputs(case.run, history),
        *parameters_without_gradient(case.run, history, weights, arrived, alive, records),
    ]
    answers = silent_answers(case.run, history) if not found else None
    return Ill(found) if found else Ill([answers]) if answers is not None else Passed()


def _arrived(weights: Weights) -> Mask:
    """Where a parameter had a finite gradient above 0, shape (records, parameters)."""
    return np.isfinite(weights.gradient) & (weights.gradient > 0)


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


def _sparse(records: int) -> Run:
    network = Network(steps=20 * records, every=20)
    for name in ("layers.2.weight", "layers.2.bias"):
        network.absent(schema.GRADIENT, name).absent(schema.UPDATE, name)
    return network.run()


def _zero_until(step: int) -> Run:
    network = Network()
    rms = np.where(np.arange(200) < step, 0.0, 1e-3)
    return network.set(schema.GRADIENT, network.weight(2), rms=rms).run()


def _zero_factors() -> Run:
    """Two tables whose rows are multiplied with each other, both begun at zero, and a bias that trains."""
    network = Network().set(schema.LOSS, "", mean=2.2)
    for i in (1, 2):
        network.set(schema.GRADIENT, network.weight(i), rms=0.0).set(schema.WEIGHT, network.weight(i), rms=0.0)
    for parameter in network.layout.parameters:
        if parameter.name in (network.weight(1), network.weight(2)):
            parameter.initial_rms = 0.0
    for i in (1, 2):
        network.layout.modules[i].type = "Embedding"
    return network.run()


def _converged(left: float = 0.0) -> Run:
    """A hinge loss that has come down by 1, to ``left``: nobody gets a gradient any more."""
    network = Network()
    for kind, rms in ((schema.GRADIENT, 1e-3), (schema.ACTIVATION_GRADIENT, 1e-4)):
        for row in [row for row in network.layout.rows if row.kind == kind]:
            network.set(kind, row.subject, rms=np.where(np.arange(200) < 100, rms, 0.0))
    for name in [p.name for p in network.layout.parameters]:
        network.set(schema.WEIGHT, name, rms=0.2)
    return network.set(schema.LOSS, "", mean=np.where(np.arange(200) < 100, left + 1.0, left)).run()


def _nothing() -> Run:
    """A loss of 0 from the first step on, and no gradient but zero."""
    network = Network()
    for row in [row for row in network.layout.rows if row.kind in (schema.GRADIENT, schema.ACTIVATION_GRADIENT)]:
        network.set(row.kind, row.subject, rms=0.0)
    for name in [p.name for p in network.layout.parameters]:
        network.set(schema.WEIGHT, name, rms=0.2)
    return network.set(schema.LOSS, "", mean=0.0).run()


_MASKED = np.random.default_rng(0).integers(1, 9, 200) / 64


def _silent(share: NDArray[np.float64] | float, *, learned: bool = False) -> Run:
    """The last layer's bias has a gradient of zero in so many of its elements."""
    network = Network(classes=10)
    network.set(schema.GRADIENT, f"layers.{network.depth - 1}.bias", zero_share=share)
    return (network if learned else network.set(schema.LOSS, "", mean=2.2)).run()


def _burst() -> Run:
    """From step 100 on gradients hold NaN, and zeros besides: rows of an embedding that no token asked for."""
    network, burst = Network(), np.arange(200) >= 100
    for row in [row for row in network.layout.rows if row.kind == schema.GRADIENT]:
        network.set(schema.GRADIENT, row.subject, rms=np.where(burst, 0.0, 1e-3), nan_count=np.where(burst, 7.0, 0.0))
    for row in [row for row in network.layout.rows if row.kind == schema.ACTIVATION_GRADIENT]:
        network.absent(schema.ACTIVATION_GRADIENT, row.subject, 100)
    return network.set(schema.LOSS, "", mean=np.where(burst, np.nan, 2.3)).run()


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


def _aside(depth: int, *, learned: bool = True) -> Run:
    """The last of ``depth`` layers makes what the loss does not take."""
    network = Network(depth=depth)
    for kind in ("weight", "bias"):
        name = f"layers.{depth - 1}.{kind}"
        network.absent(schema.GRADIENT, name).absent(schema.UPDATE, name)
    return network.run() if learned else network.set(schema.LOSS, "", mean=2.2).run()


def _of_the_last_block(*, whole: bool) -> Run:
    """Two blocks of two layers, and a head: one layer of the last block, or all of it, gets no gradient."""
    network = Network(depth=5).set(schema.LOSS, "", mean=2.2)
    for layer in (2, 3) if whole else (3,):
        for name in (f"layers.{layer}.weight", f"layers.{layer}.bias"):
            network.absent(schema.GRADIENT, name).absent(schema.UPDATE, name)
    blocks = {0: "blocks.0.forecast", 1: "blocks.0.residual", 2: "blocks.1.forecast", 3: "blocks.1.residual", 4: "head"}
    names = {f"layers.{i}.{kind}": f"{block}.{kind}" for i, block in blocks.items() for kind in ("weight", "bias")}
    for parameter in network.layout.parameters:
        parameter.name = names.get(parameter.name, parameter.name)
    for row in network.layout.rows:
        row.subject = names.get(row.subject, row.subject)
    return network.run()


EXAMPLES = (
    Example("Two factor tables that both began at zero", _zero_factors, True, "layers.1.weight", 0),
    Example("Encoder detached by mistake", lambda: _absent(0, 1, 2, 3), True, "layers.0.weight", 0),
    Example("One module never used", lambda: _absent(3), True, "layers.3.weight", 0),
    Example("The graph is cut at step 80", lambda: _absent(2, since=80), True, "layers.2.weight", 80),
    Example("An expert that is chosen no more, and the loss falls: information only", _chosen_no_more, True),
    Example("One step of a reverse direction: information only", _one_step_of_a_direction, True),
    Example("A result on the side, and the loss falls: information only", lambda: _aside(24), True),
    Example("The same, and the loss stands", lambda: _aside(24, learned=False), True, "layers.23.weight", 0),
    Example("A sixth of the weights behind all that learns", lambda: _aside(6), True, "layers.5.weight", 0),
    Example("For a next block, in the last: information only", lambda: _of_the_last_block(whole=False), True),
    Example("The last block is not used", lambda: _of_the_last_block(whole=True), True, "blocks.1.forecast.weight", 0),
    Example("Multiplied by zero", lambda: _zero_until(200), True, "layers.2.weight", 0),
    Example("Ten records without: just enough", lambda: _zero_until(10), True, "layers.2.weight", 0),
    Example("Six records without, twenty steps apart", lambda: _sparse(6), True, "layers.2.weight", 0),
    Example("Five records, twenty steps apart", lambda: _sparse(5), False, outcome="TooLittleData"),
    Example("Cleared between backward and step", lambda: _cleared(0), True, "", 0),
    Example("Cleared too late from step 190 on: just enough", lambda: _cleared(190), True, "", 190),
    Example("Cleared too late from step 191 on: not enough", lambda: _cleared(191), False, outcome="Passed"),
    Example("No backward pass before the step", _never_called, True, "", 0),
    Example("None seen, but the weights move", lambda: _cleared(0, moving=True), False, outcome="NotApplicable"),
    Example("A loss of nothing from the first step on", _nothing, True, "", 0),
    Example("Two answers cut off", lambda: _silent(2 / 64), True, "layers.5", 0),
    Example("Two answers cut off, and learned: information", lambda: _silent(2 / 64, learned=True), True, "layers.5"),
    Example("Targets that are masked at random", lambda: _silent(_MASKED), False, outcome="Passed"),
    Example("A result that nobody takes", _discarded, True, "activation", 0),
    Example("Frozen at step 60, and never thawed", lambda: _never_thawed(60), True, "", 60),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("Nine records without: not enough", lambda: _zero_until(9), False, outcome="Passed"),
    Example("Behind a layer that starts at zero", lambda: _zero_until(1), False, outcome="Passed"),
    Example("Converged: no gradient anywhere", _converged, False, outcome="Passed"),
    Example("Loss that depends on no weight any more", lambda: _converged(0.4), True, "", 100),
    Example("Gradients of NaN and zeros: another finding", _burst, False, outcome="Passed"),
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
        "dead-units",
    ),
    statistic="gradient-norm",
)
