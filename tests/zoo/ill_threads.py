"""Ill as in public threads, each program as its author wrote it: what sequences, states and rewards are made into."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW
from torch.utils.data import DataLoader, Dataset

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import mlp
from tests.zoo.registry import ill

STATES, ACTIONS = 6, 4


def chains(n: int = 400, length: int = 24, kinds: int = 16) -> Tensor:
    """Sequences in which a token follows from the one before, four times in five; int64 (n, length)."""
    follows, tokens = torch.randperm(kinds), [torch.randint(kinds, (n, 1))]
    for _ in range(length - 1):
        by_rule = torch.rand(n, 1) < 0.8
        tokens.append(torch.where(by_rule, follows[tokens[-1]], torch.randint(kinds, (n, 1))))
    return torch.cat(tokens, 1)


class Causal(nn.Module):
    """Logits (samples, length, kinds) of tokens, each from those up to it."""

    def __init__(self, kinds: int = 16, width: int = 32) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(kinds, width), nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, kinds)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        h = self.words(tokens) + self.places(torch.arange(length))
        return self.head(self.layers(h, mask=nn.Transformer.generate_square_subsequent_mask(length)))


@ill("pairs-misaligned", "initial-loss-off", subject="loss",
     source="huggingface/transformers#47395: labels shifted by the caller and by the loss")  # fmt: skip
def labels_that_are_shifted_twice(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 1.53 (0.991)."""
    tokens, model = chains(), Causal()
    optimizer = AdamW(model.parameters(), 2e-3)
    writer.watch(model, optimizer, every=3)
    step = 0
    for _ in range(6):
        for batch in tokens[torch.randperm(len(tokens))].split(20):
            logits, labels = model(batch)[:, :-1], batch[:, 1:]
            if fault:
                logits, labels = logits[:, :-1], labels[:, 1:]
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step := step + 1)


class LastStates(nn.Module):
    """Two classes from the last states of an LSTM that reads both ways."""

    def __init__(self, *, viewed: bool) -> None:
        super().__init__()
        self.viewed = viewed
        self.lstm = nn.LSTM(1, 24, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 2)

    def forward(self, x: Tensor) -> Tensor:
        _, (last, _) = self.lstm(x)
        return self.head((last if self.viewed else last.transpose(0, 1)).reshape(len(x), -1))


@ill("view-in-place-of-transpose", "wrong-mode",
     source="McGill AI Review: The dangers of reshaping; h_n.view(batch, -1) of a bidirectional LSTM")  # fmt: skip
