"""Ill for how they are set: rates of other optimizers, schedules of other lengths, penalties out of proportion."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adagrad, Adam, AdamW, RMSprop, lr_scheduler

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import Reader, Sequence, convolutional, mlp
from tests.zoo.builders.material import figures, friedman, order_of_words, prices, rings, roll, steps_of_a_walk, wine
from tests.zoo.builders.practice import CAPITAL, JOINED, LONG, SLASHED, TRAINER, learn
from tests.zoo.faulty.networks import cnn
from tests.zoo.faulty.problems import diabetes, images
from tests.zoo.registry import ill

TOO_HIGH = ("learning-rate-too-high", "update-ratio-too-high")
TOO_LOW = ("learning-rate-too-low", "update-ratio-too-low")
HLR = "DeepCrime (ISSTA 2021), HLR: change learning rate; OCH: change optimisation function"


@ill("sgd-rate-given-to-adam", *TOO_HIGH, source=HLR)
def adamw_at_a_fifth_on_figures(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 1.39 (0.358), Loss/train 1.4 (0.289), Score/test 0.247 (0.823)."""
    model = convolutional(12, 24, 24, norm=None)
    learn(writer, model, AdamW(model.parameters(), lr=0.2 if fault else 2e-3), figures(), steps=200, names=CAPITAL)


