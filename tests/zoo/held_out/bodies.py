"""Networks of the part set aside for rows, images and signals."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = Callable[[], nn.Module]


def dense(
    *sizes: int,
    act: Layer = nn.ReLU,
    norm: Callable[[int], nn.Module] | None = None,
    drop: float = 0.0,
    out: Layer | None = None,
) -> nn.Sequential:
    """Linear layers, each but the last followed by normalization, activation and dropout where given."""
    layers: list[nn.Module] = []
    for place, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(fan_in, fan_out))
        if place < len(sizes) - 2:
            layers += [norm(fan_out)] if norm else []
            layers.append(act())
            layers += [nn.Dropout(drop)] if drop else []
    return nn.Sequential(*layers, *([out()] if out else []))


class ConvNet(nn.Module):
    """Convolutions of which every second halves the image, a mean over it, and a head."""

    def __init__(
        self,
        outputs: int,
        *widths: int,
        channels: int = 1,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        act: Layer = nn.ReLU,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, width in enumerate(widths):
            layers.append(nn.Conv2d(channels, width, 3, stride=1 + place % 2, padding=1, bias=norm is None))
            layers += [norm(width)] if norm else []
            layers.append(act())
            channels = width
        self.features = nn.Sequential(*layers)
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(channels * 4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(F.adaptive_avg_pool2d(self.features(x), 2).flatten(1)))


class Block(nn.Module):
    """A residual block of two convolutions; ``skip=False`` leaves the shortcut out."""

    def __init__(self, width: int, skip: bool = True, zero: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.skip = skip
        if zero:
            nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + x if self.skip else out)


class ResNet(nn.Module):
    def __init__(self, outputs: int, width: int = 12, depth: int = 3, *, zero: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(Block(width, zero=zero) for _ in range(depth)))
        self.fc = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class Plain(nn.Module):
    """Fully connected layers with shortcuts around them, or without."""

    def __init__(self, features: int, outputs: int, width: int, depth: int, *, skip: bool = True) -> None:
        super().__init__()
        self.inward = nn.Linear(features, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.outward = nn.Linear(width, outputs)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.inward(x)
        for layer in self.layers:
            x = x + F.relu(layer(x)) / math.sqrt(len(self.layers)) if self.skip else F.relu(layer(x))
        return self.outward(x)


class Signal(nn.Module):
    """One-dimensional convolutions over (n, 1, 48)."""

    def __init__(self, outputs: int, width: int = 16, norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, width, 5, padding=2)
        self.conv2 = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.norm = nn.GroupNorm(4, width) if norm else nn.Identity()
        self.fc1 = nn.Linear(width * 4, 32)
        self.fc2 = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv2(F.relu(self.conv1(x)))))
        return self.fc2(F.relu(self.fc1(F.adaptive_max_pool1d(x, 4).flatten(1))))


class AutoEncoder(nn.Module):
    def __init__(self, features: int = 64, width: int = 48, code: int = 8, act: Layer = nn.ReLU) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, width), act(), nn.Linear(width, code))
        self.decoder = nn.Sequential(nn.Linear(code, width), act(), nn.Linear(width, features))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class VAE(nn.Module):
    """Returns the reconstruction, means and logarithms of variances."""

    def __init__(self, features: int = 64, width: int = 64, code: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, width), nn.ReLU())
        self.mu, self.logvar = nn.Linear(width, code), nn.Linear(width, code)
        self.decoder = nn.Sequential(nn.Linear(code, width), nn.ReLU(), nn.Linear(width, features))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        return self.decoder(mu + torch.randn_like(mu) * (logvar / 2).exp()), mu, logvar
