"""What a model returns is read where nothing tells what it is compared with, and only there."""

from __future__ import annotations

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch
from tb_nnhealth.schema import MEAN, RMS

STEPS, SAMPLES = 3, 12


class Coder(nn.Module):
    """Returns a reconstruction, a code, and one number."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(6, 2), nn.Linear(2, 6)
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        code = self.down(x)
        outputs = self.up(code), code, code.mean()
        self.seen = [output.detach().clone() for output in outputs]
        return outputs


def trained(*, module: bool = False, observed: bool = False) -> tuple[MemoryStream, Coder]:
    torch.manual_seed(0)
    model, recorder, criterion = Coder(), MemoryRecorder(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(recorder, model, optimizer, criterion=criterion if module else None, every=1)
    for _ in range(STEPS):
        x = torch.randn(SAMPLES, 6)
        optimizer.zero_grad()
        outputs = model(x)
        if observed:
            watch.observe(inputs=x, targets=x, outputs=outputs[0])
        error = criterion(outputs[0], x) if module else (outputs[0] - x).abs().mean()
        (error + outputs[1].square().mean() + outputs[2]).backward()
        optimizer.step()
    watch.remove()
    return recorder.stream, model


def test_each_matrix_that_is_returned() -> None:
    stream, model = trained()
    assert stream.subjects(schema.OUTPUT) == ["", "1"]
    for place, subject, output in (("", "output", model.seen[0]), ("1", "output 1", model.seen[1])):
        size, spread = float(output.square().mean().sqrt()), float(output.var(0, correction=0).mean().sqrt())
        assert stream.value(schema.OUTPUT, place, RMS) == pytest.approx(size, rel=1e-5)
        assert stream.value(schema.SPREAD, subject, MEAN) == pytest.approx(spread, rel=1e-5)


@pytest.mark.parametrize("how", ["module", "observed"])
def test_not_beside_predictions(how: str) -> None:
    stream, _ = trained(**{how: True})
    assert stream.has(schema.SPREAD, "prediction")
    rows = [stream.value(schema.OUTPUT, subject, RMS) for subject in stream.subjects(schema.OUTPUT)]
    assert all(value != value for value in rows)
