"""Sequences that a model makes of its input by a view, and hands to a module that counts samples along dimension 1."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter


class Rows(nn.Module):
    """Reads the eight rows of an image one after another."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(8, 16, batch_first=batch_first), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.view(-1, 8, 8))[0][:, -1])  # type: ignore[no-any-return]


class Patches(nn.Module):
    """Lets the four patches of an image look at each other."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv2d(1, 16, 4, 4), nn.Linear(16, 3)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x.view(-1, 1, 8, 8)).flatten(2).transpose(1, 2)
        return self.head(self.attention(patches, patches, patches)[0].mean(1))  # type: ignore[no-any-return]


class TimeFirst(Rows):
    """Transposes as the default asks for."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.view(-1, 8, 8).transpose(0, 1))[0][-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: Rows(batch_first=False), ["rnn"]),
        (lambda: Patches(batch_first=False), ["attention"]),
        (lambda: Rows(batch_first=True), []),
        (lambda: Patches(batch_first=True), []),
        (lambda: TimeFirst(batch_first=False), []),
    ],
    ids=["rows", "patches", "rows, batch first", "patches, batch first", "rows, time first"],
)
def test_told_behind_a_view(model: type[nn.Module], told: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, criterion = model(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters())
    with SummaryWriter(tmp_path) as writer:
        writer.watch(network, optimizer, criterion=criterion, every=1)
        for _ in range(6):
            optimizer.zero_grad()
            criterion(network(torch.randn(20, 64)), torch.randint(0, 3, (20,))).backward()
            optimizer.step()
        assert [found.subject for found in writer.findings() if found.rule == "wrong-mode"] == told
