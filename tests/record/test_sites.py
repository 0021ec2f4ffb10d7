"""Outputs read at sites, where they come as ever, beside the same training read in the general way."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from native_ways import SETS
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tb_nnhealth.record import outputs, sites
from tb_nnhealth.record.watch import Watch

pytestmark = pytest.mark.skipif(not SETS, reason="the native core was not built")
STEPS = 16
Batch = Callable[[int], torch.Tensor]


class Dense(nn.Module):
    """A layer called twice in some steps, functions after others, a nested output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(3, 40), nn.BatchNorm1d(40), nn.Linear(40, 40)
        self.relu, self.tanh, self.drop = nn.ReLU(), nn.Tanh(), nn.Dropout(0.3)
        self.attention, self.last = nn.MultiheadAttention(40, 2), nn.Linear(40, 2)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.relu(self.norm(self.first(x)) - 2)
        for _ in range(2 if self.calls % 5 == 4 else 1):
            x = F.tanh(self.second(x))
        x = self.drop(self.tanh(10 * x))
        return self.last(self.attention(x, x, x, need_weights=False)[0])  # type: ignore[no-any-return]


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.stem, self.block, self.reentrant = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh()), reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.block, self.stem(x), use_reentrant=self.reentrant)  # type: ignore[no-any-return]


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Sigmoid(), nn.Flatten()
    )


class Turned(nn.Module):
    """Rows whose first two dimensions change places between layers, as in attention that takes samples first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.dropout, self.norm = nn.Linear(3, 4), nn.Dropout(0.0), nn.LayerNorm(4)
        self.activation, self.last = nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.dropout(self.first(x).transpose(0, 1)))
        return self.last(self.activation(x).transpose(0, 1))


def of_sequences(i: int) -> torch.Tensor:
    return torch.randn(5 if i % 3 == 2 else 6, 7, 3)


def of_varying_size(i: int) -> torch.Tensor:
    return torch.randn(5 if i % 3 == 2 else 9, 3)


def images(i: int) -> torch.Tensor:
    x = torch.randn(5, 3, 9, 9)
    return x.to(memory_format=torch.channels_last) if i % 4 == 3 else x


def sick(i: int) -> torch.Tensor:
    x = torch.randn(9, 3)
    x[0, 0] = {7: torch.nan, 9: torch.inf}.get(i, 1.0)
    return x


def plainly(model: nn.Module, optimizer: Any, x: torch.Tensor, i: int) -> None:
    model(x).square().sum().backward()
    optimizer.step()


def twice_through(model: nn.Module, optimizer: Any, x: torch.Tensor, i: int) -> None:
    loss = model(x).square().sum()
    loss.backward(retain_graph=i % 3 == 2)
    if i % 3 == 2:
        loss.backward()
    optimizer.step()


def accumulating(model: nn.Module, optimizer: Any, x: torch.Tensor, i: int) -> None:
    for _ in range(1 + i % 2):
        model(x).square().sum().backward()
    optimizer.step()


def now_and_then_otherwise(model: nn.Module, optimizer: Any, x: torch.Tensor, i: int) -> None:
    model.train(i % 4 != 2)
    if i % 3 == 0:
        with torch.no_grad():
            model(x)
    with torch.autocast("cpu", torch.bfloat16, enabled=i % 5 == 4):
        out = model(x)
    out.float().square().sum().backward()
    optimizer.step()


def records(make: Callable[[], nn.Module], batch: Batch, step: Any) -> tuple[MemoryStream, list[torch.Tensor]]:
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for i in range(STEPS):
        optimizer.zero_grad()
        step(model, optimizer, batch(i), i)
    watch.remove()
    return recorder.stream, [p.detach() for p in model.parameters()]


@pytest.mark.parametrize(
    ("make", "batch", "step"),
    [
        (Dense, of_varying_size, plainly),
        (Dense, of_varying_size, twice_through),
        (Dense, of_varying_size, accumulating),
        (Dense, of_varying_size, now_and_then_otherwise),
        (Dense, sick, plainly),
        (convolutions, images, plainly),
        (convolutions, images, accumulating),
        (lambda: convolutions().to(memory_format=torch.channels_last), images, plainly),
        (Turned, of_sequences, plainly),
        (Turned, of_sequences, accumulating),
        (lambda: Checkpointed(True), lambda i: of_varying_size(i).requires_grad_(), plainly),
        (lambda: Checkpointed(False), of_varying_size, accumulating),
        (lambda: nn.Linear(3, 2), of_varying_size, plainly),
    ],
)
def test_sites_say_what_the_general_way_says(
    make: Callable[[], nn.Module], batch: Batch, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    take = sites.Table.take
    monkeypatch.setattr(sites.Table, "take", lambda *given: taken.append(take(*given)) or taken[-1])
    own, weights = records(make, batch, step)
    monkeypatch.setattr(outputs, "admits", lambda seen: False)
    other, other_weights = records(make, batch, step)
    assert any(taken) or isinstance(make(), nn.Linear)
    assert own.errors == other.errors == []
    assert [row.SerializeToString() for row in own.layouts[-1].rows] == [
        row.SerializeToString() for row in other.layouts[-1].rows
    ]
    for (_, table), (_, expected) in zip(own.records, other.records, strict=True):
        np.testing.assert_array_equal(table, expected)
    for (_, counts), (_, expected_counts) in zip(own.counts, other.counts, strict=True):
        np.testing.assert_array_equal(counts, expected_counts)
    for weight, other_weight in zip(weights, other_weights, strict=True):
        np.testing.assert_array_equal(weight, other_weight)


def test_model_and_parameters_are_let_go() -> None:
    model = Dense()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    watch = Watch(MemoryRecorder(), model, optimizer, every=1)
    for i in range(6):
        optimizer.zero_grad()
        plainly(model, optimizer, of_varying_size(i), i)
    held = [weakref.ref(model), weakref.ref(model.first), weakref.ref(model.first.weight)]
    del model, optimizer
    gc.collect()
    assert [reference() for reference in held] == [None] * 3
    watch.remove()
