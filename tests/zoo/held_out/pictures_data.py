"""Pictures, tables and signals for the trainings set aside, each split in two."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Split(NamedTuple):
    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor

    def loader(self, size: int, shuffle: bool = True) -> DataLoader[Any]:
        return DataLoader(TensorDataset(self.train_x, self.train_y), batch_size=size, shuffle=shuffle, drop_last=True)

    def with_inputs(self, train_x: Tensor, val_x: Tensor) -> Split:
        return self._replace(train_x=train_x, val_x=val_x)


def split(x: Tensor, y: Tensor, share: float = 0.75) -> Split:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    train, val = order[: int(share * len(x))], order[int(share * len(x)) :]
    return Split(x[train], y[train], x[val], y[val])


def standardized(data: Split) -> Split:
    """By the statistics of the training columns."""
    mean, std = data.train_x.mean(0), data.train_x.std(0) + 1e-8
    return data.with_inputs((data.train_x - mean) / std, (data.val_x - mean) / std)


@cache
def digits(size: int = 8) -> Split:
    """Handwritten digits (n, 1, size, size) in grey values of 0 to 255."""
    x, y = datasets.load_digits(return_X_y=True)
    pictures = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16 * 255
    if size != 8:
        pictures = F.interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)
    return split(pictures, torch.tensor(y))


@cache
def shapes(n: int = 1600, size: int = 16) -> Split:
    """Coloured discs, squares, rings, crosses and diamonds (n, 3, size, size) in values of 0 to 255."""
    draw = torch.Generator().manual_seed(11)
    y = torch.randint(5, (n,), generator=draw)
    middle = size * (0.35 + 0.3 * torch.rand(n, 2, 1, 1, generator=draw))
    radius = size * (0.2 + 0.12 * torch.rand(n, 1, 1, generator=draw))
    axis = torch.arange(size).float()
    across, down = (axis[None, None, :] - middle[:, 0]).abs(), (axis[None, :, None] - middle[:, 1]).abs()
    away = (across**2 + down**2).sqrt()
    masks = torch.stack(
        [
            away < radius,
            torch.maximum(across, down) < 0.85 * radius,
            (away < radius) & (away > 0.55 * radius),
            (torch.minimum(across, down) < 0.3 * radius) & (torch.maximum(across, down) < radius),
            across + down < 1.15 * radius,
        ]
    )
    mask = masks[y, torch.arange(n)].float().unsqueeze(1)
    ink, paper = torch.rand(2, n, 3, 1, 1, generator=draw)
    ink = (paper + 0.35 + 0.3 * ink) % 1
    pictures = mask * ink + (1 - mask) * paper + 0.05 * torch.randn(n, 3, size, size, generator=draw)
    return split((pictures.clamp(0, 1) * 255).round(), y)


@cache
def waves(n: int = 1600, length: int = 64) -> Split:
    """Sines, squares, saw teeth, pulses and chirps (n, 1, length) about zero, with some noise."""
    draw = torch.Generator().manual_seed(12)
    y = torch.randint(5, (n,), generator=draw)
    time = torch.linspace(0, 1, length)
    turns = time * (2 + 3 * torch.rand(n, 1, generator=draw)) + torch.rand(n, 1, generator=draw)
    rising = time * (1 + 5 * time) + torch.rand(n, 1, generator=draw)
    kinds = torch.stack(
        [
            (2 * math.pi * turns).sin(),
            (2 * math.pi * turns).sin().sign(),
            2 * (turns % 1) - 1,
            2 * ((turns % 1) < 0.2).float() - 0.4,
            (2 * math.pi * rising).sin(),
        ]
    )
    signals = kinds[y, torch.arange(n)] + 0.25 * torch.randn(n, length, generator=draw)
    return split(signals.unsqueeze(1), y)


@cache
def table(name: str) -> Split:
    """A table of scikit-learn's in its own units; the target is a class or, for diabetes, a number (n, 1)."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    numbers = torch.tensor(y, dtype=torch.float32).unsqueeze(1) if name == "diabetes" else torch.tensor(y)
    return split(torch.tensor(x, dtype=torch.float32), numbers)


@cache
def friedman(n: int = 1600, noise: float = 0.5) -> Split:
    """Ten inputs in 0 to 1 of which five matter, and a number (n, 1) of about 14."""
    x, y = datasets.make_friedman1(n, noise=noise, random_state=4)
    return split(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32).unsqueeze(1))


@cache
def customers(n: int = 2400, rare: float = 0.5) -> Split:
    """Twenty measurements and a class of 0 or 1, the latter with the share ``rare``."""
    x, y = datasets.make_classification(
        n, 20, n_informative=8, n_redundant=4, n_clusters_per_class=3, weights=[1 - rare], class_sep=1.2,
        flip_y=0.0, random_state=5,
    )  # fmt: skip
    return split(torch.tensor(x, dtype=torch.float32), torch.tensor(y))


def scaled(data: Split, mean: float = 127.5, std: float = 64.0) -> Split:
    """Grey values about zero."""
    return data.with_inputs((data.train_x - mean) / std, (data.val_x - mean) / std)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """In evaluation mode; the mode is put back afterwards."""
    training = model.training
    model.eval()
    with torch.no_grad():
        right = (model(x).argmax(1) == y).float().mean().item()
    model.train(training)
    return float(right)
