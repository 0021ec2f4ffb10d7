"""Log-probabilities, the fixed batch, the evaluation's input; and what happens when one of them fails."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record import observe_facts, observe_places
from tb_nnhealth.record.observe_probe import relative_change
from tb_nnhealth.record.watch import Watch


class Training:
    def __init__(self, model: nn.Module, criterion: nn.Module | None = None, **options: Any) -> None:
        self.model, self.criterion, self.recorder = model, criterion, MemoryRecorder()
        self.optimizer = torch.optim.SGD(model.parameters(), 0.1)
        self.watch = Watch(self.recorder, model, self.optimizer, **{"criterion": criterion, "every": 1, **options})

    def step(self, x: torch.Tensor, y: torch.Tensor | None = None) -> None:
        self.optimizer.zero_grad()
        output = self.model(x)
        (output.square().mean() if y is None or self.criterion is None else self.criterion(output, y)).backward()
        self.optimizer.step()

    @property
    def stream(self) -> MemoryStream:
        return self.recorder.stream


# --- the cost of an answer for each place -----------------------------------------------------------------------------


def test_places_of_a_binary_target_are_told_for_the_first_batches() -> None:
    training = Training(nn.Linear(4, 30), nn.BCEWithLogitsLoss())
    for _ in range(observe_places.BATCHES + 3):
        training.step(torch.randn(40, 4), torch.rand(40, 30).round())
    row = training.stream.row(schema.PLACES, "target")
    told = [bool(np.isfinite(table[row, 0])) for _, table in training.stream.records]
    assert told == [True] * observe_places.BATCHES + [False] * 3
    assert training.stream.records[0][1][row, 0] == pytest.approx(math.log(2), abs=0.01)
    assert training.stream.errors == []


@pytest.mark.parametrize(
    ("criterion", "shape"), [(nn.MSELoss(), (40, 30)), (nn.BCEWithLogitsLoss(), (4, 30)), (nn.BCELoss(), (40, 1))]
)
def test_places_are_told_of_nothing_else(criterion: nn.Module, shape: tuple[int, int]) -> None:
    training = Training(nn.Sequential(nn.Linear(4, shape[1]), nn.Sigmoid()), criterion)
    training.step(torch.randn(shape[0], 4), torch.rand(shape))
    assert not training.stream.has(schema.PLACES, "target")
    assert training.stream.errors == []


# --- log-probabilities ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "expected"), [(nn.LogSoftmax(1), 1.0), (nn.Softmax(1), 0.0), (nn.Identity(), 0.0), (nn.LogSigmoid(), 0.0)]
)
def test_share_of_log_probabilities(last: nn.Module, expected: float) -> None:
    training = Training(nn.Sequential(nn.Linear(4, 3), last), nn.NLLLoss())
    training.step(torch.randn(20, 4), torch.zeros(20, dtype=torch.long))
    assert training.stream.value(schema.LOG_PROBABILITY, "", schema.MEAN) == expected
    assert training.stream.errors == []


def test_log_probabilities_over_pixels_and_in_half_precision() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.LogSoftmax(1)).to(torch.bfloat16)
    training = Training(model, nn.NLLLoss())
    training.step(torch.randn(4, 2, 5, 5).bfloat16(), torch.zeros(4, 5, 5, dtype=torch.long))
    share = training.stream.value(schema.LOG_PROBABILITY, "", schema.MEAN)
    prediction = model(torch.zeros(1, 2, 5, 5).bfloat16())
    assert prediction.dtype == torch.bfloat16
    assert 0 <= share <= 1


def test_log_probabilities_are_asked_for_before_nll_only() -> None:
    training = Training(nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1)), nn.CrossEntropyLoss())
    training.step(torch.randn(20, 4), torch.zeros(20, dtype=torch.long))
    assert not training.stream.has(schema.LOG_PROBABILITY, "")


# --- the fixed batch ------------------------------------------------------------------------------------------------


def test_change_of_the_predictions_on_a_fixed_batch() -> None:
    training = Training(nn.Linear(4, 3), every=4)
    looks = torch.randn(4, 10, 3, dtype=torch.float64)
    x = torch.randn(5, 4)
    training.step(x)
    assert not training.stream.has(schema.PROBE, "")
    for look in looks[:3]:
        kept = look.float()
        training.watch.observe(probe=kept)
        kept.zero_()
        training.step(x)
    assert len(training.stream.records) == 1
    training.step(x)
    first, second, third, _ = looks.numpy()
    changes = [math.sqrt(((b - a) ** 2).mean()) / a.std() for a, b in ((first, second), (second, third))]
    assert training.stream.value(schema.PROBE, "", schema.MEAN) == pytest.approx(np.mean(changes), rel=1e-5)
    for _ in range(4):
        training.step(x)
    assert math.isnan(training.stream.value(schema.PROBE, "", schema.MEAN))
    assert training.stream.errors == []


@pytest.mark.parametrize(
    "looks",
    [
        [torch.randn(3, 2), torch.randn(4, 2)],
        [torch.full((3, 2), math.nan), torch.randn(3, 2)],
        [torch.ones(3, 2), torch.ones(3, 2) + 1],
        [torch.zeros(0, 2), torch.zeros(0, 2)],
        [torch.eye(3).to_sparse(), torch.eye(3).to_sparse()],
        ["text", "text"],
    ],
)
def test_predictions_that_cannot_be_compared(looks: list[Any]) -> None:
    training = Training(nn.Linear(4, 3))
    for look in looks:
        training.watch.observe(probe=look)
    training.step(torch.randn(5, 4))
    assert not training.stream.has(schema.PROBE, "")
    assert training.stream.errors == []


def test_nested_predictions_and_those_of_inference_mode() -> None:
    training = Training(nn.Linear(4, 3))
    with torch.inference_mode():
        for value in (1.0, 2.0):
            training.watch.observe(probe={"logits": torch.tensor([0.0, 2.0]) * value})
    training.step(torch.randn(5, 4))
    assert training.stream.value(schema.PROBE, "", schema.MEAN) == pytest.approx(math.sqrt(2))
    assert training.stream.errors == []


def test_large_predictions_are_compared_in_part() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 500, 999, generator=generator)
    training = Training(nn.Linear(4, 3))
    training.watch.observe(probe=a)
    training.watch.observe(probe=b)
    training.step(torch.randn(5, 4))
    expected = relative_change(a, b).item()
    assert training.stream.value(schema.PROBE, "", schema.MEAN) == pytest.approx(expected, rel=0.02)


# --- the evaluation's input -----------------------------------------------------------------------------------------


def test_input_of_the_first_evaluation_since_the_last_record() -> None:
    training = Training(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    x, other = torch.randn(5, 4), 100 + torch.randn(6, 4)

    def evaluate(*batches: torch.Tensor) -> None:
        training.model.eval()
        with torch.no_grad():
            for batch in batches:
                training.model(batch)
        training.model.train()

    training.step(x)
    assert not training.stream.has(schema.EVALUATION_INPUT, "")
    evaluate(other, x)
    evaluate(x)
    training.step(x)
    for statistic, expected in ((schema.MEAN, other.mean()), (schema.STD, other.std(correction=0))):
        assert training.stream.value(schema.EVALUATION_INPUT, "", statistic) == pytest.approx(expected.item(), rel=1e-4)
    assert training.stream.value(schema.INPUT, "", schema.MEAN) == pytest.approx(x.mean().item(), rel=1e-4)
    training.step(x)
    assert math.isnan(training.stream.value(schema.EVALUATION_INPUT, "", schema.MEAN))
    assert training.stream.errors == []


def test_inputs_of_evaluations_in_train_mode_but_not_of_a_teacher_at_each_step() -> None:
    training = Training(nn.Linear(4, 3))
    x = torch.zeros(5, 4)

    def without_gradients(value: float) -> None:
        with torch.no_grad():
            training.model(x + value)

    seen = []
    for step in range(12):
        if step in (3, 6):
            without_gradients(step)
        if step >= 9:
            without_gradients(100 + step)
        training.step(x)
        known = training.stream.has(schema.EVALUATION_INPUT, "")
        seen.append(training.stream.value(schema.EVALUATION_INPUT, "", schema.MEAN) if known else math.nan)
    assert [(step, mean) for step, mean in enumerate(seen) if not math.isnan(mean)] == [(3, 3), (6, 6), (9, 109)]
    assert training.stream.errors == []


def test_the_probability_of_a_dropout_is_part_of_the_layout() -> None:
    training = Training(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9), nn.Dropout(0.0)))
    training.step(torch.randn(5, 4))
    assert [module.drops for module in training.stream.layouts[-1].modules] == [0, 0.9, 0]


def test_weight_of_a_batch_in_the_statistics_kept_for_evaluation() -> None:
    norms = [
        nn.BatchNorm1d(4), nn.BatchNorm1d(4, momentum=0.01), nn.BatchNorm1d(4, momentum=None),
        nn.BatchNorm1d(4, track_running_stats=False), nn.LayerNorm(4),
    ]  # fmt: skip
    training = Training(nn.Sequential(*norms))
    training.step(torch.randn(8, 4))
    assert [module.momentum for module in training.stream.layouts[-1].modules] == [0.1, 0.01, 0, 0, 0]


def test_evaluations_between_records_are_read_once_and_kept() -> None:
    training = Training(nn.Linear(4, 3), every=3)
    reads = []
    see = training.watch._capture._batch._evaluation.see
    training.watch._capture._batch._evaluation.see = lambda inputs: (reads.append(1), see(inputs))
    training.model.eval()
    for i in range(7):
        with torch.inference_mode():
            training.model(torch.full((2, 4), float(i)))
        training.step(torch.randn(5, 4))
    assert training.stream.steps == [0, 3, 6]
    means = [training.stream.value(schema.EVALUATION_INPUT, "", schema.MEAN, i) for i in range(3)]
    assert means == [0, 1, 4]
    assert len(reads) == 3


def test_inputs_of_an_evaluation_by_name_and_of_integers() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 2)

        def forward(self, ids: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return self.table(ids) * scale

    model, recorder = Model(), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, every=1)
    model.eval()
    with torch.no_grad():
        model(torch.tensor([1, 3]), scale=torch.tensor(5.0))
    model.train()
    model(torch.tensor([1, 3]), scale=torch.tensor(5.0)).sum().backward()
    optimizer.step()
    stream = recorder.stream
    assert stream.subjects(schema.EVALUATION_INPUT) == stream.subjects(schema.INPUT) == ["", "scale"]
    assert stream.value(schema.EVALUATION_INPUT, "", schema.MEAN) == 2
    assert stream.value(schema.EVALUATION_INPUT, "scale", schema.MEAN) == 5


# --- failures -------------------------------------------------------------------------------------------------------


THERE = {"block_of": "address_of_block", "spread": "spread_there", "fingerprint": "fingerprint_there"}
"""The same by the native core, where a tensor lies as it usually does."""


@pytest.mark.parametrize("name", [*THERE, "log_probability_share"])
def test_what_fails_is_told_once_and_the_rest_goes_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(*args: Any) -> None:
        calls.append(args)
        raise RuntimeError("broken")

    monkeypatch.setattr(observe_facts, name, broken)
    if name in THERE:
        monkeypatch.setattr(observe_facts, THERE[name], broken)
    training = Training(nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1)), nn.NLLLoss())
    for _ in range(6):
        training.step(torch.randn(5, 4), torch.zeros(5, dtype=torch.long))
    stream = training.stream
    assert len(stream.records) == 6
    assert len(calls) == len(stream.errors) == len(set(stream.errors)) <= 3
    assert all("broken" in error for error in stream.errors)
    assert stream.value(schema.LABELS, "majority", schema.MEAN) == 1.0
    assert stream.value(schema.INPUT, "", schema.STD) > 0
    assert stream.has(schema.SPREAD, "input") == (name not in ("block_of", "spread"))
    assert stream.has(schema.REPEATED, "input") == (name not in ("block_of", "fingerprint"))


def test_packed_sequences_are_no_samples() -> None:
    model, recorder = nn.LSTM(3, 2, batch_first=True), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, every=1)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 4, 3), [4, 3], batch_first=True)
    model(packed)[1][0].sum().backward()
    optimizer.step()
    stream = recorder.stream
    assert stream.errors == []
    assert stream.has(schema.INPUT, "")
    assert not stream.has(schema.SPREAD, "input")
    assert not stream.has(schema.SEEN, "samples")
