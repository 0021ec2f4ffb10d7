"""Dropouts that the training forward calls with gradients off: recorded for a teacher in train mode alone."""

from __future__ import annotations

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn
from torch.nn import functional

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch

STEPS = 6


class Distilled(nn.Module):
    """A student, and a teacher whose answers are constants."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 3))
        self.teacher = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 3)).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            wanted = self.teacher(x)
        return self.student(x), wanted


def trained(*, teacher: bool, sampling: bool = False) -> MemoryStream:
    torch.manual_seed(0)
    model = Distilled()
    optimizer, recorder = torch.optim.SGD(model.student.parameters(), 0.1), MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(STEPS):
        model.train()
        model.teacher.train(teacher)
        x = torch.randn(5, 4)
        if sampling:
            model.teacher.train()
            with torch.no_grad():
                model(x)
            model.teacher.eval()
        optimizer.zero_grad()
        given, wanted = model(x)
        functional.mse_loss(given, wanted).backward()
        optimizer.step()
    watch.remove()
    return recorder.stream


def test_a_teacher_in_train_mode_is_recorded() -> None:
    stream = trained(teacher=True)
    assert stream.subjects(schema.DROPPING) == ["teacher.1"]
    assert stream.value(schema.DROPPING, "teacher.1", schema.MEAN) == 1


@pytest.mark.parametrize("sampling", [False, True])
def test_a_teacher_in_evaluation_mode_is_not(*, sampling: bool) -> None:
    assert trained(teacher=False, sampling=sampling).subjects(schema.DROPPING) == []
