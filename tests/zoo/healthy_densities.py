"""Likelihoods that go below zero, noise to be predicted, images as functions of their coordinates."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor, nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Task, explained, moons, vectors


class Coupling(nn.Module):
    """Half of the coordinates scale and shift the other half."""

    def __init__(self, swap: bool) -> None:
        super().__init__()
        self.net, self.swap = mlp(1, 32, 32, 2, activation=nn.Tanh), swap
        nn.init.zeros_(self.net[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.net[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.flip(1).unbind(1) if self.swap else x.unbind(1)
        raw, shift = self.net(a[:, None]).unbind(1)
        scale = 2 * (raw / 2).tanh()
        y = torch.stack([a, b * scale.exp() + shift], 1)
        return y.flip(1) if self.swap else y, scale


class Flow(nn.Module):
    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Coupling(bool(i % 2)) for i in range(depth))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, logarithm = layer(x)
            total = total + logarithm
        return x, total


class Unlikelihood(nn.Module):
    """Negative log-likelihood; with ``scale`` of data measured in other units, which moves it by a constant."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.offset = 2 * math.log(scale)

    def forward(self, outputs: tuple[Tensor, Tensor], _: Tensor) -> Tensor:
        z, logarithm = outputs
        return (0.5 * z.square().sum(1) + math.log(2 * math.pi) - logarithm).mean() + self.offset


def likelihood(outputs: tuple[Tensor, Tensor], y: Tensor) -> float:
    return -float(Unlikelihood()(outputs, y))


def density(scale: float = 1.0) -> Task:
    criterion = Unlikelihood if scale == 1 else partial(Unlikelihood, scale)
    return replace(moons(), criterion=criterion, score=likelihood, good=-2.45)


flow = Family("flow", Flow, density, Recipe(lr=1e-2, steps=300, batch=128, told="nothing", schedule="cosine"))
flow.specimen("adam")
flow.specimen("cosine-with-criterion", told="criterion", schedule="warm-up and cosine")
flow.specimen("eight-layers-clipped", lambda: Flow(8), clip=1.0, optimizer="adamw", steps=250)
flow.specimen("full-batch-tens", batch=0, logs="tens", steps=250)
flow.specimen("float64-trainer", precision="float64", logs="trainer", steps=250)


@cache
def noise() -> Task:
    """Digits under noise of several strengths and the strength's name; the noise is to be told. The loss stays high."""
    task = vectors()
    generator = torch.Generator().manual_seed(15)

    def make(x: Tensor, copies: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        x = x.repeat(copies, 1)
        time = torch.rand(len(x), 1, generator=generator)
        added = torch.randn(x.shape, generator=generator)
        angle = 0.1 + 1.4 * time
        return (x * angle.cos() + added * angle.sin(), time), added

    (train_x, train_y), (val_x, val_y) = make(task.train_x, 8), make(task.val_x, 2)
    return Task(train_x, train_y, val_x, val_y, nn.MSELoss, explained, 0.4)


class Denoiser(nn.Module):
    """The time enters every block."""

    def __init__(self, width: int = 96, depth: int = 3, *, norm: bool = False, zero: bool = False) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(64, width), nn.Linear(width, 64)
        self.times = nn.ModuleList(nn.Linear(8, width) for _ in range(depth))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width) if norm else nn.Identity(), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        if zero:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        noisy, time = x
        waves = time * math.pi * torch.arange(1, 5, dtype=noisy.dtype)
        code = torch.cat([waves.sin(), waves.cos()], 1)
        h = self.into(noisy)
        for block, at in zip(self.blocks, self.times, strict=True):
            h = h + block(h + at(code))
        return self.out(nn.functional.silu(h))


denoising = Family("diffusion", Denoiser, noise, Recipe("adamw", 3e-3, steps=300, batch=128))
denoising.specimen("adamw")
denoising.specimen("layer-norm-zero-head", lambda: Denoiser(norm=True, zero=True), schedule="warm-up")
denoising.specimen("averaged-tens", ema=0.98, logs="tens", schedule="linear to zero")
denoising.specimen("clipped-observed", clip=1.0, told="observed", optimizer="adam")
denoising.specimen("bfloat16-trainer", precision="bfloat16", logs="trainer", steps=150, batch=64)
denoising.specimen("long-on-its-floor", lambda: Denoiser(48, 2), steps=700, logs="tens", good=0.35)


class Waves(nn.Module):
    """Sines of the coordinates, and sines between the layers, initialized as SIREN is."""

    def __init__(self, width: int = 48, frequency: float = 8.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, 1)])
        self.frequency = frequency
        for i, layer in enumerate(self.layers):
            bound = 1 / 2 if i == 0 else math.sqrt(6 / width) / frequency
            nn.init.uniform_(layer.weight, -bound, bound)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self.layers)[:-1]:
            x = torch.sin(self.frequency * layer(x))
        return self.layers[-1](x)


class Fourier(nn.Module):
    """Fixed random sines and cosines before an ordinary network."""

    def __init__(self, features: int = 32) -> None:
        super().__init__()
        self.register_buffer("directions", 2 * torch.randn(2, features))
        self.net = mlp(2 * features, 64, 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        angles = x @ self.directions.to(x.dtype)
        return self.net(torch.cat([angles.sin(), angles.cos()], 1))


@cache
def picture(side: int = 32) -> Task:
    """Brightness of a picture at its points; every second point of a finer grid is held back."""
    axis = torch.linspace(-1, 1, side)
    points = torch.cartesian_prod(axis, axis)
    x, y = points.unbind(1)
    bright = torch.sin(5 * x) * torch.cos(4 * y) + 0.7 * ((x**2 + y**2) < 0.4).float()
    bright = ((bright - bright.mean()) / bright.std())[:, None]
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(16))
    val, train = order[:200], order[200:]
    return Task(points[train], bright[train], points[val], bright[val], nn.MSELoss, explained, 0.7)


field = Family("field", Fourier, picture, Recipe(lr=5e-3, steps=250, batch=0))
field.specimen("fourier-full-batch")
field.specimen("fourier-cosine", batch=256, schedule="cosine")
field.specimen("sines", Waves, lr=2e-3, steps=300)
field.specimen("sines-observed", Waves, lr=2e-3, batch=256, told="observed", logs="tens", schedule="exponential")
field.specimen("fourier-lbfgs", optimizer="lbfgs", lr=1.0, steps=15, logs="steps", good=0.5)