@ill("adam-rate-given-to-sgd", *TOO_LOW, source=HLR)
def plain_descent_at_a_ten_thousandth(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.668 (0.0682), valid_loss 0.674 (0.0542), valid_score 0.481 (0.984)."""
    model = mlp(3, 48, 48, 1, activation=nn.Tanh)
    optimizer = SGD(model.parameters(), lr=3e-4 if fault else 0.3)
    learn(writer, model, optimizer, roll(), steps=500, names=JOINED)


DYING = "AUTOTRAINER (ICSE 2021): slow convergence; Keras gives Adadelta a rate of 0.001"


@ill("adadelta-at-a-thousandth", *TOO_LOW, "slow-start", source=DYING)
def adadelta_with_the_default_of_another_library(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 1.4 (0.314), val/loss 1.4 (0.362), val/score 0.213 (0.857)."""
    model = convolutional(12, 24)
    optimizer = Adadelta(model.parameters(), lr=1e-3 if fault else 1.0)
    learn(writer, model, optimizer, figures(), steps=250, names=SLASHED)


@ill("adadelta-at-a-thousandth", *TOO_LOW, "slow-start", source=DYING)
def adadelta_on_wine(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 1.11 (0.00147), validation_loss 1.08 (0.0815), validation_score 0.46 (0.98)."""
    model = mlp(13, 24, 24, 3, activation=nn.Sigmoid)
    optimizer = Adadelta(model.parameters(), lr=1e-3 if fault else 2.0)
    learn(writer, model, optimizer, wine(), steps=500, batch=16, names=LONG)


@ill("rate-decays-within-the-optimizer", "early-lr-decay", *TOO_LOW, "underfitting",
     source="Forum: lr_decay of Adagrad taken for a decay per epoch; DeepCrime (ISSTA 2021), HLR")  # fmt: skip
def adagrad_whose_rate_halves_at_once(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.495 (0.0625), valid_loss 0.496 (0.0838), valid_score 0.477 (0.912)."""
    model = mlp(10, 48, 48, 1)
    optimizer = Adagrad(model.parameters(), lr=0.02, lr_decay=0.9 if fault else 0.0)
    learn(writer, model, optimizer, friedman(), steps=400, names=JOINED)


OSCILLATING = "AUTOTRAINER (ICSE 2021): oscillating loss; TheDeepChecker (TOSEM 2023): highly fluctuating loss"


@ill("rmsprop-at-a-tenth", "loss-oscillating", *TOO_HIGH, "prediction-jitter", source=OSCILLATING)
def rmsprop_on_houses_four_at_a_time(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.717 (0.126), eval/score 0.263 (0.87), train/loss 1.43 (0.135)."""
    model = mlp(7, 32, 32, 1, activation=nn.Tanh)
    optimizer = RMSprop(model.parameters(), lr=0.1 if fault else 1e-3)
    learn(writer, model, optimizer, prices(), steps=500, batch=4, names=TRAINER)


@ill("rmsprop-at-a-tenth", "loss-oscillating", *TOO_HIGH, "prediction-jitter", source=OSCILLATING)
def rmsprop_on_a_marked_sum(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 1.1 (0.0219), val/loss 1.02 (0.0119), val/score -0.0842 (0.987)."""
    model = Sequence(nn.GRU, 2)
    optimizer = RMSprop(model.parameters(), lr=0.08 if fault else 3e-3)
    learn(writer, model, optimizer, steps_of_a_walk(12), steps=300, names=SLASHED)


@ill("regression-blown-up", *TOO_HIGH, "non-finite", "loss-diverging", "exploding-gradients",
     source="AUTOTRAINER (ICSE 2021): exploding gradient, large rate; forum: the squared error becomes "
     "NaN")  # fmt: skip
def momentum_on_a_squared_error(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test nan (0.174), Loss/train nan (0.116), Score/test nan (0.816)."""
    model = mlp(10, 64, 64, 1, activation=nn.LeakyReLU)
    optimizer = SGD(model.parameters(), lr=0.4 if fault else 0.01, momentum=0.9)
    learn(writer, model, optimizer, friedman(), steps=150, names=CAPITAL)


@ill("patience-of-one", "still-improving", "underfitting", source="DeepCrime (ISSTA 2021), RCP: change patience")
def stopped_at_the_first_worse_look(writer: SummaryWriter, fault: bool = True) -> None:
    """result/whole 0.872 (0.114), train_loss 0.893 (0.117), val_loss 0.695 (0.13)."""
    data, model = prices(), mlp(7, 48, 48, 1, activation=nn.GELU)
    optimizer, criterion, batches = Adam(model.parameters(), lr=2e-4), nn.MSELoss(), data.shuffled(16)
    writer.watch(model, optimizer, criterion=criterion)
    best, waited = float("inf"), 0
    for step in range(1200):
        x, y = next(batches)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("train_loss", loss.item(), step)
        if step % 10 == 9:
            few = torch.randperm(len(data.val_y))[:24]
            with torch.no_grad():
                val = criterion(model(data.val_x[few]), data.val_y[few]).item()
            writer.add_scalar("val_loss", val, step)
            waited = 0 if val < best else waited + 1
            best = min(best, val)
            if waited >= (1 if fault else 40):
                break
    with torch.no_grad():
        writer.add_scalar("result/whole", criterion(model(data.val_x), data.val_y).item(), step)


@ill("early-stopping-removed", "overfitting",
     source="DeepCrime (ISSTA 2021), HNE: change number of epochs; Prechelt, Early Stopping (1998)")  # fmt: skip
def a_hundred_epochs_on_diabetes(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.263 (0.516), valid_loss 0.772 (0.468), valid_score 0.296 (0.574)."""
    model, steps = mlp(10, 96, 96, 1, activation=nn.SiLU), 1100 if fault else 60
    learn(writer, model, Adam(model.parameters(), lr=2e-3), diabetes(), steps=steps, validate_every=11, names=JOINED)


@ill("warm-up-longer-than-the-training", *TOO_LOW, "still-improving", "slow-start", "underfitting",
     source="Forum: num_warmup_steps copied from a run of a million steps")  # fmt: skip
def warm_up_of_forty_thousand_steps(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.704 (0.00026), eval/score 0.493 (1), train/loss 0.706 (0.000145)."""
    model, length = Reader(depth=1), 40_000 if fault else 40
    optimizer = AdamW(model.parameters(), lr=3e-3)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / length))

    def after(step: int) -> None:
        schedule.step()
        writer.add_scalar("lr", schedule.get_last_lr()[0], step)

    learn(writer, model, optimizer, order_of_words(), steps=350, batch=64, after=after, names=TRAINER)


@ill("tenfold-decay-each-epoch", "early-lr-decay", "learning-rate-too-low", "underfitting", onset=80,
     source="Forum: StepLR(step_size=1) whose gamma of 0.1 stays at its default")  # fmt: skip
def step_size_of_one_epoch(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 0.263 (0.0329), Loss/train 0.261 (0.0291), Score/test 0.875 (0.985)."""
    model = mlp(3, 64, 64, 1)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = lr_scheduler.StepLR(optimizer, 1, gamma=0.1 if fault else 0.9)

    def after(step: int) -> None:
        if step % 40 == 39:
            schedule.step()
            writer.add_scalar("learning_rate", schedule.get_last_lr()[0], step)

    learn(writer, model, optimizer, roll(), steps=480, batch=40, after=after, names=CAPITAL)


@ill("resumed-without-the-schedule", *TOO_HIGH, "loss-spike", "gradient-spike", "loss-oscillating", onset=260,
     source="Forum: the scheduler's state is not in the checkpoint; the rate is back at its start")  # fmt: skip
def first_rate_again_after_a_checkpoint(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 0.528 (0.257), val/loss 0.485 (0.308), val/score 0.78 (0.84)."""
    model = convolutional(12, 24, norm=None)
    optimizer = SGD(model.parameters(), lr=0.2, momentum=0.9)

    def rate(step: int) -> None:
        since = step - 260 if fault and step >= 260 else step
        optimizer.param_groups[0]["lr"] = 0.2 * 0.985**since
        writer.add_scalar("lr", optimizer.param_groups[0]["lr"], step)

    learn(writer, model, optimizer, figures(), steps=340, before=rate, names=SLASHED)


@ill("fine-tuned-at-the-rate-of-scratch", *TOO_HIGH, "loss-spike", "exploding-gradients", "initial-loss-off",
     source="Howard and Ruder, ULMFiT (ACL 2018): a large rate forgets what was learned; DeepCrime, HLR")  # fmt: skip
def forty_images_at_a_rate_of_one(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 2.45 (0.0717), eval/score 0.0781 (0.982), train/loss 2.4 (0.0103)."""
    torch.manual_seed(3)
    data, model = images(), cnn((12, 24))
    first, batches = Adam(model.parameters(), lr=3e-3), data.shuffled(64)
    for _ in range(80):
        x, y = next(batches)
        first.zero_grad()
        data.criterion(model(x), y).backward()
        first.step()
    optimizer = SGD(model.parameters(), lr=1.0 if fault else 2e-3, momentum=0.9)
    learn(writer, model, optimizer, data.first(200), steps=120, batch=20, names=TRAINER)


@ill("step-after-the-inner-loop", *TOO_LOW, "still-improving", "underfitting", "large-batch",
     source="Forum: optimizer.step() is indented below the loop over the batches")  # fmt: skip
def one_step_an_epoch(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.929 (1), Loss/train 0.566 (0.00169), Loss/val 0.568 (0.00167)."""
    data, model = rings(), mlp(2, 32, 32, 2)
    optimizer, criterion = SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(40):
        losses = []
        for x, y in data.ordered(torch.randperm(len(data.train_y)), 30):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            losses.append(loss.item())
            if not fault:
                optimizer.step()
        if fault:
            optimizer.step()
        writer.add_scalar("Loss/train", sum(losses) / len(losses), epoch)
        with torch.no_grad():
            answers = model(data.val_x)
        writer.add_scalar("Loss/val", criterion(answers, data.val_y).item(), epoch)
        writer.add_scalar("Accuracy/val", (answers.argmax(1) == data.val_y).float().mean().item(), epoch)


class Penalized(nn.Module):
    """A criterion, and a penalty on the weights of a model."""

    def __init__(self, criterion: nn.Module, model: nn.Module, weight: float) -> None:
        super().__init__()
        self.criterion, self.weight = criterion, weight
        self.weights = [p for p in model.parameters() if p.dim() > 1]

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.criterion(outputs, y) + self.weight * sum(w.abs().sum() for w in self.weights)


@ill("l1-penalty-too-strong", "over-regularized", "underfitting", "constant-output", "vanishing-activations",
     source="DeepCrime (ISSTA 2021), RAW: add weights regularisation, l1; RCW: change it")  # fmt: skip
def lasso_on_a_table_of_houses(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 1.2 (0.12), val/mse 0.973 (0.1)."""
    data, model = prices(), mlp(7, 32, 32, 1, activation=nn.LeakyReLU)
    optimizer, batches, told = Adam(model.parameters(), lr=2e-3), data.shuffled(32), nn.MSELoss()
    penalized = Penalized(told, model, 0.5 if fault else 1e-4)
    writer.watch(model, optimizer, criterion=told)
    for step in range(400):
        x, y = next(batches)
        optimizer.zero_grad()
        loss = penalized(model(x), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        if step % 25 == 24:
            with torch.no_grad():
                writer.add_scalar("val/mse", told(model(data.val_x), data.val_y).item(), step)


@ill("decay-before-a-norm", "over-regularized", *TOO_HIGH, "loss-oscillating",
     source="van Laarhoven, L2 Regularization versus Batch and Weight Normalization (2017)")  # fmt: skip
def decayed_filters_before_batch_norm(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.39 (0.205), valid_loss 1.39 (0.389), valid_score 0.247 (0.86)."""
    model = convolutional(12, 24, 24)
    optimizer = SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.2 if fault else 1e-4)
    learn(writer, model, optimizer, figures(), steps=300, names=JOINED)


KEEP = "Forum: keep_prob of TensorFlow given to nn.Dropout; DeepCrime (ISSTA 2021), RCD: change dropout rate"


@ill("keep-probability-as-drop-rate", "over-regularized", "underfitting", source=KEEP)
def channels_kept_once_in_twenty(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 1.39 (0.425), Loss/train 1.4 (0.465), Score/test 0.243 (0.807)."""
    model = convolutional(16, 32, dropout=0.9 if fault else 0.1)
    learn(writer, model, Adam(model.parameters(), lr=2e-3), figures(), steps=350, names=CAPITAL)


@ill("keep-probability-as-drop-rate", "over-regularized", "underfitting", source=KEEP)
def states_kept_once_in_ten(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 0.694 (0.023), validation_loss 0.698 (0.000785), validation_score 0.45 (1)."""
    model = Reader(dropout=0.8 if fault else 0.1)
    learn(writer, model, Adam(model.parameters(), lr=2e-3), order_of_words(), steps=300, batch=64, names=LONG)
