"""Parameters read by the native core around the optimizer's step, beside the same training read by torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from native_ways import SETS
from torch import nn

from tb_nnhealth import native, schema
from tb_nnhealth.record import reduce_native, step_parameters, step_table
from tb_nnhealth.record.watch import Watch

pytestmark = pytest.mark.skipif(not SETS, reason="the native core was not built")
STEPS = 6


def dense(batch: Callable[[int], torch.Tensor] = lambda i: torch.randn(9, 3)) -> tuple[nn.Module, Any]:
    return nn.Sequential(nn.Linear(3, 70), nn.Tanh(), nn.Linear(70, 80), nn.ReLU(), nn.Linear(80, 2)), batch


def convolutions() -> tuple[nn.Module, Any]:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten())
    return model.to(memory_format=torch.channels_last), lambda i: torch.randn(5, 3, 9, 9)


def of_dtype(dtype: torch.dtype) -> Callable[[], tuple[nn.Module, Any]]:
    def make() -> tuple[nn.Module, Any]:
        model, batch = dense()
        return model.to(dtype), lambda i: batch(i).to(dtype)

    return make


def strange(model: nn.Module, i: int) -> None:
    """Gradients that are missing, not finite, or laid out unlike the weight."""
    if i == 2:
        model[0].weight.grad[0, 0] = float("nan")
    if i == 3:
        model[2].bias.grad = None
    if i == 4:
        model[2].weight.grad = model[2].weight.grad.t().contiguous().t()


def nothing(model: nn.Module, i: int) -> None:
    pass


def records(make: Any, between: Any, optimizer: Any, closure: bool) -> MemoryStream:
    torch.manual_seed(0)
    model, batch = make()
    optimizer = optimizer(model.parameters())
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for i in range(STEPS):
        x = batch(i)

        def step(x: torch.Tensor = x, i: int = i) -> torch.Tensor:
            optimizer.zero_grad()
            loss = model(x).float().square().mean()
            loss.backward()
            between(model, i)
            return loss

        if closure:
            optimizer.step(step)
        else:
            step()
            optimizer.step()
    watch.remove()
    return recorder.stream


@pytest.mark.parametrize("closure", [False, True], ids=["plain", "closure"])
@pytest.mark.parametrize(
    ("make", "between", "optimizer"),
    [
        (dense, nothing, lambda p: torch.optim.Adam(p, 0.01)),
        (dense, strange, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
        (convolutions, nothing, lambda p: torch.optim.Adam(p, 0.01)),
        (of_dtype(torch.bfloat16), nothing, lambda p: torch.optim.SGD(p, 0.5)),
        (of_dtype(torch.float16), nothing, lambda p: torch.optim.SGD(p, 0.5)),
        (of_dtype(torch.float64), strange, lambda p: torch.optim.AdamW(p, 0.01)),
    ],
    ids=["dense", "strange gradients", "channels last", "bfloat16", "float16", "float64"],
)
def test_the_core_and_torch_record_the_same(
    make: Any, between: Any, optimizer: Any, closure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    natively = records(make, between, optimizer, closure)
    monkeypatch.setattr(native, "core", None)
    by_torch = records(make, between, optimizer, closure)
    assert [(r.kind, r.subject, r.dtype) for r in natively.layouts[-1].rows] != []
    for kind in schema.PARAMETER_KINDS:
        assert natively.subjects(kind) == by_torch.subjects(kind) != []
    places = [by_torch.row(row.kind, row.subject) for row in natively.layouts[-1].rows]
    assert sorted(places) == list(range(len(by_torch.layouts[-1].rows)))
    assert natively.errors == by_torch.errors == []
    for (step, ours), (same, expected) in zip(natively.records, by_torch.records, strict=True):
        assert step == same
        known = [(i, place) for i, place in enumerate(places) if i < len(ours) and place < len(expected)]
        own, other = map(list, zip(*known, strict=True))
        np.testing.assert_allclose(ours[own], expected[other], rtol=2e-5, atol=1e-9)
    for (step, counts), (same, expected) in zip(natively.counts, by_torch.counts, strict=True):
        assert step == same
        rows = [i for i, place in enumerate(places) if i < len(counts) and place < len(expected)]
        assert (counts[rows] == expected[[places[i] for i in rows]]).all()
    ours, expected = (
        [stream.parameter(name).initial_rms for name in natively.subjects(schema.WEIGHT)]
        for stream in (natively, by_torch)
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_what_the_core_fails_at_is_reported_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise ValueError("broken")

    class Core:
        def __getattr__(self, name: str) -> Any:
            return broken if name == "run" else getattr(core, name)

    core = native.core
    monkeypatch.setattr(native, "core", Core())
    stream = records(dense, nothing, lambda p: torch.optim.SGD(p, 0.1), False)
    assert stream.errors == [f"{step_parameters._TABLE}: ValueError: broken"]
    assert not np.isnan(stream.value(schema.WEIGHT, "0.weight", schema.RMS))
    assert np.isnan(stream.value(schema.WEIGHT, "0.weight", schema.RMS, record=0))


def test_a_log_says_that_the_core_is_not_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    reduce_native.note.cache_clear()
    plain = (dense, nothing, lambda p: torch.optim.SGD(p, 0.1), False)
    assert reduce_native.MISSING not in records(*plain).capture.reason
    monkeypatch.setattr(native, "core", None)
    reduce_native.note.cache_clear()
    assert records(*plain).capture.reason.endswith(reduce_native.MISSING)
    reduce_native.note.cache_clear()


def test_memory_for_large_copies_is_given_back_between_measured_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 4 * 70 * 80
    for kept, left in ((needed, {False}), (1 << 20, {True})):
        monkeypatch.setattr(step_table, "KEPT_BYTES", kept)
        model, batch = dense()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        watch = Watch(MemoryRecorder(), model, optimizer, every=2)
        held = []
        for i in range(STEPS):
            optimizer.zero_grad()
            model(batch(i)).square().mean().backward()
            optimizer.step()
            held.append(any(len(room._bytes) > needed for room in watch._capture._parameters._rooms.values()))
        assert set(held[::2]) == left, "after a measured step the next one is not measured"