def last_states_viewed_as_samples(writer: SummaryWriter, fault: bool = True) -> None:
    """epoch_loss 0.693 (0.0893)."""
    phase, pace = 6.3 * torch.rand(600, 1), 0.2 + 0.6 * torch.rand(600, 1)
    waves = (pace * torch.arange(21) + phase).sin() + 0.05 * torch.randn(600, 21)
    x, y = waves[:, :-1, None], (waves[:, -1] > 0).long()
    net = LastStates(viewed=fault)
    optimizer = Adam(net.parameters(), 5e-3)
    writer.watch(net, optimizer, every=5)
    for epoch in range(14):
        total = 0.0
        for i in torch.randperm(600).split(30):
            loss = F.cross_entropy(net(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / 20
        writer.add_scalar("epoch_loss", total, epoch)


@ill("target-broadcast", "target-broadcast",
     source="RITCHIEHuang/DeepRL_Algorithms#13: ratios of shape (N,), advantages of shape (N, 1)")  # fmt: skip
def advantages_of_one_column(writer: SummaryWriter, fault: bool = True) -> None:
    """losses/value 3.68 (1.6), total_reward 19.1 (267)."""
    prizes = torch.randn(STATES, ACTIONS)
    policy, critic = mlp(STATES, 48, ACTIONS, activation=nn.Tanh), mlp(STATES, 48, 1, activation=nn.Tanh)
    optimizer = Adam([*policy.parameters(), *critic.parameters()], 3e-3)
    writer.watch(policy, optimizer, every=4)
    for turn in range(60):
        states = torch.randn(128, STATES)
        with torch.no_grad():
            before = torch.distributions.Categorical(logits=policy(states))
            actions = before.sample()
            rewards = (states @ prizes).gather(1, actions[:, None])
            advantages = rewards - critic(states)
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        for _ in range(4):
            now = torch.distributions.Categorical(logits=policy(states))
            ratio = torch.exp(now.log_prob(actions) - before.log_prob(actions))
            weights = advantages if fault else advantages.reshape(-1)
            gain = torch.min(ratio * weights, ratio.clamp(0.8, 1.2) * weights).mean()
            value_loss = F.mse_loss(critic(states), rewards)
            optimizer.zero_grad()
            (0.5 * value_loss - gain).backward()
            optimizer.step()
        writer.add_scalar("total_reward", rewards.sum().item(), turn)
        writer.add_scalar("losses/value", value_loss.item(), turn)


@ill("ascent", "loss-diverging", subject="*reward*",
     source="Forum: REINFORCE without the minus; the agent learns what is punished")  # fmt: skip
def policy_without_the_minus(writer: SummaryWriter, fault: bool = True) -> None:
    """episode/reward -1.75 (2.14)."""
    prizes, policy = torch.randn(STATES, ACTIONS), mlp(STATES, 64, ACTIONS, activation=nn.Tanh)
    optimizer, usual = Adam(policy.parameters(), 3e-3), 0.0
    writer.watch(policy, optimizer, every=4)
    for episode in range(150):
        states = torch.randn(40, STATES)
        told = torch.distributions.Categorical(logits=policy(states))
        actions = told.sample()
        rewards = (states @ prizes).gather(1, actions[:, None])[:, 0]
        usual = 0.9 * usual + 0.1 * rewards.mean().item()
        loss = (told.log_prob(actions) * (rewards - usual)).mean() * (1 if fault else -1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("episode/reward", rewards.mean().item(), episode)


class Twins(nn.Module):
    """Predictions of two views' embeddings, and those embeddings; ``kept``: gradients flow into both sides."""

    def __init__(self, *, kept: bool) -> None:
        super().__init__()
        self.kept = kept
        norms = (nn.Identity(), nn.Identity()) if kept else (nn.BatchNorm1d(96), nn.BatchNorm1d(48, affine=False))
        self.encoder = nn.Sequential(nn.Linear(32, 96), norms[0], nn.ReLU(), nn.Linear(96, 48), norms[1])
        self.predictor = mlp(48, 16, 48)

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        a, b = self.encoder(one), self.encoder(other)
        return self.predictor(a), self.predictor(b), *((a, b) if self.kept else (a.detach(), b.detach()))


@ill("embeddings-collapse", "constant-output", source="PatrickHua/SimSiam#39: no stop-gradient, the loss goes to -1")
def both_sides_learn_to_agree(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss -0.999 (-0.82)."""
    centres = 2 * torch.rand(10, 32)
    data = centres[torch.randint(10, (1400,))] + 0.3 * torch.randn(1400, 32)
    model = Twins(kept=fault)
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    writer.watch(model, optimizer, every=4)
    step = 0
    for _ in range(10):
        for batch in data[torch.randperm(1400)].split(70):
            views = (batch * (torch.rand_like(batch) > 0.15) + 0.1 * torch.randn_like(batch) for _ in range(2))
            p, q, a, b = model(*views)
            loss = -(F.cosine_similarity(p, b).mean() + F.cosine_similarity(q, a).mean()) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train_loss", loss.item(), step := step + 1)


class Drawn(Dataset[tuple[np.ndarray, np.float32]]):
    """Samples drawn where they are asked for, by NumPy's global generator."""

    def __len__(self) -> int:
        return 320

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.float32]:
        x = np.random.randn(12).astype(np.float32)
        return x, np.float32(np.sin(x[0]) + x[1] * x[2])


def one_seed(worker: int) -> None:
    np.random.seed(0)


def own_seed(worker: int) -> None:
    np.random.seed(torch.initial_seed() % 2**32)


@ill("workers-with-one-seed", "repeated-batch",
     source="tanelp.github.io: Using PyTorch + NumPy? You're making a mistake")  # fmt: skip
def four_workers_that_draw_alike(writer: SummaryWriter, fault: bool = True) -> None:
    """loss 1.76 (0.943)."""
    net = mlp(12, 64, 1)
    optimizer = Adam(net.parameters(), 2e-3)
    writer.watch(net, optimizer, every=1)
    step = 0
    for _ in range(4):
        loader = DataLoader(Drawn(), batch_size=16, num_workers=4, worker_init_fn=one_seed if fault else own_seed)
        for x, y in loader:
            loss = F.mse_loss(net(x)[:, 0], y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step := step + 1)
