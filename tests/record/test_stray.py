"""Tensors that a forward pass learns with and that are no parameters of the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import Tensor, nn

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch

STEPS = 6


class Body(nn.Module):
    """A head behind whatever ``hidden`` does; ``kept`` is an attribute that holds it."""

    def __init__(self, kept: Any = None, hidden: Callable[[Any, Tensor], Tensor] = lambda kept, x: x) -> None:
        super().__init__()
        self.kept, self.hidden = kept, hidden
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(self.kept, x)))


def trained(
    model: nn.Module,
    optimizer: Any = None,
    inputs: Callable[[], Tensor] = lambda: torch.ones(3, 4),
    after: Callable[[], object] = lambda: None,
) -> MemoryStream:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(inputs()).square().mean().backward()
        optimizer.step()
        after()
    watch.remove()
    assert recorder.stream.errors == []
    return recorder.stream


def told(stream: MemoryStream, name: str, statistic: str = schema.MEAN) -> list[float]:
    return [stream.value(schema.STRAY, name, statistic, i) for i in range(STEPS)]


@pytest.mark.parametrize(
    ("kept", "call", "names"),
    [
        ([nn.Linear(4, 4)], lambda kept, x: kept[0](x), {"kept.0.weight", "kept.0.bias"}),
        ({"a": nn.Linear(4, 4, bias=False)}, lambda kept, x: kept["a"](x), {"kept.a.weight"}),
        (([nn.Linear(4, 4, bias=False)],), lambda kept, x: kept[0][0](x), {"kept.0.0.weight"}),
        ([torch.zeros(4, requires_grad=True)], lambda kept, x: x + kept[0], {"kept.0"}),
    ],
)
def test_what_is_kept_but_not_registered_is_named(kept: Any, call: Any, names: set[str]) -> None:
    stream = trained(Body(kept, call))
    assert set(stream.subjects(schema.STRAY)) == names
    for name in names:
        assert told(stream, name)[1:] == [1.0] * (STEPS - 1)


def test_layer_made_in_each_forward_pass() -> None:
    stream = trained(Body(None, lambda kept, x: nn.Linear(4, 4)(x)))
    assert stream.subjects(schema.STRAY) == [""]
    assert list(stream.layouts[-1].rows[stream.row(schema.STRAY, "")].shape) == [4, 4]
    assert told(stream, "", schema.MAX)[1:] == [1.0] * (STEPS - 1)
    assert all(map(math.isnan, told(stream, "")))


def test_what_another_optimizer_trains_has_changed() -> None:
    layer = nn.Linear(4, 4, bias=False)
    model = Body([layer], lambda kept, x: kept[0](x))
    stream = trained(model, torch.optim.SGD([*model.parameters(), *layer.parameters()], 0.1))
    assert told(stream, "kept.0.weight")[2:] == [0.0] * (STEPS - 2)


def test_update_behind_autograds_back_is_seen() -> None:
    layer = nn.Linear(4, 4, bias=False)
    stream = trained(Body([layer], lambda kept, x: kept[0](x)), after=lambda: layer.weight.data.mul_(0.9))
    assert told(stream, "kept.0.weight")[2:] == [0.0] * (STEPS - 2)


@pytest.mark.parametrize(
    "model",
    [
        Body(),
        Body(nn.Linear(4, 4), lambda kept, x: kept(x)),
        Body(nn.ModuleList([nn.Linear(4, 4)]), lambda kept, x: kept[0](x)),
        Body(None, lambda kept, x: x + torch.zeros(4, requires_grad=True)),
        Body([nn.Linear(4, 4).requires_grad_(False)], lambda kept, x: kept[0](x)),
        Body([nn.Linear(4, 4)], lambda kept, x: kept[0](x).detach()),
    ],
)
def test_nothing_is_told_of(model: Body) -> None:
    assert trained(model).subjects(schema.STRAY) == []


def test_what_lies_before_the_model_is_not_the_models() -> None:
    encoder = nn.Linear(4, 4)
    assert trained(Body(), inputs=lambda: encoder(torch.ones(3, 4))).subjects(schema.STRAY) == []


def test_learned_input_is_not_the_models() -> None:
    picture = nn.Parameter(torch.ones(3, 4))
    assert trained(Body(), inputs=lambda: picture).subjects(schema.STRAY) == []
