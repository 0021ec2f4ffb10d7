"""Images through separable convolutions, patches, binary weights, and samples mixed with each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import batch_norm, cnn
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.sequences import Block
from tests.zoo.builders.tasks import Inputs, Task, accuracy, images, vectors


class Inverted(nn.Module):
    """Widen, filter each channel by itself, weigh the channels, narrow; beside a shortcut where shapes allow."""

    def __init__(self, a: int, b: int, stride: int = 1, *, excite: bool = True) -> None:
        super().__init__()
        wide = 3 * a
        self.body = nn.Sequential(
            nn.Conv2d(a, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
        )  # fmt: skip
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, 8, 1), nn.ReLU(), nn.Conv2d(8, wide, 1), nn.Hardsigmoid()
        ) if excite else None  # fmt: skip
        self.narrow = nn.Sequential(nn.Conv2d(wide, b, 1, bias=False), nn.BatchNorm2d(b))
        self.shortcut = a == b and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        h = self.narrow(h if self.excite is None else h * self.excite(h))
        return x + h if self.shortcut else h  # type: ignore[no-any-return]


def mobile(*, excite: bool = True, width: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.Hardswish(),
        Inverted(width, width, excite=excite), Inverted(width, 2 * width, 2, excite=excite),
        Inverted(2 * width, 2 * width, excite=excite), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(2 * width, 10),
    )  # fmt: skip


class Modern(nn.Module):
    """A wide filter of each channel, then a small network of all, scaled from nearly nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.filter, self.norm = nn.Conv2d(width, width, 5, padding=2, groups=width), nn.GroupNorm(1, width)
        self.mix = nn.Sequential(nn.Conv2d(width, 3 * width, 1), nn.GELU(), nn.Conv2d(3 * width, width, 1))
        self.scale = nn.Parameter(torch.full((width, 1, 1), 1e-3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.mix(self.norm(self.filter(x)))  # type: ignore[no-any-return]


def modern(width: int = 20) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 2, stride=2), nn.GroupNorm(1, width), Modern(width), Modern(width),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, 10),
    )  # fmt: skip


separable = Family("separable", mobile, images, Recipe(lr=5e-3, steps=130))
separable.specimen("inverted-adam")
separable.specimen("inverted-plain-rmsprop", lambda: mobile(excite=False), optimizer="rmsprop", lr=2e-3)
separable.specimen("inverted-nesterov-cosine", optimizer="nesterov", lr=0.1, schedule="cosine", weight_decay=1e-4)
separable.specimen("modern-adamw", modern, optimizer="adamw", lr=8e-3, steps=250, good=0.85)
separable.specimen("modern-warm-up-averaged", modern, optimizer="adamw", lr=1e-2, schedule="warm-up and cosine",
                   ema=0.95, steps=250, good=0.85)  # fmt: skip
separable.specimen("inverted-loader-observed", order="loader", told="observed", logs="tens", batch=48)
separable.specimen("inverted-bfloat16-trainer", precision="bfloat16", logs="trainer", batch=32, good=0.85)


class Patches(nn.Module):
    """A vision transformer of sixteen patches and a class token; ``skipped`` is how often a block is left out."""

    def __init__(self, width: int = 32, depth: int = 2, *, skipped: float = 0.0, pooled: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.3 * torch.randn(1, 17, width))
        self.blocks = nn.ModuleList(Block(width, 4, causal=False, dropout=0.0, norm_first=True) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)
        self.skipped, self.pooled = skipped, pooled

    def forward(self, x: Tensor) -> Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(x), -1, -1), h], 1) + self.position
        for block in self.blocks:
            if not self.training or not self.skipped:
                h = block(h)
            else:
                kept = (torch.rand(len(x), 1, 1) >= self.skipped) / (1 - self.skipped)
                h = h + kept.to(h.dtype) * (block(h) - h)
        h = self.norm(h)
        return self.head(h[:, 1:].mean(1) if self.pooled else h[:, 0])  # type: ignore[no-any-return]


patches = Family("patches", Patches, images, Recipe("adamw", 4e-3, steps=250, batch=48))
patches.specimen("class-token", good=0.9)
patches.specimen("pooled-cosine", lambda: Patches(pooled=True), schedule="cosine", lr=5e-3, good=0.9)
patches.specimen("stochastic-depth", lambda: Patches(skipped=0.15), schedule="warm-up", good=0.87)
patches.specimen(
    "smoothed-trainer", label_smoothing=0.1, logs="trainer", schedule="stable then decay", lr=5e-3, good=0.88
)
patches.specimen("one-block-observed-tens", lambda: Patches(depth=1), told="observed", logs="tens", good=0.87)
patches.specimen("clipped-every-step", every=1, clip=1.0, optimizer="adam", steps=220, good=0.87)
patches.specimen("muon-one-block", lambda: Patches(depth=1), optimizer="muon", lr=0.01, steps=120, good=0.87)


