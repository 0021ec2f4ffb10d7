"""Real data sets for the ill specimens, each with the criterion that suits it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from tb_nnhealth.demo.data import digits
from torch import Tensor, nn

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Problem:
    """Training and validation data; ``x`` is (n, …) in float32, ``y`` is (n,) for classes or (n, k) for numbers."""

    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor
    criterion: nn.Module = field(default_factory=nn.CrossEntropyLoss)

    def first(self, n: int) -> Problem:
        """Only the first ``n`` samples to train on."""
        return replace(self, train_x=self.train_x[:n], train_y=self.train_y[:n])

    def shuffled(self, size: int, seed: int = 1) -> Batches:
        """Endless batches, shuffled anew in each epoch."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self.train_x), generator=generator)
            yield from self.ordered(order, size)

    def ordered(self, order: Tensor, size: int) -> Batches:
        """One epoch in the given order; a last, smaller batch is dropped."""
        for chosen in order.split(size):
            if len(chosen) == min(size, len(order)):
                yield self.train_x[chosen], self.train_y[chosen]


@cache
def images() -> Problem:
    """Handwritten digits (n, 1, 8, 8), mean 0 and std 1, in ten classes."""
    data = digits()
    return Problem(data.train_x, data.train_y, data.val_x, data.val_y)


@cache
def pixels() -> Problem:
    """The digits, flattened to (n, 64)."""
    data = images()
    return replace(data, train_x=data.train_x.flatten(1), val_x=data.val_x.flatten(1))


@cache
def ink() -> Problem:
    """How much ink an image holds, standardized, from the image: (n, 1)."""
    data = images()
    train_y, val_y = (x.mean((1, 2, 3)).unsqueeze(1) for x in (data.train_x, data.val_x))
    centre, spread = train_y.mean(), train_y.std()
    return replace(
        data, train_y=(train_y - centre) / spread, val_y=(val_y - centre) / spread, criterion=nn.SmoothL1Loss()
    )


@cache
def rows() -> Problem:
    """The digits as sequences of eight rows (n, 8, 8)."""
    data = images()
    return replace(data, train_x=data.train_x.squeeze(1), val_x=data.val_x.squeeze(1))


@cache
def tumours(standardized: bool = True) -> Problem:
    """Wisconsin breast cancer: 30 measurements in their own units or standardized, and one label of 0 or 1 (n, 1)."""
    x, y = load_breast_cancer(return_X_y=True)
    return _table(x, y, standardized, nn.BCEWithLogitsLoss())


@cache
def diabetes() -> Problem:
    """Ten standardized measurements and the standardized progression of a disease (n, 1)."""
    x, y = load_diabetes(return_X_y=True)
    return _table(x, (y - y.mean()) / y.std(), True, nn.MSELoss())


def _table(x: object, y: object, standardized: bool, criterion: nn.Module) -> Problem:
    features, target = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32).unsqueeze(1)
    if standardized:
        features = (features - features.mean(0)) / features.std(0)
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    train, val = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    return Problem(features[train], target[train], features[val], target[val], criterion)
