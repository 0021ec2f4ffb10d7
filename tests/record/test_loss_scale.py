"""The scale of a gradient scaler, as a row."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch


def scales(scaler: Any, *, given: bool = True, fused: bool = False, steps: int = 6) -> list[float]:
    """The row's values, in a training whose third loss is infinite."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, fused=fused)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1, scaler=scaler if given else None)
    for step in range(steps):
        optimizer.zero_grad()
        loss = model(torch.ones(4, 3)).mean() * (math.inf if step == 2 else 1.0)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    watch.remove()
    stream = recorder.stream
    assert stream.errors == []
    if not stream.subjects(schema.LOSS_SCALE):
        return []
    return [stream.value(schema.LOSS_SCALE, "", schema.MEAN, i) for i in range(len(stream.records))]


def test_scale_of_each_step_that_was_made() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)
    assert scales(scaler) == [64.0, 64.0, 64.0, 64.0, 128.0]


def test_fused_optimizer_tells_the_scale_by_itself() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    assert scales(scaler, given=False, fused=True) == [64.0, 64.0, 64.0, 32.0, 32.0, 32.0]


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_said_without_a_scale(enabled: bool) -> None:
    assert scales(torch.amp.GradScaler("cpu", enabled=False), given=enabled) == []