class Quantized(nn.Linear):
    """Computes with weights of ``levels`` values, and learns the full ones behind them as if nothing were rounded."""

    def __init__(self, fan_in: int, fan_out: int, levels: int) -> None:
        super().__init__(fan_in, fan_out)
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs().mean().detach()
        if self.levels == 2:
            rounded = scale * torch.where(self.weight >= 0, 1.0, -1.0)
        else:
            most = (self.levels - 1) // 2
            rounded = (self.weight / scale).round().clamp(-most, most) * scale
        return F.linear(x, self.weight + (rounded - self.weight).detach(), self.bias)


class Sign(nn.Module):
    """The sign of the input, with the gradient of a bounded line."""

    def forward(self, x: Tensor) -> Tensor:
        line = F.hardtanh(x)
        return line + (torch.where(x >= 0, 1.0, -1.0).to(x.dtype) - line).detach()


def quantized(levels: int, activation: type[nn.Module] = nn.ReLU, width: int = 96) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, width), nn.BatchNorm1d(width), activation(), Quantized(width, width, levels),
        nn.BatchNorm1d(width), activation(), nn.Linear(width, 10),
    )  # fmt: skip


coarse = Family("quantized", lambda: quantized(2), vectors, Recipe(lr=3e-3, steps=220))
coarse.specimen("binary-weights")
coarse.specimen("ternary-weights", lambda: quantized(3), optimizer="adamw", schedule="cosine")
coarse.specimen("fifteen-levels-momentum", lambda: quantized(15), optimizer="momentum", lr=0.05, logs="epochs")
coarse.specimen("binary-activations", lambda: quantized(15, Sign, 128), lr=2e-3, good=0.88, steps=300)
coarse.specimen("binary-both-observed", lambda: quantized(2, Sign, 160), told="observed", good=0.85, schedule="cosine")
coarse.specimen("ternary-loss-unknown-linear-to-zero", lambda: quantized(3), told="nothing", lr=5e-3,
                schedule="linear to zero", logs="tens")  # fmt: skip


def mostly_right(outputs: Tensor, targets: Tensor) -> float:
    return accuracy(outputs, targets if targets.dim() == 1 else targets.argmax(1))


@dataclass(frozen=True)
class Mixed(Task):
    """Training batches whose samples, and whose targets with them, are mixed with each other's."""

    pasted: bool = False

    def batch(self, chosen: Tensor) -> tuple[Inputs, Tensor]:
        x, y = super().batch(chosen)
        other, classes = torch.randperm(len(x)), F.one_hot(y, 10).float()
        if self.pasted:
            side = int(torch.randint(2, 6, ()))
            top, left = torch.randint(0, 9 - side, (2,)).tolist()
            x = x.clone()
            x[..., top : top + side, left : left + side] = x[other][..., top : top + side, left : left + side]
            share = 1 - side * side / 64
        else:
            share = float(torch.distributions.Beta(0.4, 0.4).sample())
            x = share * x + (1 - share) * x[other]
        return x, share * classes + (1 - share) * classes[other]


@cache
def mixed(pasted: bool = False) -> Task:
    task = replace(images(), score=mostly_right, good=0.9)
    return Mixed(**{**vars(task), "pasted": pasted})


mixing = Family("mixed-samples", lambda: cnn(12, 24, pooled=False), mixed, Recipe(lr=3e-3, steps=200))
mixing.specimen("blended")
mixing.specimen("pasted", task=lambda: mixed(True))
mixing.specimen("blended-batch-norm-one-cycle", lambda: cnn(12, 24, 24, norm=batch_norm), optimizer="nesterov", lr=0.2,
                schedule="one-cycle")  # fmt: skip
mixing.specimen("pasted-observed-averaged", task=lambda: mixed(True), told="observed", ema=0.95, logs="tens")
mixing.specimen("blended-adamw-trainer", optimizer="adamw", logs="trainer", schedule="warm-up and cosine", lr=5e-3)
mixing.specimen("pasted-epochs-loss-unknown", task=lambda: mixed(True), told="nothing", logs="epochs",
                optimizer="momentum", lr=0.05)  # fmt: skip
