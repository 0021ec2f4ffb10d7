"""Ill for a mode: ``eval`` left on, ``eval`` never called, parts frozen or cut off by accident."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import at, nothing, train
from tests.zoo.faulty.networks import Encoded, Recurrent, Residual, cnn, mlp
from tests.zoo.faulty.problems import images, pixels, rows
from tests.zoo.registry import ill

EVAL = "Forum: model.train() forgotten after validation; 37 Reasons, 32"
TRAIN = "Forum: model.eval() forgotten in validation; TrainCheck (OSDI 2025): dropout alive in evaluation"
CUT = "37 Reasons, 23: frozen layers; forum: detach in the forward"
FROZEN = "TheDeepChecker (TOSEM 2023): frozen parameters; TrainCheck (OSDI 2025)"


@ill("evaluation-mode-left-on", "wrong-mode", onset=40, source=EVAL)
def train_forgotten_after_the_first_validation(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 96, 96, 10, norm=nn.BatchNorm1d, dropout=0.3)
    train(
        writer, model, Adam(model.parameters(), lr=1e-3), pixels(),
        validate_every=40, after_validation=nothing if fault else model.train,
    )  # fmt: skip


@ill("evaluation-mode-left-on", "wrong-mode", source=EVAL)
def pretrained_and_never_put_into_training(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16, 16), dropout=0.2)
    model.train(not fault)
    train(
        writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), images(),
        before_validation=model.eval, after_validation=nothing if fault else model.train,
    )  # fmt: skip


@ill("dropout-alive-in-evaluation", "wrong-mode", onset=20, source=TRAIN)
def eval_never_called(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 96, 96, 10, dropout=0.5)
    train(
        writer, model, Adam(model.parameters(), lr=2e-3), pixels(),
        before_validation=nothing if fault else model.eval,
    )  # fmt: skip


@ill("dropout-alive-in-evaluation", "wrong-mode", onset=20, source=TRAIN)
def only_the_encoder_is_put_into_evaluation(writer: SummaryWriter, fault: bool = True) -> None:
    encoder = nn.Sequential(*cnn((8, 16))[:8], nn.Linear(16 * 16, 64))
    head = nn.Sequential(nn.ReLU(), nn.Dropout(0.6), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.6), nn.Linear(32, 10))
    model = Encoded(encoder, head)
    train(
        writer, model, AdamW(model.parameters(), lr=2e-3), images(),
        before_validation=model.encoder.eval if fault else model.eval,
    )  # fmt: skip


def same(x: Tensor) -> Tensor:
    return x


@ill("cut-from-the-graph", "no-gradient", subject="encoder*", source=CUT)
def features_detached(writer: SummaryWriter, fault: bool = True) -> None:
    model = Encoded(mlp(64, 16, 12, activation=nn.Tanh), mlp(12, 16, 10), Tensor.detach if fault else same)
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels())


@ill(
    "cut-from-the-graph",
    "no-gradient",
    subject="encoder*",
    source="Forum: .data or a new tensor in the middle of the forward",
)
def features_copied_through_numpy(writer: SummaryWriter, fault: bool = True) -> None:
    def through_numpy(h: Tensor) -> Tensor:
        return torch.from_numpy(h.detach().numpy().copy())

    encoder = nn.Sequential(*cnn((4, 8), norm=False)[:6], nn.Linear(8 * 16, 16))
    model = Encoded(encoder, mlp(16, 16, 10), through_numpy if fault else same)
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), images())


@ill(
    "cut-from-the-graph",
    "no-gradient",
    subject="encoder*",
    source="Forum: a hard decision (round, argmax) has no gradient",
)
def features_without_gradient_tracking(writer: SummaryWriter, fault: bool = True) -> None:
    class Frozen(Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            with torch.set_grad_enabled(not fault):
                return super().forward(x)

    model = Encoded(Frozen(nn.GRU, 24, outputs=16), mlp(16, 10))
    train(writer, model, Adam(model.parameters(), lr=3e-3), rows())


def freezing(*modules: nn.Module) -> Callable[[], None]:
    def freeze() -> None:
        for module in modules:
            module.requires_grad_(False)
            for parameter in module.parameters():
                parameter.grad = None

    return freeze


@ill("frozen-by-accident", "frozen-parameters", "no-gradient", subject="blocks*", onset=30, source=FROZEN)
def blocks_frozen_and_never_thawed(writer: SummaryWriter, fault: bool = True) -> None:
    model = Residual(nn.Linear(64, 24), [mlp(24, 24, 24, activation=nn.Tanh) for _ in range(3)], nn.Linear(24, 10))
    freeze = at(30 if fault else -1, freezing(model.blocks, model.stem))
    train(writer, model, SGD(model.parameters(), lr=0.05), pixels(), before_step=freeze)


@ill("frozen-by-accident", "frozen-parameters", "no-gradient", subject="[03]*", onset=20, source=FROZEN)
def convolutions_frozen_after_a_sanity_check(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16))
    freeze = at(20 if fault else -1, freezing(model[0], model[3]))
    train(writer, model, SGD(model.parameters(), lr=2e-3), images(), before_step=freeze)
