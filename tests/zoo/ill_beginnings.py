"""Ill from the first step: weights of the wrong scale, all alike, or in networks too deep for their activations."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import Sequence, TwoTowers, convolutional, mlp
from tests.zoo.builders.material import discs, figures, friedman, prices, roll, split, steps_of_a_walk, wine
from tests.zoo.builders.practice import CAPITAL, JOINED, LONG, SLASHED, TRAINER, explained, learn
from tests.zoo.faulty.problems import Problem, pixels, rows
from tests.zoo.registry import ill

GRID = "AUTOTRAINER (ICSE 2021): depth, activation, initialization"


def each(model: nn.Module, *kinds: type[nn.Module]) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, kinds)]


def reconstruction() -> Problem:
    data = pixels()
    return replace(data, train_y=data.train_x, val_y=data.val_x, criterion=nn.MSELoss())


@ill("sigmoids-in-an-autoencoder", "vanishing-gradients", "constant-output", "slow-start", "vanishing-activations",
     source=GRID + "; vanishing gradient")  # fmt: skip
def eight_sigmoids_around_a_code(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.521 (0.184), valid_loss 0.52 (0.182), valid_score 0.482 (0.818)."""
    hidden = nn.Sigmoid if fault else nn.ELU
    model = mlp(64, 48, 40, 32, 16, 32, 40, 48, 64, activation=hidden)
    optimizer = SGD(model.parameters(), lr=0.2, momentum=0.9)
    learn(writer, model, optimizer, reconstruction(), steps=350, batch=64, names=JOINED)


@ill("small-normal-in-a-deep-cnn", "vanishing-activations", "vanishing-gradients", "poor-init-scale", "slow-start",
     source=GRID + ": tanh, RandomNormal(stddev=0.05), vanishing gradient")  # fmt: skip
