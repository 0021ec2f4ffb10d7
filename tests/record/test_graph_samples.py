"""Views that mix the samples of a batch are told by the sizes in the autograd graph, others are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import Tensor, nn

from tb_nnhealth import schema
from tb_nnhealth.record.graph_samples import Mixed, mixing_view
from tb_nnhealth.record.watch import Watch

SAMPLES, LENGTH, WIDTH = 6, 4, 8


def viewed(shape: tuple[int, ...], view: Callable[[Tensor], Tensor]) -> Mixed | None:
    leaf = torch.randn(shape, requires_grad=True)
    return mixing_view([view(leaf * 2).sum().grad_fn], SAMPLES)


@pytest.mark.parametrize(
    ("shape", "view"),
    [
        ((2, SAMPLES, WIDTH), lambda h: h.view(SAMPLES, -1)),
        ((2, SAMPLES, WIDTH), lambda h: h.reshape(SAMPLES, 2, WIDTH)),
        ((SAMPLES, LENGTH, WIDTH), lambda h: h.view(LENGTH, SAMPLES, WIDTH)),
        ((SAMPLES, WIDTH, LENGTH), lambda h: h.transpose(1, 2).reshape(LENGTH, SAMPLES, WIDTH)),
    ],
)
def test_a_view_that_mixes(shape: tuple[int, ...], view: Callable[[Tensor], Tensor]) -> None:
    mixed = viewed(shape, view)
    assert mixed is not None
    owner = torch.arange(SAMPLES).view([SAMPLES if size == SAMPLES else 1 for size in mixed[0]]).expand(mixed[0])
    rows = owner.reshape(mixed[1]).movedim(mixed[1].index(SAMPLES), 0)
    assert any(len(row.unique()) > 1 for row in rows)


@pytest.mark.parametrize(
    ("shape", "view"),
    [
        ((2, SAMPLES, WIDTH), lambda h: h.transpose(0, 1).reshape(SAMPLES, -1)),
        ((SAMPLES, LENGTH, WIDTH), lambda h: h.reshape(SAMPLES * LENGTH, WIDTH).view(SAMPLES, LENGTH, WIDTH)),
        ((SAMPLES, LENGTH, WIDTH), lambda h: h.view(SAMPLES, LENGTH, 2, -1).transpose(1, 2).reshape(-1, LENGTH, 4)),
        ((LENGTH, SAMPLES, WIDTH), lambda h: h.view(LENGTH, SAMPLES * 2, WIDTH // 2).transpose(0, 1)),
        ((SAMPLES, WIDTH, 5, 5), lambda h: h.flatten(2).permute(2, 0, 1)),
        ((SAMPLES, SAMPLES, WIDTH), lambda h: h.view(SAMPLES, -1)),
        ((LENGTH, 12, SAMPLES), lambda h: h.view(LENGTH, SAMPLES, 12)),
    ],
)
def test_views_that_keep_the_samples_apart(shape: tuple[int, ...], view: Callable[[Tensor], Tensor]) -> None:
    assert viewed(shape, view) is None


class Reader(nn.Module):
    def __init__(self, *, mixing: bool) -> None:
        super().__init__()
        self.mixing = mixing
        self.cells = nn.LSTM(3, WIDTH, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        _, (last, _) = self.cells(x)
        return self.head((last if self.mixing else last.transpose(0, 1)).reshape(len(x), -1))


def trained(*, mixing: bool) -> MemoryStream:
    torch.manual_seed(0)
    model = Reader(mixing=mixing)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    recorder = MemoryRecorder()
    Watch(recorder, model, optimizer, every=1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(model(torch.randn(SAMPLES, LENGTH, 3)), torch.arange(SAMPLES) % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not recorder.stream.errors
    return recorder.stream


def test_a_training_tells_its_view() -> None:
    stream = trained(mixing=True)
    shapes = {row.subject: tuple(row.shape) for row in stream.layouts[-1].rows if row.kind == schema.MIXED}
    assert shapes == {"before": (2, SAMPLES, WIDTH), "after": (SAMPLES, 2 * WIDTH)}
    assert not trained(mixing=False).has(schema.MIXED, "before")
