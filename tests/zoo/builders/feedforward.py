"""Fully connected and convolutional networks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Norm = Callable[[int], nn.Module]


def he(model: nn.Module) -> nn.Module:
    """Kaiming's initialization of every weight matrix and filter but the last, biases zero."""
    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    for layer in layers:
        if layer is not layers[-1]:
            nn.init.kaiming_normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return model


def xavier(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, gain=5 / 3)
            nn.init.zeros_(module.bias)
    return model


def small_head(model: nn.Sequential) -> nn.Sequential:
    """The last layer a hundredth of its size, so that the first predictions are even."""
    with torch.no_grad():
        model[-1].weight.mul_(0.01)  # type: ignore[operator, union-attr]
    return model


def mlp(
    *widths: int, activation: type[nn.Module] = nn.ReLU, norm: Norm | None = None, dropout: float = 0.0
) -> nn.Sequential:
    """Layers of the given widths; between them normalization, activation and dropout, as far as asked for."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(fan_in, fan_out))
        if i < len(widths) - 2:
            layers += [norm(fan_out)] if norm else []
            layers.append(activation())
            layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers)


class Functional(nn.Module):
    """Activations are functions here and no modules."""

    def __init__(self, *widths: int, function: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self.layers)[:-1]:
            x = self.function(layer(x))
        return self.layers[-1](x)


class Residual(nn.Module):
    """x + branch(x); ``zero`` starts the branch at nothing, by its last weights or by a gate of one number."""

    def __init__(self, width: int, *, norm: bool = True, zero: str = "", checkpointed: bool = False) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *([nn.LayerNorm(width)] if norm else []),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
        )
        self.gate = nn.Parameter(torch.zeros(())) if zero == "gate" else None
        self.checkpointed = checkpointed
        if zero == "weights":
            nn.init.zeros_(self.branch[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.branch[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(self.branch, x, use_reentrant=False) if self.checkpointed else self.branch(x)
        return x + (h if self.gate is None else self.gate * h)


def residual_mlp(depth: int = 6, width: int = 48, **block: object) -> nn.Sequential:
    blocks = [Residual(width, **block) for _ in range(depth)]  # type: ignore[arg-type]
    return nn.Sequential(nn.Linear(64, width), *blocks, nn.LayerNorm(width), nn.Linear(width, 10))


def batch_norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels)


def group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(4, channels)


def cnn(
    *channels: int,
    norm: Norm | None = None,
    activation: type[nn.Module] = nn.ReLU,
    dropout: float = 0.0,
    pooled: bool = True,
    classes: int = 10,
) -> nn.Sequential:
    """3 × 3 convolutions, the second and later ones halving the image; the mean over it, or all of it, to the head."""
    layers: list[nn.Module] = []
    side = 8
    for i, (a, b) in enumerate(pairwise((1, *channels))):
        stride = 2 if i in (1, 2) else 1
        side //= stride
        layers.append(nn.Conv2d(a, b, 3, stride=stride, padding=1, bias=norm is None))
        layers += [norm(b)] if norm else []
        layers.append(activation())
    layers += [nn.AdaptiveAvgPool2d(1)] if pooled else []
    layers += [nn.Flatten(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(channels[-1] * (1 if pooled else side**2), classes))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut. ``norm`` None leaves normalization out and scales the branch instead."""

    def __init__(self, a: int, b: int, *, stride: int, norm: Norm | None, zero: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, stride=stride, padding=1, bias=norm is None)
        self.conv2 = nn.Conv2d(b, b, 3, padding=1, bias=norm is None)
        self.norm1 = norm(b) if norm else nn.Identity()
        self.norm2 = norm(b) if norm else nn.Identity()
        self.scale = None if norm else nn.Parameter(torch.zeros(()))
        self.shortcut = nn.Identity() if a == b and stride == 1 else nn.Conv2d(a, b, 1, stride=stride, bias=False)
        if zero and norm is not None:
            nn.init.zeros_(self.norm2.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.shortcut(x) + (h if self.scale is None else self.scale * h))


def resnet(*channels: int, norm: Norm | None = batch_norm, zero: bool = False) -> nn.Sequential:
    blocks = [
        ResidualBlock(a, b, stride=1 if i == 0 else 2, norm=norm, zero=zero)
        for i, (a, b) in enumerate(pairwise((channels[0], *channels)))
    ]
    stem = [nn.Conv2d(1, channels[0], 3, padding=1), *([norm(channels[0])] if norm else []), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 10))
