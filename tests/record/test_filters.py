"""How smooth filters are."""

from __future__ import annotations

import math

import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.filters import smoothness
from tb_nnhealth.record.watch import Watch


def test_noise_has_none_and_waves_have_much() -> None:
    torch.manual_seed(0)
    assert abs(float(smoothness(torch.randn(256, 3, 7, 7)))) < 0.02
    assert abs(float(smoothness(torch.randn(256, 3, 3, 3)))) < 0.05
    grid = torch.arange(11).float()
    wave = torch.cos(0.5 * grid[:, None] + 0.3 * grid[None])[None, None]
    assert float(smoothness(wave)) > 0.8
    assert float(smoothness(torch.ones(2, 1, 3, 3))) == pytest.approx(1)
    chess = ((grid[:, None] + grid[None]) % 2 * 2 - 1)[None, None]
    assert float(smoothness(chess)) == pytest.approx(-1)


def test_each_filter_counts_equally_but_zeros_do_not() -> None:
    flat, chess = torch.ones(1, 1, 4, 4), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2)[None, None]
    both = torch.cat([1e-30 * flat, 1e30 * chess, 0 * flat])
    assert float(smoothness(both)) == pytest.approx(0, abs=1e-6)
    assert math.isnan(smoothness(torch.zeros(1, 1, 3, 3)))


def test_first_convolution_called_is_recorded_with_the_histograms() -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.later, self.first, self.point = nn.Conv2d(4, 2, 3), nn.Conv2d(2, 4, 5), nn.Conv2d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.later(self.first(self.point(x)))

    model = Net()
    optimizer, recorder = torch.optim.SGD(model.parameters(), 0.01), MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(12):
        optimizer.zero_grad()
        model(torch.randn(2, 1, 9, 9)).square().mean().backward()
        optimizer.step()
    watch.remove()
    stream = recorder.stream
    assert stream.errors == []
    assert stream.subjects(schema.SMOOTHNESS) == ["first.weight"]
    measured = [i for i in range(12) if not math.isnan(stream.value(schema.SMOOTHNESS, "first.weight", "mean", i))]
    assert measured == [0, 10]
