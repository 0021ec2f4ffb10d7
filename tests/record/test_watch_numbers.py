"""What a watch records, against an independent computation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from native_ways import best_way_or_torch  # noqa: F401
from torch import nn
from torch.nn import functional as F

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch

pytestmark = pytest.mark.usefixtures("best_way_or_torch")


def watched(model: nn.Module, optimizer: Any = None, **options: Any) -> tuple[Watch, MemoryStream]:
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, **{"every": 1, **options})
    return watch, recorder.stream


def rms(tensor: torch.Tensor) -> float:
    return tensor.double().square().mean().sqrt().item()


def test_two_layers_with_accumulation_and_clipping() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    model, criterion = nn.Sequential(first, nn.ReLU(), second), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    _, stream = watched(model, optimizer, criterion=criterion)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    hidden, inputs, losses, predictions, slopes = [], [], [], [], []
    for size in (4, 6):
        x, y = torch.randn(size, 3), torch.randint(0, 2, (size,))
        loss = criterion(model(x), y)
        loss.backward()
        h = x @ before["0.weight"].T + before["0.bias"]
        z = h.relu() @ before["2.weight"].T + before["2.bias"]
        slope = (z.softmax(1) - F.one_hot(y, 2)) / size
        inputs.append(x), hidden.append(h), predictions.append(z), losses.append(loss.item()), slopes.append(slope)
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    optimizer.step()
    assert math.sqrt(sum(g.square().sum().item() for g in gradients.values())) == pytest.approx(0.05, rel=1e-3)
    for name in before:
        assert stream.value(schema.WEIGHT, name, schema.RMS) == pytest.approx(rms(before[name]), rel=1e-5)
        assert stream.value(schema.GRADIENT, name, schema.RMS) == pytest.approx(rms(gradients[name]), rel=1e-5)
        assert stream.value(schema.UPDATE, name, schema.RMS) == pytest.approx(0.5 * rms(gradients[name]), rel=1e-3)
        assert stream.parameter(name).initial_rms == pytest.approx(rms(before[name]), rel=1e-5)
    h, z, x, slope = (torch.cat(parts) for parts in (hidden, predictions, inputs, slopes))
    for statistic, of in ((schema.STD, torch.std), (schema.MEAN, torch.mean)):
        options = {"correction": 0} if of is torch.std else {}
        assert stream.value(schema.ACTIVATION, "0", statistic) == pytest.approx(of(h, **options).item(), rel=1e-4)
        assert stream.value(schema.INPUT, "", statistic) == pytest.approx(of(x, **options).item(), rel=1e-4)
    assert stream.value(schema.ACTIVATION, "1", schema.ZERO_SHARE) == pytest.approx((h <= 0).double().mean().item())
    assert stream.value(schema.ACTIVATION_GRADIENT, "2", schema.RMS) == pytest.approx(rms(slope), rel=1e-4)
    assert stream.value(schema.PREDICTION, "", schema.MAX) == pytest.approx(z.max().item(), rel=1e-5)
    expected = (4 * losses[0] + 4 * losses[1]) / 8
    assert stream.value(schema.LOSS, "", schema.MEAN) == pytest.approx(expected, rel=1e-5)
    assert stream.value(schema.LEARNING_RATE, "0.0", schema.MEAN) == 0.5
    assert stream.histogram(schema.ACTIVATION, "0").sum() == 40
    assert stream.histogram(schema.WEIGHT, "0.weight").sum() == 12


def test_layout_tells_what_was_watched() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late, self.early = nn.Conv2d(2, 4, 3, groups=2), nn.ConvTranspose2d(2, 2, 3)
            self.table, self.unused = nn.Embedding(5, 4), nn.Linear(3, 3)
            self.head = nn.Linear(4, 5)
            self.head.weight = self.table.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = F.relu(self.late(torch.tanh(self.early(x))))
            return self.head(y.mean((2, 3)) + self.table(torch.zeros(len(x), dtype=torch.long)))

    model, criterion = Model(), nn.CrossEntropyLoss(reduction="sum")
    stranger = nn.Parameter(torch.ones(1))
    groups = [
        {"params": list(model.head.parameters()), "weight_decay": 0.1},
        {"params": [*model.late.parameters(), stranger], "lr": 0.5},
    ]
    optimizer = torch.optim.SGD(groups, 0.1)
    model.early.bias.requires_grad_(False)
    _, stream = watched(model, optimizer, criterion=criterion)
    criterion(model(torch.randn(3, 2, 5, 5)), torch.zeros(3, dtype=torch.long)).backward()
    optimizer.step()
    layout = stream.layouts[-1]
    assert [m.name for m in layout.modules] == ["early", "late", "table", "head", "unused"]
    assert [m.called for m in layout.modules] == [True, True, True, True, False]
    assert [m.nonlinearity for m in layout.modules] == ["tanh", "relu", "", "log_softmax", ""]
    assert layout.framework.startswith("torch ")
    assert list(layout.columns) == list(schema.STATISTICS)
    tied = stream.parameter("table.weight")
    assert (list(tied.aliases), tied.module, tied.optimizer, tied.group) == (["head.weight"], "table", 0, 0)
    assert (tied.fan_in, tied.fan_out) == (0, 0)
    assert (stream.parameter("late.weight").fan_in, stream.parameter("late.weight").fan_out) == (9, 18)
    assert (stream.parameter("early.weight").fan_in, stream.parameter("early.weight").fan_out) == (18, 18)
    assert stream.parameter("late.weight").group == 1
    assert stream.parameter("unused.weight").optimizer == -1
    assert not stream.parameter("early.bias").trainable
    assert layout.optimizers[0].type == "SGD"
    assert layout.optimizers[0].foreign_parameters == 1
    assert [g.weight_decay for g in layout.optimizers[0].groups] == [0.1, 0.0]
    told = layout.criterion
    assert (told.type, told.classes, told.reduction) == ("CrossEntropyLoss", 5, "sum")
    assert layout.batch_size == 3
    assert stream.value(schema.LEARNING_RATE, "0.1", schema.MEAN) == 0.5
    row = layout.rows[stream.row(schema.TARGET, "")]
    assert (row.dtype, list(row.shape)) == ("int64", [3])


@pytest.mark.parametrize(
    ("make", "momentum", "betas", "epsilon"),
    [
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.5), 0.5, [], 0.0),
        (lambda p: torch.optim.AdamW(p, 0.1, betas=(0.8, 0.95), eps=1e-3), 0.0, [0.8, 0.95], 1e-3),
        (lambda p: torch.optim.RMSprop(p, 0.1, momentum=0.25), 0.25, [], 1e-8),
        (lambda p: torch.optim.Adafactor(p, 0.1), 0.0, [], math.nan),
    ],
)
def test_layout_tells_what_the_optimizer_is_set_to(
    make: Any, momentum: float, betas: list[float], epsilon: float
) -> None:
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    _, stream = watched(model, optimizer)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    (group,) = stream.layouts[-1].optimizers[0].groups
    assert group.momentum == momentum
    assert list(group.betas) == pytest.approx(betas)
    assert group.epsilon == pytest.approx(epsilon, nan_ok=True)


def test_parameters_in_no_optimizer_are_measured_without_updates() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model[1].parameters(), 0.1)
    _, stream = watched(model, optimizer)
    for _ in range(3):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        assert stream.value(schema.WEIGHT, "0.weight", schema.RMS) == pytest.approx(rms(model[0].weight))
        assert stream.value(schema.GRADIENT, "0.weight", schema.RMS) == pytest.approx(rms(model[0].weight.grad))
    assert not stream.has(schema.UPDATE, "0.weight")


def test_frozen_weight_that_changes_is_read_again() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    for value in (1.0, 1.0, 2.0, 3.0):
        with torch.no_grad():
            model[0].weight.fill_(value)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        assert stream.value(schema.WEIGHT, "0.weight", schema.MEAN) == value


def test_parameter_without_gradient_has_a_row_that_was_not_measured() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    model[0](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert math.isnan(stream.value(schema.GRADIENT, "1.weight", schema.RMS))
    assert stream.value(schema.WEIGHT, "1.weight", schema.RMS) > 0


def test_silent_units_after_a_window_of_steps() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([-1.0] * 6 + [1.0] * 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    _, stream = watched(model, optimizer)
    for step in range(schema.SILENCE_WINDOW + 2):
        model(torch.randn(5, 3)).sum().backward()
        optimizer.step()
        share = stream.value(schema.ACTIVATION, "1", schema.SILENT_SHARE)
        assert math.isnan(share) if step < schema.SILENCE_WINDOW - 1 else share == 0.75
    assert stream.value(schema.ACTIVATION_GRADIENT, "0", schema.SILENT_SHARE) == 0.75
    assert stream.value(schema.ACTIVATION, "0", schema.SILENT_SHARE) == 0.0


def test_unit_that_speaks_in_one_of_several_calls_is_not_silent() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.relu = nn.Linear(2, 2, bias=False), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.linear(x)) + self.relu(self.linear(-x))

    model = Twice()
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    _, stream = watched(model, optimizer)
    for _ in range(schema.SILENCE_WINDOW):
        model(torch.ones(3, 2)).sum().backward()
        optimizer.step()
    assert stream.value(schema.ACTIVATION, "relu", schema.SILENT_SHARE) == 0.5
    assert stream.value(schema.ACTIVATION, "relu", schema.MEAN) == 0.25


@pytest.mark.parametrize("channels_first", [True, False])
def test_units_are_channels_or_features_by_what_came_before(channels_first: bool) -> None:
    layer = nn.Conv1d(4, 6, 1) if channels_first else nn.Linear(4, 6)
    model = nn.Sequential(layer, nn.ReLU())
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([-100.0] * 3 + [100.0] * 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    _, stream = watched(model, optimizer)
    for _ in range(schema.SILENCE_WINDOW):
        model(torch.randn(2, 4, 5) if channels_first else torch.randn(2, 5, 4)).sum().backward()
        optimizer.step()
    assert stream.value(schema.ACTIVATION, "1", schema.SILENT_SHARE) == 0.5


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        (nn.Sequential(nn.Identity(), nn.Tanh()), "1", lambda x: x.tanh().abs() > 0.97),
        (nn.Sequential(nn.Identity(), nn.Sigmoid()), "1", lambda x: (x.sigmoid() - 0.5).abs() > 0.47),
        (nn.Sequential(nn.Identity(), nn.Softmax(1)), "1", lambda x: x.softmax(1).amax(1) > 0.97),
    ],
)
def test_saturated_share_of_modules(model: nn.Module, name: str, expected: Any) -> None:
    scale = nn.Linear(4, 4)
    model = nn.Sequential(scale, *model[1:])
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    _, stream = watched(model, optimizer)
    x = 10 * torch.randn(50, 4)
    model(x).sum().backward()
    optimizer.step()
    share = expected(scale(x)).double().mean().item()
    assert 0 < share < 1
    assert stream.value(schema.ACTIVATION, name, schema.SATURATED_SHARE) == pytest.approx(share)


@pytest.mark.parametrize("function", ["tanh", "sigmoid"])
def test_saturated_share_before_a_function(function: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return getattr(torch, function)(self.linear(x))

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    _, stream = watched(model, optimizer)
    x = 10 * torch.randn(50, 4)
    for _ in range(2):  # the first step learns what follows
        output = model(x)
        output.sum().backward()
        optimizer.step()
    far = (output.abs() > 0.97 if function == "tanh" else (output - 0.5).abs() > 0.47).double().mean().item()
    assert stream.value(schema.ACTIVATION, "linear", schema.SATURATED_SHARE) == pytest.approx(far)
    assert stream.module("linear").nonlinearity == function


def test_probability_share_of_predictions() -> None:
    for last, expected in ((nn.Softmax(1), 1.0), (nn.Identity(), 0.0)):
        model, criterion = nn.Sequential(nn.Linear(4, 3), last), nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        _, stream = watched(model, optimizer, criterion=criterion)
        criterion(input=model(torch.randn(20, 4)), target=torch.zeros(20, dtype=torch.long)).backward()
        optimizer.step()
        assert stream.value(schema.PREDICTION, "", schema.PROBABILITY_SHARE) == expected


def test_copied_units_of_a_constant_initialization() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    nn.init.constant_(model[0].weight, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    assert stream.value(schema.WEIGHT, "0.weight", schema.COPIED_SHARE) == pytest.approx(7 / 8)
    assert stream.value(schema.WEIGHT, "1.weight", schema.COPIED_SHARE) == 0.0


def test_modes_and_evaluations() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5), nn.InstanceNorm1d(2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)

    def step() -> None:
        model(torch.randn(4, 2)).sum().backward()
        optimizer.step()

    step()
    with torch.no_grad():
        model(torch.randn(4, 2))
        model.eval()
        model(torch.randn(4, 2)), model(torch.randn(4, 2))
    model.train()
    model[1].eval()
    step()
    assert [stream.value(schema.EVALUATION, s, schema.MEAN, 0) for s in ("train", "eval")] == [0, 0]
    assert [stream.value(schema.EVALUATION, s, schema.MEAN, 1) for s in ("train", "eval")] == [1, 2]
    assert [stream.value(schema.MODE, s, schema.MEAN, 0) for s in ("1", "2")] == [1, 1]
    assert [stream.value(schema.MODE, s, schema.MEAN, 1) for s in ("1", "2")] == [0, 1]
    assert stream.subjects(schema.MODE) == ["1", "2"]


def test_observed_batch_stands_for_the_one_seen() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch, stream = watched(model, optimizer)
    output = model(torch.ones(3, 2))
    output.sum().backward()
    targets = {"y": torch.tensor([1, 2, 3])}
    watch.observe(inputs=(torch.full((3, 2), 7.0), torch.zeros(1)), targets=targets, outputs=output, loss=4.5)
    optimizer.step()
    assert stream.value(schema.INPUT, "", schema.MEAN) == 7.0
    assert stream.value(schema.INPUT, "1", schema.MEAN) == 0.0
    assert stream.value(schema.TARGET, "", schema.MEAN) == 2.0
    assert stream.value(schema.LOSS, "", schema.MEAN) == 4.5
    assert stream.value(schema.PREDICTION, "", schema.MAX) == pytest.approx(output.max().item())


def test_loss_that_the_model_returns_itself() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, tokens: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.linear(tokens)
            return {"loss": (logits - labels).square().mean(), "logits": logits}

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _, stream = watched(model, optimizer)
    loss = model(tokens=torch.ones(3, 2), labels=torch.zeros(3, 1))["loss"]
    loss.backward()
    optimizer.step()
    assert stream.value(schema.LOSS, "", schema.MEAN) == pytest.approx(loss.item())
    assert stream.subjects(schema.INPUT) == ["", "labels"]


def test_non_finite_values_are_counted_and_statistics_are_of_the_rest() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    _, stream = watched(model, optimizer)
    x = torch.tensor([[1.0, math.nan], [math.inf, 2.0]])
    model(x).sum().backward()
    optimizer.step()
    assert stream.value(schema.INPUT, "", schema.NAN_COUNT) == 1
    assert stream.value(schema.INPUT, "", schema.INF_COUNT) == 1
    assert stream.value(schema.INPUT, "", schema.MEAN) == 1.5
    assert stream.histogram(schema.INPUT, "")[-1] == 2
    assert np.isnan(stream.value(schema.ACTIVATION, "Linear", schema.MEAN))


def test_update_in_low_precision_is_what_really_happened() -> None:
    model = nn.Linear(4, 4, bias=False).to(torch.bfloat16)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    _, stream = watched(model, optimizer)
    model(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    assert stream.value(schema.GRADIENT, "weight", schema.RMS) == 1.0
    assert stream.value(schema.UPDATE, "weight", schema.RMS) == 0.0
    assert stream.parameter("weight").dtype == "bfloat16"


def test_histograms_come_with_the_first_and_every_tenth_record() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    _, stream = watched(model, optimizer)
    for _ in range(12):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert stream.counts[0][0] == 0
    assert len(stream.counts) in (1, 2)
    assert len(stream.records) == 12
