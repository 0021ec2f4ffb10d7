"""Small networks in which the ill specimens have their faults."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


def mlp(
    *widths: int, activation: type[nn.Module] = nn.ReLU, norm: type[nn.Module] | None = None, dropout: float = 0.0
) -> nn.Sequential:
    """Fully connected layers of the given widths, with normalization, activation and dropout between them."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(fan_in, fan_out))
        if i < len(widths) - 2:
            layers += [norm(fan_out)] if norm else []
            layers.append(activation())
            layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers)


def cnn(
    channels: tuple[int, ...] = (16, 32),
    *,
    activation: type[nn.Module] = nn.ReLU,
    norm: bool = True,
    dropout: float = 0.0,
    outputs: int = 10,
) -> nn.Sequential:
    """Convolutions over (n, 1, 8, 8), a maximum pool, and two linear layers."""
    layers: list[nn.Module] = []
    for before, after in pairwise((1, *channels)):
        layers.append(nn.Conv2d(before, after, 3, padding=1))
        layers += [nn.BatchNorm2d(after)] if norm else []
        layers.append(activation())
    layers += [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(channels[-1] * 16, 64), activation()]
    layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(64, outputs))


class Recurrent(nn.Module):
    """A recurrent layer over (n, time, features) and a linear head on its last state."""

    def __init__(
        self, cell: type[nn.RNNBase] = nn.GRU, width: int = 48, outputs: int = 10, **cell_options: Any
    ) -> None:
        super().__init__()
        self.recurrent = cell(8, width, batch_first=True, **cell_options)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x)
        return self.head(states[:, -1])


class HandWritten(nn.Module):
    """A recurrence h ← activation(W h + U x) over (n, time, features), ``repeats`` times over the sequence."""

    def __init__(
        self, gain: float, *, activation: Callable[[Tensor], Tensor] = torch.relu, repeats: int = 3, width: int = 48
    ) -> None:
        super().__init__()
        self.into = nn.Linear(8, width)
        self.recur = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, 10)
        self.activation = activation
        self.repeats = repeats
        nn.init.orthogonal_(self.recur.weight, gain=gain)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.recur.in_features)
        for _ in range(self.repeats):
            for row in x.unbind(1):
                h = self.activation(self.recur(h) + self.into(row))
        return self.out(h)


class Residual(nn.Module):
    """``x + branch(x)`` for each branch, between an input and an output layer."""

    def __init__(self, stem: nn.Module, branches: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(branches)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Attention(nn.Module):
    """One head of attention over (n, time, width); ``scale`` multiplies the products of queries and keys."""

    def __init__(self, width: int, *, scale: float | None = None) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.softmax = nn.Softmax(dim=-1)
        self.scale = width**-0.5 if scale is None else scale

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` (n, time) is True where a position may be attended to."""
        logits = self.query(x) @ self.key(x).transpose(1, 2) * self.scale
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, :], float("-inf"))
        return self.softmax(logits) @ self.value(x)


class Transformer(nn.Module):
    """Classifies sequences (n, time, features) of eight steps: blocks of attention and MLP, then a mean over time."""

    def __init__(self, width: int = 32, depth: int = 2, *, scale: float | None = None, outputs: int = 10) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(0.02 * torch.randn(8, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth))
        self.attentions = nn.ModuleList(Attention(width, scale=scale) for _ in range(depth))
        self.mlps = nn.ModuleList(mlp(width, 4 * width, width, activation=nn.GELU) for _ in range(depth))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        for i, (attention, block) in enumerate(zip(self.attentions, self.mlps, strict=True)):
            x = x + attention(self.norms[2 * i](x))
            x = x + block(self.norms[2 * i + 1](x))
        return self.head(x.mean(1))


class Encoded(nn.Module):
    """A head on an encoder; ``between`` is what happens to the encoder's output."""

    def __init__(self, encoder: nn.Module, head: nn.Module, between: Callable[[Tensor], Tensor] = lambda h: h) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.encoder(x)))


class Half(nn.Module):
    """A model run in a narrow format; what it returns is float32 again."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            h: Tensor = self.model(x)
        return h.float()


def initialize(model: nn.Module, weight: Callable[[Tensor], Any], bias: Callable[[Tensor], Any] | None = None) -> None:
    """Applies ``weight`` to each weight matrix or kernel and ``bias`` to the biases of the same layers."""
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            weight(layer.weight)
            if bias and layer.bias is not None:
                bias(layer.bias)


def normal(std: float, mean: float = 0.0) -> Callable[[Tensor], Any]:
    return lambda tensor: nn.init.normal_(tensor, mean, std)


def constant(value: float) -> Callable[[Tensor], Any]:
    return lambda tensor: nn.init.constant_(tensor, value)
