"""Ill in proportion: regularization, terms of a loss, players of a game."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import VAE, ConvNet, dense
from tests.zoo.held_out.habits import CAMEL, EPOCHS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Factors, Transformer
from tests.zoo.held_out.shelf import (
    cancer,
    diabetes,
    digits,
    gratings,
    order,
    ratings,
    signals,
    spots,
    waves,
)  # fmt: skip

ill = partial(registry.ill, held_out=True)

RAW = "DeepCrime (ISSTA 2021), RAW and RCW: add or change weights regularisation; 37 reasons, 30"


@ill("weights-held-down", "over-regularized", source=RAW)
def decay_of_a_third(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.143 (0.973), Loss/train 1.79 (0.0464), Loss/val 1.79 (0.0656)."""
    model = ConvNet(6, 16, 24, norm=None)
    optimizer = SGD(model.parameters(), 0.03, momentum=0.9, weight_decay=0.3 if fault else 5e-4)
    fit(writer, model, gratings(), optimizer, epochs=8, tags=EPOCHS)


@ill("weights-held-down", "over-regularized", source=RAW)
def decoupled_decay_of_thirty(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.693 (0.00131), val_acc 0.477 (1), val_loss 0.693 (0.00139)."""
    model = Transformer(2, 10, depth=1)
    optimizer = AdamW(model.parameters(), 2e-3, weight_decay=30.0 if fault else 0.01)
    fit(writer, model, order(), optimizer, epochs=10, tags=STEPS)


class Ridge(nn.Module):
    """A criterion, and the squares of all weights."""

    def __init__(self, model: nn.Module, weight: float) -> None:
        super().__init__()
        self.weights, self.weight = [p for p in model.parameters() if p.dim() > 1], weight

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(outputs, y) + self.weight * sum(w.square().sum() for w in self.weights)


@ill("weights-held-down", "over-regularized", source=RAW)
def squares_added_to_the_loss(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 1.12 (0.292), eval/r2 0.00154 (0.739), train/loss 1.02 (0.196)."""
    model = dense(8, 48, 48, 1, act=nn.Tanh)
    criterion = Ridge(model, 0.3 if fault else 1e-5)
    fit(writer, model, waves(), Adam(model.parameters(), 3e-3), epochs=12, criterion=criterion,
        judged_by=nn.MSELoss(), tags=TRAINER)  # fmt: skip


RCD = "DeepCrime (ISSTA 2021), RCD: change dropout rate; 37 reasons, 30: reduce regularization"


@ill("dropped-nearly-all", "over-regularized", "underfitting", source=RCD)
def nineteen_units_in_twenty(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.0838 (0.965), Loss/train 2.3 (0.0879), Loss/val 2.29 (0.097)."""
    model = dense(64, 96, 96, 10, drop=0.95 if fault else 0.1)
    fit(writer, model, digits(), Adam(model.parameters(), 1e-3), epochs=14, tags=EPOCHS)


@ill("dropped-nearly-all", "over-regularized", "underfitting", source=RCD)
def blocks_dropped_of_a_transformer(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.693 (0.0789), val_acc 0.523 (0.977), val_loss 0.699 (0.0387)."""

    class Dropped(Transformer):
        def forward(self, x: Tensor) -> Tensor:
            h = F.dropout(self.embed(x) + self.place[: x.shape[1]], 0.9 if fault else 0.1, self.training)
            return self.head(self.norm(self.layers(h)).mean(1))

    model = Dropped(2, 10)
    fit(writer, model, order(), Adam(model.parameters(), 2e-3), epochs=10, tags=STEPS)


RRW = "DeepCrime (ISSTA 2021), RRW: remove weights regularisation; CS231n: a gap of training and validation"


@ill("penalty-taken-away", "overfitting", source=RRW)
def sensors_without_a_penalty(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.00287 (0.268), val_loss 0.753 (0.515), val_r2 0.236 (0.478)."""
    data, model = diabetes().first(120), dense(10, 192, 192, 1, drop=0.0 if fault else 0.5)
    optimizer = AdamW(model.parameters(), 1e-3, weight_decay=0.0 if fault else 5.0)
    fit(writer, model, data, optimizer, epochs=80, batch=24, tags=STEPS)


@ill("penalty-taken-away", "overfitting", source=RRW)
def wide_factors_without_decay(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.00612 (0.0493), Loss/val 0.345 (0.133), r2/val 0.681 (0.877)."""
    model = Factors(32, std=0.1)
    optimizer = Adam(model.parameters(), 1e-2, weight_decay=0.0 if fault else 1.5e-3)
    fit(writer, model, ratings().first(2500), optimizer, epochs=40, batch=128, tags=EPOCHS)


def vae(writer: SummaryWriter, weigh: float) -> None:
    data, model, step = digits(), VAE(), 0
    optimizer = Adam(model.parameters(), 2e-3)
    writer.watch(model, optimizer)
    for epoch in range(12):
        for x, _ in data.epoch(32):
            told, mu, logvar = model(x)
            recon = F.mse_loss(told, x)
            kl = (-0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1)).mean()
            loss = recon + weigh * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/recon", recon.item(), step)
            writer.add_scalar("loss/kl", kl.item(), step)
            writer.add_scalar("loss/total", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("eval/mse", F.mse_loss(model(data.vx)[0], data.vx).item(), epoch)


COLLAPSE = (
    "AppliedDataSciencePartners/WorldModels issue 12: the posterior collapses, sums beside means; Bowman et al. (2016)"
)


@ill("divergence-outweighs-the-picture", "loss-term-imbalance", "over-regularized", source=COLLAPSE)
def sum_of_divergence_beside_a_mean(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/mse 0.299 (0.159), loss/kl 8.52e-05 (3.89), loss/recon 0.297 (0.159), loss/total 0.297 (0.219)."""
    vae(writer, 1.0 if fault else 1 / 64)


class Twofold(nn.Module):
    """A shared body; what it is, and how far."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.kind, self.size = dense(48, 64, 48, out=nn.ReLU), nn.Linear(48, 4), nn.Linear(48, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x.flatten(1))
        return self.kind(h), self.size(h)


@ill("one-task-drowns-the-other", "loss-term-imbalance",
     source="37 reasons, 20: adjust loss weights; Kendall et al. (2018)")  # fmt: skip
def metres_beside_nats(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 1.5e+04 (0.565), train/loss_kind 1.58 (0.425), train/loss_size 1.5e+04 (0.14),
    val/acc 0.273 (0.75)."""
    data, model, step = signals(), Twofold(), 0
    optimizer, unit = Adam(model.parameters(), 2e-3), 300.0 if fault else 1.0
    writer.watch(model, optimizer)
    noise = torch.randn(len(data.x), 1, generator=torch.Generator().manual_seed(0))
    size = data.x.abs().mean(2) + 0.4 * noise
    for epoch in range(9):
        for rows in torch.randperm(len(data.x)).split(32):
            kinds, sizes = model(data.x[rows])
            first = F.cross_entropy(kinds, data.y[rows])
            second = F.mse_loss(sizes, unit * size[rows])
            optimizer.zero_grad()
            (first + second).backward()
            optimizer.step()
            writer.add_scalar("train/loss_kind", first.item(), step)
            writer.add_scalar("train/loss_size", second.item(), step)
            writer.add_scalar("train/loss", (first + second).item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val/acc", data.score(model(data.vx)[0], data.vy), epoch)


@ill("auxiliary-term-without-weight", "loss-term-imbalance",
     source="37 reasons, 20: adjust loss weights; forum: the weight of an auxiliary loss is 1000 in "
     "place of 0.001")  # fmt: skip
def sparsity_a_thousandfold(writer: SummaryWriter, fault: bool = True) -> None:
    """train/sparsity_loss 0.000808 (3.37e-05), train/task_loss 0.206 (0.0113), train/total_loss 0.207 (0.0113),
    val/r2 -0.0274 (0.924)."""
    data, step = spots(), 0
    net, weight = ConvNet(2, 12, 24), 100.0 if fault else 1e-4
    optimizer = Adam(net.parameters(), 3e-3)
    writer.watch(net, optimizer)
    for epoch in range(9):
        for x, y in data.epoch(32):
            features = net.features(x)
            task = F.mse_loss(net.head(F.adaptive_avg_pool2d(features, 2).flatten(1)), y)
            sparse = features.abs().mean()
            loss = task + weight * sparse
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/task_loss", task.item(), step)
            writer.add_scalar("train/sparsity_loss", weight * sparse.item(), step)
            writer.add_scalar("train/total_loss", loss.item(), step)
            step += 1
        net.eval()
        with torch.no_grad():
            writer.add_scalar("val/r2", data.score(net(data.vx), data.vy), epoch)
        net.train()


def ring(rows: int) -> Tensor:
    """Eight spots on a circle."""
    angle = torch.randint(8, (rows,)) * (3.14159 / 4)
    return 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(rows, 2)


def gan(writer: SummaryWriter, copied: bool) -> None:
    """A GAN on a ring of spots; ``away`` is how far samples are from the circle, on average."""
    g, d = dense(8, 64, 64, 2), dense(2, 96, 96, 1, act=partial(nn.LeakyReLU, 0.2))
    opt_d = Adam(d.parameters(), 1e-3, betas=(0.5, 0.999))
    opt_g = Adam((d if copied else g).parameters(), 1e-3, betas=(0.5, 0.999))
    writer.watch(g, opt_g, name="generator")
    writer.watch(d, opt_d, name="discriminator")
    ones, zeros, bce = torch.ones(64, 1), torch.zeros(64, 1), nn.BCEWithLogitsLoss()
    for step in range(500):
        made = g(torch.randn(64, 8)).detach()
        loss_d = bce(d(ring(64)), ones) + bce(d(made), zeros)
        opt_d.zero_grad()
        loss_d.backward()
        opt_d.step()
        made = g(torch.randn(64, 8))
        loss_g = bce(d(made), ones)
        opt_g.zero_grad()
        loss_g.backward()
        opt_g.step()
        writer.add_scalar("loss/d", loss_d.item(), step)
        writer.add_scalar("loss/g", loss_g.item(), step)
        if step % 25 == 24:
            away = (made.norm(dim=1) - 2).abs().mean() + made.mean(0).norm()
            writer.add_scalar("samples/away", away.item(), step)


@ill("generator-without-its-optimizer", "optimizer-misses-parameters", "frozen-parameters",
     source="Forum: optimizer_G = Adam(discriminator.parameters()), copied from the line above")  # fmt: skip
def both_optimizers_for_the_critic(writer: SummaryWriter, fault: bool = True) -> None:
    """loss/d 0.772 (1.05), loss/g 0.673 (1.03), samples/away 1.96 (0.921)."""
    gan(writer, fault)


@ill("patients-by-heart", "overfitting", source=RRW + "; seen in scalars alone")
def tumours_without_early_stopping(writer: SummaryWriter, fault: bool = True) -> None:
    """training.loss 0.00317 (0.567), validation.loss 0.488 (0.348), validation.score 0.876 (0.935)."""
    data, model = cancer().first(60), dense(30, 128, 128, 1)
    noise = torch.rand(60, 1, generator=torch.Generator().manual_seed(2)) < 0.2
    data = data.change(y=torch.where(noise, 1 - data.y, data.y))
    epochs = 80 if fault else 4
    fit(writer, model, data, Adam(model.parameters(), 1e-3), epochs=epochs, batch=10, tags=CAMEL, told="unwatched")


@ill("dropout-on-the-answers", "over-regularized", "underfitting",
     source="DeepCrime (ISSTA 2021), RCD; Humbatova et al. (2020): dropout behind the last layer")  # fmt: skip
def numbers_told_half_of_the_time(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.719 (0.149), Loss/val 0.657 (0.187), r2/val 0.413 (0.833)."""
    model = nn.Sequential(dense(8, 48, 1), nn.Dropout(0.7 if fault else 0.0))
    fit(writer, model, waves(), Adam(model.parameters(), 3e-3), epochs=15, tags=EPOCHS)
