"""Ill for what they are given to learn from: rows lost, joined wrongly, in order, in units of their own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.utils.data import DataLoader, Dataset

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import HalfUnet, Reader, Sequence, convolutional, mlp
from tests.zoo.builders.material import discs, figures, friedman, houses, load_of_a_grid, prices, split, standard, wine
from tests.zoo.builders.practice import CAPITAL, JOINED, LONG, TRAINER, explained, learn
from tests.zoo.builders.tasks import reviews
from tests.zoo.faulty.problems import Batches, Problem
from tests.zoo.registry import ill

FEW = "DeepCrime (ISSTA 2021), TRD: remove portion of training data; forum: a filter that leaves next to nothing"


@ill("filter-leaves-few-rows", "too-few-samples", "overfitting", source=FEW)
def forty_houses_left(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 0.00513 (0.107), val/loss 0.499 (0.103), val/score 0.487 (0.894)."""
    data = prices()
    model = mlp(7, 64, 64, 1, activation=nn.SiLU)
    learn(writer, model, Adam(model.parameters(), lr=3e-3), data.first(40) if fault else data, steps=400, batch=20)


@ill("filter-leaves-few-rows", "too-few-samples", "overfitting", source=FEW)
def sixty_texts_left(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 2.46 (0.574), eval/score 0.572 (0.705), train/loss 0.000151 (0.526)."""
    task = reviews()
    data = Problem(task.train_x, task.train_y, task.val_x, task.val_y)
    model = Reader(1000, 20, outputs=2, depth=1)
    used = data.first(60) if fault else data
    learn(writer, model, AdamW(model.parameters(), lr=1e-3), used, steps=300, batch=30, names=TRAINER)


@ill("classes-overlap", "overfitting", source="DeepCrime (ISSTA 2021), TCO: make output classes overlap")
def discs_filed_under_every_figure(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 2.37 (0.292), Loss/train 0.0439 (0.00378), Score/test 0.387 (0.9)."""
    data = figures()
    other = torch.randint(4, data.train_y.shape, generator=torch.Generator().manual_seed(1))
    taken = torch.rand(data.train_y.shape, generator=torch.Generator().manual_seed(2)) < 0.75
    mixed = replace(data, train_y=torch.where(taken, other, data.train_y))
    model = convolutional(12, 24, 24)
    optimizer = Adam(model.parameters(), lr=3e-3)
    learn(writer, model, optimizer, mixed if fault else data, steps=350, batch=64, names=CAPITAL)


BACKGROUND = "DeepCrime (ISSTA 2021), TUD: unbalance training data; Lin et al., Focal Loss (ICCV 2017)"


def overlap(logits: Tensor, mask: Tensor) -> float:
    """Intersection over union."""
    told, there = logits > 0, mask > 0.5
    return ((told & there).sum() / (told | there).sum().clamp(min=1)).item()


@ill("mostly-background", "class-imbalance", "constant-output", source=BACKGROUND)
def specks_of_one_pixel_in_two_hundred(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 0.0356 (0.031), val/loss 0.0338 (0.0333), val/score 0 (0.921)."""
    images, masks, _ = discs(700, 0.9 if fault else 3.5)
    data = split(images, masks, 150, nn.BCEWithLogitsLoss())
    model = HalfUnet(norm=False)
    learn(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), data, steps=150, batch=16, score=overlap)


@ill("mostly-background", "class-imbalance", "constant-output", source=BACKGROUND)
def one_failure_in_sixty_machines(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 0.0536 (0.306), validation_loss 0.111 (0.407), validation_score 0 (0.75)."""
    data = friedman()
    x, y = torch.cat([data.train_x, data.val_x]), torch.cat([data.train_y, data.val_y])
    failed = (y > (1.95 if fault else 0.3)).float()
    told = split(x, failed, 300, nn.BCEWithLogitsLoss())

    def recall(outputs: Tensor, y: Tensor) -> float:
        return (outputs > 0)[y > 0.5].float().mean().item()

    model = mlp(10, 32, 1, activation=nn.Tanh)
    learn(writer, model, SGD(model.parameters(), lr=0.1), told, steps=300, batch=64, score=recall, names=LONG)


PAIRS = "37 Reasons, 4; forum: two files of which one was sorted; DeepCrime (ISSTA 2021), TCL"


@ill("pairs-misaligned", "loss-not-decreasing", "underfitting", source=PAIRS)
def prices_of_the_house_next_door(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.04 (0.113), valid_loss 0.979 (0.105), valid_score -0.00626 (0.892)."""
    data = prices()
    shifted = replace(data, train_y=data.train_y.roll(1, 0), val_y=data.val_y.roll(1, 0))
    model = mlp(7, 32, 32, 1, activation=nn.GELU)
    optimizer = RMSprop(model.parameters(), lr=1e-3)
    learn(writer, model, optimizer, shifted if fault else data, steps=350, names=JOINED)


@ill("pairs-misaligned", "loss-not-decreasing", "underfitting", source=PAIRS)
def marks_of_another_series(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.983 (0.00953), eval/score 0.00887 (0.99), train/loss 1.02 (0.0107)."""
    series, nexts = load_of_a_grid()
    data = split(series[:, :, None], nexts, 400, nn.MSELoss())
    order = torch.randperm(len(data.train_y), generator=torch.Generator().manual_seed(3))
    model = Sequence(nn.GRU, 1)
    used = replace(data, train_y=data.train_y[order]) if fault else data
    learn(writer, model, Adam(model.parameters(), lr=3e-3), used, steps=250, names=TRAINER)


@ill("join-that-matches-nothing", "constant-input", "constant-output",
     source="Forum: a left join on keys of different types; what is missing is filled with 0")  # fmt: skip
def houses_joined_by_a_key_of_text(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 1.01 (0.121), validation_loss 0.973 (0.11), validation_score -0.000198 (0.887)."""
    data = prices()
    empty = replace(data, train_x=torch.zeros_like(data.train_x), val_x=torch.zeros_like(data.val_x))
    model = mlp(7, 48, 48, 1)
    learn(writer, model, Adam(model.parameters(), lr=1e-3), empty if fault else data, steps=250, names=LONG)


class Wrapping(Dataset[tuple[Tensor, Tensor]]):
    """Looks up ``index % period``."""

    def __init__(self, data: Problem, period: int) -> None:
        self.data, self.period = data, period

    def __len__(self) -> int:
        return len(self.data.train_y)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.data.train_x[index % self.period], self.data.train_y[index % self.period]


def loaded(dataset: Dataset[tuple[Tensor, Tensor]], size: int) -> Batches:
    while True:
        yield from DataLoader(dataset, size, shuffle=True, drop_last=True)


@ill("index-wraps-around", "too-few-samples", "repeated-batch", "overfitting",
     source="Forum: __getitem__ takes the index modulo the batch size")  # fmt: skip
def thirty_two_figures_again_and_again(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 2 (0.383), Loss/train 0.00457 (0.345), Score/test 0.46 (0.793)."""
    data = figures()
    batches = loaded(Wrapping(data, 32 if fault else len(data.train_y)), 32)
    model = convolutional(12, 24, norm=None)
    learn(writer, model, Adam(model.parameters(), lr=2e-3), data, steps=300, batches=batches, names=CAPITAL)


@ill("validation-indexed-anew", "overfitting", "input-range-mismatch",
     source="Forum: the vocabulary is built again from the validation texts")  # fmt: skip
def words_numbered_by_their_first_appearance(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.0453 (0.0453), valid_loss 3.22 (0.231), valid_score 0.482 (0.92)."""
    task = reviews()
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(4))
    val_x = order[task.val_x] if fault else task.val_x
    data = Problem(task.train_x, task.train_y, val_x, task.val_y)
    model = nn.Sequential(nn.EmbeddingBag(1000, 48), mlp(48, 32, 2))
    learn(writer, model, Adam(model.parameters(), lr=5e-3), data, steps=400, batch=128, names=JOINED)


@ill("table-in-order-of-its-answers", "unshuffled-data",
     source="37 Reasons, 8; forum: a table sorted by price and read without shuffling")  # fmt: skip
def houses_from_the_cheapest_to_the_dearest(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 0.0594 (0.119), validation_loss 0.421 (0.113), validation_score 0.567 (0.884)."""
    data = prices()
    by_price = data.train_y[:, 0].argsort()

    def in_order() -> Batches:
        while True:
            yield from data.ordered(by_price, 32)

    model = mlp(7, 32, 1)
    batches = in_order() if fault else data.shuffled(32)
    learn(writer, model, SGD(model.parameters(), lr=0.05), data, steps=434, batches=batches, names=LONG)


UNITS = "37 Reasons, 12; TheDeepChecker (TOSEM 2023): unscaled features"


@ill("timestamp-as-a-feature", "unnormalized-input", source=UNITS)
def seconds_since_1970_beside_a_house(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 51.9 (0.121), val/loss 31 (0.108), val/score -30.9 (0.889)."""
    data = prices()

    def dated(x: Tensor, seed: int) -> Tensor:
        day = torch.rand(len(x), 1, generator=torch.Generator().manual_seed(seed))
        return torch.cat([x, 1.6e9 + 1e8 * day if fault else 2 * day - 1], 1)

    table = replace(data, train_x=dated(data.train_x, 1), val_x=dated(data.val_x, 2))
    model = mlp(8, 48, 48, 1)
    learn(writer, model, Adam(model.parameters(), lr=1e-3), table, steps=300)


@ill("timestamp-as-a-feature", "unnormalized-input", source=UNITS)
def year_of_the_vintage(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.12 (0.0462), valid_loss 1.06 (0.0711), valid_score 0.46 (0.98)."""
    data = wine()

    def dated(x: Tensor, seed: int) -> Tensor:
        age = torch.randint(0, 40, (len(x), 1), generator=torch.Generator().manual_seed(seed)).float()
        return torch.cat([x, 1980 + age if fault else (age - 20) / 12], 1)

    table = replace(data, train_x=dated(data.train_x, 1), val_x=dated(data.val_x, 2))
    model = mlp(14, 24, 3, activation=nn.Tanh)
    learn(writer, model, SGD(model.parameters(), lr=0.05), table, steps=300, batch=16, names=JOINED)


@ill("temperatures-in-kelvin", "unnormalized-input", "activation-mean-shift", source=UNITS)
def sensors_around_290(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.843 (0.103), eval/score 0.111 (0.891), train/loss 0.929 (0.0857)."""
    data = friedman()

    def measured(x: Tensor) -> Tensor:
        return 290 + 8 * x if fault else x

    table = replace(data, train_x=measured(data.train_x), val_x=measured(data.val_x))
    model = mlp(10, 32, 32, 1)
    learn(writer, model, Adam(model.parameters(), lr=2e-3), table, steps=350, names=TRAINER)


@ill("targets-of-tiny-scale", "initial-loss-off", "learning-rate-too-low", "vanishing-gradients",
     "update-ratio-too-low", source="TheDeepChecker (TOSEM 2023): unscaled targets")  # fmt: skip
def prices_in_thousands_of_millions(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 0.000227 (0.128), Loss/train 0.000245 (0.145), Score/test -8.53e+03 (0.868)."""
    x, y = houses()
    target = y / 1e4 if fault else standard(y)
    data = split(standard(x), target, 400, nn.MSELoss())
    model = mlp(7, 32, 32, 1, activation=nn.ELU)
    learn(writer, model, SGD(model.parameters(), lr=0.02), data, steps=400, names=CAPITAL, score=explained)
