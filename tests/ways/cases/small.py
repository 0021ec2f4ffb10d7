"""The small networks that most ways train."""

from __future__ import annotations

import torch
from torch import nn

STEPS = 4


def mlp(inputs: int = 6, outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))


def batch(samples: int = 5, inputs: int = 6) -> torch.Tensor:
    return torch.randn(samples, inputs)


def loss_of(output: torch.Tensor) -> torch.Tensor:
    return output.square().mean()
