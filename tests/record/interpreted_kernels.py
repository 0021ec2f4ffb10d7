"""The GPU's way of measuring, run by Triton's interpreter on the CPU; ``test_device_kernel`` runs these tests.

In a process of its own: Triton is told of its interpreter before it is imported, or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder
from test_native_twin import disagreement, histogram_twin, measured, tensors, twin
from test_step_table import convolutions, dense, nothing, of_dtype, records, strange

from tb_nnhealth import native, schema
from tb_nnhealth.record import device_reduce, device_table
from tb_nnhealth.record.watch import Watch

TENSORS = 60


@pytest.fixture(autouse=True)
def tensors_are_on_the_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(native, "core", None)
    monkeypatch.setattr(device_reduce, "DEVICE", "cpu")
    monkeypatch.setattr(device_reduce, "_given_up", False)
    device_reduce._open.clear()
    yield
    device_reduce._open.clear()


def test_tensors_as_the_twin_has_them() -> None:
    read = 0
    for i, tensor in enumerate(tensors(2024, TENSORS)):
        found, counts = measured(tensor, counted=i % 3 == 0)
        if not tensor.numel():
            assert all(map(math.isnan, found))
            continue
        read += tensor.dtype in device_reduce.DTYPES
        assert not disagreement(found, twin(tensor), False), (i, tensor.dtype, tensor.shape, tensor.stride())
        if i % 3 == 0:
            assert counts == histogram_twin(tensor), (i, tensor.dtype, tensor.shape)
    assert read > TENSORS / 2
    assert device_reduce.kernels() is not None


@pytest.mark.parametrize(
    "values",
    [
        torch.full((5,), math.nan),
        torch.tensor([math.inf, -math.inf, 0.0, -0.0]),
        torch.tensor([3e38, -3e38, 3e38]),
        torch.tensor([1e-45, -1e-45, 0.0]),
        torch.tensor([7.0]),
        torch.tensor([-0.0]),
        torch.full((9000,), 0.1),
        torch.cat([torch.full((4096,), math.nan), 1e4 + torch.arange(5000) / 5000]),
        torch.cat([torch.full((4096,), 1e30), torch.full((4096,), 1e-30)]),
        torch.cat([torch.zeros(4096), torch.full((1,), math.inf)]),
    ],
    ids=["NaN", "Inf, 0", "greatest", "least", "one", "minus zero", "constant", "tile of NaN", "far apart", "tail"],
)
def test_extremes(values: torch.Tensor) -> None:
    found, counts = measured(values, counted=True)
    assert not disagreement(found, twin(values), True)
    assert counts == histogram_twin(values)


def test_a_distant_mean_costs_no_digits() -> None:
    x = 1000 + torch.randn(20_000, generator=torch.Generator().manual_seed(0)) / 100
    found, _ = measured(x)
    assert found[0] == pytest.approx(x.double().mean().item(), rel=1e-7)
    assert found[1] == pytest.approx(x.double().std(correction=0).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "between", "optimizer", "closure"),
    [
        (dense, strange, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), False),
        (dense, strange, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), True),
        (convolutions, nothing, lambda p: torch.optim.Adam(p, 0.01), False),
        (of_dtype(torch.bfloat16), nothing, lambda p: torch.optim.SGD(p, 0.5), False),
    ],
    ids=["strange gradients", "closure", "channels last", "bfloat16"],
)
def test_a_training_is_recorded_as_torch_records_it(
    make: Any, between: Any, optimizer: Any, closure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = records(make, between, optimizer, closure)
    assert device_reduce.kernels() is not None
    monkeypatch.setattr(device_reduce, "DEVICE", "cuda")
    expected = records(make, between, optimizer, closure)
    assert ours.errors == expected.errors == []
    rows = {(row.kind, row.subject): i for i, row in enumerate(expected.layouts[-1].rows)}
    places = [rows[row.kind, row.subject] for row in ours.layouts[-1].rows]
    assert sorted(places) == list(range(len(rows)))
    for (step, found), (same, table) in zip(ours.records, expected.records, strict=True):
        assert step == same
        there = [i for i, place in enumerate(places) if i < len(found) and place < len(table)]
        np.testing.assert_allclose(found[there], table[[places[i] for i in there]], rtol=2e-5, atol=2e-7)
    for (step, found), (same, table) in zip(ours.counts, expected.counts, strict=True):
        assert step == same
        there = [i for i, place in enumerate(places) if i < len(found) and place < len(table)]
        assert (found[there] == table[[places[i] for i in there]]).all()
    for name in ours.subjects(schema.WEIGHT):
        assert ours.parameter(name).initial_rms == pytest.approx(expected.parameter(name).initial_rms, rel=1e-5)


def test_pointer_tables_are_sent_where_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    upload = device_table.upload

    def counted(numbers: Any, device: Any) -> Any:
        sent.append(len(numbers))
        return upload(numbers, device)

    monkeypatch.setattr(device_table, "upload", counted)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    optimizer.step()
    first = len(sent)
    assert first == 4  # addresses, and the job of each tile, before and after the step
    optimizer.step()
    assert len(sent) == first
    model.weight.grad = torch.ones_like(model.weight).add_(1)
    optimizer.step()
    assert len(sent) == first + 1
    assert recorder.stream.value(schema.GRADIENT, "weight", schema.MEAN) == 2
    assert recorder.stream.value(schema.UPDATE, "weight", schema.MEAN) == pytest.approx(-0.2)
    watch.remove()


def test_parameters_at_odd_addresses_are_read() -> None:
    buffer = torch.randn(1 + 64 * 65, generator=torch.Generator().manual_seed(0))

    def make() -> tuple[torch.nn.Module, Any]:
        model = torch.nn.Linear(64, 65, bias=False)
        model.weight = torch.nn.Parameter(buffer[1:].view(65, 64).clone())
        model.weight.data = buffer[1:].view(65, 64)
        return model, lambda i: torch.ones(2, 64)

    stream = records(make, nothing, lambda p: torch.optim.SGD(p, 0.0), False)
    assert stream.errors == []
    deviation = buffer[1:].double().std(correction=0).item()
    assert stream.value(schema.WEIGHT, "weight", schema.STD) == pytest.approx(deviation)
    assert stream.value(schema.UPDATE, "weight", schema.MAX) == 0


def test_a_batch_is_pooled_before_it_grows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_reduce, "_SLAB", 2)
    monkeypatch.setattr(device_reduce, "_SLABS", 3)
    found = [device_reduce.statistics(torch.full((n,), float(n))) for n in (1, 5000, 9000, 2, 3, 4, 13_000)]
    assert len({id(later.batch) for later in found if later is not None}) > 1
    assert [later.tensor()[0].item() for later in found if later is not None] == [1, 5000, 9000, 2, 3, 4, 13_000]


def test_a_kernel_that_fails_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("no PTX")

    class Kernel:
        def __getitem__(self, grid: Any) -> Any:
            return broken

    monkeypatch.setattr(device_reduce._kernels(), "read_tensor", Kernel())
    found, _ = measured(torch.tensor([1.0, 3.0]))
    assert found[:2] == [2, 1]
    assert device_reduce.kernels() is None
