"""The examples of ``vanishing-gradients``."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Example
from tb_nnhealth.rules.synthetic import Network


def _network(factor: float, update: float = 1e-6, depth: int = 8, flat: bool = True) -> Network:
    """Gradients that shrink by ``factor`` with each layer towards the input, as do the updates, times ``update``."""
    network = Network(depth=depth, nonlinearity="sigmoid")
    for i in range(depth):
        network.scale(schema.GRADIENT, network.weight(i), factor ** (depth - 1 - i))
        network.scale(
            schema.UPDATE, network.weight(i), max(1e-9, update * factor ** (depth - 1 - i)) if update < 1 else 1.0
        )
    if flat:
        network.set(schema.LOSS, "", mean=np.log(network.classes))
    return network


def _squeezed(nonlinearity: str) -> Run:
    """Four layers, the first of which receives a hundredth of the gradient at most and keeps moving a little."""
    network = Network(depth=4, nonlinearity=nonlinearity)
    for i, shrunk in enumerate((0.003, 0.02, 0.1, 1.0)):
        network.scale(schema.GRADIENT, network.weight(i), shrunk).scale(schema.WEIGHT, network.weight(i), 1 / shrunk)
    return network.set(schema.LOSS, "", mean=np.log(network.classes)).run()


def _set_in(step: int) -> Run:
    network, since = _network(1.0, update=1.0), np.arange(200) >= step
    for i in range(network.depth):
        shrunk = 0.2 ** (network.depth - 1 - i)
        network.scale(schema.GRADIENT, network.weight(i), np.where(since, shrunk, 1.0))
        network.scale(schema.UPDATE, network.weight(i), np.where(since, 0.05 * shrunk, 1.0))
    return network.run()


def _converged() -> Run:
    network, fading = Network(depth=8), np.exp(-np.arange(200) / 10)
    for i in range(8):
        network.scale(schema.GRADIENT, network.weight(i), fading)
        network.scale(schema.UPDATE, network.weight(i), fading)
    return network.run()


def _two_networks() -> Run:
    """An actor of four layers beside a critic of six, whose gradients are ten thousand times as large."""
    network = Network(depth=10).set(schema.LOSS, "", mean=2.3026)
    for i, module in enumerate(network.layout.modules):
        module.traced = True
        module.inputs[:] = [] if i in (0, 4) else [i - 1]
    for i in range(4):
        network.scale(schema.GRADIENT, network.weight(i), 1e-4).scale(schema.UPDATE, network.weight(i), 1e-4)
    return network.run()


def _zero_branches() -> Run:
    """Every second matrix receives almost nothing at first, because the branch's last layer starts at zero."""
    network = Network(depth=8)
    for i in range(0, 8, 2):
        network.scale(schema.GRADIENT, network.weight(i), np.minimum(1.0, 1e-4 * (1 + np.arange(200))))
        network.scale(schema.UPDATE, network.weight(i), np.minimum(1.0, 1e-4 * (1 + np.arange(200))))
    return network.run()


def _adapters() -> Run:
    """Pairs of matrices beside frozen ones, the second of each begun at zero, under a rate that is far too low."""
    network = _zero_branches_of(Network(depth=8).set(schema.LOSS, "", mean=2.3026))
    for i in range(0, 8, 2):
        network.scale(schema.GRADIENT, network.weight(i), 1e-4).scale(schema.UPDATE, network.weight(i), 1e-3)
    return network.run()


def _zero_branches_of(network: Network) -> Network:
    for i in range(1, network.depth, 2):
        network.scale(schema.WEIGHT, network.weight(i), 1e-3)
        for parameter in network.layout.parameters:
            if parameter.name == network.weight(i):
                parameter.initial_rms = 0.0
    return network


def _underflow() -> Run:
    network = _network(1e-5, depth=10)
    for i in range(4):
        network.set(schema.GRADIENT, network.weight(i), rms=0.0)
        network.set(schema.UPDATE, network.weight(i), rms=0.0)
    return network.run()


def _sparse_records() -> Run:
    """Ten records over two hundred steps, as where each of them costs much."""
    network = Network(depth=10, every=20, nonlinearity="sigmoid").set(schema.LOSS, "", mean=2.3026)
    for i in range(10):
        network.scale(schema.GRADIENT, network.weight(i), 0.2 ** (9 - i))
        network.scale(schema.UPDATE, network.weight(i), 1e-6 * 0.2 ** (9 - i))
    return network.run()


def _at_a_rate_of_zero() -> Run:
    """The rate comes to zero before a loss falls; queries and keys, as usual, receive little at first."""
    network, rate = _network(0.2, update=1.0), np.where(np.arange(200) < 10, 1e-3, 0.0)
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), rate / 1e-3)
    return network.set(schema.LEARNING_RATE, "0.0", mean=rate).run()


EXAMPLES = (
    Example("Beneath sigmoids, the loss at chance", lambda: _squeezed("sigmoid"), True, "layers.0.weight", 0),
    Example("The same gradients beneath rectifiers", lambda: _squeezed("relu"), False, outcome="Passed"),
    Example("Ten records over two hundred steps", _sparse_records, True, "layers.0.weight", 0),
    Example("Ten sigmoid layers under SGD", lambda: _network(0.2, depth=10).run(), True, "layers.0.weight", 0),
    Example("Gradients underflow to zero in the first layers", _underflow, True, "layers.0.weight", 0),
    Example("Sets in during training", lambda: _set_in(80), True, "layers.0.weight", 80),
    Example(
        "Adam moves the layers, but the loss stands",
        lambda: _network(0.2, update=1.0).run(),
        True,
        "layers.0.weight",
        0,
    ),
    Example("Just below the limit", lambda: _network(0.4, update=1e-3, depth=8).run(), True, "layers.0.weight", 0),
    Example(
        "The same depth with equal gradients",
        lambda: _network(1.0, update=1.0, flat=False).run(),
        False,
        outcome="Passed",
    ),
    Example("Just above the limit", lambda: _network(0.6, update=1e-3, depth=8).run(), False, outcome="Passed"),
    Example(
        "Small gradients, moved by Adam, and the loss falls",
        lambda: _network(0.2, update=1.0, flat=False).run(),
        False,
        outcome="Passed",
    ),
    Example("Converged: all gradients are small", _converged, False, outcome="Passed"),
    Example("Two networks with losses of their own", _two_networks, False, outcome="Passed"),
    Example("Residual branches that start at zero", _zero_branches, False, outcome="Passed"),
    Example("Adapters whose second matrix started at zero", _adapters, False, outcome="Passed"),
    Example("A rate of zero moves nothing", _at_a_rate_of_zero, False, outcome="Passed"),
    Example("Two layers", lambda: Network(depth=2).run(), False, outcome="NotApplicable"),
)
