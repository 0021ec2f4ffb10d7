"""Updates from a sample of each weight: where the user asks, and where memory is short."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from native_ways import way  # noqa: F401
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record import step_snapshot
from tb_nnhealth.record.watch import Watch

ESTIMATED = (schema.MEAN, schema.STD, schema.RMS, schema.ZERO_SHARE)
ABSENT = (schema.MIN, schema.MAX, schema.NAN_COUNT, schema.INF_COUNT)


def trained(closure: bool = False, **options: Any) -> MemoryStream:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 20)).to(torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = MemoryRecorder()
    Watch(recorder, model, optimizer, every=1, **options)
    for _ in range(4):

        def step() -> torch.Tensor:
            optimizer.zero_grad()
            loss = model(torch.randn(64, 300)).square().mean()
            loss.backward()
            return loss

        if closure:
            optimizer.step(step)
        else:
            step()
            optimizer.step()
    assert recorder.stream.errors == []
    return recorder.stream


@pytest.mark.parametrize("closure", [False, True], ids=["plain", "closure"])
def test_large_weights_are_estimated_and_small_ones_exact(way: str, closure: bool) -> None:  # noqa: F811
    exact, sampled = trained(closure), trained(closure, updates="sampled")
    for record in range(4):
        for statistic in (schema.STD, schema.RMS):
            expected = exact.value(schema.UPDATE, "0.weight", statistic, record)
            assert sampled.value(schema.UPDATE, "0.weight", statistic, record) == pytest.approx(expected, rel=0.06)
        for statistic in ABSENT:
            assert math.isnan(sampled.value(schema.UPDATE, "0.weight", statistic, record))
        for name in ("0.bias", "2.weight", "2.bias"):
            for statistic in schema.STATISTICS[:8]:
                expected = exact.value(schema.UPDATE, name, statistic, record)
                found = sampled.value(schema.UPDATE, name, statistic, record)
                assert found == pytest.approx(expected, rel=1e-4, abs=1e-8, nan_ok=True)
        for kind in (schema.WEIGHT, schema.GRADIENT):
            for statistic in schema.STATISTICS[:8]:
                expected = exact.value(kind, "0.weight", statistic, record)
                assert sampled.value(kind, "0.weight", statistic, record) == pytest.approx(expected, rel=1e-4)
    assert step_snapshot.NOTE in sampled.capture.reason
    assert step_snapshot.NOTE not in exact.capture.reason


def test_error_is_that_which_is_stated() -> None:
    errors = []
    for seed in range(200):
        update = torch.randn(257, 1031, generator=torch.Generator().manual_seed(seed))
        part = step_snapshot.sample(update)
        assert step_snapshot.SAMPLED <= part.numel() < 2 * step_snapshot.SAMPLED
        errors.append(abs(float(part.square().mean() / update.square().mean()) ** 0.5 - 1))
    errors.sort()
    assert errors[100] < 0.01
    assert errors[190] < 0.025


@pytest.mark.parametrize("shape", [(4097,), (128, 64), (1000, 512), (64, 32, 3, 3), (1 << 20,), (5003, 7)])
def test_every_column_is_met(shape: tuple[int, ...]) -> None:
    places = step_snapshot.sample(torch.arange(math.prod(shape)).view(shape))
    assert step_snapshot.SAMPLED <= len(places) <= math.prod(shape)
    assert len((places % shape[-1]).unique()) > 0.9 * min(shape[-1], step_snapshot.SAMPLED)


def test_copies_that_would_fill_the_memory_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_snapshot, "SURELY_FITS", 1000)
    monkeypatch.setattr(step_snapshot, "available_memory", lambda: 1e6)
    assert not math.isnan(trained().value(schema.UPDATE, "0.weight", schema.MAX))
    monkeypatch.setattr(step_snapshot, "available_memory", lambda: 4e5)
    short = trained()
    assert math.isnan(short.value(schema.UPDATE, "0.weight", schema.MAX))
    assert short.value(schema.UPDATE, "0.weight", schema.RMS) > 0


def test_memory_is_what_machine_and_control_group_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_snapshot, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(step_snapshot, "_GROUP", tmp_path)
    assert step_snapshot.available_memory() == math.inf
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:  8 kB\n")
    assert step_snapshot.available_memory() == 8192
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000\n")
    assert step_snapshot.available_memory() == 8192
    (tmp_path / "memory.max").write_text("5000\n")
    assert step_snapshot.available_memory() == 2000


def test_other_words_are_refused() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="'exact' or 'sampled', found 'some'"):
        Watch(MemoryRecorder(), model, torch.optim.SGD(model.parameters(), 0.1), updates="some")
