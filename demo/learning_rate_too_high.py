"""Ill: a character transformer under SGD, whose learning rate warms up to fifty times too much."""

from __future__ import annotations

import torch

from tb_nnhealth import SummaryWriter

from .data import characters
from .loops import Progress, predict_characters, warm_up
from .models import CharacterTransformer

STEPS = 200


def train(writer: SummaryWriter, progress: Progress) -> None:
    text = characters()
    model = CharacterTransformer(len(text.alphabet))
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0, momentum=0.9)
    predict_characters(writer, model, optimizer, text, steps=STEPS, progress=progress, learning_rate=warm_up(5.0, 300))
