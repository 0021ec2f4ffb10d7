"""Losses that are no distance to a target: rewards, a teacher's opinions, several tasks at once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.adapted import pretrained
from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.loop import examine
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Task, vectors
from tests.zoo.registry import healthy


def policy_gradient(writer: SummaryWriter, *, critic: bool = False, entropy: float = 0.0, steps: int = 350) -> None:
    """Which of three actions does the state call for? Learned from rewards alone; the loss says nothing of progress."""
    policy = mlp(4, 32, 3, activation=nn.Tanh)
    value = mlp(4, 32, 1, activation=nn.Tanh)
    optimizer = torch.optim.Adam(policy.parameters(), 1e-2)
    of_value = torch.optim.Adam(value.parameters(), 1e-2)
    writer.watch(policy, optimizer, name="policy" if critic else None)
    if critic:
        writer.watch(value, of_value, name="value")
    best = torch.randn(4, 3)
    rewards: list[float] = []
    for step in range(steps):
        state = torch.randn(32, 4)
        choice = torch.distributions.Categorical(logits=policy(state))
        action = choice.sample()
        reward = ((state @ best).argmax(1) == action).float()
        if critic:
            expected = value(state).squeeze(1)
            of_value.zero_grad()
            error = F.mse_loss(expected, reward)
            error.backward()
            of_value.step()
            advantage = reward - expected.detach()
            writer.add_scalar("value/loss", error.item(), step)
        else:
            advantage = reward - reward.mean()
        optimizer.zero_grad()
        loss = -(choice.log_prob(action) * advantage).mean() - entropy * choice.entropy().mean()
        loss.backward()
        optimizer.step()
        rewards.append(reward.mean().item())
        writer.add_scalar("policy/loss" if critic else "loss", loss.item(), step)
        writer.add_scalar("reward", rewards[-1], step)
    examine("reward at the end", sum(rewards[-30:]) / 30, 0.75)


def action_values(writer: SummaryWriter, *, double: bool = False, steps: int = 500) -> None:
    """A walk along eleven places to the rewarded end, learned from remembered steps with a target network."""
    net = mlp(11, 48, 2)
    target = mlp(11, 48, 2)
    target.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    writer.watch(net, optimizer)
    place = torch.randint(10, (4000,))
    action = torch.randint(2, (4000,))
    there = (place + 2 * action - 1).clamp_min(0)
    for step in range(steps):
        chosen = torch.randint(4000, (64,))
        now, then = F.one_hot(place[chosen], 11).float(), F.one_hot(there[chosen], 11).float()
        with torch.no_grad():
            after = target(then)
            best = after.gather(1, net(then).argmax(1, keepdim=True))[:, 0] if double else after.amax(1)
            aim = torch.where(there[chosen] == 10, torch.ones(64), 0.9 * best)
        loss = F.smooth_l1_loss(net(now).gather(1, action[chosen, None])[:, 0], aim)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 19:
            target.load_state_dict(net.state_dict())
        writer.add_scalar("td_loss", loss.item(), step)
    with torch.no_grad():
        right = (net(torch.eye(11)[:10]).argmax(1) == 1).float().mean().item()
    examine("share of places from which it walks the right way", right, 0.9)


for name, train in (
    ("policy-gradient", policy_gradient),
    ("policy-gradient-with-entropy", partial(policy_gradient, entropy=0.01)),
    ("actor-and-critic", partial(policy_gradient, critic=True)),
    ("action-values", action_values),
    ("action-values-double", partial(action_values, double=True)),
):
    healthy("rewards", f"rewards-{name}", train)


class Opinion(nn.Module):
    """Cross-entropy with a teacher's shares of the classes, at a temperature."""

    temperature = 2.0

    def forward(self, logits: Tensor, shares: Tensor) -> Tensor:
        return F.cross_entropy(logits / self.temperature, shares) * self.temperature


def same_answer(logits: Tensor, shares: Tensor) -> float:
    return (logits.argmax(1) == shares.argmax(1)).float().mean().item()


@cache
def opinions() -> Task:
    """What a larger network, trained beforehand, thinks of the digits."""
    task = vectors()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = pretrained(mlp(64, 256, 10), task, steps=250)
    with torch.no_grad():
        told = [(teacher(x) / Opinion.temperature).softmax(1) for x in (task.train_x, task.val_x)]
    return replace(task, train_y=told[0], val_y=told[1], criterion=Opinion, score=same_answer, good=0.9)


student = Family("distillation", lambda: mlp(64, 32, 10), opinions, Recipe(lr=3e-3, steps=250))
student.specimen("adam")
student.specimen("momentum-steps", optimizer="momentum", lr=0.1, schedule="steps", logs="epochs")
student.specimen("deep-layer-norm", lambda: mlp(64, 24, 24, 24, 10, norm=nn.LayerNorm), optimizer="adamw")
student.specimen("observed-restarts", told="observed", schedule="restarts", steps=320)


class TwoHeads(nn.Module):
    """Ten classes, and how much ink there is, in the eleventh number."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.digit, self.ink = mlp(64, 64, 64), nn.Linear(64, 10), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.trunk(x))
        return torch.cat([self.digit(h), self.ink(h)], 1)


class TwoLosses(nn.Module):
    weight = 1.0

    def forward(self, answers: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(answers[:, :10], targets[:, 0].long()) + self.weight * F.mse_loss(
            answers[:, 10], targets[:, 1]
        )


def right_digit(answers: Tensor, targets: Tensor) -> float:
    return (answers[:, :10].argmax(1) == targets[:, 0]).float().mean().item()


@cache
def two_tasks() -> Task:
    task = vectors()
    ink = [(x.mean(1) - task.train_x.mean(1).mean()) / task.train_x.mean(1).std() for x in (task.train_x, task.val_x)]
    told = [torch.stack([y.float(), i], 1) for y, i in zip((task.train_y, task.val_y), ink, strict=True)]
    return replace(task, train_y=told[0], val_y=told[1], criterion=TwoLosses, score=right_digit, good=0.9)


both = Family("two-tasks", TwoHeads, two_tasks, Recipe(lr=2e-3, steps=250))
both.specimen("adam")
both.specimen("nesterov-cosine", optimizer="nesterov", lr=0.03, schedule="cosine", clip=1.0)
both.specimen("loss-unknown-accumulated", told="nothing", accumulate=4, batch=16, logs="tens")
