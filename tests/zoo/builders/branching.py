"""Networks of several branches or inputs, and readers of sequences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.faulty.networks import mlp


def convolutional(
    *channels: int,
    outputs: int = 4,
    activation: Callable[[], nn.Module] = nn.ReLU,
    norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Over (n, 1, 16, 16): the first three convolutions halve the image; a mean over it goes to the head."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise((1, *channels))):
        layers.append(nn.Conv2d(a, b, 3, stride=2 if i < 3 else 1, padding=1))
        layers += [norm(b)] if norm else []
        layers.append(activation())
        layers += [nn.Dropout2d(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels[-1], outputs))


class HalfUnet(nn.Module):
    """A logit for each pixel of (n, 1, 16, 16), from two scales."""

    def __init__(self, width: int = 8, *, norm: bool = True) -> None:
        super().__init__()

        def block(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b) if norm else nn.Identity(), nn.ReLU()
            )  # fmt: skip

        self.fine, self.coarse = block(1, width), block(width, 2 * width)
        self.joined, self.head = block(3 * width, width), nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = F.interpolate(self.coarse(F.max_pool2d(fine, 2)), scale_factor=2)
        return self.head(self.joined(torch.cat([fine, coarse], 1)))


class Sequence(nn.Module):
    """A recurrent layer over (n, time, features), a head on its last state."""

    def __init__(
        self, cell: type[nn.RNNBase], features: int, width: int = 32, outputs: int = 1, **options: Any
    ) -> None:
        super().__init__()
        self.cell = cell(features, width, batch_first=True, **options)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class Reader(nn.Module):
    """Words (n, time) through an embedding and PyTorch's own encoder layers to a class."""

    def __init__(
        self,
        words: int = 20,
        length: int = 12,
        width: int = 32,
        depth: int = 2,
        outputs: int = 2,
        *,
        placed: bool = True,
        dropout: float = 0.0,
        **layer: Any,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Parameter(0.1 * torch.randn(length, width)) if placed else None
        options = {"dim_feedforward": 2 * width, "dropout": dropout, "batch_first": True, "norm_first": True, **layer}
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(width, 4, **options) for _ in range(depth))
        self.head = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.words(tokens)
        if self.places is not None:
            h = h + self.places[: tokens.shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.head(h.mean(1))


class Graph(nn.Module):
    """Rounds of a graph convolution on one graph, whose ``links`` (n, n) are a part of it."""

    def __init__(self, links: Tensor, *widths: int) -> None:
        super().__init__()
        self.register_buffer("links", links)
        self.rounds = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.rounds):
            x = self.links @ layer(F.relu(x) if i else x)
        return x


class TwoTowers(nn.Module):
    """Cosine similarities of two views, (n, n), over a temperature."""

    def __init__(self, left: nn.Module, right: nn.Module, temperature: float = 0.1) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        a, b = (
            F.normalize(tower(half), dim=1) for tower, half in zip((self.left, self.right), x.chunk(2, 1), strict=True)
        )
        return a @ b.T / self.temperature


class Branches(nn.Module):
    """One trunk, and a head for each task; the answers lie side by side."""

    def __init__(self, trunk: nn.Module, **heads: nn.Module) -> None:
        super().__init__()
        self.trunk, self.heads = trunk, nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> Tensor:
        h = self.trunk(x)
        return torch.cat([head(h) for head in self.heads.values()], 1)


__all__ = ["Branches", "Graph", "HalfUnet", "Reader", "Sequence", "TwoTowers", "convolutional", "mlp"]
