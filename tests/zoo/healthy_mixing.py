"""Networks that mix along axes: patches, time, pixels at two scales."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Task, binary_accuracy, images, split, waves


class MixerBlock(nn.Module):
    def __init__(self, patches: int, width: int, scale: float | None) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(patches, 2 * patches), nn.GELU(), nn.Linear(2 * patches, patches))
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.scale = None if scale is None else nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        h = self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + (h if self.scale is None else self.scale * h)
        h = self.within(self.norm2(x))
        return x + (h if self.scale is None else self.scale * h)


class Mixer(nn.Module):
    """Patches of 2 × 2 pixels, mixed among and within."""

    def __init__(self, *, width: int = 32, depth: int = 3, scale: float | None = None) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.blocks = nn.Sequential(*(MixerBlock(16, width, scale) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(h).mean(1))


mixer = Family("mixer", Mixer, images, Recipe("adamw", 3e-3, steps=200))
mixer.specimen("adamw")
mixer.specimen("layer-scale", lambda: Mixer(scale=1e-2), schedule="warm-up and cosine", lr=5e-3)
mixer.specimen("averaged", ema=0.97, schedule="stable then decay", logs="epochs", good=0.9)
mixer.specimen("nesterov", optimizer="nesterov", lr=0.05, clip=1.0, steps=250)
mixer.specimen("six-blocks-smoothed", lambda: Mixer(width=24, depth=6), label_smoothing=0.1, steps=180)
mixer.specimen("easy-first-observed", order="easy first", told="observed", logs="tens")
mixer.specimen(
    "float64-every-step", lambda: Mixer(width=24, depth=2), precision="float64", every=1, steps=120, good=0.9
)


class Dilated(nn.Module):
    """Residual convolutions over time whose reach doubles from block to block."""

    def __init__(self, channels: int = 16, depth: int = 4, *, norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm1d(channels) if norm else nn.Identity(),
                nn.ReLU(),
                nn.Conv1d(channels, channels, 3, padding=2**i, dilation=2**i),
                nn.Dropout(dropout),
            )
            for i in range(depth)
        )
        self.head = nn.Linear(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(F.relu(x).mean(2))


signals = Family("signals", Dilated, waves, Recipe(lr=5e-3, steps=220))
signals.specimen("adam")
signals.specimen("batch-norm-one-cycle", lambda: Dilated(norm=True), optimizer="momentum", lr=0.2, schedule="one-cycle")
signals.specimen("dropout", lambda: Dilated(dropout=0.2), schedule="linear to zero", steps=300)
signals.specimen("rmsprop-tens", optimizer="rmsprop", lr=1e-3, logs="tens", steps=300)
signals.specimen("accumulated-trainer", accumulate=2, batch=32, logs="trainer", schedule="warm-up")
signals.specimen("bfloat16-loss-unknown", precision="bfloat16", told="nothing", steps=150, batch=32, schedule="cosine")


class Unet(nn.Module):
    """Down to half the size and up again, with a shortcut across."""

    def __init__(self, channels: int = 12, norm: type[nn.Module] | None = None) -> None:
        super().__init__()

        def convolution(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), *([norm(b)] if norm else []), nn.ReLU())

        self.into, self.down = convolution(1, channels), convolution(channels, 2 * channels)
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.merge, self.out = convolution(2 * channels, channels), nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        near = self.into(x)
        far = self.up(self.down(F.max_pool2d(near, 2)))
        return self.out(self.merge(torch.cat([near, far], 1)))


@cache
def blots() -> Task:
    """Bright squares under noise, (n, 1, 12, 12): which pixels belong to one? About one in six does."""
    generator = torch.Generator().manual_seed(11)
    masks = torch.zeros(1200, 1, 12, 12)
    for mask in masks:
        side = int(torch.randint(3, 7, (1,), generator=generator))
        top, left = torch.randint(0, 12 - side, (2,), generator=generator).tolist()
        mask[0, top : top + side, left : left + side] = 1
    x = 2 * masks - 0.5 + 0.8 * torch.randn(masks.shape, generator=generator)
    return split(x, masks, 200, criterion=nn.BCEWithLogitsLoss, score=binary_accuracy, good=0.95)


class Overlap(nn.Module):
    """One minus the soft Dice coefficient."""

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        shares = logits.sigmoid()
        both = (shares * masks).sum((1, 2, 3))
        return (1 - (2 * both + 1) / (shares.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)).mean()


def overlap() -> Task:
    return replace(blots(), criterion=Overlap)


segmentation = Family("segmentation", Unet, blots, Recipe(lr=5e-3, steps=150, batch=32))
segmentation.specimen("cross-entropy")
segmentation.specimen("overlap", task=overlap, told="nothing")
segmentation.specimen(
    "batch-norm-cosine", lambda: Unet(norm=nn.BatchNorm2d), optimizer="nesterov", lr=0.1, schedule="cosine"
)
segmentation.specimen("observed-epochs", told="observed", logs="epochs", optimizer="adamw")
segmentation.specimen("batch-of-four", batch=4, lr=2e-3, steps=250, logs="tens")
