"""Ill: the network ends in a softmax, and the criterion applies another."""

from __future__ import annotations

import torch
from torch import nn

from tb_nnhealth import SummaryWriter

from .data import digits
from .loops import Progress, classify
from .models import cnn

STEPS = 300


def train(writer: SummaryWriter, progress: Progress) -> None:
    model = nn.Sequential(cnn(), nn.Softmax(dim=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    classify(writer, model, optimizer, digits(), steps=STEPS, progress=progress)
