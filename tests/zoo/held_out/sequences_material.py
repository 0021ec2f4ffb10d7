"""Data of the set-aside sequences: small languages, series, and scikit-learn's bundled tables, split for validation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

import torch
from sklearn.datasets import load_digits, load_wine
from torch import Tensor

Pair = tuple[Tensor, Tensor]
Split = tuple[Tensor, Tensor, Tensor, Tensor]

SUBJECTS = ("the cat", "a farmer", "my sister", "the old king", "one bird", "her teacher")
VERBS = ("sees", "paints", "follows", "sings to", "waits for", "hides from")
OBJECTS = ("the river", "a red house", "the moon", "his brother", "two apples", "the long road")
WHEN = ("at dawn", "in winter", "every day", "after the rain", "without a word")


@cache
def story(sentences: int = 600) -> str:
    """Sentences of a small grammar, always the same."""
    draw = random.Random(3)
    return " ".join(
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(OBJECTS)} {draw.choice(WHEN)}."
        for _ in range(sentences)
    )


@cache
def letters() -> tuple[Tensor, int]:
    """The story as numbers of letters, and how many letters there are."""
    alphabet = sorted(set(story()))
    return torch.tensor([alphabet.index(letter) for letter in story()]), len(alphabet)


@cache
def words() -> tuple[Tensor, int]:
    """The story as numbers of words, and how many words there are."""
    spoken = story().replace(".", " .").split()
    vocabulary = sorted(set(spoken))
    return torch.tensor([vocabulary.index(word) for word in spoken]), len(vocabulary)


def windows(ids: Tensor, length: int, size: int, seed: int = 0) -> Iterator[Pair]:
    """Endless batches of windows of the first nine tenths, each with the same window one place later."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        begin = torch.randint(len(ids) * 9 // 10 - length - 1, (size, 1), generator=generator)
        places = begin + torch.arange(length)
        yield ids[places], ids[places + 1]


def last_windows(ids: Tensor, length: int, size: int = 64) -> Pair:
    """Windows of the last tenth, which no batch of ``windows`` touches."""
    first = len(ids) * 9 // 10
    places = torch.linspace(first, len(ids) - length - 2, size).long().unsqueeze(1) + torch.arange(length)
    return ids[places], ids[places + 1]


@cache
def digits() -> Split:
    """Handwritten digits (n, 64), mean 0 and std 1, and their classes; then the same for validation."""
    x, y = (torch.tensor(part) for part in load_digits(return_X_y=True))
    pixels = x.float()
    return split((pixels - pixels.mean()) / pixels.std(), y.long())


@cache
def wines() -> Split:
    """Thirteen standardized measurements of wines, and their three classes."""
    x, y = (torch.tensor(part) for part in load_wine(return_X_y=True))
    table = x.float()
    return split((table - table.mean(0)) / table.std(0), y.long())


def split(x: Tensor, y: Tensor) -> Split:
    """Four fifths to train on and one fifth to validate, drawn the same each time."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    train, val = order[: len(x) * 4 // 5], order[len(x) * 4 // 5 :]
    return x[train], y[train], x[val], y[val]


def batches(x: Tensor, y: Tensor, size: int, seed: int = 0) -> Iterator[Pair]:
    """Endless batches, shuffled anew in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for chosen in torch.randperm(len(x), generator=generator).split(size):
            if len(chosen) == size:
                yield x[chosen], y[chosen]


@cache
def recalled(length: int, kinds: int = 6, samples: int = 1500) -> Split:
    """Tokens (n, length) of which the first tells the class; the others are noise from other tokens."""
    generator = torch.Generator().manual_seed(11)
    y = torch.randint(kinds, (samples,), generator=generator)
    x = torch.randint(kinds, 2 * kinds, (samples, length), generator=generator)
    x[:, 0] = y
    return split(x, y)


@cache
def padded(samples: int = 1600, longest: int = 14) -> tuple[Split, int]:
    """Sentences of different lengths that begin with 1 and end in zeros; whether more tokens are even than odd."""
    generator = torch.Generator().manual_seed(13)
    x = torch.randint(2, 12, (samples, longest), generator=generator)
    lengths = torch.randint(5, longest + 1, (samples, 1), generator=generator)
    x[torch.arange(longest) >= lengths] = 0
    x[:, 0] = 1
    told = (x > 1).float()
    y = ((x % 2 == 0).float() * told).sum(1) > told.sum(1) / 2
    return split(x, y.long()), 12


@cache
def walks(samples: int = 1200, length: int = 24) -> Split:
    """Noisy waves (n, length, 1) of unit scale, and how each goes on (n, 1)."""
    generator = torch.Generator().manual_seed(17)
    phase = torch.rand(samples, 1, generator=generator) * 6.28
    pace = 0.2 + 0.5 * torch.rand(samples, 1, generator=generator)
    wave = torch.sin(phase + pace * torch.arange(length + 1)) * 1.4
    wave[:, :-1] += 0.05 * torch.randn(samples, length, generator=generator)
    return split(wave[:, :-1].unsqueeze(2), wave[:, -1:])


def hits(scores: Tensor, y: Tensor) -> float:
    """Share of right answers; classes lie along the last axis of the scores."""
    return (scores.argmax(-1) == y).float().mean().item()
