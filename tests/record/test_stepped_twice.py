"""A parameter that two optimizers step on one gradient is told of, one that is trained in turn is not."""

from __future__ import annotations

import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch


def trained(*, shared: bool, in_turn: bool = False) -> MemoryRecorder:
    torch.manual_seed(0)
    model, recorder = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), MemoryRecorder()
    one = torch.optim.SGD(model.parameters() if shared else model[0].parameters(), 0.01)
    two = torch.optim.Adam(model[1].parameters(), 0.001)
    Watch(recorder, model, [one, two], every=1)
    for _ in range(4):
        for each in (one, two):
            if each is one or in_turn:
                model.zero_grad()
                model(torch.randn(16, 4)).square().mean().backward()
            each.step()
    assert recorder.stream.errors == []
    return recorder


@pytest.mark.parametrize(("in_turn", "told"), [(False, 1.0), (True, 0.0)])
def test_of_a_shared_parameter_whether_both_step_on_one_gradient(in_turn: bool, told: float) -> None:
    stream = trained(shared=True, in_turn=in_turn).stream
    assert stream.subjects(schema.STEPPED_TWICE) == ["1.weight", "1.bias"]
    assert [stream.value(schema.STEPPED_TWICE, "1.weight", schema.MEAN, i) for i in range(4)] == [told] * 4


def test_parameters_of_one_optimizer_each_are_not_told_of() -> None:
    assert trained(shared=False).stream.subjects(schema.STEPPED_TWICE) == []