def ten_tanh_convolutions_of_a_fiftieth(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 1.15 (0.592), val/loss 1.14 (0.638), val/score 0.46 (0.703)."""
    model = convolutional(*[12] * 9, activation=nn.Tanh, norm=None)
    for layer in each(model, nn.Conv2d):
        if fault:
            nn.init.normal_(layer.weight, std=0.02)
        else:
            nn.init.xavier_normal_(layer.weight, gain=5 / 3)
    learn(writer, model, Adam(model.parameters(), lr=1e-3), figures(), steps=200, names=SLASHED)


@ill("unit-normal-filters", "poor-init-scale", "exploding-activations", "initial-loss-off", "exploding-gradients",
     source=GRID + ": relu, RandomNormal(stddev=1), exploding gradient")  # fmt: skip
def filters_of_variance_one(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 2.83e+03 (0.362), Loss/train 2.47e+03 (0.331), Score/test 0.323 (0.81)."""
    model = convolutional(16, 32, 32, 32, norm=None)
    if fault:
        for layer in each(model, nn.Conv2d, nn.Linear):
            nn.init.normal_(layer.weight)
    learn(writer, model, Adam(model.parameters(), lr=1e-3), figures(), steps=200, names=CAPITAL)


@ill("deep-and-narrow", "dead-units", "constant-output", "vanishing-activations", "poor-init-scale",
     "loss-not-decreasing",
     source="Lu et al., Dying ReLU and Initialization (2019); AUTOTRAINER: dying ReLU")  # fmt: skip
def eighteen_layers_of_three_relus(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 1.06 (0.0999), validation_loss 0.973 (0.0912), validation_score -1.2e-05 (0.906)."""
    width, depth = (3, 18) if fault else (48, 3)
    model = mlp(7, *[width] * depth, 1)
    learn(writer, model, Adam(model.parameters(), lr=2e-3), prices(), steps=300, names=LONG)


@ill("recurrent-gain-of-four", "saturated-units", "poor-init-scale", "exploding-gradients", "vanishing-gradients",
     source=GRID + ": orthogonal; Pascanu et al. (ICML 2013)")  # fmt: skip
def orthogonal_times_six(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.777 (0.284), eval/score 0.163 (0.694), train/loss 0.782 (0.271)."""
    model = Sequence(nn.RNN, 2, 48)
    nn.init.orthogonal_(model.cell.weight_hh_l0, gain=6.0 if fault else 0.9)
    optimizer = Adam(model.parameters(), lr=4e-3)
    learn(writer, model, optimizer, steps_of_a_walk(6), steps=400, names=TRAINER)


@ill("recurrent-weights-all-alike", "symmetric-units", subject="cell*",
     source="TheDeepChecker (TOSEM 2023): unbroken symmetry; DeepCrime (ISSTA 2021), WCI")  # fmt: skip
def lstm_of_equal_weights(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.11 (0.0193), valid_loss 1.13 (0.116), valid_score 0.557 (0.962)."""
    model = Sequence(nn.LSTM, 8, 24, 10)
    if fault:
        for name, p in model.named_parameters():
            nn.init.constant_(p, 0.05 if "weight" in name else 0.0)
    optimizer = Adam(model.parameters(), lr=1e-2)
    learn(writer, model, optimizer, rows(), steps=300, batch=64, names=JOINED)


@ill("fan-of-the-wrong-axis", "poor-init-scale", "exploding-activations", "initial-loss-off", "exploding-gradients",
     source="He et al. (2015): fan-in, not fan-out; forum: weights of shape (in, out) ported from Keras")  # fmt: skip
def scale_by_the_fewer_outputs(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss nan (0.0486), validation_loss nan (0.0874), validation_score nan (0.73)."""
    image, _, centre = discs()
    data = split(image, centre[:, :1], 150, nn.MSELoss())
    model = nn.Sequential(nn.Flatten(), mlp(256, 64, 16, 4, 1, activation=nn.LeakyReLU))
    for layer in each(model, nn.Linear):
        out, into = layer.weight.shape
        nn.init.normal_(layer.weight, std=math.sqrt(2 / (out if fault else into)))
    learn(writer, model, SGD(model.parameters(), lr=5e-3, momentum=0.5), data, steps=400, names=LONG)


@ill("softplus-throughout", "activation-mean-shift", "poor-init-scale", "exploding-activations", "constant-output",
     "vanishing-gradients", "slow-start", source="DeepCrime (ISSTA 2021), ACH: change activation function")  # fmt: skip
def twelve_layers_of_softplus(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 0.0881 (0.0332), val/loss 0.106 (0.0384), val/score 0.955 (0.988)."""
    model = mlp(3, *[32] * 12, 1, activation=nn.Softplus if fault else nn.SiLU)
    for layer in each(model, nn.Linear):
        nn.init.kaiming_normal_(layer.weight)
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    learn(writer, model, optimizer, roll(), steps=400, batch=64, names=SLASHED)


def views(data: Problem) -> Problem:
    """Two halves of a figure's table side by side: a sample and a noisy copy, whose partner is to be found."""
    g = torch.Generator().manual_seed(7)

    def paired(x: Tensor) -> Tensor:
        return torch.cat([x + 0.5 * torch.randn(x.shape, generator=g), x + 0.5 * torch.randn(x.shape, generator=g)], 1)

    train, val = paired(data.train_x), paired(data.val_x[:64])
    return Problem(train, torch.zeros(len(train)), val, torch.arange(64))


class Matching(nn.Module):
    """Cross-entropy of finding one's partner in the batch."""

    def forward(self, similar: Tensor, _: Tensor) -> Tensor:
        return F.cross_entropy(similar, torch.arange(len(similar)))


@ill("temperature-too-small", "initial-loss-off", "exploding-gradients", "saturated-units", "update-ratio-too-high",
     "learning-rate-too-high",
     source="Wang and Liu, Behaviour of Contrastive Loss (CVPR 2021): the temperature")  # fmt: skip
def temperature_of_a_thousandth(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 6.83 (0.786), eval/score 0.0156 (0.797), train/loss 6.28 (0.619)."""
    data = views(pixels())
    model = TwoTowers(mlp(64, 64, 24), mlp(64, 64, 24), 5e-4 if fault else 0.1)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)

    def found(similar: Tensor, _: Tensor) -> float:
        return (similar.argmax(1) == torch.arange(len(similar))).float().mean().item()

    learn(writer, model, optimizer, data, criterion=Matching(), score=found, batch=64, steps=250, names=TRAINER)


class Sparse(nn.Module):
    """An autoencoder that remembers its code."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Sequential(mlp(64, 96, 48), nn.ReLU()), mlp(48, 96, 64)
        self.code = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        self.code = self.encoder(x)
        return self.decoder(self.code)


@ill("activity-penalty-too-strong", "dead-units", "vanishing-activations", "over-regularized", "constant-output",
     "loss-term-imbalance",
     source="DeepCrime (ISSTA 2021), RAW: add regularisation; Keras' activity_regularizer")  # fmt: skip
def sparse_code_of_nothing(writer: SummaryWriter, fault: bool = True) -> None:
    """loss/reconstruction 0.519 (0.0731), loss/sparsity 0 (0.00612), val/explained 0.482 (0.925)."""
    model, data, criterion = Sparse(), reconstruction(), nn.MSELoss()
    optimizer, batches = Adam(model.parameters(), lr=1e-3), data.shuffled(64)
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(300):
        x, y = next(batches)
        optimizer.zero_grad()
        error = criterion(model(x), y)
        sparsity = (0.3 if fault else 1e-4) * model.code.abs().sum(1).mean()
        (error + sparsity).backward()
        optimizer.step()
        writer.add_scalar("loss/reconstruction", error.item(), step)
        writer.add_scalar("loss/sparsity", sparsity.item(), step)
        if step % 25 == 24:
            with torch.no_grad():
                writer.add_scalar("val/explained", explained(model(data.val_x), data.val_y), step)


@ill("head-started-from-another-task", "initial-loss-off", "poor-init-scale", "exploding-gradients", "saturated-units",
     source="Forum: a head loaded from a checkpoint of other units; Karpathy, A Recipe: verify loss at "
     "init")  # fmt: skip
def head_of_prices_in_thousands(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 3.62 (0.256), valid_loss 5.54 (0.267), valid_score -4.84 (0.719)."""
    model = mlp(10, 48, 48, 1, activation=nn.Tanh)
    with torch.no_grad():
        if fault:
            model[-1].weight.mul_(150)
            model[-1].bias.fill_(200)
    learn(writer, model, SGD(model.parameters(), lr=0.01), friedman(), steps=250, names=JOINED)


@ill("inputs-scaled-within-the-model", "saturated-units", "poor-init-scale", "exploding-activations",
     "vanishing-gradients",
     source="Forum: standardized features are standardized again with the statistics of raw ones")  # fmt: skip
def divided_by_the_standard_deviation_of_another_table(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 0.0321 (0.0565), Loss/train 0.0248 (0.024), Score/test 1 (0.98)."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.rest = nn.Linear(13, 32), mlp(32, 32, 3, activation=nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            return self.rest(torch.tanh(self.first(x / (0.004 if fault else 1.0))))

    model = Scaled()
    learn(writer, model, SGD(model.parameters(), lr=0.05), wine(), steps=300, batch=16, names=CAPITAL)
