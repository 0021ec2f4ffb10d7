"""Small tensors reduced together, against the float64 twin of each alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from memory_recorder import MemoryRecorder
from test_reduce import anything32, assert_close, twin
from torch import nn

from tb_nnhealth import native, schema
from tb_nnhealth.record import step_parameters
from tb_nnhealth.record.reduce_segments import LARGEST, as_segment, segment_statistics
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.watch import Watch

far_from_zero = st.builds(
    lambda mean, values: (mean + values).astype(np.float32),
    st.floats(-1e6, 1e6),
    arrays.arrays(np.float64, st.integers(1, 300), elements=st.floats(-1, 1)),
)


@given(st.lists(anything32.filter(lambda a: a.size > 0) | far_from_zero, min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_each_segment_as_the_twin_has_it(parts: list[np.ndarray]) -> None:
    lengths = [part.size for part in parts]
    record = Record()
    statistics = segment_statistics(np.concatenate([part.ravel() for part in parts]), lengths)
    record.add_many(list(range(len(parts))), lengths, statistics)
    table = record.stats(len(parts))()
    for row, part in zip(table, parts, strict=True):
        assert_close(dict(zip(schema.STATISTICS, row.tolist(), strict=True)), twin(part))


def test_a_constant_segment_has_no_spread() -> None:
    (found,) = segment_statistics(np.full(LARGEST, 0.1, np.float32), [LARGEST])
    assert found.tolist() == [np.float32(0.1), 0.0, np.float32(0.1), np.float32(0.1), np.float32(0.1), 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(LARGEST + 1),
        torch.ones(0),
        torch.ones(3, dtype=torch.float64),
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(3, device="meta"),
        torch.eye(3).to_sparse(),
        torch.view_as_complex(torch.ones(3, 2)).conj().imag,
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        nn.LazyLinear(3).weight,
        None,
    ],
)
def test_others_are_left_to_the_way_of_large_tensors(tensor: torch.Tensor | None) -> None:
    assert as_segment(tensor) is None


def test_watch_records_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def records() -> tuple[list[np.ndarray], list[tuple[str, str]]]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 80), nn.ReLU(), nn.Linear(80, 60))
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        recorder = MemoryRecorder()
        watch = Watch(recorder, model, optimizer, every=1)
        for i in range(8):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            if i == 6:
                model[0].weight.grad[0, 0] = float("nan")
                model[2].bias.grad = None
            optimizer.step()
        watch.remove()
        stream = recorder.stream
        return [table for _, table in stream.records], [(row.kind, row.subject) for row in stream.layouts[-1].rows]

    monkeypatch.setattr(native, "core", None)
    together, rows = records()
    monkeypatch.setattr(step_parameters, "as_segment", lambda tensor: None)
    alone, same_rows = records()
    assert rows == same_rows
    assert np.isnan(together[6][rows.index((schema.UPDATE, "2.bias"))]).all()
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-7)
