"""Real data that comes with a Python package: handwritten digits, and the standard library's own text."""

from __future__ import annotations

import argparse
import inspect
import textwrap
import typing
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 1,797 handwritten digits: images (n, 1, 8, 8) scaled to mean 0 and std 1, labels (n,)."""

    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor


def digits(seed: int = 0) -> Digits:
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(data.target, dtype=torch.int64)
    x = (x - x.mean()) / x.std()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, val = order[:1400], order[1400:]
    return Digits(x[train], y[train], x[val], y[val])


@dataclass(frozen=True)
class Characters:
    """Text as indices into its alphabet, shape (n,)."""

    train: Tensor
    val: Tensor
    alphabet: str

    def batch(self, size: int, length: int, generator: torch.Generator, *, val: bool = False) -> tuple[Tensor, Tensor]:
        """Random windows and the same windows one character on, each of shape (size, length)."""
        text = self.val if val else self.train
        starts = torch.randint(len(text) - length - 1, (size,), generator=generator)
        windows = torch.stack([text[start : start + length + 1] for start in starts.tolist()])
        return windows[:, :-1], windows[:, 1:]


def characters() -> Characters:
    """The source of some modules of the standard library."""
    text = "".join(inspect.getsource(module) for module in (argparse, inspect, textwrap, typing))
    text = "".join(c for c in text if c.isascii())
    alphabet = "".join(sorted(set(text)))
    place = {c: i for i, c in enumerate(alphabet)}
    encoded = torch.tensor([place[c] for c in text])
    split = int(0.9 * len(encoded))
    return Characters(encoded[:split], encoded[split:], alphabet)
