"""Healthy trainings of few epochs, with settings that are unusual and right."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.optim import SGD, Adam, Optimizer

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.epochs import epochs
from tests.zoo.builders.loop import examine
from tests.zoo.builders.material import friedman
from tests.zoo.faulty.networks import mlp
from tests.zoo.faulty.problems import Problem, pixels
from tests.zoo.registry import healthy

KIND = "few-epochs"


def _add(
    name: str, make: Callable[[], nn.Module], optimizer: Callable[[nn.Module], Optimizer], data: Callable[[], Problem],
    count: int, good: float,
) -> None:  # fmt: skip
    def train(writer: SummaryWriter) -> None:
        model = make()
        held = epochs(writer, model, optimizer(model), data(), count)
        examine("how far the loss lies below what is good", good - held, 0.0)

    healthy(KIND, f"{KIND}-{name}", train)


def _tanh() -> nn.Module:
    return mlp(10, 48, 48, 1, activation=nn.Tanh)


def _digits() -> nn.Module:
    return mlp(64, 64, 10)


_add("nesterov", _tanh, lambda m: SGD(m.parameters(), 0.05, momentum=0.8, nesterov=True), friedman, 20, 0.4)
_add("long-momentum", _digits, lambda m: SGD(m.parameters(), 2e-3, momentum=0.99, nesterov=True), pixels, 10, 0.5)
_add("large-epsilon", _digits, lambda m: Adam(m.parameters(), 2e-3, eps=1e-3), pixels, 8, 0.5)
_add("even-betas", _digits, lambda m: Adam(m.parameters(), 1e-3, betas=(0.95, 0.95)), pixels, 8, 0.5)
