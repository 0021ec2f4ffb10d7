"""Forecasts, linear recurrences, sets of points, networks of experts."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Task, accuracy, explained, split, vectors, waves


@cache
def seasons() -> Task:
    """The last 32 values of a series of two seasons and noise; the next eight."""
    generator = torch.Generator().manual_seed(41)
    start = 40 * torch.rand(2400, 1, generator=generator)
    t = start + torch.arange(40)
    series = torch.sin(2 * math.pi * t / 12) + 0.5 * torch.sin(2 * math.pi * t / 7) + 0.02 * t
    series = series + 0.2 * torch.randn(series.shape, generator=generator)
    series = (series - series.mean()) / series.std()
    return split(series[:, :32], series[:, 32:], 400, criterion=nn.MSELoss, score=explained, good=0.8)


def seasons_absolute() -> Task:
    return replace(seasons(), criterion=nn.L1Loss)


def seasons_robust() -> Task:
    return replace(seasons(), criterion=nn.HuberLoss)


class Stack(nn.Module):
    """Each block forecasts, and takes away what it has explained of the past."""

    def __init__(self, blocks: int = 3, width: int = 48) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(mlp(32, width, width, 40) for _ in range(blocks))

    def forward(self, past: Tensor) -> Tensor:
        future = past.new_zeros(len(past), 8)
        for block in self.blocks:
            explained_past, part = block(past).split([32, 8], 1)
            past, future = past - explained_past, future + part
        return future


class Reader(nn.Module):
    def __init__(self, cell: type[nn.RNNBase] = nn.GRU) -> None:
        super().__init__()
        self.cells, self.head = cell(1, 24, batch_first=True), nn.Linear(24, 8)

    def forward(self, past: Tensor) -> Tensor:
        states, _ = self.cells(past[..., None])
        return self.head(states[:, -1])  # type: ignore[no-any-return]


forecast = Family("forecast", Stack, seasons, Recipe(lr=2e-3, steps=250))
forecast.specimen("stack")
forecast.specimen("linear", lambda: nn.Sequential(nn.Linear(32, 8)), optimizer="sgd", lr=0.03, logs="steps")
forecast.specimen("stack-absolute-tens", task=seasons_absolute, logs="tens", schedule="linear to zero", lr=4e-3)
forecast.specimen("recurrent-clipped", Reader, lr=1e-2, clip=0.5, batch=48, steps=300)
forecast.specimen("recurrent-robust-observed", Reader, task=seasons_robust, told="observed", lr=1e-2, steps=300)
forecast.specimen("stack-nesterov-epochs", optimizer="nesterov", lr=0.02, logs="epochs")
forecast.specimen("linear-full-batch-adamax", lambda: nn.Sequential(nn.Linear(32, 8)), batch=0, optimizer="adamax",
                  lr=2e-2, logs="trainer")  # fmt: skip


class LinearRecurrence(nn.Module):
    """States that decay each at its own rate, computed as one convolution; a gate and a shortcut around it."""

    def __init__(self, width: int, states: int = 8) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.linspace(-4, 0, states).repeat(width, 1))
        self.mix = nn.Parameter(torch.randn(width, states) / math.sqrt(states))
        self.norm, self.gate, self.out = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, h = x.shape[1], self.norm(x)
        decay = torch.exp(-self.rate.exp()[..., None] * torch.arange(n, dtype=x.dtype))
        kernel = (self.mix[..., None] * decay).sum(1)
        past = torch.fft.irfft(torch.fft.rfft(h.transpose(1, 2), 2 * n) * torch.fft.rfft(kernel, 2 * n), 2 * n)
        past = past[..., :n].transpose(1, 2)
        return x + self.out(nn.functional.gelu(past) * torch.sigmoid(self.gate(h)))  # type: ignore[no-any-return]


class StateSpace(nn.Module):
    def __init__(self, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.into = nn.Linear(1, width)
        self.layers = nn.Sequential(*(LinearRecurrence(width) for _ in range(depth)))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.into(x.transpose(1, 2))).mean(1))  # type: ignore[no-any-return]


recurrence = Family("linear-recurrence", StateSpace, waves, Recipe("adamw", 1e-2, steps=200, batch=48))
recurrence.specimen("adamw")
recurrence.specimen("warm-up-and-cosine", schedule="warm-up and cosine", lr=2e-2)
recurrence.specimen(
    "three-layers-clipped", lambda: StateSpace(12, 3), clip=1.0, logs="trainer", schedule="linear to zero"
)
recurrence.specimen("adam-observed", optimizer="adam", told="observed", logs="tens")
recurrence.specimen("averaged-restarts", ema=0.95, schedule="restarts", good=0.85)
recurrence.specimen("nesterov", optimizer="nesterov", lr=0.1, clip=1.0, steps=250, good=0.85)
recurrence.specimen("every-fifth-step", every=5, told="nothing", logs="epochs")


@cache
def outlines() -> Task:
    """Twenty-four points on the outline of a circle, a square, a cross or a wave, turned at random."""
    generator = torch.Generator().manual_seed(43)
    kind = torch.randint(4, (1600,), generator=generator)
    t = torch.rand(1600, 24, generator=generator)
    angle = 2 * math.pi * t
    circle = torch.stack([angle.cos(), angle.sin()], 2)
    square = circle / circle.abs().amax(2, keepdim=True)
    arm = torch.where(t < 0.5, 4 * t - 1, 4 * t - 3)
    cross = torch.stack([torch.where(t < 0.5, arm, 0 * arm), torch.where(t < 0.5, 0 * arm, arm)], 2)
    wave = torch.stack([2 * t - 1, 0.6 * (3 * angle / 2).sin()], 2)
    points = torch.stack([circle, square, cross, wave])[kind, torch.arange(1600)]
    turn = 2 * math.pi * torch.rand(1600, generator=generator)
    turned = torch.stack([torch.stack([turn.cos(), -turn.sin()], 1), torch.stack([turn.sin(), turn.cos()], 1)], 1)
    points = points @ turned + 0.04 * torch.randn(points.shape, generator=generator)
    return split(points / 0.7, kind, 300, criterion=nn.CrossEntropyLoss, score=accuracy, good=0.85)


class Points(nn.Module):
    """A network for each point, a pool over them, a network for the set."""

    def __init__(self, pool: str = "max", norm: type[nn.Module] | None = None) -> None:
        super().__init__()
        self.each, self.whole, self.pool = mlp(2, 32, 48, norm=norm), mlp(48, 32, 4), pool

    def forward(self, points: Tensor) -> Tensor:
        h = self.each(points)
        return self.whole(h.amax(1) if self.pool == "max" else h.mean(1))  # type: ignore[no-any-return]


points = Family("point-sets", Points, outlines, Recipe(lr=5e-3, steps=250))
points.specimen("max-pool")
points.specimen("mean-pool", lambda: Points("mean"), schedule="cosine")
points.specimen("layer-norm-observed", lambda: Points(norm=nn.LayerNorm), told="observed", optimizer="adamw")
points.specimen("jittered-one-cycle", jitter=0.03, schedule="one-cycle", lr=2e-2, optimizer="adamw")
points.specimen("momentum-steps", optimizer="momentum", lr=0.02, schedule="steps", steps=350, logs="epochs")
points.specimen("smoothed-trainer", label_smoothing=0.1, logs="trainer")
points.specimen("loss-unknown-nadam", told="nothing", optimizer="nadam", logs="tens")


class Experts(nn.Module):
    """Small networks whose answers a gate weighs; with ``best`` only as many count as it says."""

    def __init__(self, experts: int = 4, best: int | None = None) -> None:
        super().__init__()
        self.gate, self.best = nn.Linear(64, experts), best
        self.experts = nn.ModuleList(mlp(64, 16, 10) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.gate(x)
        if self.best is not None:
            least = logits.topk(self.best, 1).values[:, -1:]
            logits = logits.masked_fill(logits < least, float("-inf"))
        answers = torch.stack([expert(x) for expert in self.experts], 1)
        return (logits.softmax(1)[..., None] * answers).sum(1)  # type: ignore[no-any-return]


experts = Family("experts", Experts, vectors, Recipe(lr=3e-3, steps=220))
experts.specimen("all-weighed")
experts.specimen("best-two-of-four", lambda: Experts(best=2))
experts.specimen("best-two-of-six-cosine", lambda: Experts(6, 2), schedule="cosine", optimizer="adamw", lr=5e-3)
experts.specimen("momentum", optimizer="momentum", lr=0.1, logs="steps")
experts.specimen("bfloat16", precision="bfloat16", steps=150)
experts.specimen("observed-small-batches", told="observed", batch=16, lr=1e-3, steps=400, logs="tens")
experts.specimen("averaged-smoothed", ema=0.97, label_smoothing=0.05, logs="trainer")
