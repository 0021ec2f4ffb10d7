"""The spread of a batch, against float64 computations of all its elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.observe_block import ELEMENTS, POSITIONS, SAMPLES, block_of, careful_spread, spread
from tb_nnhealth.record.watch import Watch


def expected(tensor: torch.Tensor) -> float:
    """Twin: nan-aware standard deviation at each position in float64."""
    values = tensor.double().reshape(len(tensor), -1).numpy().copy()
    values[~np.isfinite(values)] = np.nan
    counted = np.isfinite(values).sum(0) >= 2
    return float(np.sqrt(np.nanvar(values[:, counted], 0).mean()))


CASES = {
    "matrix": torch.randn(16, 5, generator=torch.Generator().manual_seed(0)),
    "images": torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 255,
    "channels last": torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(2)).to(
        memory_format=torch.channels_last
    ),
    "column": torch.arange(9.0),
    "tokens": torch.randint(0, 50000, (7, 12), generator=torch.Generator().manual_seed(3)),
    "bytes": torch.randint(0, 256, (7, 4, 4), generator=torch.Generator().manual_seed(4)).to(torch.uint8),
    "bools": torch.tensor([[True, False], [False, False], [True, True]]),
    "far from zero": 1e4 + torch.randn(32, 8, generator=torch.Generator().manual_seed(5)),
    "tiny": 1e-30 * torch.randn(10, 4, generator=torch.Generator().manual_seed(6)),
    "huge": 1e30 * torch.randn(10, 4, generator=torch.Generator().manual_seed(7)),
    "float64": 1e-200 * torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(8)),
    "bfloat16": torch.randn(10, 4, generator=torch.Generator().manual_seed(9)).bfloat16(),
    "non-finite": torch.tensor([[1.0, math.nan, 3.0], [2.0, 5.0, math.inf], [4.0, math.nan, 7.0], [0.0, 1.0, 1.0]]),
    "transposed": torch.randn(6, 20, generator=torch.Generator().manual_seed(10)).t(),
    "one repeated": torch.randn(1, 6, generator=torch.Generator().manual_seed(11)).expand(5, 6),
}


@pytest.mark.parametrize("name", CASES)
def test_spread_is_the_deviation_over_samples(name: str) -> None:
    tensor = CASES[name]
    block = block_of(tensor)
    assert spread(block) == pytest.approx(expected(tensor), rel=2e-4)
    if name != "float64":
        on_device = block if block.is_floating_point() and block.element_size() > 2 else block.float()
        assert careful_spread(on_device).item() == pytest.approx(expected(tensor), rel=2e-4)


@pytest.mark.parametrize("samples", [2, 3, 64, 100])
def test_equal_samples_have_no_spread_at_all(samples: int) -> None:
    tensor = torch.full((samples, 7), 0.1) + torch.arange(7)
    assert spread(block_of(tensor)) == 0.0
    assert careful_spread(block_of(tensor)).item() == 0.0


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(0, 3), torch.zeros(3, 0), torch.tensor(1.0), torch.zeros(3, 2, dtype=torch.complex64),
     torch.eye(4).to_sparse(), torch.eye(4).to_sparse_csr(), torch.zeros(3, 2, device="meta")],
)  # fmt: skip
def test_what_holds_no_dense_samples_has_no_part(tensor: torch.Tensor) -> None:
    assert block_of(tensor) is None


def test_one_sample_has_no_spread_and_nothing_finite_is_not_measured() -> None:
    assert spread(block_of(torch.randn(1, 4))) is None
    assert math.isnan(spread(block_of(torch.full((4, 4), math.nan))))


@pytest.mark.parametrize("shape", [(1000, 3), (5, 3, 224, 224), (64, 3, 32, 32), (70000,), (3, 9_000), (256, 28, 28)])
def test_part_of_a_large_tensor_is_even_and_always_the_same(shape: tuple[int, ...]) -> None:
    tensor = torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)
    block = block_of(tensor)
    assert len(block) <= SAMPLES
    assert block.shape[1] <= POSITIONS
    assert block.numel() <= ELEMENTS
    assert torch.equal(block, block_of(tensor))
    if len(shape) == 4:  # all channels, rows and columns are met about equally
        places = block[0].long() % math.prod(shape[1:])
        for size, below in ((shape[1], shape[2] * shape[3]), (shape[2], shape[3]), (shape[3], 1)):
            counts = torch.bincount(places // below % size, minlength=size)
            assert counts.min() >= 0.7 * counts.max()


def trained(batch: Any, **options: Any) -> Any:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.linear = nn.Embedding(10, 4), nn.Linear(4, 2)

        def forward(self, x: Any) -> torch.Tensor:
            x = x["x"] if isinstance(x, dict) else x
            return self.linear(x if x.is_floating_point() else self.table(x).mean(1))

    model, recorder = Model(), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    criterion = nn.MSELoss()
    Watch(recorder, model, optimizer, every=1, criterion=criterion, **options)
    state = torch.get_rng_state()
    target = torch.linspace(0, 1, 12).reshape(6, 2)
    criterion(model(batch), target).backward()
    optimizer.step()
    assert torch.equal(state, torch.get_rng_state())
    assert recorder.stream.errors == []
    return recorder.stream, target


@pytest.mark.parametrize("kind", ["floats", "tokens", "mapping"])
def test_record_tells_the_spread_of_the_batch(kind: str) -> None:
    x = torch.randn(6, 4) if kind != "tokens" else torch.randint(0, 10, (6, 3))
    stream, target = trained({"x": x} if kind == "mapping" else x)
    assert stream.value(schema.SPREAD, "input", schema.MEAN) == pytest.approx(expected(x), rel=1e-4)
    assert stream.value(schema.SPREAD, "target", schema.MEAN) == pytest.approx(expected(target), rel=1e-4)
    assert stream.value(schema.SPREAD, "prediction", schema.MEAN) > 0


def test_tensor_changed_after_it_was_seen_counts_as_it_was() -> None:
    model, recorder = nn.Linear(3, 3), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(recorder, model, optimizer, every=1)
    x = torch.randn(5, 3)
    before = expected(x)
    model(x.clone()).sum().backward()
    watch.observe(inputs=x)
    x.zero_()
    optimizer.step()
    assert recorder.stream.value(schema.SPREAD, "input", schema.MEAN) == pytest.approx(before, rel=1e-5)
