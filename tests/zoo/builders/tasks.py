"""Small tasks that a small network learns well: inputs, targets, the loss, and what counts as learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, make_moons
from tb_nnhealth.demo import data as demo
from torch import Tensor, nn

Inputs = Any
"""A tensor, or a tuple of tensors, whose first axis is the sample."""


@dataclass(frozen=True)
class Task:
    """``score(outputs, targets)`` over the validation set is better the higher; ``good`` is reached by who learned."""

    train_x: Inputs
    train_y: Tensor
    val_x: Inputs
    val_y: Tensor
    criterion: Callable[[], nn.Module]
    score: Callable[[Any, Tensor], float]
    good: float

    def __len__(self) -> int:
        return len(self.train_y)

    def batch(self, chosen: Tensor) -> tuple[Inputs, Tensor]:
        return pick(self.train_x, chosen), self.train_y[chosen]


def pick(x: Inputs, chosen: Tensor) -> Inputs:
    return tuple(part[chosen] for part in x) if isinstance(x, tuple) else x[chosen]


def split(x: Inputs, y: Tensor, held_back: int, *, seed: int = 0, **rest: Any) -> Task:
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    val, train = order[:held_back], order[held_back:]
    return Task(pick(x, train), y[train], pick(x, val), y[val], **rest)


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    return (outputs.argmax(1) == targets).float().mean().item()


def binary_accuracy(outputs: Tensor, targets: Tensor) -> float:
    return ((outputs > 0) == (targets > 0.5)).float().mean().item()


def explained(outputs: Tensor, targets: Tensor) -> float:
    """Share of the targets' variance that the outputs explain."""
    return 1 - ((outputs - targets).square().mean() / targets.var(unbiased=False)).item()


@cache
def images() -> Task:
    """Handwritten digits, (n, 1, 8, 8), as classes."""
    data = demo.digits()
    return Task(data.train_x, data.train_y, data.val_x, data.val_y, nn.CrossEntropyLoss, accuracy, 0.93)


@cache
def vectors() -> Task:
    """The digits as 64 numbers."""
    task = images()
    return replace(task, train_x=task.train_x.flatten(1), val_x=task.val_x.flatten(1))


@cache
def rows() -> Task:
    """The digits as a sequence of eight rows of eight pixels."""
    task = images()
    return replace(task, train_x=task.train_x.squeeze(1), val_x=task.val_x.squeeze(1), good=0.88)


@cache
def reconstruction() -> Task:
    """The digits' 64 pixels from themselves."""
    task = vectors()
    return replace(
        task, train_y=task.train_x, val_y=task.val_x, criterion=nn.MSELoss, score=explained, good=0.5
    )  # fmt: skip


@cache
def attributes() -> Task:
    """Four yes-or-no questions about a digit: even, prime, above four, has a loop."""
    task = vectors()
    answers = torch.tensor(
        [[d % 2 == 0, d in (2, 3, 5, 7), d > 4, d in (0, 6, 8, 9)] for d in range(10)], dtype=torch.float32
    )
    return replace(
        task, train_y=answers[task.train_y], val_y=answers[task.val_y], criterion=nn.BCEWithLogitsLoss,
        score=binary_accuracy, good=0.93,
    )  # fmt: skip


@cache
def rare_digit(share: float = 0.05) -> Task:
    """Is it an eight? One in about twenty is."""
    task = vectors()
    eights, others = (task.train_y == 8).nonzero()[:, 0], (task.train_y != 8).nonzero()[:, 0]
    kept = torch.cat([eights[: int(share * len(others))], others])
    return replace(
        task, train_x=task.train_x[kept], train_y=(task.train_y[kept] == 8).long(), val_y=(task.val_y == 8).long(),
        good=0.95,
    )  # fmt: skip


@cache
def noisy_labels(share: float = 0.15) -> Task:
    """Digits of which a part is labelled at random, in training only."""
    task = vectors()
    generator = torch.Generator().manual_seed(3)
    labels = task.train_y.clone()
    wrong = torch.rand(len(labels), generator=generator) < share
    labels[wrong] = torch.randint(10, (int(wrong.sum()),), generator=generator)
    return replace(task, train_y=labels, good=0.88)


