"""The scale of a gradient scaler, as a row, and the steps that the scaler skips."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
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


def test_scale_of_each_step_with_those_skipped() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)
    assert scales(scaler) == [64.0, 64.0, 128.0, 64.0, 64.0, 128.0]


def test_scaler_is_found_by_itself() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)
    assert scales(scaler, given=False) == [64.0, 64.0, 128.0, 64.0, 64.0, 128.0]


def test_fused_optimizer_tells_the_scale_by_itself() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    assert scales(scaler, given=False, fused=True) == [64.0, 64.0, 64.0, 32.0, 32.0, 32.0]


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_said_without_a_scale(enabled: bool) -> None:
    assert scales(torch.amp.GradScaler("cpu", enabled=False), given=enabled) == []


Loss = Callable[[int, torch.Tensor], torch.Tensor]


def skipping(
    loss_of: Loss,
    steps: int = 8,
    *,
    accumulate: int = 1,
    schedule: bool = False,
    scaler: Any = None,
    given: bool = True,
    now: list[int] | None = None,
    **options: Any,
) -> MemoryStream:
    """A training under a scaler; ``loss_of`` has the step and the true loss, and makes some of them infinite."""
    now = [] if now is None else now
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = scaler or torch.amp.GradScaler("cpu", init_scale=64.0)
    rates = torch.optim.lr_scheduler.StepLR(optimizer, 1000)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, **{"every": 1, **options}, scaler=scaler if given else None)
    for step in range(steps):
        now.append(10 * step)
        optimizer.zero_grad()
        for _ in range(accumulate):
            loss = loss_of(step, model(torch.ones(4, 3)).mean())
            watch.observe(loss=loss)
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if schedule:
            rates.step()
    watch.remove()
    assert recorder.stream.errors == []
    return recorder.stream


def test_step_that_was_skipped_has_no_updates_and_no_gradients() -> None:
    stream = skipping(lambda step, loss: loss * math.inf if step == 3 else loss, accumulate=2)
    assert stream.steps == list(range(8))
    for record in range(8):
        made = record != 3
        for kind, subject in (
            (schema.GRADIENT, "0.weight"),
            (schema.UPDATE, "0.weight"),
            (schema.LEARNING_RATE, "0.0"),
        ):
            assert math.isfinite(stream.value(kind, subject, schema.MEAN, record)) == made
        assert math.isfinite(stream.value(schema.ACTIVATION_GRADIENT, "0", schema.MEAN, record)) == made
        assert math.isfinite(stream.value(schema.ACTIVATION, "0", schema.MEAN, record))
        assert math.isfinite(stream.value(schema.WEIGHT, "0.weight", schema.MEAN, record))
        assert math.isfinite(stream.value(schema.LOSS, "", schema.MEAN, record)) == made


def test_steps_all_skipped_from_the_start_are_recorded() -> None:
    stream = skipping(lambda step, loss: loss * math.inf)
    assert stream.steps == list(range(7))
    assert [stream.value(schema.LOSS_SCALE, "", schema.MEAN, i) for i in range(7)] == [64 / 2**i for i in range(7)]


def test_scaler_that_never_lets_a_step_be_made_is_found() -> None:
    stream = skipping(lambda step, loss: loss * math.inf, 20, given=False)
    scales = [stream.value(schema.LOSS_SCALE, "", schema.MEAN, i) for i in range(len(stream.records))]
    assert len(scales) >= 4
    assert all(later == before / 2 for before, later in pairwise(scales))


def test_memory_is_not_searched_where_steps_are_made() -> None:
    with mock.patch("tb_nnhealth.record.loss_scale.gc.get_objects", side_effect=AssertionError):
        stream = skipping(lambda step, loss: loss, 20, given=False)
    assert stream.value(schema.LOSS_SCALE, "", schema.MEAN, 0) == 64


def test_of_two_scalers_in_memory_none_is_taken() -> None:
    other = torch.amp.GradScaler("cpu", init_scale=8.0)
    other.scale(torch.ones(()))
    stream = skipping(lambda step, loss: loss * math.inf, 20, given=False)
    assert stream.records == []


def test_cadence_and_own_step_numbers_go_on_over_skipped_steps() -> None:
    now: list[int] = []
    stream = skipping(
        lambda step, loss: loss * math.inf if step in (2, 3, 4) else loss, 9, every=2, now=now, step=lambda: now[-1]
    )
    assert stream.steps == [0, 20, 40, 60, 80]


def test_found_below_a_scheduler() -> None:
    stream = skipping(lambda step, loss: loss, schedule=True, given=False)
    assert stream.value(schema.LOSS_SCALE, "", schema.MEAN, 0) == 64


def test_scale_lowered_by_hand_is_no_skipped_step() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)

    def loss_of(step: int, loss: torch.Tensor) -> torch.Tensor:
        if step == 3:
            scaler.update(8.0)
        return loss

    stream = skipping(loss_of, scaler=scaler)
    assert stream.steps == list(range(8))
    assert math.isfinite(stream.value(schema.UPDATE, "0.weight", schema.MEAN, 3))


def test_scaler_is_not_kept_alive() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    gone = weakref.ref(scaler)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(MemoryRecorder(), model, optimizer, every=1)
    scaler.scale(model(torch.ones(4, 3)).mean()).backward()
    scaler.step(optimizer)
    scaler.update()
    del scaler
    assert gone() is None
    watch.remove()
