"""Ill for what they minimize: criteria given what they do not expect, terms out of proportion, silent broadcasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import Encoded, Recurrent, Transformer, cnn, mlp
from tests.zoo.faulty.problems import Problem, diabetes, images, ink, pixels, rows
from tests.zoo.registry import ill

LCH = "DeepCrime (ISSTA 2021), LCH: change loss function"
SOFTMAX = "Forum: softmax before CrossEntropyLoss; 37 Reasons, 19"
BATCH_MEAN = "Forum: mean over dimension 0, the batch, in place of time"
CRITIC = "Arjovsky et al., Wasserstein GAN (2017): the critic must be Lipschitz"
BROADCAST = "Forum: target size (N,) differs from input size (N, 1)"


def followed_by(model: nn.Sequential, last: nn.Module, really: bool = True) -> nn.Sequential:
    return nn.Sequential(*model, last) if really else model


@ill("softmax-twice", "softmax-before-cross-entropy", source=SOFTMAX)
def softmax_after_an_mlp(writer: SummaryWriter, fault: bool = True) -> None:
    model = followed_by(mlp(64, 64, 10), nn.Softmax(dim=1), fault)
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels())


@ill("softmax-twice", "softmax-before-cross-entropy", source=SOFTMAX)
def softmax_after_convolutions(writer: SummaryWriter, fault: bool = True) -> None:
    model = followed_by(cnn((8, 16)), nn.Softmax(dim=1), fault)
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), images())


@ill("softmax-twice", "softmax-before-cross-entropy", source=SOFTMAX)
def softmax_within_the_forward(writer: SummaryWriter, fault: bool = True) -> None:
    class Probabilities(Transformer):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return F.softmax(logits, dim=-1) if fault else logits

    model = Probabilities()
    train(writer, model, AdamW(model.parameters(), lr=2e-3), rows())


@ill("likelihood-of-raw-scores", "nll-without-log-softmax", source="Forum: NLLLoss on logits; negative loss")
def logits_into_nll(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 48, 10)
    criterion: nn.Module = nn.NLLLoss() if fault else nn.CrossEntropyLoss()
    train(writer, model, SGD(model.parameters(), lr=0.05), pixels(), criterion=criterion)


@ill("likelihood-of-raw-scores", "nll-without-log-softmax", source="Forum: NLLLoss on logits; negative loss")
def probabilities_into_nll(writer: SummaryWriter, fault: bool = True) -> None:
    model = followed_by(cnn((8, 16), norm=False), nn.Softmax(dim=1) if fault else nn.LogSoftmax(dim=1))
    train(writer, model, Adam(model.parameters(), lr=1e-3), images(), criterion=nn.NLLLoss())


@ill("likelihood-of-raw-scores", "nll-without-log-softmax", source=LCH)
def scores_of_a_recurrent_network_into_nll(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.GRU, 32)
    criterion: nn.Module = nn.NLLLoss() if fault else nn.CrossEntropyLoss()
    train(writer, model, Adam(model.parameters(), lr=1e-3), rows(), criterion=criterion)


@ill("target-broadcast", "target-broadcast", source=BROADCAST)
def column_of_predictions_and_a_flat_target(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(10, 32, 1)
    train(
        writer, model, Adam(model.parameters(), lr=2e-3), diabetes(), batch_size=32, validate_every=0, steps=300,
        prepare=lambda step, x, y: (x, y.squeeze(1) if fault else y),
    )  # fmt: skip


@ill("target-broadcast", "target-broadcast", source=BROADCAST)
def flat_predictions_and_a_column_of_targets(writer: SummaryWriter, fault: bool = True) -> None:
    model = followed_by(cnn((8, 16), outputs=1), nn.Flatten(0), fault)
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), ink(), validate_every=0)


@ill(
    "targets-far-from-zero",
    "diverging-bias",
    "initial-loss-off",
    source="37 Reasons, 12; forum: regression targets not normalized",
)
def years_as_targets(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(10, 32, 32, 1)
    data = diabetes()
    shifted = replace(data, train_y=data.train_y + 1990, val_y=data.val_y + 1990) if fault else data
    train(writer, model, Adam(model.parameters(), lr=1e-3), shifted, batch_size=32, steps=400)


@ill(
    "targets-far-from-zero",
    "diverging-bias",
    "initial-loss-off",
    source="37 Reasons, 12; forum: regression targets not normalized",
)
def targets_a_thousand_times_too_large(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), outputs=1)
    data = ink()
    scaled = replace(data, train_y=data.train_y * 1000 + 5000, val_y=data.val_y * 1000 + 5000) if fault else data
    train(writer, model, Adam(model.parameters(), lr=1e-3), scaled)


class TwoHeads(nn.Module):
    """A trunk with ten logits and a second answer of ``answers`` numbers."""

    def __init__(self, activation: type[nn.Module], answers: int) -> None:
        super().__init__()
        self.trunk = followed_by(mlp(64, 64, 64, activation=activation), activation())
        self.digit = nn.Linear(64, 10)
        self.second = nn.Linear(64, answers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.digit(h), self.second(h)


def train_on_two_terms(
    writer: SummaryWriter,
    model: TwoHeads,
    optimizer: torch.optim.Optimizer,
    weights: tuple[float, float],
    second: tuple[str, Callable[[Tensor], Tensor]],
) -> None:
    """Cross-entropy of the digits and the squared error of a second answer, weighted and logged one by one."""
    data, (name, target) = pixels(), second
    writer.watch(model, optimizer)
    batches = data.shuffled(64)
    for step in range(250):
        x, y = next(batches)
        optimizer.zero_grad()
        logits, answer = model(x)
        classes = weights[0] * F.cross_entropy(logits, y)
        regression = weights[1] * F.mse_loss(answer, target(x))
        (classes + regression).backward()
        optimizer.step()
        writer.add_scalar("train/loss", (classes + regression).item(), step)
        writer.add_scalar("train/loss_classes", classes.item(), step)
        writer.add_scalar(f"train/loss_{name}", regression.item(), step)
        writer.add_scalar("train/accuracy", (logits.argmax(1) == y).float().mean().item(), step)


@ill("terms-out-of-proportion", "loss-term-imbalance", source="37 Reasons, 20: adjust loss weights")
def reconstruction_weighted_ten_thousandfold(writer: SummaryWriter, fault: bool = True) -> None:
    model = TwoHeads(nn.Tanh, 64)
    optimizer = Adam(model.parameters(), lr=1e-3)
    train_on_two_terms(writer, model, optimizer, (1.0, 1e4 if fault else 1.0), ("reconstruction", Tensor.clone))


@ill("terms-out-of-proportion", "loss-term-imbalance", source="37 Reasons, 20: adjust loss weights")
def classes_weighted_by_a_millionth(writer: SummaryWriter, fault: bool = True) -> None:
    model = TwoHeads(nn.ReLU, 1)
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    ink = ("ink", lambda x: x.abs().mean(1, keepdim=True))
    train_on_two_terms(writer, model, optimizer, (1e-6 if fault else 1.0, 1.0), ink)


@ill("mean-over-the-batch", "constant-output", source=BATCH_MEAN)
def features_averaged_over_the_batch(writer: SummaryWriter, fault: bool = True) -> None:
    def pooled(h: Tensor) -> Tensor:
        return h.mean(0, keepdim=True).expand(len(h), -1, -1).mean(1) if fault else h.mean(1)

    model = Encoded(mlp(8, 48, 48), mlp(48, 48, 10), pooled)
    train(writer, model, Adam(model.parameters(), lr=2e-3), rows())


@ill("mean-over-the-batch", "constant-output", source=BATCH_MEAN)
def maps_pooled_over_the_batch(writer: SummaryWriter, fault: bool = True) -> None:
    def pooled(h: Tensor) -> Tensor:
        return h.amax((0, 2), keepdim=True).expand_as(h).flatten(1) if fault else h.flatten(1)

    features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    model = Encoded(features, mlp(256, 48, 10, activation=nn.Tanh), pooled)
    train(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), images())


def train_critic(
    writer: SummaryWriter, critic: nn.Module, optimizer: torch.optim.Optimizer, data: Problem, clip: float | None
) -> None:
    """A Wasserstein critic between digits and noise; ``clip`` bounds its weights."""
    writer.watch(critic, optimizer)
    batches = data.shuffled(64)
    for step in range(250):
        real, _ = next(batches)
        optimizer.zero_grad()
        loss = critic(torch.randn_like(real)).mean() - critic(real).mean()
        loss.backward()
        optimizer.step()
        if clip is not None:
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-clip, clip)
        writer.add_scalar("loss/train", loss.item(), step)


@ill("critic-without-bounds", "diverging-weights", "loss-diverging", source=CRITIC)
def critic_of_flat_digits(writer: SummaryWriter, fault: bool = True) -> None:
    critic = mlp(64, 64, 64, 1)
    train_critic(writer, critic, RMSprop(critic.parameters(), lr=2e-3), pixels(), None if fault else 0.05)


@ill("critic-without-bounds", "diverging-weights", "loss-diverging", source=CRITIC)
def critic_of_images(writer: SummaryWriter, fault: bool = True) -> None:
    critic = cnn((8, 16), norm=False, outputs=1)
    train_critic(writer, critic, Adam(critic.parameters(), lr=3e-3), images(), None if fault else 0.05)
