"""Healthy: a small convolutional network on digits."""

from __future__ import annotations

import torch

from tb_nnhealth import SummaryWriter

from .data import digits
from .loops import Progress, classify
from .models import cnn

STEPS = 300


def train(writer: SummaryWriter, progress: Progress) -> None:
    model = cnn()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    classify(writer, model, optimizer, digits(), steps=STEPS, progress=progress)
