"""A small training that uses most of what is recorded; its result is a digest that any disturbance changes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

STEPS = 8


class Refused(Exception):
    """``watch`` said no, as it does to arguments that cannot be meant."""


class Net(nn.Module):
    """Convolution, normalization, dropout, embedding and attention: each has hooks or statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.embedding = nn.Embedding(5, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(72, 3)

    def forward(self, image: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.norm(self.filters(image))).flatten(1)
        told = self.embedding(tokens)
        told = told + self.attention(told, told, told, need_weights=False)[0]
        return self.head(self.drop(torch.cat([seen, torch.tanh(told.mean(1))], 1)))


def train(
    directory: Path | None, steps: int = STEPS, *, opened: Callable[[], None] | None = None, each: Any = None
) -> tuple[str, Any]:
    """Trains; with ``directory``, watched. Returns the digest of losses, weights and random state, and the writer.

    ``opened`` is called once the writer is there, ``each`` with the writer after every step.
    """
    torch.manual_seed(0)
    net, criterion = Net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 0.5, 1.0, 4)
    writer: Any = None
    context: AbstractContextManager[Any] = nullcontext()
    if directory is not None:
        from tb_nnhealth import SummaryWriter

        writer = context = SummaryWriter(directory)
    digest = hashlib.sha256()
    with context:
        if opened is not None:
            opened()
        if writer is not None:
            try:
                writer.watch(net, optimizer, criterion=criterion, every=1)
            except (TypeError, ValueError) as error:
                raise Refused(f"{type(error).__name__}: {error}") from error
        for step in range(steps):
            image, tokens = torch.randn(6, 1, 4, 4), torch.randint(5, (6, 7))
            target = (image.mean((1, 2, 3)) > 0).long() + (tokens[:, 0] > 2).long()
            optimizer.zero_grad()
            loss = criterion(net(image, tokens), target)
            loss.backward()
            if writer is not None:
                writer.observe(unclipped=True)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if writer is not None:
                writer.add_scalar("loss/train", loss, step)
            digest.update(loss.detach().numpy().tobytes())
            if step % 4 == 3:
                net.eval()
                with torch.no_grad():
                    predicted = net(image, tokens)
                    validation = criterion(predicted, target)
                net.train()
                if writer is not None:
                    writer.observe(probe=predicted)
                    writer.add_scalar("loss/val", validation, step)
            if each is not None:
                each(writer)
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    digest.update(torch.get_rng_state().numpy().tobytes())
    return digest.hexdigest(), writer


def undisturbed() -> str:
    """The digest of the training that nobody watches."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return train(None)[0]
