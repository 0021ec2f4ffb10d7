"""Ill as players: two networks against each other, and one that is rewarded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import mlp
from tests.zoo.faulty.problems import pixels
from tests.zoo.registry import ill


def moons_of_two(n: int) -> Tensor:
    """Points on two half circles."""
    angle = 3.1416 * torch.rand(n)
    side = torch.randint(2, (n,)) * 2.0 - 1
    ring = torch.stack([side * angle.cos() - side / 2, side * angle.sin() + side / 4], 1)
    return ring + 0.05 * torch.randn(n, 2)


def distance(a: Tensor, b: Tensor) -> float:
    """Energy distance of two samples."""
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


@ill("discriminator-never-thawed", "no-gradient", "frozen-parameters", subject="*discriminator*", onset=1,
     source="Forum: Keras' trainable = False; requires_grad of the discriminator is never set back")  # fmt: skip
def critic_frozen_since_the_first_turn_of_the_generator(writer: SummaryWriter, fault: bool = True) -> None:
    """distance 157 (0.332), loss/discriminator 9.54 (1.4), loss/generator 0.00058 (0.797)."""
    generator, discriminator = mlp(4, 48, 48, 2), mlp(2, 48, 48, 1, activation=nn.LeakyReLU)
    g, d = (Adam(net.parameters(), lr=2e-3, betas=(0.5, 0.99)) for net in (generator, discriminator))
    writer.watch(generator, g, name="generator")
    writer.watch(discriminator, d, name="discriminator")
    ones, zeros = torch.ones(128, 1), torch.zeros(128, 1)
    for step in range(400):
        if not fault or step == 0:
            discriminator.requires_grad_(True)
        real, fake = moons_of_two(128), generator(torch.randn(128, 4))
        told, made = discriminator(real), discriminator(fake.detach())
        loss_d = F.binary_cross_entropy_with_logits(told, ones) + F.binary_cross_entropy_with_logits(made, zeros)
        d.zero_grad()
        if loss_d.requires_grad:
            loss_d.backward()
        d.step()
        discriminator.requires_grad_(False)
        loss_g = F.binary_cross_entropy_with_logits(discriminator(fake), ones)
        g.zero_grad()
        loss_g.backward()
        g.step()
        writer.add_scalar("loss/discriminator", loss_d.item(), step)
        writer.add_scalar("loss/generator", loss_g.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("distance", distance(moons_of_two(500), generator(torch.randn(500, 4))), step)


@ill("cut-from-the-graph", "no-gradient", subject="*generator*",
     source="Forum: fakes detached for the discriminator, and given to the generator's loss as they are")  # fmt: skip
def generator_taught_by_detached_fakes(writer: SummaryWriter, fault: bool = True) -> None:
    """A term of weight zero keeps backward() from failing. distance 0.759 (0.479), loss/generator 8.1 (0.817)."""
    generator, discriminator = mlp(4, 48, 48, 2), mlp(2, 48, 48, 1, activation=nn.LeakyReLU)
    g, d = (Adam(net.parameters(), lr=2e-3, betas=(0.5, 0.99)) for net in (generator, discriminator))
    writer.watch(generator, g, name="generator")
    writer.watch(discriminator, d, name="discriminator")
    for step in range(400):
        fake = generator(torch.randn(128, 4))
        loss_d = F.softplus(-discriminator(moons_of_two(128))).mean() + F.softplus(discriminator(fake.detach())).mean()
        d.zero_grad()
        loss_d.backward()
        d.step()
        size = 0.0 * fake.square().mean()
        loss_g = F.softplus(-discriminator(fake.detach() if fault else fake)).mean() + size
        g.zero_grad()
        loss_g.backward()
        g.step()
        writer.add_scalar("loss/discriminator", loss_d.item(), step)
        writer.add_scalar("loss/generator", loss_g.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("distance", distance(moons_of_two(500), generator(torch.randn(500, 4))), step)


@ill("saturating-generator-loss", "vanishing-gradients", "no-gradient", "saturated-units", "learning-rate-too-low",
     "update-ratio-too-low", subject="*generator*",
     source="Goodfellow et al. (2014), section 3: log(1 - D(G(z))) saturates; Arjovsky and Bottou (ICLR "
     "2017)")  # fmt: skip
def critic_far_ahead_of_a_saturating_generator(writer: SummaryWriter, fault: bool = True) -> None:
    """D/loss 8.69e-06 (1.75), G/loss -4.17e-07 (1.05), distance 21.1 (2.22)."""
    generator, discriminator = mlp(4, 48, 48, 2, activation=nn.SiLU), mlp(2, 64, 64, 1)
    g, d = SGD(generator.parameters(), lr=0.02, momentum=0.5), Adam(discriminator.parameters(), lr=1e-2)
    with torch.no_grad():
        generator[-1].bias.copy_(torch.tensor([8.0, 8.0]))
    writer.watch(generator, g, name="generator")
    writer.watch(discriminator, d, name="discriminator")
    for step in range(350):
        for _ in range(2):
            real, fake = moons_of_two(128), generator(torch.randn(128, 4)).detach()
            loss_d = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake)).mean()
            d.zero_grad()
            loss_d.backward()
            d.step()
        told = discriminator(generator(torch.randn(128, 4)))
        loss_g = torch.log(1 - torch.sigmoid(told) + 1e-7).mean() if fault else F.softplus(-told).mean()
        g.zero_grad()
        loss_g.backward()
        g.step()
        writer.add_scalar("D/loss", loss_d.item(), step)
        writer.add_scalar("G/loss", loss_g.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("distance", distance(moons_of_two(500), generator(torch.randn(500, 4))), step)


@ill("rewards-of-a-hundred", "learning-rate-too-high", "update-ratio-too-high", "exploding-gradients",
     "saturated-units", "gradient-spike", "initial-loss-off", "exploding-activations",
     source="Henderson et al., Deep RL that Matters (AAAI 2018): reward scale; "
     "forum: REINFORCE collapses to one action")  # fmt: skip
def rewards_in_cents(writer: SummaryWriter, fault: bool = True) -> None:
    """loss/policy 0.000158 (-0.33), reward 10.5 (94.6)."""
    data, policy = pixels(), mlp(64, 48, 10, activation=nn.Tanh)
    optimizer, batches = SGD(policy.parameters(), lr=0.2), data.shuffled(64)
    writer.watch(policy, optimizer)
    for step in range(400):
        x, y = next(batches)
        choice = torch.distributions.Categorical(logits=policy(x))
        action = choice.sample()
        reward = 100.0 * (action == y)
        advantage = reward if fault else (reward - reward.mean()) / (reward.std() + 1e-6)
        loss = -(choice.log_prob(action) * advantage).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/policy", loss.item(), step)
        writer.add_scalar("reward", reward.mean().item(), step)
