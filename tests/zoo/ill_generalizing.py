"""Ill for what they train on and are asked afterwards: noise, erasure, other sources, classes unseen."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.sequences import Bag
from tests.zoo.builders.tasks import reviews
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import Recurrent, cnn, mlp
from tests.zoo.faulty.problems import Problem, diabetes, images, pixels, rows
from tests.zoo.ill_batches import grey
from tests.zoo.registry import ill


@ill("noise-added-to-the-training-data", "over-regularized", "input-range-mismatch", "underfitting",
     source="DeepCrime (ISSTA 2021), TAN: add noise to training data")  # fmt: skip
def noise_of_six_standard_deviations(writer: SummaryWriter, fault: bool = True) -> None:
    data = pixels()
    noise = torch.randn(data.train_x.shape, generator=torch.Generator().manual_seed(4))
    spoiled = replace(data, train_x=data.train_x + (6.0 if fault else 0.1) * noise)
    model = mlp(64, 24, 10)
    train(writer, model, SGD(model.parameters(), lr=0.05), spoiled, steps=300)


@ill("augmentation-too-strong", "over-regularized", "input-range-mismatch", "underfitting",
     source="37 Reasons, 13: too much data augmentation")  # fmt: skip
def nineteen_of_twenty_pixels_erased(writer: SummaryWriter, fault: bool = True) -> None:
    def erased(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x.masked_fill(torch.rand(x.shape) < (0.95 if fault else 0.1), 0.0), y

    model = cnn((8, 16))
    train(writer, model, AdamW(model.parameters(), lr=1e-3), images(), prepare=erased, steps=250)


@ill("another-source-midway", "loss-spike", "gradient-spike", "input-range-mismatch", onset=120,
     source="Forum: a second data set, scanned in negative, is appended; 37 Reasons, 14")  # fmt: skip
def negatives_after_the_first_archive(writer: SummaryWriter, fault: bool = True) -> None:
    data = grey(rows())
    model = Recurrent(nn.GRU, 48)

    def negative(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return (3 - 6 * x if fault and step >= 120 else x), y

    train(writer, model, Adam(model.parameters(), lr=4e-3), data, prepare=negative, steps=240)


@ill("split-by-order", "overfitting",
     source="Forum: train_test_split(shuffle=False) on sorted data; scikit-learn, cross-validation")  # fmt: skip
def last_three_classes_held_back(writer: SummaryWriter, fault: bool = True) -> None:
    data = pixels()
    x, y = torch.cat([data.train_x, data.val_x]), torch.cat([data.train_y, data.val_y])
    order = y.argsort(stable=True) if fault else torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    split = Problem(x[order[:1260]], y[order[:1260]], x[order[1260:]], y[order[1260:]])
    model = mlp(64, 64, 10)
    train(writer, model, Adam(model.parameters(), lr=1e-3), split, steps=250, validate_every=10)


RRW = "DeepCrime (ISSTA 2021), RRW: remove weights regularisation; RCD: remove dropout"


@ill("regularization-removed", "overfitting", source=RRW)
def wide_network_on_diabetes(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(10, 256, 256, 1, dropout=0.0 if fault else 0.7)
    optimizer = AdamW(model.parameters(), lr=1e-3, weight_decay=0.0 if fault else 2.0)
    train(writer, model, optimizer, diabetes(), batch_size=32, steps=400, validate_every=10)


@ill("regularization-removed", "overfitting", source=RRW)
def words_learned_by_heart(writer: SummaryWriter, fault: bool = True) -> None:
    task = reviews()
    data = Problem(task.train_x[:600], task.train_y[:600], task.val_x, task.val_y)
    model = Bag(1000, width=64, hidden=64)
    optimizer = AdamW(model.parameters(), lr=3e-3, weight_decay=0.0 if fault else 10.0)
    train(writer, model, optimizer, data, steps=250, validate_every=10)
