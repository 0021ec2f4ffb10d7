"""Ill: one careless step drives the biases of a hidden layer far below zero, and its units never fire again."""

from __future__ import annotations

import torch
from torch import nn

from tb_nnhealth import SummaryWriter

from .data import digits
from .loops import Progress, classify
from .models import mlp

STEPS = 300
ACCIDENT = 60


def train(writer: SummaryWriter, progress: Progress) -> None:
    model = mlp(depth=3, width=64, activation=nn.ReLU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    second = model[3]
    assert isinstance(second, nn.Linear)

    def before_step(step: int) -> None:
        if step == ACCIDENT:
            with torch.no_grad():
                second.bias[:48] -= 20.0

    classify(writer, model, optimizer, digits(), steps=STEPS, progress=progress, before_step=before_step)
