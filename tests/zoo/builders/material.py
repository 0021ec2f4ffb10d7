"""Tables, shapes, series and graphs."""

from __future__ import annotations

import math
from functools import cache

import torch
from sklearn.datasets import load_wine, make_friedman1, make_swiss_roll
from torch import Tensor, nn

from tests.zoo.faulty.problems import Problem


def split(x: Tensor, y: Tensor, held_back: int, criterion: nn.Module | None = None, seed: int = 0) -> Problem:
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    val, train = order[:held_back], order[held_back:]
    return Problem(x[train], y[train], x[val], y[val], criterion or nn.CrossEntropyLoss())


def standard(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0)


@cache
def wine() -> Problem:
    """178 wines, 13 standardized measurements (n, 13), three growers."""
    x, y = load_wine(return_X_y=True)
    return split(standard(torch.tensor(x, dtype=torch.float32)), torch.tensor(y), 50)


@cache
def houses() -> tuple[Tensor, Tensor]:
    """2400 blocks of houses in their own units, (n, 7), and prices in units of 100,000, (n, 1).

    Income in 10,000, age in years, rooms, people a household, latitude, longitude, people in the block.
    """
    g = torch.Generator().manual_seed(51)
    n = 2400
    income = (1.2 + 0.45 * torch.randn(n, generator=g)).exp()
    age = 1 + 50 * torch.rand(n, generator=g)
    rooms = 3 + 0.5 * income + 0.8 * torch.randn(n, generator=g)
    people = (1.05 + 0.25 * torch.randn(n, generator=g)).exp()
    north, east = torch.rand(n, generator=g), torch.rand(n, generator=g)
    crowd = (7 + 0.7 * torch.randn(n, generator=g)).exp()
    coast = torch.exp(-4 * (east - 0.3 * torch.sin(3 * north)).square())
    price = (-0.6 + 0.25 * income + 0.9 * coast - 0.2 * (people - 3) + 0.15 * torch.randn(n, generator=g)).exp()
    x = torch.stack([income, age, rooms, people, 32 + 10 * north, -124 + 10 * east, crowd], 1)
    return x, price.clamp(max=8)[:, None]


@cache
def prices() -> Problem:
    """The houses, standardized, and the standardized logarithm of their price."""
    x, y = houses()
    return split(standard(x), standard(y.log()), 400, nn.MSELoss())


@cache
def friedman() -> Problem:
    """Ten numbers of which five say something (n, 10), and a standardized answer (n, 1)."""
    x, y = make_friedman1(1500, noise=1.0, random_state=0)
    target = torch.tensor(y, dtype=torch.float32)[:, None]
    return split(standard(torch.tensor(x, dtype=torch.float32)), standard(target), 300, nn.MSELoss())


@cache
def roll() -> Problem:
    """Points of a rolled-up sheet in space (n, 3): is a point on an odd turn of its chequered pattern? (n, 1)."""
    x, t = make_swiss_roll(2000, noise=0.2, random_state=0)
    along = torch.tensor(t, dtype=torch.float32)
    y = (torch.sin(1.2 * along) > 0).float()[:, None]
    return split(standard(torch.tensor(x, dtype=torch.float32)), y, 400, nn.BCEWithLogitsLoss())


@cache
def rings() -> Problem:
    """Points within and around a ring (n, 2), two classes, alike under a change of sign."""
    g = torch.Generator().manual_seed(52)
    label = torch.randint(2, (1500,), generator=g)
    radius = torch.where(label == 1, 1.6, 0.6) + 0.12 * torch.randn(1500, generator=g)
    angle = 2 * math.pi * torch.rand(1500, generator=g)
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    return split(x, label, 300)


SIDE = 16
_AXIS = torch.arange(SIDE, dtype=torch.float32)


def _far(centre: Tensor) -> tuple[Tensor, Tensor]:
    """Distance from the centres (n, 2), down and across, (n, SIDE, SIDE)."""
    down = (_AXIS[None, :, None] - centre[:, 0, None, None]).expand(-1, SIDE, SIDE)
    across = (_AXIS[None, None, :] - centre[:, 1, None, None]).expand(-1, SIDE, SIDE)
    return down, across


