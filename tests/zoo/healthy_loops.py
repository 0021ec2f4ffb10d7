"""Healthy in loops of their own: learning to learn, control, a critic under a penalty, rolled-out dynamics."""

from __future__ import annotations

import copy
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.loop import examine
from tests.zoo.registry import healthy


def sine(n: int) -> tuple[Tensor, Tensor]:
    """One of many sines: points and values, (n, 1)."""
    height, phase = 0.5 + 2 * torch.rand(()), math.pi * torch.rand(())
    x = 8 * torch.rand(n, 1) - 4
    return x, height * torch.sin(x + phase)


def adapted(model: nn.Module, x: Tensor, y: Tensor, steps: int, rate: float = 0.02) -> nn.Module:
    learner = copy.deepcopy(model)
    optimizer = SGD(learner.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(learner(x), y).backward()
        optimizer.step()
    return learner


def learning_to_learn(writer: SummaryWriter, *, outer: str = "sgd", steps: int = 180) -> None:
    """Reptile (Nichol et al., 2018): each step is towards the weights adapted to one task, whose losses differ much."""
    model = mlp(1, 48, 48, 1, activation=nn.Tanh)
    optimizer: Optimizer = (
        SGD(model.parameters(), lr=0.3) if outer == "sgd" else Adam(model.parameters(), lr=5e-3, betas=(0.0, 0.99))
    )
    writer.watch(model, optimizer)
    before = after = 0.0
    for step in range(steps):
        x, y = sine(10)
        learner = adapted(model, x, y, 8)
        optimizer.zero_grad()
        for p, q in zip(model.parameters(), learner.parameters(), strict=True):
            p.grad = p.detach() - q.detach()
        optimizer.step()
        with torch.no_grad():
            writer.add_scalar("train/loss", F.mse_loss(learner(x), y).item(), step)
        if step % 90 == 89:
            losses = []
            for _ in range(20):
                x, y = sine(20)
                learner = adapted(model, x[:10], y[:10], 16)
                with torch.no_grad():
                    losses.append([F.mse_loss(net(x[10:]), y[10:]).item() for net in (model, learner)])
            before, after = torch.tensor(losses).mean(0).tolist()
            writer.add_scalar("val/loss", after, step)
    examine("share of the error that adapting takes away", 1 - after / before, 0.25)


for name, train in (("reptile", learning_to_learn), ("reptile-adam", partial(learning_to_learn, outer="adam"))):
    healthy("learning-to-learn", f"learning-to-learn-{name}", train)


def control(writer: SummaryWriter, *, clipped: bool = True, rate: float = 5e-3, steps: int = 60) -> None:
    """A mass is to be brought to rest at the origin. A policy of normal distributions and a critic; four passes over
    each batch of walks with clipped ratios (Schulman et al., 2017), or one pass without.
    """
    policy, critic = mlp(2, 32, 32, 1, activation=nn.Tanh), mlp(2, 32, 32, 1, activation=nn.Tanh)
    spread = nn.Parameter(torch.tensor(-0.5))
    both = nn.ModuleDict({"policy": policy, "critic": critic})
    both.register_parameter("spread", spread)
    optimizer = Adam(both.parameters(), lr=rate)
    writer.watch(both, optimizer)
    returns, update = [], 0

    def choice(state: Tensor) -> torch.distributions.Normal:
        return torch.distributions.Normal(policy(state), spread.exp())

    for walk in range(steps):
        state = torch.stack([2 * torch.rand(64) - 1, torch.zeros(64)], 1)
        states, actions, rewards = [], [], []
        with torch.no_grad():
            for _ in range(20):
                action = choice(state).sample()
                states.append(state)
                actions.append(action)
                push = action[:, 0].clamp(-1, 1)
                speed = 0.9 * state[:, 1] + 0.3 * push
                state = torch.stack([(state[:, 0] + 0.3 * speed).clamp(-3, 3), speed], 1)
                rewards.append(-state[:, 0].square() - 0.05 * push.square())
            seen, done = torch.cat(states), torch.cat(actions)
            togo = torch.zeros(64)
            target = []
            for reward in reversed(rewards):
                togo = reward + 0.95 * togo
                target.append(togo)
            target = torch.cat(target[::-1])[:, None]
            advantage = target - critic(seen)
            advantage = (advantage - advantage.mean()) / advantage.std()
            old = choice(seen).log_prob(done)
        for _ in range(4 if clipped else 1):
            ratio = (choice(seen).log_prob(done) - old).exp()
            gain = ratio * advantage
            if clipped:
                gain = torch.minimum(gain, ratio.clamp(0.8, 1.2) * advantage)
            value_loss = F.mse_loss(critic(seen), target)
            loss = -gain.mean() + 0.5 * value_loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(both.parameters(), 0.5)
            optimizer.step()
            writer.add_scalar("losses/policy_loss", -gain.mean().item(), update)
            writer.add_scalar("losses/value_loss", value_loss.item(), update)
            update += 1
        returns.append(torch.stack(rewards).sum(0).mean().item())
        writer.add_scalar("charts/episodic_return", returns[-1], walk)
    early, late = sum(returns[:5]) / 5, sum(returns[-5:]) / 5
    examine("share of the cost that was saved", 1 - late / early, 0.35)


for name, train in (
    ("clipped-ratios", control),
    ("one-pass", partial(control, clipped=False, rate=1e-2, steps=150)),
    ("slow-and-steady", partial(control, rate=2e-3, steps=90)),
):
    healthy("control", f"control-{name}", train)


def eight_heaps(n: int) -> Tensor:
    angle = torch.randint(8, (n,)) * math.pi / 4
    return torch.stack([angle.cos(), angle.sin()], 1) * 1.5 + 0.1 * torch.randn(n, 2)


def energy(a: Tensor, b: Tensor) -> float:
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


def under_a_penalty(
    writer: SummaryWriter, *, critic_steps: int = 3, layer: type[Optimizer] = Adam, steps: int = 200
) -> None:
    """Wasserstein with a penalty on the critic's gradient (Gulrajani et al., 2017): neither loss falls towards zero."""
    generator, critic = mlp(4, 64, 64, 2), mlp(2, 64, 64, 1, activation=nn.SiLU)
    options = {"betas": (0.5, 0.9)} if layer is Adam else {}
    g, d = (layer(net.parameters(), lr=2e-3, **options) for net in (generator, critic))
    writer.watch(generator, g, name="generator")
    writer.watch(critic, d, name="critic")
    first = energy(eight_heaps(500), generator(torch.randn(500, 4)).detach())
    for step in range(steps):
        for _ in range(critic_steps):
            real, fake = eight_heaps(128), generator(torch.randn(128, 4)).detach()
            between = torch.lerp(real, fake, torch.rand(128, 1)).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            penalty = 5 * (slope.norm(dim=1) - 1).square().mean()
            loss_d = critic(fake).mean() - critic(real).mean() + penalty
            d.zero_grad()
            loss_d.backward()
            d.step()
        loss_g = -critic(generator(torch.randn(128, 4))).mean()
        g.zero_grad()
        loss_g.backward()
        g.step()
        writer.add_scalar("loss/critic", loss_d.item(), step)
        writer.add_scalar("loss/generator", loss_g.item(), step)
    last = energy(eight_heaps(500), generator(torch.randn(500, 4)).detach())
    examine("share of the distance that is gone", 1 - last / first, 0.6)


for name, train in (
    ("three-critic-steps", under_a_penalty),
    ("rmsprop", partial(under_a_penalty, layer=RMSprop)),
):
    healthy("penalized-critic", f"penalized-critic-{name}", train)


class Pendulum(nn.Module):
    """A learned acceleration, rolled out by Runge and Kutta's rule: states (n, times, 2) from the first (n, 2)."""

    def __init__(self, width: int = 32, *, residual: bool = False) -> None:
        super().__init__()
        self.force, self.residual = mlp(2, width, width, 1, activation=nn.Tanh), residual

    def slope(self, state: Tensor) -> Tensor:
        known = -state[:, :1] if self.residual else 0
        return torch.cat([state[:, 1:], self.force(state) + known], 1)

    def forward(self, state: Tensor, times: int, dt: float = 0.2) -> Tensor:
        states = []
        for _ in range(times):
            a = self.slope(state)
            b = self.slope(state + dt / 2 * a)
            c = self.slope(state + dt / 2 * b)
            d = self.slope(state + dt * c)
            state = state + dt / 6 * (a + 2 * b + 2 * c + d)
            states.append(state)
        return torch.stack(states, 1)


class Truth(Pendulum):
    def slope(self, state: Tensor) -> Tensor:
        return torch.cat([state[:, 1:], -torch.sin(state[:, :1]) - 0.1 * state[:, 1:]], 1)


def dynamics(
    writer: SummaryWriter, *, times: int = 8, residual: bool = False, growing: bool = False, steps: int = 150
) -> None:
    """A pendulum's motion from noisy sights of it; ``growing`` asks for longer and longer ones."""
    model, truth, criterion = Pendulum(residual=residual), Truth(), nn.MSELoss()
    optimizer = AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    writer.watch(model, optimizer, criterion=criterion)
    loss = val = torch.tensor(math.inf)
    for step in range(steps):
        long = 2 + times * step // steps if growing else times
        with torch.no_grad():
            start = 2 * torch.rand(48, 2) - 1
            seen = truth(start, long)
            seen = seen + 0.02 * torch.randn_like(seen)
        loss = criterion(model(start, long), seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        writer.add_scalar("loss/train", loss.item(), step)
        if step % 25 == 24:
            with torch.no_grad():
                start = 2 * torch.rand(100, 2) - 1
                val = criterion(model(start, 15), truth(start, 15))
            writer.add_scalar("loss/val", val.item(), step)
    examine("minus the error of fifteen steps", -val.item(), -0.02)


for name, train in (
    ("rolled-out", dynamics),
    ("known-part", partial(dynamics, residual=True, times=5, steps=200)),
    ("growing-horizon", partial(dynamics, growing=True, times=12)),
):
    healthy("dynamics", f"dynamics-{name}", train)
