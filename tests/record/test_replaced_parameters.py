"""Parameters that the model replaces after the optimizer was built."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn
from torch.nn.utils import prune

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch


class Positioned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 3), nn.Linear(3, 2)
        self.position = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(x) + self.position)


def trained(
    change: Callable[[Positioned, torch.optim.Optimizer], None], model: Positioned | None = None
) -> MemoryStream:
    """Six steps, with a change before the fourth."""
    model = model or Positioned()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for step in range(6):
        if step == 3:
            change(model, optimizer)
        optimizer.zero_grad()
        model(torch.arange(4)).square().mean().backward()
        optimizer.step()
    watch.remove()
    assert recorder.stream.errors == []
    return recorder.stream


def known(stream: MemoryStream, kind: str, name: str) -> list[bool]:
    return [math.isfinite(stream.value(kind, name, schema.MEAN, i)) for i in range(6)]


def replace_position(model: Positioned, optimizer: torch.optim.Optimizer) -> None:
    model.position = nn.Parameter(torch.full((3,), 2.0))


def test_replaced_parameter_is_in_no_optimizer_from_the_next_record_on() -> None:
    stream = trained(replace_position)
    assert stream.parameter("position").optimizer == -1
    assert stream.layouts[-1].optimizers[0].foreign_parameters == 1
    assert known(stream, schema.UPDATE, "position") == [True] * 3 + [False] * 3
    assert known(stream, schema.GRADIENT, "position") == [True] * 6
    assert [stream.value(schema.WEIGHT, "position", schema.MEAN, i) for i in (3, 4, 5)] == [2.0] * 3


def test_parameter_under_another_name_is_measured_under_it() -> None:
    """Pruning keeps the parameter and renames it: the mask's product stands where it stood."""

    def prune_head(model: Positioned, optimizer: torch.optim.Optimizer) -> None:
        prune.l1_unstructured(model.head, "weight", 0.5)

    stream = trained(prune_head)
    assert stream.parameter("head.weight_orig").optimizer == 0
    assert known(stream, schema.GRADIENT, "head.weight") == [True] * 3 + [False] * 3
    for kind in (schema.GRADIENT, schema.UPDATE, schema.WEIGHT):
        assert known(stream, kind, "head.weight_orig") == [False] * 3 + [True] * 3


def test_replaced_module_has_its_new_shape() -> None:
    def change(model: Positioned, optimizer: torch.optim.Optimizer) -> None:
        model.table = nn.Embedding(9, 3)

    stream = trained(change)
    parameter = stream.parameter("table.weight")
    assert (parameter.optimizer, list(parameter.shape)) == (-1, [9, 3])
    assert list(stream.layouts[-1].rows[stream.row(schema.WEIGHT, "table.weight")].shape) == [9, 3]
    assert known(stream, schema.UPDATE, "table.weight") == [True] * 3 + [False] * 3
    assert known(stream, schema.GRADIENT, "table.weight") == [True] * 6


def test_one_of_two_tied_places() -> None:
    model = Positioned()
    model.tied = model.position

    def change(model: Positioned, optimizer: torch.optim.Optimizer) -> None:
        model.position = nn.Parameter(torch.ones(3))

    stream = trained(change, model)
    assert stream.parameter("position").optimizer == -1
    assert stream.parameter("tied").optimizer == 0


def test_replaced_and_held_again_is_healthy() -> None:
    def change(model: Positioned, optimizer: torch.optim.Optimizer) -> None:
        replace_position(model, optimizer)
        optimizer.add_param_group({"params": [model.position]})

    stream = trained(change)
    assert (stream.parameter("position").optimizer, stream.parameter("position").group) == (0, 1)
    assert known(stream, schema.UPDATE, "position") == [True] * 6


def test_resized_in_place_is_still_held() -> None:
    def change(model: Positioned, optimizer: torch.optim.Optimizer) -> None:
        model.table.weight.data = torch.randn(9, 3)

    stream = trained(change)
    assert stream.parameter("table.weight").optimizer == 0
    assert known(stream, schema.UPDATE, "table.weight") == [True] * 6
