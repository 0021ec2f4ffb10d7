"""Synthetic runs in which a gradient is missing, or rightly so: the examples of ``no-gradient``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Example
from tb_nnhealth.rules.synthetic import Network


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


def _thawed_at(record: int, *, added: bool) -> Run:
    """The first layers rest up to a record; they are added to the optimizer there, or it held them all the time."""
    network = Network()
    for parameter in network.layout.parameters[:4]:
        parameter.group = int(added)
        gradient = np.where(network.at < record, np.nan, 1e-3)
        network.set(schema.GRADIENT, parameter.name, rms=gradient).set(schema.UPDATE, parameter.name, rms=gradient)
    if added:
        network.add_row(schema.LEARNING_RATE, "0.1", mean=np.where(network.at < record, np.nan, 1e-4))
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


def _read_back() -> Run:
    """A cross-entropy that falls to 0, read back from its gradient: not told any more where that is zero."""
    network = Network()
    for kind, rms in ((schema.GRADIENT, 1e-3), (schema.ACTIVATION_GRADIENT, 1e-4)):
        for row in [row for row in network.layout.rows if row.kind == kind]:
            network.set(kind, row.subject, rms=np.where(np.arange(200) < 100, rms, 0.0))
    loss = np.where(np.arange(200) < 100, 2.3 * np.exp(-np.arange(200) / 90), 0.0)
    network.loss(loss, noise=0.0)
    return network.set(schema.LOSS, "", mean=np.where(loss > 0, loss, np.nan)).run()


def _nothing() -> Run:
    """A loss of 0 from the first step on, and no gradient but zero."""
    network = Network()
    for row in [row for row in network.layout.rows if row.kind in (schema.GRADIENT, schema.ACTIVATION_GRADIENT)]:
        network.set(row.kind, row.subject, rms=0.0)
    for name in [p.name for p in network.layout.parameters]:
        network.set(schema.WEIGHT, name, rms=0.2)
    return network.set(schema.LOSS, "", mean=0.0).run()


def _opponent(since: int) -> Run:
    """A generator whose gradients are all zero from a step on, beside a discriminator."""
    network = Network()
    for row in [row for row in network.layout.rows if row.kind in (schema.GRADIENT, schema.ACTIVATION_GRADIENT)]:
        network.set(row.kind, row.subject, rms=np.where(np.arange(200) >= since, 0.0, 1e-3))
    for name in ("G", "D"):
        network.loss(np.ones(200), tag=f"loss/{name}")
    return network.run()


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
    Example("Thawed at step 90, held all the time: information", lambda: _thawed_at(90, added=False), True),
    Example("An expert that is chosen no more, and the loss falls: information only", _chosen_no_more, True),
    Example("One step of a reverse direction: information only", _one_step_of_a_direction, True),
    Example("A result on the side, and the loss falls: information only", lambda: _aside(24), True),
    Example("The same, and the loss stands", lambda: _aside(24, learned=False), True, "layers.23.weight", 0),
    Example("A sixth of the weights behind all that learns", lambda: _aside(6), True, "layers.5.weight", 0),
    Example("For a next block, in the last: information only", lambda: _of_the_last_block(whole=False), True),
    Example("The last block is not used", lambda: _of_the_last_block(whole=True), True, "blocks.1.forecast.weight", 0),
    Example("A generator that no gradient ever reaches", lambda: _opponent(0), True, "", 0),
    Example("A generator that wins in the end", lambda: _opponent(150), False, outcome="Passed"),
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
    Example("Fell to 0, told by its gradient as long as there was one", _read_back, False, outcome="Passed"),
    Example("Loss that depends on no weight any more", lambda: _converged(0.4), True, "", 100),
    Example("Gradients of NaN and zeros: another finding", _burst, False, outcome="Passed"),
    Example("Thawed at step 90, and then added", lambda: _thawed_at(90, added=True), False, outcome="Passed"),
    Example("To be thawed at the next record", lambda: _thawed_at(200, added=True), False, outcome="Passed"),
    Example("Deliberately frozen", _frozen, False, outcome="Passed"),
    Example("An expert chosen now and then", _now_and_then, False, outcome="Passed"),
)
