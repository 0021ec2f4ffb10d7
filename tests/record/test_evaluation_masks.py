"""Masks drawn in evaluation mode are seen, and nothing that merely looks like one is."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.modules.module as hooks
from memory_recorder import MemoryRecorder
from torch import nn
from torch.nn import functional

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch

Between = Callable[[torch.Tensor, bool], torch.Tensor]


class Net(nn.Module):
    def __init__(self, between: Between, width: int = 32) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(width, 2)
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.between(self.first(x), self.training))


def evaluated(between: Between, width: int = 32, forwards: int = 1) -> tuple[Net, MemoryRecorder]:
    torch.manual_seed(0)
    model, recorder = Net(between, width), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    Watch(recorder, model, optimizer, every=1)
    for _ in range(4):
        model.train()
        optimizer.zero_grad()
        model(torch.randn(16, 8)).square().sum().backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            for _ in range(forwards):
                model(torch.randn(16, 8))
    return model, recorder


def masked(h: torch.Tensor, p: float) -> torch.Tensor:
    return h * (torch.rand_like(h) > p) / (1 - p)


@pytest.mark.parametrize(
    "between",
    [
        lambda h, _: functional.dropout(h, 0.4),
        lambda h, _: functional.dropout(functional.relu(h), 0.4),
        lambda h, _: masked(torch.tanh(h), 0.4),
    ],
    ids=["dropout", "behind a rectifier", "by hand"],
)
def test_a_mask_in_evaluation_is_told_at_the_layer_behind_it(between: Between) -> None:
    _, recorder = evaluated(between)
    assert recorder.stream.subjects(schema.EVALUATION_MASK) == ["second"]
    shares = [recorder.stream.value(schema.EVALUATION_MASK, "second", schema.MEAN, i) for i in range(1, 4)]
    assert shares == pytest.approx([0.4] * 3, abs=0.08)
    assert recorder.stream.errors == []


@pytest.mark.parametrize(
    ("between", "width"),
    [
        (lambda h, training: functional.dropout(h, 0.4, training=training), 32),
        (lambda h, _: functional.relu(h), 32),
        (lambda h, _: h + torch.randn_like(h), 32),
        (lambda h, _: functional.gumbel_softmax(h, hard=True), 32),
        (lambda h, _: torch.bernoulli(torch.sigmoid(h)) + h - h.detach(), 32),
        (lambda h, _: h * (torch.rand(len(h), 1) > 0.4), 32),
        (lambda h, _: h * (torch.arange(32) % 2), 32),
        (lambda h, _: torch.cat([h[:, :8] + torch.randn(len(h), 8), torch.zeros(len(h), 10)], 1), 18),
    ],
    ids=[
        "told of the mode", "a rectifier", "noise", "a one-hot sample", "a binary sample", "whole rows", "a fixed mask",
        "a sample beside a code",
    ],
)  # fmt: skip
def test_what_is_no_such_mask(between: Between, width: int) -> None:
    _, recorder = evaluated(between, width)
    assert recorder.stream.subjects(schema.EVALUATION_MASK) == []
    assert recorder.stream.errors == []


def test_a_module_left_in_train_mode_on_purpose_is_no_such_mask() -> None:
    drop = nn.Dropout(0.4)
    drop.eval = lambda: drop  # type: ignore[method-assign]
    torch.manual_seed(0)
    model, recorder = nn.Sequential(nn.Linear(8, 32), drop, nn.Linear(32, 2)), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    Watch(recorder, model, optimizer, every=1)
    model.eval()
    drop.training = True
    for _ in range(3):
        with torch.no_grad():
            model(torch.randn(16, 8))
        model(torch.randn(16, 8)).sum().backward()
        optimizer.step()
    assert recorder.stream.subjects(schema.EVALUATION_MASK) == []


def test_no_hook_is_left_and_chance_is_not_touched() -> None:
    def draws(watched: bool) -> torch.Tensor:
        torch.manual_seed(3)
        model = Net(lambda h, _: functional.dropout(h, 0.4))
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        watch = Watch(MemoryRecorder(), model, optimizer, every=1) if watched else None
        model.eval()
        outputs = []
        for _ in range(5):
            with torch.no_grad():
                outputs.append(model(torch.ones(16, 8)))
        if watch is not None:
            watch.remove()
        return torch.stack(outputs)

    before = len(hooks._global_forward_hooks)
    assert torch.equal(draws(True), draws(False))
    assert len(hooks._global_forward_hooks) == before


def test_a_forward_that_raises_leaves_no_hook_behind_the_next() -> None:
    def fails(h: torch.Tensor, training: bool) -> torch.Tensor:
        raise RuntimeError("out of luck")

    before = len(hooks._global_forward_hooks)
    model = Net(fails)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    watch = Watch(MemoryRecorder(), model, optimizer, every=1)
    model.eval()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="out of luck"), torch.no_grad():
            model(torch.ones(16, 8))
    watch.remove()
    assert len(hooks._global_forward_hooks) == before


def test_forwards_with_gradients_are_counted_by_mode() -> None:
    model, recorder = Net(lambda h, _: h), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    Watch(recorder, model, optimizer, every=2)
    x = torch.ones(4, 8)
    for step in range(5):
        if step == 2:
            model(x), model(x)
        if step == 3:
            model.eval()
            model(x)
            model.train()
        model(x).sum().backward()
        optimizer.step()
    train, evaluation = (
        [recorder.stream.value(schema.EVALUATION, f"{mode} with gradients", schema.MEAN, i) for i in range(3)]
        for mode in ("train", "eval")
    )
    assert train == [1, 3, 1]
    assert evaluation == [0, 0, 1]
    assert not math.isnan(recorder.stream.value(schema.EVALUATION, "train", schema.MEAN, 2))
