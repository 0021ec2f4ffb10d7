"""Data of the part set aside: bundled tables and images, and made ones with a structure to be learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import sklearn.datasets
import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


def accuracy(outputs: Tensor, y: Tensor) -> float:
    return (outputs.argmax(1) == y).float().mean().item()


def r_squared(outputs: Tensor, y: Tensor) -> float:
    return 1 - ((outputs - y).square().mean() / (y - y.mean(0)).square().mean()).item()


def yes_or_no(outputs: Tensor, y: Tensor) -> float:
    return ((outputs > 0) == (y > 0.5)).float().mean().item()


@dataclass(frozen=True)
class Data:
    """Training and validation rows, the usual criterion, and a score of which more is better."""

    x: Tensor
    y: Tensor
    vx: Tensor
    vy: Tensor
    criterion: Callable[[], nn.Module] = nn.CrossEntropyLoss
    score: Callable[[Tensor, Tensor], float] = accuracy

    def change(self, **changes: Any) -> Data:
        return replace(self, **changes)

    def first(self, rows: int) -> Data:
        """With fewer training rows."""
        return self.change(x=self.x[:rows], y=self.y[:rows])

    def epoch(self, batch: int, order: Tensor | None = None) -> Iterator[Batch]:
        """One pass in random order, or in that of ``order``; ``batch`` 0 is everything at once."""
        order = torch.randperm(len(self.x)) if order is None else order
        for rows in order.split(batch or len(order)):
            yield self.x[rows], self.y[rows]


def cut(x: Tensor, y: Tensor, validation: int, **more: Any) -> Data:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(17))
    train, aside = order[validation:], order[:validation]
    return Data(x[train], y[train], x[aside], y[aside], **more)


def scaled(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0).clamp(min=1e-6)


def table(name: str) -> tuple[Tensor, Tensor]:
    """Features and targets of a bundled data set, as they are."""
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return torch.tensor(x).float(), torch.tensor(y)


@cache
def digits() -> Data:
    x, y = table("digits")
    return cut(x / 8 - 1, y.long(), 597)


@cache
def digit_images() -> Data:
    data = digits()
    return data.change(x=data.x.unflatten(1, (1, 8, 8)), vx=data.vx.unflatten(1, (1, 8, 8)))


@cache
def iris() -> Data:
    x, y = table("iris")
    return cut(scaled(x), y.long(), 45)


@cache
def wine() -> Data:
    x, y = table("wine")
    return cut(scaled(x), y.long(), 58)


@cache
def cancer() -> Data:
    x, y = table("breast_cancer")
    return cut(scaled(x), y.float()[:, None], 169, criterion=nn.BCEWithLogitsLoss, score=yes_or_no)


@cache
def diabetes() -> Data:
    x, y = table("diabetes")
    return cut(scaled(x), scaled(y.float()[:, None]), 142, criterion=nn.MSELoss, score=r_squared)


def _made(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def spirals(arms: int = 3, noise: float = 0.05) -> Data:
    """Which arm of a spiral? Two features."""
    g = _made(1)
    y = torch.arange(1500) % arms
    t = torch.rand(1500, generator=g).sqrt()
    angle = 2 * math.pi * (y / arms + t) + noise * 3 * torch.randn(1500, generator=g)
    return cut(torch.stack([t * angle.cos(), t * angle.sin()], 1) * 2, y, 300)


@cache
def waves() -> Data:
    """A smooth function of five of eight features, with noise."""
    g = _made(2)
    x = torch.randn(1500, 8, generator=g)
    y = (2 * x[:, 0]).sin() * x[:, 1] + 0.5 * x[:, 2].square() - x[:, 3] + 0.6 * x[:, 4].tanh()
    y = y + 0.15 * torch.randn(1500, generator=g)
    return cut(x, scaled(y[:, None]), 300, criterion=nn.MSELoss, score=r_squared)


@cache
def gratings(classes: int = 6, noise: float = 0.6) -> Data:
    """Stripes of an orientation: one channel, 12 by 12."""
    g = _made(3)
    n = 1500
    y = torch.arange(n) % classes
    angle = math.pi * y / classes + 0.1 * torch.randn(n, generator=g)
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    along = columns * angle.cos()[:, None, None] + rows * angle.sin()[:, None, None]
    wave = (along * (0.9 + 0.5 * torch.rand(n, 1, 1, generator=g)) + 6.3 * torch.rand(n, 1, 1, generator=g)).sin()
    x = wave + noise * torch.randn(n, 12, 12, generator=g)
    return cut(x[:, None], y, 300)


@cache
def spots() -> Data:
    """Where is the spot? One channel, 12 by 12; its two coordinates from -1 to 1."""
    g = _made(4)
    place = 1.6 * torch.rand(1300, 2, generator=g) - 0.8
    grid = torch.linspace(-1, 1, 12)
    far = (grid[None, None, :] - place[:, 0, None, None]).square() + (grid[:, None] - place[:, 1, None, None]) ** 2
    x = (-far / 0.05).exp() * 2 + 0.3 * torch.randn(1300, 12, 12, generator=g)
    return cut(x[:, None], place, 300, criterion=nn.MSELoss, score=r_squared)


@cache
def signals() -> Data:
    """Sine, square, sawtooth or bursts: one channel of 48 samples."""
    g = _made(5)
    n, y = 1300, torch.arange(1300) % 4
    phase = torch.arange(48.0) * (0.3 + 0.3 * torch.rand(n, 1, generator=g)) + 6.3 * torch.rand(n, 1, generator=g)
    forms = torch.stack([
        phase.sin() * 1.4, phase.sin().sign(), ((phase / math.pi) % 2 - 1) * 1.7,
        torch.randn(n, 48, generator=g) * (phase / 4).sin().relu() * 2,
    ], 1)  # fmt: skip
    x = forms[torch.arange(n), y] + 0.5 * torch.randn(n, 48, generator=g)
    return cut(x[:, None], y, 300)


@cache
def recall(length: int = 12) -> Data:
    """Which of four symbols came first? Eight others follow."""
    g = _made(6)
    x = torch.randint(4, 12, (1500, length), generator=g)
    x[:, 0] = torch.arange(1500) % 4
    return cut(x, x[:, 0].clone(), 300)


@cache
def order() -> Data:
    """Does the first 1 come before the first 2? Tokens of ten."""
    g = _made(7)
    n, length = 1500, 14
    x = torch.randint(3, 10, (n, length), generator=g)
    places = torch.rand(n, length, generator=g).argsort(1)[:, :2].sort(1).values
    y = torch.arange(n) % 2
    x.scatter_(1, places, torch.stack([2 - y, 1 + y], 1))
    return cut(x, y, 300)


VOCABULARY = 24


@cache
def text(length: int = 20) -> Data:
    """Sentences of a second-order chain over 24 symbols; targets are the next symbols, (n, length)."""
    g = _made(8)
    follow = torch.stack([torch.randperm(VOCABULARY, generator=g)[:3] for _ in range(VOCABULARY * 4)])
    x = torch.randint(VOCABULARY, (1500, length + 1), generator=g)
    for t in range(2, length + 1):
        state = x[:, t - 1] * 4 + x[:, t - 2] % 4
        pick = torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), 1500, replacement=True, generator=g)
        x[:, t] = follow[state, pick]
    return cut(x[:, :-1], x[:, 1:], 300)


@cache
def series() -> Data:
    """Two tides and noise: the next value after 24 of them, (n, 24, 1)."""
    g = _made(9)
    t = torch.arange(1600.0)
    level = (t / 5).sin() + 0.6 * (t / 2.3 + 1).sin() + 0.15 * torch.randn(1600, generator=g)
    windows = scaled(level).unfold(0, 25, 1)
    return cut(windows[:, :24, None], windows[:, 24:], 300, criterion=nn.MSELoss, score=r_squared)


USERS, ITEMS = 120, 80


@cache
def ratings() -> Data:
    """A rating of an item by a user, of four hidden tastes; inputs are two numbers, (n, 2)."""
    g = _made(10)
    tastes, traits = torch.randn(USERS, 4, generator=g), torch.randn(ITEMS, 4, generator=g)
    x = torch.stack([torch.randint(USERS, (5000,), generator=g), torch.randint(ITEMS, (5000,), generator=g)], 1)
    y = (tastes[x[:, 0]] * traits[x[:, 1]]).sum(1) + 0.3 * torch.randn(5000, generator=g)
    return cut(x, scaled(y[:, None]), 800, criterion=nn.MSELoss, score=r_squared)


@cache
def visits() -> Data:
    """Will he buy? Columns: shop of 20, hour of 24, and four numbers; a third do."""
    g = _made(11)
    n = 2400
    shop, hour = torch.randint(20, (n,), generator=g), torch.randint(24, (n,), generator=g)
    numbers = torch.randn(n, 4, generator=g)
    charm = torch.randn(20, generator=g) * 1.5
    logit = charm[shop] + 2 * (hour / 3.8).sin() + numbers[:, 0] * numbers[:, 1] + numbers[:, 2] - 1
    y = (logit + 0.5 * torch.randn(n, generator=g) > 0).float()[:, None]
    x = torch.cat([torch.stack([shop, hour], 1), numbers], 1)
    return cut(x, y, 400, criterion=nn.BCEWithLogitsLoss, score=yes_or_no)


class Graph:
    """Four communities of a hundred nodes, and what each node tells of itself; one split of the nodes."""

    def __init__(self) -> None:
        g = _made(12)
        self.y = torch.arange(400) % 4
        near = self.y[:, None] == self.y
        edges = (torch.rand(400, 400, generator=g) < torch.where(near, 0.06, 0.008)).float().triu(1)
        edges = edges + edges.T + torch.eye(400)
        degree = edges.sum(1).rsqrt()
        self.adjacency = degree[:, None] * edges * degree
        self.x = torch.randn(400, 16, generator=g) + 0.8 * torch.nn.functional.one_hot(self.y, 16)
        self.train = torch.rand(400, generator=g) < 0.4


@cache
def graph() -> Graph:
    return Graph()
