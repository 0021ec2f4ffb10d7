"""Synthetic runs whose inputs or targets are all alike, or rightly so: the examples of ``constant-input``."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Example
from tb_nnhealth.rules.synthetic import Network


def _given(value: float, since: int = 0) -> Network:
    """From record ``since`` on every element of the input is ``value``."""
    network = Network().add_row(schema.SPREAD, "input", mean=0.9)
    late = network.at >= since
    for name in (schema.MIN, schema.MAX, schema.MEAN):
        network.set(schema.INPUT, "", **{name: np.where(late, value, network.get(schema.INPUT, "", name))})
    stuck = np.log(network.classes) * np.ones(len(network.at))
    return network.set(schema.LOSS, "", mean=stuck)


def _spread(ratio: float, *, learns: bool = False) -> Run:
    network = Network()
    network.add_row(schema.SPREAD, "input", mean=ratio * network.get(schema.INPUT, "", schema.STD))
    return (network if learns else network.set(schema.LOSS, "", mean=2.3)).run()


def _mask_of_ones() -> Run:
    network = Network()
    return network.add_row(schema.INPUT, "mask", (32, 64), min=1.0, max=1.0, mean=1.0, std=0.0).run()


def _small(other: float) -> Run:
    """Samples of two numbers, 1 and 1; every tenth record's second number is ``other``."""
    network = _given(1.0)
    for row in network.layout.rows:
        if row.kind == schema.INPUT:
            row.shape[:] = (1, 2)
    return network.set(schema.INPUT, "", min=np.where(network.at % 10 == 9, other, 1.0)).run()


def _tokens() -> Run:
    network = _given(0.0)
    network.layout.rows[network._row(schema.INPUT, "")].dtype = "int64"
    return network.run()


def _graph(features: float) -> Run:
    """Features of nodes, each of them one number, and edges between them."""
    network = _given(features).add_row(schema.INPUT, "1", (2, 90), min=0.0, max=31.0, mean=15.0)
    network.layout.rows[-1].dtype = "int64"
    return network.run()


def _labelled(features: float) -> Run:
    """A model that computes its loss itself: beside the features it is given labels, and how many there are."""
    network = _given(features).add_row(schema.INPUT, "labels", (32,), min=0.0, max=9.0, mean=4.5)
    network.layout.rows[-1].dtype = "int64"
    return network.add_row(schema.INPUT, "number", (), min=32.0, max=32.0, mean=32.0).run()


def _embedding(zeros: float, *, learns: bool = False) -> Run:
    """A network with an embedding of 50 rows, of whose gradient a share is zero."""
    network = Network().add_module("user", "Embedding", first=True)
    network.layout.parameters.add(name="user.weight", module="user", shape=[50, 8], trainable=True, dtype="float32")
    network.add_row(schema.GRADIENT, "user.weight", (50, 8), zero_share=zeros, rms=1e-3)
    network.add_row(schema.INPUT, "user", (32,), min=3.0, max=3.0, mean=3.0)
    network.layout.rows[-1].dtype = "int64"
    return (network if learns else network.set(schema.LOSS, "", mean=2.3)).run()


def _one_target(spread: float) -> Run:
    network = Network(criterion="MSELoss").set(schema.TARGET, "", std=1.0)
    for row in network.layout.rows:
        if row.kind == schema.TARGET:
            row.dtype, row.shape[:] = "float32", (32, 64)
    return network.add_row(schema.SPREAD, "target", mean=spread).run()


def _pairs(low: float, high: float) -> Run:
    return Network(criterion="CosineEmbeddingLoss").set(schema.TARGET, "", min=low, max=high).run()


EXAMPLES = (
    Example("zeros", lambda: _given(0.0).run(), ill=True, subject="input", first_step=0),
    Example("a constant from step 60 on", lambda: _given(0.5, 60).run(), ill=True, subject="input", first_step=60),
    Example("nothing but padding tokens", _tokens, ill=True, subject="input"),
    Example("one sample of two numbers, met again", lambda: _small(0.0), ill=False, outcome="Passed"),
    Example("two numbers that never differ", lambda: _small(1.0), ill=True, subject="input", first_step=0),
    Example("features of zero beside edges", lambda: _graph(0.0), ill=True, subject="input", first_step=0),
    Example("a graph without features: ones beside edges", lambda: _graph(1.0), ill=False, outcome="Passed"),
    Example("features of zero beside labels", lambda: _labelled(0.0), ill=True, subject="input", first_step=0),
    Example("one row of an embedding", lambda: _embedding(49 / 50), ill=True, subject="user.weight"),
    Example("one row, and it learns: information", lambda: _embedding(49 / 50, learns=True), ill=True),
    Example("two rows of an embedding", lambda: _embedding(48 / 50), ill=False, outcome="Passed"),
    Example("one target for all samples", lambda: _one_target(0.0), ill=True, subject="target"),
    Example("pairs that are all alike", lambda: _pairs(1.0, 1.0), ill=True, subject="target"),
    Example("pairs of both kinds", lambda: _pairs(-1.0, 1.0), ill=False, outcome="Passed"),
    Example("targets that differ", lambda: _one_target(0.5), ill=False, outcome="Passed"),
    Example("each sample the same", lambda: _spread(0.0), ill=True, subject="input"),
    Example("learned all the same: information", lambda: _spread(0.0, learns=True), ill=True, subject="input"),
    Example("just below the limit", lambda: _spread(0.9e-6), ill=True, subject="input"),
    Example("just above the limit", lambda: _spread(1.1e-6), ill=False, outcome="Passed"),
    Example("samples that differ", lambda: _spread(0.9), ill=False, outcome="Passed"),
    Example("a mask of ones beside the input", _mask_of_ones, ill=False, outcome="Passed"),
    Example("three blank batches at the end", lambda: _given(0.0, 197).run(), ill=False, outcome="Passed"),
    Example("no input seen", lambda: Network().absent(schema.INPUT, "").run(), ill=False, outcome="TooLittleData"),
)