@cache
def discs(n: int = 700, radius: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images of one disc (n, 1, 16, 16), its mask, and its centre in -1 … 1 (n, 2)."""
    g = torch.Generator().manual_seed(53)
    centre = 4 + 8 * torch.rand(n, 2, generator=g)
    down, across = _far(centre)
    mask = ((down.square() + across.square()) < radius**2).float()[:, None]
    image = standard_image(mask + 0.4 * torch.randn(n, 1, SIDE, SIDE, generator=g))
    return image, mask, (centre - 8) / 4


def standard_image(x: Tensor) -> Tensor:
    return (x - x.mean()) / x.std()


@cache
def figures() -> Problem:
    """Noisy images (n, 1, 16, 16) of discs, squares, crosses and rings, anywhere."""
    g = torch.Generator().manual_seed(54)
    n = 1600
    label = torch.randint(4, (n,), generator=g)
    down, across = _far(5 + 6 * torch.rand(n, 2, generator=g))
    far, box = (down.square() + across.square()).sqrt(), torch.maximum(down.abs(), across.abs())
    cross = ((down.abs() < 1) | (across.abs() < 1)) & (box < 4)
    kinds = torch.stack([far < 3.6, box < 3.1, cross, (far > 2.5) & (far < 4.2)]).float()
    image = kinds[label, torch.arange(n)][:, None] + 0.25 * torch.randn(n, 1, SIDE, SIDE, generator=g)
    return split(standard_image(image), label, 300)


@cache
def steps_of_a_walk(length: int = 30) -> Problem:
    """Two channels over time (n, length, 2): numbers, and marks at two places. The sum of the marked ones (n, 1)."""
    g = torch.Generator().manual_seed(55)
    n = 3000
    numbers, marks = torch.randn(n, length, generator=g), torch.zeros(n, length)
    places = torch.rand(n, length, generator=g).topk(2).indices
    marks.scatter_(1, places, 1.0)
    return split(
        torch.stack([numbers, marks], 2), (numbers * marks).sum(1, keepdim=True) / math.sqrt(2), 400, nn.MSELoss()
    )


@cache
def order_of_words(length: int = 12) -> Problem:
    """Sequences of words 2 … 19 (n, length) with one 0 and one 1 among them: does 0 stand before 1?"""
    g = torch.Generator().manual_seed(56)
    n = 2400
    x = torch.randint(2, 20, (n, length), generator=g)
    places = torch.rand(n, length, generator=g).topk(2).indices
    x.scatter_(1, places[:, :1], 0).scatter_(1, places[:, 1:], 1)
    return split(x, (places[:, 0] < places[:, 1]).long(), 400)


@cache
def load_of_a_grid(hours: int = 3000, past: int = 24) -> tuple[Tensor, Tensor]:
    """Windows of the past (n, past) of a load with days, weeks and seasons, and its next value (n, 1), in order."""
    g = torch.Generator().manual_seed(57)
    t = torch.arange(hours + past, dtype=torch.float32)
    walk = torch.randn(hours + past, generator=g).cumsum(0)
    season = 2.0 * torch.sin(2 * math.pi * t / 1500)
    shape = torch.sin(2 * math.pi * t / 24) * (1 + 0.6 * torch.sin(2 * math.pi * t / 1000))
    load = season + shape + 0.3 * torch.sin(2 * math.pi * t / 168) + 0.005 * walk
    load = load + 0.1 * torch.randn(hours + past, generator=g)
    windows = standard(load[:, None])[:, 0].unfold(0, past + 1, 1)
    return windows[:, :past].contiguous(), windows[:, past:].contiguous()


@cache
def citations(n: int = 300, groups: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """A graph: adjacency (n, n) with loops, words of each node (n, 24), its field (n,). Links are mostly within."""
    g = torch.Generator().manual_seed(58)
    field = torch.randint(groups, (n,), generator=g)
    same = field[:, None] == field[None, :]
    linked = torch.rand(n, n, generator=g) < torch.where(same, 0.10, 0.01)
    adjacency = (linked.triu(1) | linked.triu(1).T).float() + torch.eye(n)
    topics = torch.randn(groups, 24, generator=g)
    return adjacency, 0.5 * topics[field] + torch.randn(n, 24, generator=g), field
