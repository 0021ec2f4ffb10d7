"""How smooth filters are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn

from tb_nnhealth import SummaryWriter, schema
from tb_nnhealth.events import filter_pictures
from tb_nnhealth.record.filters import FilterPictures, picture, smoothness
from tb_nnhealth.record.watch import Watch
from tb_nnhealth.source.files import FileSource


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
    assert [step for step, _ in stream.pictures] == [0, 10]
    first = filter_pictures.decode(*stream.pictures[0])
    assert (first.parameter, first.total, first.pixels.shape) == ("first.weight", 4, (4, 1, 5, 5))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_the_weight_to_half_a_step_of_its_range(channels: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, channels, 3, 5) * 10.0 ** torch.arange(6).reshape(-1, 1, 1, 1)
    make, size = picture("stem.weight", weight)
    shown = weight.clone()
    weight.zero_()  # what trains on may change it before the writer's thread comes to it
    found = filter_pictures.decode(7, make())
    assert size == 4 * shown.numel()
    assert (found.step, found.parameter, found.total) == (7, "stem.weight", 6)
    low, high = (edge.reshape(-1, 1, 1, 1) for edge in (found.low, found.high))
    restored = low + (high - low) * found.pixels / 255
    assert (abs(restored - shown.numpy()) <= (high - low) / 254).all()


def test_pictures_of_large_and_odd_weights_are_bounded_and_finite() -> None:
    for weight in (torch.randn(512, 3, 31, 31), torch.randn(64, 12, 16, 16), torch.full((2, 1, 3, 3), math.nan)):
        found = filter_pictures.decode(0, picture("w", weight)[0]())
        assert found.pixels.size <= filter_pictures.PIXELS_MOST
        assert found.pixels.shape[1] in (1, 3)
        assert found.total == len(weight)


@pytest.mark.parametrize(
    "broken",
    [b"[]", b"{}", b'{"shape": [1, 1, 3, 3], "pixels": "AA==", "low": [0], "high": [1], "parameter": "w", "total": 1}'],
)
def test_what_is_no_picture_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match="expected filters"):
        filter_pictures.decode(0, broken)


def test_pictures_grow_seldom_as_a_run_grows_long() -> None:
    schedule = FilterPictures()
    taken = [i for i in range(100_000) if schedule.due(i % 3 == 0)]
    assert taken[0] == 0
    assert taken[1] <= 12
    assert 20 <= len(taken) <= 30
    assert taken[-1] > 60_000


def test_pictures_come_back_from_the_log(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    weights = []
    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.watch(model, optimizer, every=1)
        for _ in range(25):
            optimizer.zero_grad()
            model(torch.randn(4, 3, 8, 8)).square().mean().backward()
            optimizer.step()
            weights.append(next(model.parameters()).detach().clone())
    source = FileSource([tmp_path])
    source.refresh()
    run = source.run("run")
    assert run.problems == []
    found = run.watches["model"].filters
    assert [filters.step for filters in found] == [0, 10, 20]
    for filters in found:
        assert filters.parameter == "0.weight"
        assert filters.high.tolist() == pytest.approx(weights[filters.step].amax((1, 2, 3)).tolist())
    run.watches["model"].rewind(10)
    assert [filters.step for filters in run.watches["model"].filters] == [0]
