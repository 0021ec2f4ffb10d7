"""Ill: ten layers of sigmoids. The first layers receive almost nothing of the gradient."""

from __future__ import annotations

import torch
from torch import nn

from tb_nnhealth import SummaryWriter

from .data import digits
from .loops import Progress, classify
from .models import mlp

STEPS = 300


def train(writer: SummaryWriter, progress: Progress) -> None:
    model = mlp(depth=10, width=32, activation=nn.Sigmoid)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    classify(writer, model, optimizer, digits(), steps=STEPS, progress=progress)
