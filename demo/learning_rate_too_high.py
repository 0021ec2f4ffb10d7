"""Ill: the same transformer, whose learning rate warms up to three hundred times too much."""

from __future__ import annotations

import torch

from tb_nnhealth import SummaryWriter

from .data import characters
from .loops import Progress, predict_characters, warm_up
from .models import CharacterTransformer

STEPS = 400


def train(writer: SummaryWriter, progress: Progress) -> None:
    text = characters()
    model = CharacterTransformer(len(text.alphabet))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.3)
    predict_characters(writer, model, optimizer, text, steps=STEPS, progress=progress, learning_rate=warm_up(0.3, 400))
