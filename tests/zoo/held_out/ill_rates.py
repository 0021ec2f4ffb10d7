"""Ill for the step that is taken: rates, momentum, batches, clipping and schedules."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import islice

from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import AutoEncoder, ConvNet, dense
from tests.zoo.held_out.habits import CAMEL, EPOCHS, KERAS, STEPS, TRAINER, fit, taught
from tests.zoo.held_out.readers import Buyers, Transformer, Writer
from tests.zoo.held_out.shelf import (
    Batch,
    diabetes,
    digit_images,
    digits,
    gratings,
    iris,
    r_squared,
    spirals,
    text,
    visits,
    waves,
)  # fmt: skip

ill = partial(registry.ill, held_out=True)

TOO_HIGH = ("learning-rate-too-high", "update-ratio-too-high")
TOO_LOW = ("learning-rate-too-low", "update-ratio-too-low")
HIGH = "DeepCrime (ISSTA 2021), HLR: change learning rate; 37 reasons, 36; CS231n: very high learning rate"
LOW = "DeepCrime (ISSTA 2021), HLR: decrease learning rate; AUTOTRAINER (ICSE 2021): slow convergence; CS231n"


@ill("rate-too-high", *TOO_HIGH, source=HIGH)
def language_at_a_tenth(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 2.21 (1.39), val_acc 0.324 (0.564), val_loss 2.29 (1.41)."""
    model = Transformer(causal=True)
    fit(writer, model, text(), AdamW(model.parameters(), 0.1 if fault else 3e-3), epochs=6, tags=STEPS)


