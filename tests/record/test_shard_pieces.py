"""Pieces of tensors, put together in both ways, are the tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.record.reduce import read
from tb_nnhealth.record.reduce_readable import readable
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.shard_pieces import COLUMNS, KINDS, Moments, Pieces, whole

Table = NDArray[np.float32]
NAN_COUNT = COLUMNS.index(schema.STATISTICS.index(schema.NAN_COUNT))
COPIED = COLUMNS.index(schema.STATISTICS.index(schema.COPIED_SHARE))


def added_up(pieces: Sequence[Pieces]) -> Table:
    parts = [Moments.of(piece) for piece in pieces]
    return Moments(
        np.sum([part.sums for part in parts], axis=0), np.max([part.extremes for part in parts], axis=0)
    ).statistics()


both_ways = pytest.mark.parametrize("together", [whole, added_up], ids=["through the store", "by all-reduce"])
Together = Callable[[Sequence[Pieces]], Table]


def piece(tensor: torch.Tensor) -> Pieces:
    """One parameter whose weight, gradient and update are all ``tensor``."""
    record = Record()
    values = readable(tensor)
    for kind in range(KINDS) if values is not None else ():
        for reading in read(values):
            record.add(kind, reading)
    numel = np.full((1, KINDS), tensor.numel())
    return Pieces.of(record.stats(KINDS)(), 1, np.arange(KINDS)[None], numel, np.ones(1, bool))


def of_whole(tensor: torch.Tensor) -> Table:
    return piece(tensor).values[0, 0]


numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1e30, -1e30, 1e-30])
cuts = st.lists(st.lists(numbers, max_size=9), min_size=2, max_size=5).filter(any)


@both_ways
@given(parts=cuts)
def test_pieces_are_the_whole(together: Together, parts: list[list[float]]) -> None:
    tensors = [torch.tensor(part, dtype=torch.float32) for part in parts]
    found, expected = together([piece(tensor) for tensor in tensors])[0, 0], of_whole(torch.cat(tensors))
    rms = float(expected[2])
    assert found[:5] == pytest.approx(expected[:5], rel=1e-5, abs=1e-5 * rms)
    assert found[5:COPIED] == pytest.approx(expected[5:COPIED], abs=1e-6)


@both_ways
def test_non_finite_elements_are_counted(together: Together) -> None:
    tensors = [torch.tensor([1.0, np.nan]), torch.tensor([np.inf, np.inf]), torch.tensor([0.0, 3.0])]
    found, expected = together([piece(tensor) for tensor in tensors])[0, 0], of_whole(torch.cat(tensors))
    assert found[:COPIED] == pytest.approx(expected[:COPIED], rel=1e-6)


@both_ways
def test_what_one_piece_lacks_is_not_measured(together: Together) -> None:
    lacking = piece(torch.ones(3))
    lacking.values[0, 1] = np.nan
    found = together([piece(torch.ones(3)), lacking])
    assert np.isfinite(found[0, 0, NAN_COUNT])
    assert np.isnan(found[0, 1]).all()


@both_ways
def test_empty_and_foreign_pieces_do_not_count(together: Together) -> None:
    foreign = piece(torch.full((4,), 7.0))
    foreign.numel[:] = -1
    found = together([piece(torch.tensor([1.0, 2.0])), piece(torch.tensor([])), foreign])[0, 0]
    assert found[:COPIED] == pytest.approx(of_whole(torch.tensor([1.0, 2.0]))[:COPIED])
    assert np.isnan(together([piece(torch.tensor([])), foreign])).all()


@both_ways
def test_copied_units_are_averaged_by_elements(together: Together) -> None:
    one, other = piece(torch.ones(2)), piece(torch.ones(6))
    one.values[:, :, COPIED], other.values[:, :, COPIED] = 1.0, 0.0
    assert together([one, other])[0, 0, COPIED] == 0.25
    other.values[:, :, COPIED] = np.nan
    assert np.isnan(together([one, other])[0, 0, COPIED])


def test_pieces_survive_their_packing() -> None:
    before = piece(torch.tensor([1.0, -2.0]))
    after = Pieces.unpack(before.pack())
    assert after.fits(before)
    assert np.array_equal(after.numel, before.numel)
    assert np.array_equal(after.values, before.values, equal_nan=True)
    assert not after.fits(Pieces(2, before.numel, before.values))