@cache
def moons() -> Task:
    x, y = make_moons(1200, noise=0.15, random_state=0)
    inputs = torch.tensor(x, dtype=torch.float32)
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    return split(
        inputs, torch.tensor(y, dtype=torch.float32)[:, None], 300, criterion=nn.BCEWithLogitsLoss,
        score=binary_accuracy, good=0.93,
    )  # fmt: skip


@cache
def tumours() -> Task:
    """scikit-learn's breast cancer data: 569 samples of 30 standardized features, two classes."""
    data = load_breast_cancer()
    x = torch.tensor(data.data, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    return split(
        x, torch.tensor(data.target), 150, criterion=nn.CrossEntropyLoss, score=accuracy, good=0.93
    )  # fmt: skip


@cache
def diabetes() -> Task:
    """scikit-learn's diabetes data: 442 samples of ten features, a noisy number to predict."""
    data = load_diabetes()
    x = torch.tensor(data.data, dtype=torch.float32)
    y = torch.tensor(data.target, dtype=torch.float32)[:, None]
    return split(
        (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std(), 110, criterion=nn.MSELoss, score=explained, good=0.3
    )  # fmt: skip


@cache
def surface(noise: float = 0.1) -> Task:
    """A smooth function of eight variables, with noise."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(1500, 8, generator=generator)
    y = torch.sin(2 * x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:3] + 0.3 * x[:, 3:4]
    y = y + noise * torch.randn(1500, 1, generator=generator)
    return split(x, (y - y.mean()) / y.std(), 300, criterion=nn.MSELoss, score=explained, good=0.7)


@cache
def line() -> Task:
    """A noiseless linear map of four variables: the loss falls to nearly nothing."""
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(600, 4, generator=generator)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])
    return split(x, y, 100, criterion=nn.MSELoss, score=explained, good=0.99)


@cache
def reviews(words: int = 1000, length: int = 20) -> Task:
    """Texts of Zipf-distributed words, half of which speak for one of two classes; most words are rare."""
    generator = torch.Generator().manual_seed(7)
    frequency = 1 / torch.arange(1, words + 1, dtype=torch.float32)
    tokens = torch.multinomial(frequency, 6000 * length, replacement=True, generator=generator).view(6000, length)
    sentiment = torch.randn(words, generator=generator) * (torch.rand(words, generator=generator) < 0.5)
    sentiment -= (sentiment * frequency).sum() / frequency.sum()
    return split(
        tokens, (sentiment[tokens].sum(1) > 0).long(), 600, criterion=nn.CrossEntropyLoss, score=accuracy, good=0.75
    )  # fmt: skip


class Letters(nn.Module):
    """Cross-entropy of logits (batch, length, classes) with targets (batch, length)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), label_smoothing=self.label_smoothing
        )


def letters_right(logits: Tensor, targets: Tensor) -> float:
    return (logits.argmax(-1) == targets).float().mean().item()


@cache
def alphabet() -> int:
    return len(demo.characters().alphabet)


@cache
def text(length: int = 24) -> Task:
    """Windows of program text, and the same windows one character on."""
    characters = demo.characters()
    generator = torch.Generator().manual_seed(8)
    x, y = characters.batch(4000, length, generator)
    val_x, val_y = characters.batch(200, length, generator, val=True)
    return Task(x, y, val_x, val_y, Letters, letters_right, 0.25)


@cache
def running_parity(length: int = 8) -> Task:
    """At each position: is the number of ones so far odd?"""
    generator = torch.Generator().manual_seed(9)
    bits = torch.randint(2, (3000, length), generator=generator)
    return split(
        bits[:, :, None].float() * 2 - 1, bits.cumsum(1) % 2, 400, criterion=Letters, score=letters_right, good=0.9
    )  # fmt: skip


@cache
def waves(length: int = 48) -> Task:
    """Noisy signals of four shapes and any phase, (n, 1, length): which shape?"""
    generator = torch.Generator().manual_seed(10)
    shape = torch.randint(4, (1600,), generator=generator)
    phase = torch.rand(1600, 1, generator=generator)
    t = (torch.arange(length) / 16 + phase) % 1
    forms = torch.stack([torch.sin(2 * math.pi * t), (t < 0.5) * 2.0 - 1, 2 * t - 1, 1 - 4 * (t - 0.5).abs()])
    x = forms[shape, torch.arange(1600)] + 0.15 * torch.randn(1600, length, generator=generator)
    return split(x[:, None], shape, 300, criterion=nn.CrossEntropyLoss, score=accuracy, good=0.9)
