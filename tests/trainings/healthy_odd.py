"""Healthy trainings whose loss, weights, tags or loop look like no textbook's; none may show a warning."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from tb_nnhealth.demo.data import characters, digits
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter

from .fit import fit, mlp
from .registry import healthy


class LowRank(nn.Module):
    """A frozen linear layer beside a trained product of two small matrices, of which B starts at zero."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2 * (x @ self.a.T) @ self.b.T


@healthy
def low_rank_adapters_on_a_frozen_base(writer: SummaryWriter) -> None:
    data, model = digits(), mlp(64, 96, 96, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    chosen = data.train_y < 5
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(model(data.train_x[chosen].flatten(1)), data.train_y[chosen]).backward()
        optimizer.step()
    for i in (0, 2, 4):
        model[i] = LowRank(model[i])  # type: ignore[arg-type]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fit(writer, model, torch.optim.AdamW(trained, lr=2e-3), flat=True, steps=250)


class Experts(nn.Module):
    """Two of six experts serve each sample; ``balance`` is the cost of serving them unevenly."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 48)
        self.gate = nn.Linear(48, 6)
        self.experts = nn.ModuleList(mlp(48, 64, 48) for _ in range(6))
        self.head = nn.Linear(48, 10)
        self.balance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.stem(x))
        shares = self.gate(h).softmax(1)
        weight, served = shares.topk(2, 1)
        self.balance = 6 * (shares.mean(0) * F.one_hot(served, 6).sum(1).float().mean(0)).sum()
        mixed = torch.zeros_like(h)
        for i, expert in enumerate(self.experts):
            row, place = (served == i).nonzero(as_tuple=True)
            if len(row):
                mixed = mixed.index_add(0, row, expert(h[row]) * weight[row, place, None])
        return self.head(h + mixed)


@healthy
def mixture_of_experts(writer: SummaryWriter) -> None:
    data, model = digits(), Experts()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer)
    generator = torch.Generator().manual_seed(1)
    for step in range(250):
        chosen = torch.randint(len(data.train_x), (64,), generator=generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(data.train_x[chosen].flatten(1)), data.train_y[chosen])
        (loss + 0.05 * model.balance).backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        writer.add_scalar("train/loss_balance", model.balance.item(), step)


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(64, 64)
        self.mean, self.log_variance = nn.Linear(64, 4), nn.Linear(64, 4)
        self.decoder = mlp(4, 64, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.relu(self.encoder(x))
        mean, log_variance = self.mean(h), self.log_variance(h)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return torch.sigmoid(self.decoder(code)), mean, log_variance


@healthy
def variational_autoencoder_of_summed_terms(writer: SummaryWriter) -> None:
    pixels = digits().train_x.flatten(1)
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    model = Variational()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer)
    for step in range(300):
        x = pixels[torch.randint(len(pixels), (64,))]
        optimizer.zero_grad()
        answer, mean, log_variance = model(x)
        reconstruction = F.binary_cross_entropy(answer, x, reduction="sum")
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        (reconstruction + divergence).backward()
        optimizer.step()
        writer.add_scalar("loss/total", (reconstruction + divergence).item(), step)
        writer.add_scalar("loss/reconstruction", reconstruction.item(), step)
        writer.add_scalar("loss/kl", divergence.item(), step)


@healthy
def policy_gradient(writer: SummaryWriter) -> None:
    policy = mlp(4, 32, 3, activation=nn.Tanh)
    optimizer = torch.optim.Adam(policy.parameters(), lr=5e-3)
    writer.watch(policy, optimizer)
    best = torch.randn(4, 3)
    for step in range(300):
        state = torch.randn(16, 4)
        choice = torch.distributions.Categorical(logits=policy(state))
        action = choice.sample()
        reward = ((state @ best).argmax(1) == action).float()
        optimizer.zero_grad()
        loss = -(choice.log_prob(action) * (reward - reward.mean())).mean()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), step)
        writer.add_scalar("reward", reward.mean().item(), step)


class Process(nn.Module):
    """A Gaussian process over 60 points: four scalar parameters, a loss that goes below zero."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x
        self.length, self.scale, self.noise, self.mean = (nn.Parameter(torch.zeros(())) for _ in range(4))

    def forward(self) -> torch.distributions.MultivariateNormal:
        distance = (self.x[:, None] - self.x[None]) / F.softplus(self.length)
        covariance = F.softplus(self.scale) * torch.exp(-0.5 * distance**2)
        jitter = (F.softplus(self.noise) + 1e-4) * torch.eye(len(self.x))
        return torch.distributions.MultivariateNormal(self.mean.expand(len(self.x)), covariance + jitter)


@healthy
def gaussian_process_of_four_scalars(writer: SummaryWriter) -> None:
    x = torch.linspace(0, 1, 60)
    y = torch.sin(6 * x) + 0.1 * torch.randn(60)
    model = Process(x)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    writer.watch(model, optimizer)
    for step in range(80):
        optimizer.zero_grad()
        loss = -model().log_prob(y) / len(x)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), step)


