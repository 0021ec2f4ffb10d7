"""Class labels of a batch, against numpy; and which targets are class labels at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn
from torch.nn import functional as F

from tb_nnhealth import schema
from tb_nnhealth.record.observe_labels import counts_on_device
from tb_nnhealth.record.watch import Watch


def steps(
    batches: list[tuple[torch.Tensor, torch.Tensor]],
    *,
    criterion: nn.Module | None = None,
    model: nn.Module | None = None,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    observed: tuple[str, ...] = (),
) -> MemoryStream:
    """Trains on ``batches``; ``observed`` names what is handed over."""
    model, recorder = model or nn.Linear(4, 3), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(recorder, model, optimizer, criterion=criterion, every=1)
    for x, y in batches:
        optimizer.zero_grad()
        output = model(x)
        given = {"inputs": x, "targets": y, "outputs": output}
        watch.observe(**{name: given[name] for name in observed})
        (loss_of or criterion or F.cross_entropy)(output, y).backward()
        optimizer.step()
    assert recorder.stream.errors == []
    return recorder.stream


def labels_of(stream: MemoryStream, record: int = -1) -> dict[str, float]:
    if not stream.has(schema.LABELS, "samples"):
        return {}
    return {s: stream.value(schema.LABELS, s, schema.MEAN, record) for s in ("samples", "distinct", "majority")}


def told(y: Any, ignore: int = -100) -> dict[str, float]:
    """Twin by numpy."""
    values = y[y != ignore]
    _, counts = np.unique(values, return_counts=True)
    return {"samples": len(values), "distinct": len(counts), "majority": pytest.approx(counts.max() / len(values))}


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), nn.NLLLoss(), nn.CrossEntropyLoss(ignore_index=2)])
def test_class_indices_before_a_criterion(criterion: nn.Module) -> None:
    y = torch.tensor([0, 2, 2, 1, 2, -100, 0])
    ignored = criterion.ignore_index
    if ignored == 2:
        y = y[y >= 0]
    stream = steps([(torch.randn(len(y), 4), y)], criterion=criterion)
    assert labels_of(stream) == told(y.numpy(), ignored)
    assert stream.layouts[-1].criterion.classes == 3
    kept = y[(y >= 0) & (y != ignored)]
    for i in range(3):
        share = (kept == i).double().mean().item()
        assert stream.value(schema.CLASS, str(i), schema.MEAN) == pytest.approx(share)
    assert stream.subjects(schema.CLASS) == ["0", "1", "2"]


def test_classes_of_an_accumulated_step_are_counted_together() -> None:
    model, criterion, recorder = nn.Linear(4, 3), nn.CrossEntropyLoss(), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, criterion=criterion, every=1)
    for y in (torch.tensor([0, 0]), torch.tensor([1, 1, 1, 2])):
        criterion(model(torch.randn(len(y), 4)), y).backward()
    optimizer.step()
    assert labels_of(recorder.stream) == told(np.array([0, 0, 1, 1, 1, 2]))


@pytest.mark.parametrize("observed", [("targets",), ("targets", "outputs"), ("inputs", "targets", "outputs")])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_observed_integers_without_a_criterion(observed: tuple[str, ...], dtype: torch.dtype) -> None:
    y = torch.tensor([1, 1, 0, 1, 0])
    stream = steps([(torch.randn(5, 4), y.to(dtype))], loss_of=lambda z, y: z.square().mean(), observed=observed)
    assert labels_of(stream) == told(y.numpy())
    classes = 3 if "outputs" in observed else 2
    assert stream.subjects(schema.CLASS) == [str(i) for i in range(classes)]
    criterion = stream.layouts[-1].criterion
    assert (criterion.type, criterion.classes) == ("", 3 if "outputs" in observed else 0)


def test_classes_seen_later_get_rows_later() -> None:
    y = [torch.tensor([0, 1]), torch.tensor([3, 0]), torch.tensor([0, 0])]
    stream = steps([(torch.randn(2, 4), t) for t in y], loss_of=lambda z, y: z.square().mean(), observed=("targets",))
    assert stream.subjects(schema.CLASS) == ["0", "1", "2", "3"]
    shares = [stream.value(schema.CLASS, "3", schema.MEAN, record) for record in (0, 1, 2)]
    assert np.isnan(shares[0])
    assert shares[1:] == [0.5, 0.0]


@pytest.mark.parametrize(
    ("criterion", "y", "is_binary"),
    [
        (nn.BCEWithLogitsLoss(), torch.tensor([[0.0], [1.0], [1.0]]), True),
        (nn.BCEWithLogitsLoss(), torch.tensor([1.0, 1.0, 1.0]), True),
        (nn.BCEWithLogitsLoss(), torch.tensor([[0.1], [0.9], [0.9]]), False),
        (nn.BCEWithLogitsLoss(), torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), False),
        (nn.MSELoss(), torch.tensor([[0.0], [1.0], [1.0]]), False),
    ],
)
def test_binary_targets(criterion: nn.Module, y: torch.Tensor, is_binary: bool) -> None:
    width = y.shape[1] if y.dim() == 2 else 1
    model = nn.Linear(4, width) if y.dim() == 2 else nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    stream = steps([(torch.randn(3, 4), y)], criterion=criterion, model=model)
    assert labels_of(stream) == (told(y.reshape(-1).numpy()) if is_binary else {})
    assert stream.subjects(schema.CLASS) == (["0", "1"] if is_binary else [])


def test_integers_before_one_column_are_labels_only_as_long_as_they_are_0_and_1() -> None:
    batches = [(torch.randn(3, 4), torch.tensor(y)) for y in ([0, 1, 1], [7, 2, 1], [0, 0, 1])]
    stream = steps(
        batches,
        model=nn.Linear(4, 1),
        loss_of=lambda z, y: F.mse_loss(z[:, 0], y.float()),
        observed=("targets", "outputs"),
    )
    assert labels_of(stream, 0) == told(np.array([0, 1, 1]))
    assert np.isnan(list(labels_of(stream, 1).values())).all()
    assert np.isnan(list(labels_of(stream, 2).values())).all()


class Tokens(nn.Module):
    def __init__(self, *, flat: bool) -> None:
        super().__init__()
        self.table, self.head, self.flat = nn.Embedding(9, 4), nn.Linear(4, 9), flat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.head(self.table(x))
        return logits.reshape(-1, 9) if self.flat else logits.transpose(1, 2)


@pytest.mark.parametrize("flat", [True, False])
def test_targets_of_sequences_are_no_labels_of_samples(flat: bool) -> None:
    x = torch.randint(0, 9, (5, 6))
    y = x.reshape(-1) if flat else x
    stream = steps([(x, y)], model=Tokens(flat=flat), criterion=nn.CrossEntropyLoss())
    assert labels_of(stream) == {}
    assert stream.layouts[-1].criterion.classes == 9


def test_classes_of_observed_sequences_are_learned() -> None:
    x = torch.randint(0, 9, (5, 6))
    model = Tokens(flat=False)
    stream = steps([(x, x)], model=model, loss_of=F.cross_entropy, observed=("targets", "outputs"))
    assert stream.layouts[-1].criterion.classes == 9
    assert labels_of(stream) == {}


def test_many_classes_have_no_rows_of_their_own() -> None:
    y = torch.tensor([99, 3, 3, 7])
    stream = steps([(torch.randn(4, 4), y)], model=nn.Linear(4, 100), criterion=nn.CrossEntropyLoss())
    assert labels_of(stream) == told(y.numpy())
    assert stream.subjects(schema.CLASS) == []


@pytest.mark.parametrize("y", [torch.full((4,), -100), torch.zeros(0, dtype=torch.long), torch.rand(4, 3)])
def test_targets_without_any_label(y: torch.Tensor) -> None:
    stream = steps([(torch.randn(len(y), 4), y)], criterion=nn.CrossEntropyLoss(reduction="sum"))
    assert labels_of(stream) == {}


@pytest.mark.parametrize("ignored", [-100, 0, 2])
def test_counting_without_waiting_for_a_device(ignored: int) -> None:
    y = torch.randint(-1, 5, (300,), generator=torch.Generator().manual_seed(0))
    expected = [0 if i == ignored else int((y == i).sum()) for i in range(5)]
    assert counts_on_device(y, 5, ignored).tolist() == expected
    assert counts_on_device(y, 0, ignored) is None


@pytest.mark.parametrize(("model", "y"), [(nn.Linear(4, 1), torch.rand(6)), (nn.Linear(4, 1), torch.rand(6, 1))])
def test_layout_tells_shapes_that_broadcast_silently(model: nn.Module, y: torch.Tensor) -> None:
    with pytest.warns(UserWarning, match="target size") if y.dim() == 1 else _nothing():
        stream = steps([(torch.randn(6, 4), y)], model=model, criterion=nn.MSELoss())
    rows = {row.kind: (tuple(row.shape), row.dtype) for row in stream.layouts[-1].rows}
    assert rows[schema.PREDICTION] == ((6, 1), "float32")
    assert rows[schema.TARGET] == (tuple(y.shape), "float32")


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()
