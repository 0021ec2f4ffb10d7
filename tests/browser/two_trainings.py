"""Small trainings by the package's own writer: a healthy one, and its twin with a bias that kills its units."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from tb_nnhealth import SummaryWriter

ENCODER = "encoder"
ILL_LAYER = 2
"""Place in the encoder of the layer whose units die."""
ILL_ROOT = "encoder.2"
"""The layer itself, whose bias is at fault."""
ILL_SUBJECT = "encoder.3"
"""The rectifier behind it, which is what falls silent."""
STEPS = 150


def record(logdir: Path) -> None:
    for name, ill in (("healthy", False), ("ill", True)):
        train(logdir / name, ill=ill)


def train(run: Path, *, ill: bool, encoder: str = ENCODER, tag: str = "loss/train") -> None:
    """Trains a classifier of four classes; ``encoder`` names the module that holds all but its head."""
    torch.manual_seed(0)
    model = nn.Sequential()
    widths = (32, 64, 64, 64)
    layers = nn.Sequential(*(m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())))
    model.add_module(encoder, layers)
    model.add_module("head", nn.Linear(64, 4))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    if ill:
        nn.init.constant_(layers[ILL_LAYER].bias, -100.0)  # type: ignore[arg-type]
    inputs = torch.randn(512, 32)
    labels = (inputs @ torch.randn(32, 4)).argmax(1)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with SummaryWriter(str(run)) as writer:
        writer.watch(model, optimizer, criterion=criterion, every=1)
        for step in range(STEPS):
            batch = torch.randint(0, 512, (64,))
            optimizer.zero_grad()
            loss = criterion(model(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            writer.add_scalar(tag, loss, step)
