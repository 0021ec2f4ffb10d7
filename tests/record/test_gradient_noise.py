"""The noise scale of a gradient, against samples' gradients made one by one."""

from __future__ import annotations

import math

import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.gradient_noise import SAMPLES, noise_scale
from tb_nnhealth.record.watch import Watch


def head_noise(model: nn.Module, x: torch.Tensor, y: torch.Tensor, *, subject: str, passes: int = 1) -> float:
    """What a watch records of the second step, without learning, so that both steps are alike."""
    optimizer, recorder = torch.optim.SGD(model.parameters(), 0.0), MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(2):
        optimizer.zero_grad()
        for _ in range(passes):
            nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    watch.remove()
    assert recorder.stream.errors == []
    if subject not in recorder.stream.subjects(schema.NOISE_SCALE):
        return math.nan
    return recorder.stream.value(schema.NOISE_SCALE, subject, schema.MEAN)


def by_hand(model: nn.Module, layer: nn.Linear, x: torch.Tensor, y: torch.Tensor) -> float:
    """trace(Σ) / |G|², both unbiased, from each sample's own backward pass."""
    gradients = []
    for i in range(len(x)):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        gradients.append(torch.cat([p.grad.double().flatten() for p in layer.parameters() if p.grad is not None]))
    each = torch.stack(gradients)
    variance = each.var(dim=0).sum()
    return float(variance / (each.mean(0).square().sum() - variance / len(x)))


@pytest.mark.parametrize("bias", [True, False])
def test_equals_what_single_samples_give(bias: bool) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3, bias=bias))
    x = torch.randn(40, 6) + 1.0
    y = (x[:, 0] > 1).long()
    expected = by_hand(model, model[2], x, y)
    assert 0 < expected < 40 * 40
    assert head_noise(model, x, y, subject="2") == pytest.approx(expected, rel=1e-4)


def test_known_noise_is_found() -> None:
    """Gradients of mean (1, ..., 1) and of variance 25 in each direction: a noise scale of 25."""
    torch.manual_seed(0)
    scales = []
    for _ in range(200):
        gradients = 1 + 5 * torch.randn(64, 30)
        scales.append(float(noise_scale(gradients @ gradients.mT)))
    assert sorted(scales)[100] == pytest.approx(25, rel=0.1)


def test_pure_noise_is_clamped_and_the_same_gradient_has_none() -> None:
    assert float(noise_scale(torch.eye(8))) == 64
    assert float(noise_scale(torch.ones(8, 8))) == 0
    assert math.isnan(noise_scale(torch.zeros(8, 8)))


def test_large_batches_are_sampled() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3))
    x = torch.randn(4 * SAMPLES, 6)
    y = (x[:, 0] > 0).long()
    chosen = head_noise(model, x[::4], y[::4], subject="2")
    assert head_noise(model, x, y, subject="2") == pytest.approx(chosen, rel=1e-3)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x)) + self.head(x)


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x[:, None]).squeeze(1)


@pytest.mark.parametrize("model", [Shared(), Sequence()], ids=["called twice", "with positions"])
def test_not_measured_where_a_sample_is_not_one_row(model: nn.Module) -> None:
    assert math.isnan(head_noise(model, torch.randn(8, 6), torch.randint(0, 3, (8,)), subject="head"))


def test_not_measured_over_accumulated_batches() -> None:
    model = nn.Sequential(nn.Linear(6, 3))
    assert math.isnan(head_noise(model, torch.randn(8, 6), torch.randint(0, 3, (8,)), subject="0", passes=2))


def test_not_measured_of_a_derivative_that_enters_the_loss() -> None:
    """As of an energy whose slope is trained: ones go back through it, which are no gradient of the loss."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer, recorder = torch.optim.SGD(model.parameters(), 0.0), MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(3):
        x = torch.randn(8, 4, requires_grad=True)
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        optimizer.zero_grad()
        (slope - x.detach()).square().mean().backward()
        optimizer.step()
    watch.remove()
    assert recorder.stream.errors == []
    assert recorder.stream.subjects(schema.NOISE_SCALE) == []