class TwoTasks(nn.Module):
    """A shared trunk, two heads, and the logarithms of the tasks' variances that weigh their losses."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.digit, self.ink = mlp(64, 64, 64), nn.Linear(64, 10), nn.Linear(64, 1)
        self.log_variance = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.trunk(x))
        return self.digit(h), self.ink(h)


@healthy
def two_tasks_weighed_by_uncertainty(writer: SummaryWriter) -> None:
    data, model = digits(), TwoTasks()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    for step in range(300):
        chosen = torch.randint(len(data.train_x), (32,))
        x, y = data.train_x[chosen].flatten(1), data.train_y[chosen]
        optimizer.zero_grad()
        digit, ink = model(x)
        terms = torch.stack([F.cross_entropy(digit, y), F.mse_loss(ink, x.mean(1, keepdim=True))])
        loss = ((-model.log_variance).exp() * terms + model.log_variance).sum()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss_digit", terms[0].item(), step)
        writer.add_scalar("train/loss_ink", terms[1].item(), step)
        writer.add_scalar("train/loss", loss.item(), step)


@healthy
def one_cycle_with_batch_normalization(writer: SummaryWriter) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=200)
    fit(writer, model, optimizer, before_step=lambda step: schedule.step() if step else None)


@healthy
def logged_as_transformer_trainers_do(writer: SummaryWriter) -> None:
    """A loss every ten steps, evaluation's beside it, and numbers that carry the word train and are no loss."""
    text, criterion = characters(), nn.CrossEntropyLoss()
    letters = len(text.alphabet)
    model = nn.Sequential(nn.Embedding(letters, 16), nn.Flatten(), *mlp(16 * 8, 96, letters))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 30, 1 - step / 301))
    writer.watch(model, optimizer, criterion=criterion)

    def batch(source: Tensor, count: int) -> tuple[Tensor, Tensor]:
        start = torch.randint(len(source) - 9, (count,))
        window = torch.stack([source[i : i + 9] for i in start.tolist()])
        return window[:, :8], window[:, 8]

    total = 0.0
    for step in range(1, 301):
        x, y = batch(text.train, 32)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 10 == 0:
            writer.add_scalar("train/loss", total / 10, step)
            writer.add_scalar("train/grad_norm", norm.item(), step)
            writer.add_scalar("train/learning_rate", schedule.get_last_lr()[0], step)
            writer.add_scalar("train/epoch", step / 150, step)
            total = 0.0
        if step % 50 == 0:
            model.eval()
            with torch.no_grad():
                x, y = batch(text.val, 256)
                writer.add_scalar("eval/loss", criterion(model(x), y).item(), step)
            model.train()
            writer.add_scalar("eval/samples_per_second", 1000.0, step)
    writer.add_scalar("train/train_loss", 2.5, 300)
    writer.add_scalar("train/train_steps_per_second", 40.0, 300)


def _wave(scale: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(800, 8, generator=generator)
    y = torch.sin(x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:3] + 0.1 * torch.randn(800, 1, generator=generator)
    return x, scale * y


def _regress(
    writer: SummaryWriter, model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, steps: int = 350
) -> None:
    criterion = nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(steps):
        chosen = torch.randint(len(x), (32,))
        optimizer.zero_grad()
        loss = criterion(model(x[chosen]), y[chosen])
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)


@healthy
def regression_on_targets_of_a_hundredth(writer: SummaryWriter) -> None:
    model = mlp(8, 64, 64, 1)
    _regress(writer, model, torch.optim.Adam(model.parameters(), lr=1e-3), *_wave(0.01))


@healthy
def linear_regression_on_targets_of_hundreds(writer: SummaryWriter) -> None:
    """A large part of the variance is noise, and the weights have to grow a hundredfold."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 10, generator=generator)
    y = 150 + 20 * x.sum(1, keepdim=True) + 60 * torch.randn(400, 1, generator=generator)
    model = nn.Linear(10, 1)
    _regress(writer, model, torch.optim.SGD(model.parameters(), lr=0.05), x, y)


@healthy
def critic_whose_weights_are_clipped(writer: SummaryWriter) -> None:
    """A Wasserstein critic: many of its units end in the same corner of the allowed range."""
    generator, critic = mlp(4, 64, 64, 2), mlp(2, 64, 64, 1, activation=nn.LeakyReLU)
    optimizers = [torch.optim.RMSprop(net.parameters(), lr=5e-5) for net in (generator, critic)]
    writer.watch(generator, optimizers[0], name="generator")
    writer.watch(critic, optimizers[1], name="critic")
    for step in range(100):
        for _ in range(4):
            angle = 2 * math.pi * torch.rand(64)
            real = torch.stack([angle.cos(), angle.sin()], 1)
            optimizers[1].zero_grad()
            distance = critic(real).mean() - critic(generator(torch.randn(64, 4)).detach()).mean()
            (-distance).backward()
            optimizers[1].step()
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-0.05, 0.05)
        optimizers[0].zero_grad()
        loss = -critic(generator(torch.randn(64, 4))).mean()
        loss.backward()
        optimizers[0].step()
        writer.add_scalar("critic_loss", -distance.item(), step)
        writer.add_scalar("generator_loss", loss.item(), step)


@healthy
def sets_whose_units_prune_themselves(writer: SummaryWriter) -> None:
    """Means over the members of a set: many units fall silent in the opening, and it learns all the same."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1500, 10, 3, generator=generator)
    y = (x[:, :, 0].max(1).values + x[:, :, 1].mean(1))[:, None]
    member, whole = mlp(3, 32, 32), mlp(32, 32, 1)

    class OfSets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.member, self.whole = member, whole

        def forward(self, x: Tensor) -> Tensor:
            return self.whole(self.member(x).mean(1))

    model = OfSets()
    _regress(writer, model, torch.optim.Adam(model.parameters(), lr=2e-3), x, y, steps=300)
