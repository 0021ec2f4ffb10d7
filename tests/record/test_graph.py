"""What follows a module, read from the autograd graph."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tb_nnhealth.record import graph_walk
from tb_nnhealth.record.graph import Consumer, Graph


def following(function: Callable[[torch.Tensor], torch.Tensor], width: int = 4) -> Consumer:
    """What the graph says of a linear layer whose output goes through ``function``."""
    graph: Graph[str] = Graph()
    output = nn.Linear(4, width)(torch.randn(3, 4))
    graph.record(output.grad_fn, "linear")
    graph.end(function(output).sum().grad_fn)
    return graph.consumers({}).get("linear", Consumer())


@pytest.mark.parametrize(
    ("function", "nonlinearity"),
    [
        (F.relu, "relu"),
        (torch.relu_, "relu"),
        (torch.tanh, "tanh"),
        (torch.sigmoid, "sigmoid"),
        (F.gelu, "gelu"),
        (F.silu, "silu"),
        (F.leaky_relu, "leaky_relu"),
        (F.elu, "elu"),
        (F.softplus, "softplus"),
        (lambda x: F.softmax(x, 1), "softmax"),
        (lambda x: F.log_softmax(x, 1), "log_softmax"),
        (lambda x: F.cross_entropy(x, torch.zeros(3, dtype=torch.long)), "log_softmax"),
        (lambda x: x.view(12).reshape(4, 3).t().unsqueeze(0).clone().tanh(), "tanh"),
        (lambda x: torch.cat([c.relu() for c in x.chunk(2, 1)]), "relu"),
        (lambda x: x * torch.sigmoid(x), ""),
        (lambda x: x.relu() + x, ""),
        (lambda x: x + 1, ""),
    ],
)
def test_function_behind_a_layer_is_named(function: Callable[[torch.Tensor], torch.Tensor], nonlinearity: str) -> None:
    found = following(function)
    assert found.nonlinearity == nonlinearity
    assert found.functional == bool(nonlinearity)
    assert not found.normalized


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.layer_norm(x, (4,)),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.group_norm(x, 2),
    ],
)
def test_normalization_behind_a_layer_is_told(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert following(function) == Consumer(normalized=True)


@pytest.mark.parametrize(
    ("function", "linear"),
    [
        (nn.Linear(4, 2), True),
        (nn.Linear(4, 2, bias=False), True),
        (nn.Linear(4, 2).requires_grad_(False), True),
        (lambda x: nn.Conv1d(1, 2, 3)(x.unsqueeze(1)), True),
        (lambda x: nn.Linear(4, 2)(x) + nn.Linear(4, 2)(x), True),
        (lambda x: nn.Linear(4, 2)(x.relu()), False),
        (lambda x: nn.Linear(4, 2)(x) + x.sin().sum(), False),
        (lambda x: x @ nn.Linear(4, 4)(torch.randn(3, 4)).t(), False),
        (lambda x: x @ x.t(), False),
        (lambda x: (torch.ones(3, 3) @ x).relu(), False),
    ],
)
def test_product_with_a_weight_is_told_from_other_products(
    function: Callable[[torch.Tensor], torch.Tensor], linear: bool
) -> None:
    assert following(function).linear is linear


def test_function_of_a_module_is_not_taken_for_one_without() -> None:
    graph: Graph[str] = Graph()
    linear = nn.Linear(4, 4)(torch.randn(3, 4))
    tanh = nn.Tanh()(linear)
    graph.record(linear.grad_fn, "linear")
    graph.record(tanh.grad_fn, "tanh")
    assert graph.consumers({"linear": "", "tanh": "tanh"}) == {"linear": Consumer(nonlinearity="tanh")}


def test_layers_before_recorded_ones_are_found_without_the_loss() -> None:
    graph: Graph[int] = Graph()
    hidden = torch.randn(3, 4)
    for i in range(3):
        hidden = nn.Linear(4, 4)(hidden)
        graph.record(hidden.grad_fn, i)
        hidden = torch.relu(hidden)
    assert {key: consumer.nonlinearity for key, consumer in graph.consumers({}).items()} == {0: "relu", 1: "relu"}


def test_walk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    graph: Graph[str] = Graph()
    output = nn.Linear(4, 4)(torch.randn(3, 4))
    graph.record(output.grad_fn, "linear")
    for _ in range(500):
        output = output + 1
    graph.end(output.grad_fn)
    monkeypatch.setattr(graph_walk, "NODES_READ", 50)
    kind = Graph._kind
    monkeypatch.setattr(Graph, "_kind", staticmethod(lambda node: read.append(node) or kind(node)))
    graph.consumers({})
    assert len(read) <= 50


def test_nothing_is_said_where_there_is_no_graph() -> None:
    graph: Graph[str] = Graph()
    graph.end(None)
    assert not graph
    assert graph.consumers({}) == {}
