"""Autoencoders, plain and variational, and the loop of two networks against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.loop import examine
from tests.zoo.builders.tasks import Task, explained, images, vectors


class Variational(nn.Module):
    """Reconstruction, mean and log-variance of the code."""

    def __init__(self, code: int = 4, width: int = 64, *, sigmoid: bool = False) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, width, width), mlp(code, width, 64)
        self.mean, self.log_variance = nn.Linear(width, code), nn.Linear(width, code)
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.relu(self.encoder(x))
        mean, log_variance = self.mean(h), self.log_variance(h)
        noise = torch.randn_like(mean) if self.training else 0
        answer = self.decoder(mean + noise * (log_variance / 2).exp())
        return torch.sigmoid(answer) if self.sigmoid else answer, mean, log_variance


class EvidenceBound(nn.Module):
    """Squared error or cross-entropy of the pixels plus the divergence of the code, summed or averaged over pixels."""

    def __init__(self, *, summed: bool = True, binary: bool = False, weight: float = 1.0) -> None:
        super().__init__()
        self.summed, self.binary, self.weight = summed, binary, weight

    def forward(self, outputs: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
        answer, mean, log_variance = outputs
        distance = F.binary_cross_entropy if self.binary else F.mse_loss
        error = distance(answer, target, reduction="none").sum(1).mean()
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        return (error + self.weight * divergence) / (1 if self.summed else 64)


def variational_score(outputs: tuple[Tensor, Tensor, Tensor], target: Tensor) -> float:
    return explained(outputs[0], target)


def variational(criterion: type[nn.Module] = EvidenceBound, *, binary: bool = False) -> Task:
    task = pixels() if binary else vectors()
    return replace(
        task, train_y=task.train_x, val_y=task.val_x, criterion=criterion, score=variational_score, good=0.2
    )  # fmt: skip


@cache
def pixels() -> Task:
    """The digits as 64 numbers between 0 and 1."""
    task = vectors()
    low, high = task.train_x.min(), task.train_x.max()
    scaled = [(x - low) / (high - low) for x in (task.train_x, task.val_x)]
    return replace(task, train_x=scaled[0], val_x=scaled[1])


class ConvolutionalAutoencoder(nn.Module):
    def __init__(self, code: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 16, code)
        )
        self.decoder = nn.Sequential(
            nn.Linear(code, 12 * 16), nn.ReLU(), nn.Unflatten(1, (12, 4, 4)), nn.ConvTranspose2d(12, 1, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


@cache
def image_reconstruction() -> Task:
    task = images()
    return replace(task, train_y=task.train_x, val_y=task.val_x, criterion=nn.MSELoss, score=explained, good=0.7)


class Tied(nn.Module):
    """The decoder is the encoder's transpose."""

    def __init__(self, code: int = 24) -> None:
        super().__init__()
        self.encoder = nn.Linear(64, code)
        self.bias = nn.Parameter(torch.zeros(64))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.T, self.bias)


def adversarial(
    writer: SummaryWriter,
    *,
    loss: str = "logistic",
    steps: int = 300,
    lr: float = 5e-4,
    steps_of_critic: int = 1,
    clip: float = 0.0,
    make: Callable[[torch.nn.Module], torch.optim.Optimizer] | None = None,
) -> None:
    """A generator of eight-pixel rings of dots against a discriminator, each watched under its own name.

    ``clip``: bound of the critic's weights, as for Wasserstein's distance.

    Learned is what comes closer to the data's mean and spread than noise does.
    """
    rng = torch.Generator().manual_seed(torch.initial_seed() % 2**31)
    real = pixels().train_x * 2 - 1
    generator = nn.Sequential(*mlp(16, 64, 64, norm=nn.LayerNorm), nn.Tanh())
    critic = mlp(64, 64, 1, activation=nn.LeakyReLU)
    if loss == "hinge":
        critic = nn.Sequential(
            *(nn.utils.parametrizations.spectral_norm(m) if isinstance(m, nn.Linear) else m for m in critic)
        )
    optimizers = [torch.optim.Adam(net.parameters(), lr, betas=(0.5, 0.99)) for net in (generator, critic)]
    writer.watch(generator, optimizers[0], name="generator")
    writer.watch(critic, optimizers[1], name="critic")
    before = _distance(generator, real, rng)
    for step in range(steps):
        for _ in range(steps_of_critic):
            batch = real[torch.randint(len(real), (64,), generator=rng)]
            fake = generator(torch.randn(64, 16, generator=rng)).detach()
            of_critic = _critic_loss(loss, critic(batch), critic(fake))
            optimizers[1].zero_grad()
            of_critic.backward()
            optimizers[1].step()
            for p in critic.parameters() if clip else ():
                p.data.clamp_(-clip, clip)
        optimizers[0].zero_grad()
        judged = critic(generator(torch.randn(64, 16, generator=rng)))
        of_generator = (
            F.softplus(-judged).mean()
            if loss == "logistic"
            else ((judged - 1).square().mean() if loss == "squares" else -judged.mean())
        )
        of_generator.backward()
        optimizers[0].step()
        writer.add_scalar("loss/generator", of_generator.item(), step)
        writer.add_scalar("loss/critic", of_critic.item(), step)
    after = _distance(generator, real, rng)
    examine("how much closer the mean image came", 1 - after / before, 0.3)


def _critic_loss(loss: str, real: Tensor, fake: Tensor) -> Tensor:
    if loss == "logistic":
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    if loss == "squares":
        return (real - 1).square().mean() + fake.square().mean()
    if loss == "difference":
        return fake.mean() - real.mean()
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


@torch.no_grad()
def _distance(generator: nn.Module, real: Tensor, rng: torch.Generator) -> float:
    made = generator(torch.randn(500, 16, generator=rng))
    return float(
        (made.mean(0) - real.mean(0)).square().mean().sqrt() + (made.std(0) - real.std(0)).square().mean().sqrt()
    )
