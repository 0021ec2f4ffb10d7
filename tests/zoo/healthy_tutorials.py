"""Trainings as libraries' tutorials write them: scores of whole episodes, heavy dropout, sums over images, a warp begun
at rest, distances to prototypes, two networks bundled for the call."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.loop import examine
from tests.zoo.builders.material import citations, figures
from tests.zoo.builders.tasks import vectors
from tests.zoo.registry import healthy


def _fallen(pole: Tensor) -> bool:
    return bool(pole[0].abs() > 2.4 or pole[2].abs() > 0.21)


def _pushed(pole: Tensor, push: int) -> Tensor:
    """A cart of 1 kg under a pole of 0.1 kg and 1 m, a fiftieth of a second later (Barto, Sutton and Anderson 1983)."""
    _, speed, angle, turn = pole.tolist()
    force = (10.0 if push else -10.0) + 0.05 * turn**2 * math.sin(angle)
    inertia = 0.5 * (4 / 3 - 0.1 * math.cos(angle) ** 2 / 1.1)
    turned = (9.8 * math.sin(angle) - math.cos(angle) * force / 1.1) / inertia
    driven = (force - 0.05 * turned * math.cos(angle)) / 1.1
    return pole + 0.02 * torch.tensor([speed, driven, turn, turned])


class _ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.push, self.value = nn.Linear(4, 64), nn.Linear(64, 2), nn.Linear(64, 1)

    def forward(self, pole: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.body(pole))
        return self.push(h), self.value(h)


def pole(writer: SummaryWriter, *, lr: float = 1e-2, episodes: int = 70) -> None:
    """One step of the optimizer for each episode, along the sum of its losses: the longer it is, the larger."""
    model = _ActorCritic()
    optimizer = Adam(model.parameters(), lr)
    writer.watch(model, optimizer, every=2)
    lengths: list[int] = []
    for episode in range(episodes):
        state, told, values = 0.1 * torch.rand(4) - 0.05, [], []
        while not _fallen(state) and len(told) < 120:
            answer, value = model(state)
            choice = Categorical(logits=answer)
            push = choice.sample()
            told.append(choice.log_prob(push))
            values.append(value.squeeze())
            state = _pushed(state, int(push))
        lengths.append(len(told))
        left = torch.arange(len(told), 0, -1.0)
        returns = (1 - 0.99**left) / 0.01
        returns = (returns - returns.mean()) / (returns.std() + 1e-8)
        value = torch.stack(values)
        advantage = returns - value.detach()
        loss = F.smooth_l1_loss(value, returns, reduction="sum") - (torch.stack(told) * advantage).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), episode)
    examine("steps until the pole falls, over those at first", sum(lengths[-20:]) / sum(lengths[:20]), 1.5)


class _Attending(nn.Module):
    """Each node's answer is a mean over its neighbours, weighted by attention (Veličković et al. 2018)."""

    def __init__(self, words: int, out: int, dropout: float) -> None:
        super().__init__()
        self.read, self.gives, self.takes = nn.Linear(words, out), nn.Linear(out, 1), nn.Linear(out, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes: Tensor, linked: Tensor) -> Tensor:
        h = self.dropout(self.read(nodes))
        heard = F.leaky_relu(self.takes(h) + self.gives(h).T, 0.2).masked_fill(linked == 0, -torch.inf)
        return self.dropout(heard.softmax(1)) @ h


class _GraphAttention(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.first, self.second = _Attending(24, 16, dropout), _Attending(16, 4, dropout)

    def forward(self, nodes: Tensor, linked: Tensor) -> Tensor:
        return self.second(F.elu(self.first(nodes, linked)), linked)


def attention_on_a_graph(writer: SummaryWriter, *, dropout: float = 0.6, epochs: int = 250) -> None:
    """All nodes in one batch, half of them with an answer; dropout keeps the training loss far above validation."""
    linked, nodes, field = citations()
    model, known = _GraphAttention(dropout), torch.arange(len(field)) % 2 == 0
    optimizer = Adam(model.parameters(), 5e-3, weight_decay=5e-4)
    writer.watch(model, optimizer)
    for epoch in range(epochs):
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(nodes, linked)[known], field[known])
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), epoch)
        if epoch % 10 == 9:
            model.eval()
            with torch.no_grad():
                of_others = F.cross_entropy(model(nodes, linked)[~known], field[~known])
            writer.add_scalar("loss/val", of_others.item(), epoch)
    model.eval()
    right = (model(nodes, linked).argmax(1) == field)[~known].float().mean().item()
    examine("fields of the other nodes", right, 0.8)


class _Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.spread = nn.Linear(64, 200), nn.Linear(200, 8), nn.Linear(200, 8)
        self.back, self.image = nn.Linear(8, 200), nn.Linear(200, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.body(x))
        mean, spread = self.mean(h), self.spread(h)
        code = mean + torch.randn_like(mean) * (spread / 2).exp()
        return torch.sigmoid(self.image(F.relu(self.back(code)))), mean, spread