@ill("rate-too-high", *TOO_HIGH, source=HIGH)
def waves_with_momentum_at_a_third(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train nan (0.278), Loss/val nan (0.306), r2/val nan (0.726)."""
    model = dense(8, 64, 64, 1, act=nn.Tanh)
    optimizer = SGD(model.parameters(), 0.9 if fault else 0.02, momentum=0.9)
    fit(writer, model, waves(), optimizer, epochs=10, tags=EPOCHS)


@ill("rate-too-high", *TOO_HIGH, source=HIGH)
def recurrence_at_two_fifths(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.428 (0.655), eval/loss 2.25 (1.16), train/loss 2.21 (1.15)."""
    model = Writer(32)
    fit(writer, model, text(), Adam(model.parameters(), 0.4 if fault else 5e-3), epochs=6, tags=TRAINER)


@ill("rate-too-high", *TOO_HIGH, source=HIGH)
def autoencoder_at_three_tenths(writer: SummaryWriter, fault: bool = True) -> None:
    """training.loss 0.399 (0.102), validation.loss 0.422 (0.101), validation.r2 -0.434 (0.658)."""
    data, model = digits(), AutoEncoder(act=nn.Tanh)
    data = data.change(y=data.x, vy=data.vx, criterion=nn.MSELoss, score=r_squared)
    fit(writer, model, data, Adam(model.parameters(), 0.3 if fault else 3e-3), epochs=8, tags=CAMEL)


@ill("rate-too-low", *TOO_LOW, source=LOW)
def descent_at_a_hundred_thousandth(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.0988 (0.992), Loss/train 2.35 (0.0153), Loss/val 2.35 (0.0386)."""
    model = ConvNet(10, 16, 32)
    optimizer = SGD(model.parameters(), 1e-5 if fault else 0.05, momentum=0.9)
    fit(writer, model, digit_images(), optimizer, epochs=7, tags=EPOCHS)


@ill("rate-too-low", *TOO_LOW, source=LOW)
def language_at_a_millionth(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 3.38 (1.4), val_acc 0.0415 (0.553), val_loss 3.39 (1.45)."""
    model = Transformer(causal=True)
    fit(writer, model, text(), AdamW(model.parameters(), 1e-6 if fault else 3e-3), epochs=6, tags=STEPS)


@ill("rate-too-low", *TOO_LOW, source=LOW)
def buyers_at_a_millionth(writer: SummaryWriter, fault: bool = True) -> None:
    """epoch_loss 0.636 (0.152), epoch_val_loss 0.639 (0.231), epoch_val_score 0.74 (0.897)."""
    model = Buyers()
    fit(writer, model, visits(), Adam(model.parameters(), 2e-6 if fault else 3e-3), epochs=6, tags=KERAS)


@ill("rate-of-one-group-too-low", *TOO_LOW, subject="features*",
     source="Forum: layer-wise rates, of which that of the body lost three zeros; DeepCrime, HLR")  # fmt: skip
def body_that_hardly_moves(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.08 (0.0386), val_acc 0.817 (0.983), val_loss 1.1 (0.0461)."""
    model = ConvNet(6, 12, 24, 24, norm=None)
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    groups = [
        {"params": model.features.parameters(), "lr": 2e-8 if fault else 2e-3},
        {"params": model.head.parameters()},
    ]
    fit(writer, model, gratings(), Adam(groups, 2e-3), epochs=8, tags=STEPS)


@ill("optimizer-exchanged", *TOO_LOW,
     source="DeepCrime (ISSTA 2021), OCH: change optimisation function; Adam's rate of 0.001 given to SGD")  # fmt: skip
def plain_descent_in_place_of_adam(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.0508 (0.624), eval/loss 3.15 (1.37), train/loss 3.15 (1.39)."""
    model = Writer()
    optimizer = (SGD if fault else Adam)(model.parameters(), lr=1e-3)
    fit(writer, model, text(), optimizer, epochs=8, tags=TRAINER)


@ill("optimizer-exchanged", *TOO_HIGH,
     source="DeepCrime (ISSTA 2021), OCH: change optimisation function; the rate of SGD given to Adam")  # fmt: skip
def adam_in_place_of_plain_descent(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.285 (0.968), Loss/train 1.86 (0.0713), Loss/val 1.74 (0.0928)."""
    model = dense(64, 96, 96, 10)
    optimizer = (Adam if fault else SGD)(model.parameters(), lr=0.2)
    fit(writer, model, digits(), optimizer, epochs=8, tags=EPOCHS)


OSCILLATING = "AUTOTRAINER (ICSE 2021): oscillating loss; TheDeepChecker (TOSEM 2023): fluctuating loss"


@ill("loss-swings", "loss-oscillating", *TOO_HIGH, source=OSCILLATING)
def few_rows_and_long_steps(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.1 (0.483), val_loss 1.4 (0.503), val_r2 -0.42 (0.49)."""
    model = dense(10, 32, 1, act=nn.Sigmoid)
    optimizer = RMSprop(model.parameters(), 0.3 if fault else 5e-3)
    fit(writer, model, diabetes(), optimizer, epochs=20, batch=8, tags=STEPS)


@ill("loss-swings", "loss-oscillating", *TOO_HIGH, source=OSCILLATING)
def momentum_of_nearly_one(writer: SummaryWriter, fault: bool = True) -> None:
    """epoch_loss 5.02 (0.0563), epoch_val_loss 3.82 (0.0887), epoch_val_score 0.926 (0.956)."""
    model = dense(4, 24, 3, act=nn.Tanh)
    optimizer = SGD(model.parameters(), 0.3 if fault else 0.1, momentum=0.995 if fault else 0.5)
    fit(writer, model, iris(), optimizer, epochs=60, batch=15, tags=KERAS, told="unwatched")


@ill("stopped-after-two-epochs", "still-improving", "underfitting",
     source="DeepCrime (ISSTA 2021), HNE: change number of epochs; 37 reasons, 31: give it time")  # fmt: skip
def two_epochs_of_spirals(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.786 (0.0485), val_acc 0.543 (0.982), val_loss 0.764 (0.0473)."""
    model = dense(2, 48, 48, 3)
    fit(writer, model, spirals(), Adam(model.parameters(), 1e-3), epochs=2 if fault else 25, batch=16, tags=STEPS)


@ill("trained-past-the-minimum", "overfitting",
     source="DeepCrime (ISSTA 2021), HNE: change number of epochs; CS231n: gap of training and validation")  # fmt: skip
def two_hundred_epochs_of_sugar(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.000385 (0.347), Loss/val 0.805 (0.515), r2/val 0.184 (0.477)."""
    data, model = diabetes().first(150), dense(10, 128, 128, 1)
    fit(writer, model, data, Adam(model.parameters(), 1e-3), epochs=160 if fault else 8, batch=30, tags=EPOCHS)


@ill("no-batches", "large-batch", "still-improving",
     source="DeepCrime (ISSTA 2021), HDB: disable batching; Keskar et al. (2017)")  # fmt: skip
def whole_table_at_each_step(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.532 (0.16), Loss/val 0.687 (0.22), r2/val 0.386 (0.804)."""
    model = dense(8, 64, 64, 1)
    optimizer = SGD(model.parameters(), 0.02)
    fit(writer, model, waves(), optimizer, epochs=60 if fault else 20, batch=0 if fault else 16, tags=EPOCHS)


@ill("batch-of-one-at-the-rate-of-many", "loss-oscillating", *TOO_HIGH,
     source="DeepCrime (ISSTA 2021), HBS: change batch size; 37 reasons, 11; Goyal et al. (2017)")  # fmt: skip
def one_patient_at_a_time(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.457 (0.402), val_loss 0.888 (0.483), val_r2 0.0993 (0.51)."""
    model = dense(10, 48, 1)
    optimizer = SGD(model.parameters(), 0.06)
    batch, epochs = (1, 2) if fault else (64, 60)
    fit(writer, model, diabetes(), optimizer, epochs=epochs, batch=batch, tags=STEPS)


@ill("fine-tuned-at-full-rate", *TOO_HIGH,
     source="Howard and Ruder (2018): a large rate forgets what was learned; DeepCrime (ISSTA 2021), HLR")  # fmt: skip
def trained_filters_at_a_tenth(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.363 (0.891), eval/loss 1.64 (0.374), train/loss 1.62 (0.301)."""
    model = taught(ConvNet(10, 12, 24, norm=None), digit_images(), 3)
    optimizer = Adam(model.parameters(), 0.1 if fault else 3e-4)
    fit(writer, model, digit_images().first(400), optimizer, epochs=8, tags=TRAINER)


class Enough(Exception):
    """No more epochs."""


@ill("patience-too-short", "still-improving", "underfitting",
     source="DeepCrime (ISSTA 2021), RCP: change patience; Prechelt, Early Stopping (1998)")  # fmt: skip
def stopped_at_the_first_setback(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.553 (0.171), val_loss 0.437 (0.283), val_r2 0.418 (0.624)."""
    data, model = waves(), dense(8, 48, 48, 1, act=nn.SiLU)
    data = data.change(vx=data.vx[:40], vy=data.vy[:40])
    best, waited = float("inf"), 0

    def after_epoch(_: int, val: float) -> None:
        nonlocal best, waited
        best, waited = min(best, val), 0 if val < best else waited + 1
        if waited >= (1 if fault else 40):
            raise Enough

    def feed(_: int) -> list[Batch]:
        return list(islice(data.epoch(8), 5))

    optimizer = Adam(model.parameters(), 1e-3)
    with suppress(Enough):
        fit(writer, model, data, optimizer, epochs=250, feed=feed, tags=STEPS, after_epoch=after_epoch)