def sums_over_images(writer: SummaryWriter, *, epochs: int = 16) -> None:
    """Cross-entropy of grey pixels, which never comes near 0, summed over pixels and samples; told once an epoch."""
    images = vectors().train_x
    images = (images - images.min()) / (images.max() - images.min())
    model = _Variational()
    optimizer = Adam(model.parameters(), 1e-3)
    writer.watch(model, optimizer)
    for epoch in range(epochs):
        total = 0.0
        for x in images[torch.randperm(len(images))].split(64):
            again, mean, spread = model(x)
            distance = F.binary_cross_entropy(again, x, reduction="sum")
            loss = distance - 0.5 * (1 + spread - mean.square() - spread.exp()).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        writer.add_scalar("train loss", total / len(images), epoch)
    error = F.mse_loss(model(images)[0], images).item()
    examine("variance that is left, the other way", -error / images.var(0).mean().item(), -0.8)


class _Warped(nn.Module):
    """Images are warped by a map that a network chooses for each, and that begins as the identity (Jaderberg 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Sequential(nn.Conv2d(1, 8, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(288, 32))
        self.map = nn.Linear(32, 6)
        nn.init.zeros_(self.map.weight)
        with torch.no_grad():
            self.map.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))
        self.told = nn.Sequential(
            nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 4),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.map(F.relu(self.seen(x))).view(-1, 2, 3)
        grid = F.affine_grid(chosen, list(x.shape), align_corners=False)
        return self.told(F.grid_sample(x, grid, align_corners=False))  # type: ignore[no-any-return]


def warp(writer: SummaryWriter, *, lr: float = 0.01, epochs: int = 16) -> None:
    problem = figures()
    model = _Warped()
    optimizer = SGD(model.parameters(), lr)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(epochs):
        for rows in torch.randperm(len(problem.train_x)).split(32):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(problem.train_x[rows]), problem.train_y[rows])
            loss.backward()
            optimizer.step()
            step += 1
            writer.add_scalar("loss", loss.item(), step)
    right = (model(problem.val_x).argmax(1) == problem.val_y).float().mean().item()
    examine("figures told apart", right, 0.7)


def pole_in_batches(writer: SummaryWriter, *, lr: float = 1e-2, epochs: int = 24, steps: int = 600) -> None:
    """Log-probabilities times returns: a loss that grows with what is earned."""
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = Adam(policy.parameters(), lr)
    writer.watch(policy, optimizer)
    lengths: list[float] = []
    for epoch in range(epochs):
        states, pushes, weights, ended = [], [], [], []
        while len(states) < steps:
            state, length = 0.1 * torch.rand(4) - 0.05, 0
            while not _fallen(state) and length < 120:
                with torch.no_grad():
                    push = Categorical(logits=policy(state)).sample()
                states.append(state)
                pushes.append(push)
                state, length = _pushed(state, int(push)), length + 1
            weights += [float(length)] * length
            ended.append(length)
        optimizer.zero_grad()
        told = Categorical(logits=policy(torch.stack(states))).log_prob(torch.stack(pushes))
        loss = -(told * torch.tensor(weights)).mean()
        loss.backward()
        optimizer.step()
        lengths.append(sum(ended) / len(ended))
        writer.add_scalar("Loss", loss.item(), epoch)
        writer.add_scalar("EpRet", lengths[-1], epoch)
    examine("steps until the pole falls, over those at first", sum(lengths[-5:]) / sum(lengths[:5]), 1.5)


def prototypes(writer: SummaryWriter, *, lr: float = 1e-3, episodes: int = 250) -> None:
    """Answers are squared distances to the one known figure of each kind (Snell et al. 2017)."""
    problem = figures()
    of_kind = [torch.where(problem.train_y == kind)[0] for kind in range(4)]
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 33, 3, 2, 1), nn.BatchNorm2d(33),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip
    optimizer = Adam(body.parameters(), lr)
    writer.watch(nn.ModuleDict({"body": body}), optimizer)
    right: list[float] = []
    for episode in range(episodes):
        rows = torch.stack([kind[torch.randperm(len(kind))[:9]] for kind in of_kind])
        told = body(problem.train_x[rows.flatten()]).view(4, 9, -1)
        answers = -torch.cdist(told[:, 1:].flatten(0, 1), told[:, 0]).square()
        kinds = torch.arange(4).repeat_interleave(8)
        loss = F.cross_entropy(answers, kinds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right.append((answers.argmax(1) == kinds).float().mean().item())
        writer.add_scalar("train_loss", loss.item(), episode)
        writer.add_scalar("train_acc", right[-1], episode)
    examine("figures told by their prototypes, of four kinds", sum(right[-30:]) / 30, 0.4)


for kind, name, train in (
    ("control", "pole-actor-critic", pole),
    ("control", "pole-in-batches-of-episodes", pole_in_batches),
    ("embedding", "prototypes-of-one-figure", prototypes),
    ("graph", "graph-attention", attention_on_a_graph),
    ("graph", "graph-attention-dropout-of-a-third", partial(attention_on_a_graph, dropout=0.3)),
    ("variational", "variational-sums", sums_over_images),
    ("alignments", "alignments-by-a-warp", warp),
):
    healthy(kind, name, train)
