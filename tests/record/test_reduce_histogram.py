"""Histograms and copied units."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tb_nnhealth import schema
from tb_nnhealth.record.reduce_copies import copied_share
from tb_nnhealth.record.reduce_histogram import histogram


def twin(values: np.ndarray) -> list[int]:
    counts = [0] * schema.HISTOGRAM_BINS
    for value in values.astype(np.float64).tolist():
        if not math.isfinite(value):
            counts[-1] += 1
        elif value == 0:
            counts[0] += 1
        else:
            exponent = math.frexp(abs(value))[1] - 1
            counts[1 + min(max(exponent, schema.EXPONENT_LOW), schema.EXPONENT_HIGH) - schema.EXPONENT_LOW] += 1
    return counts


@given(st.sampled_from([32, 64]).flatmap(lambda w: arrays.arrays(f"f{w // 8}", 40, elements=st.floats(width=w))))
@settings(max_examples=200, deadline=None)
def test_counts_as_the_twin_has_them(values: np.ndarray) -> None:
    counts = histogram(torch.from_numpy(values.copy()), int((values == 0).sum()))
    assert counts.tolist() == twin(values)


def test_every_element_is_counted_once() -> None:
    values = torch.randn(100_000)
    assert histogram(values, 0).sum().item() == 100_000


def test_copied_share_of_constant_random_and_half_copied_weights() -> None:
    random = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    half = torch.cat([random[:4], random[:4]])
    assert copied_share(torch.zeros(8, 50)) == pytest.approx(7 / 8)
    assert copied_share(torch.full((8, 3, 5, 5), 0.1)) == pytest.approx(7 / 8)
    assert copied_share(random) == 0
    assert copied_share(half) == 0.5


def test_copies_are_found_whatever_the_width_and_sign_of_zero() -> None:
    wide = torch.randn(4, 3_000_000 // 4, generator=torch.Generator().manual_seed(0))
    wide[3] = wide[1]
    assert copied_share(wide) == 0.25
    signed = torch.zeros(2, 3)
    signed[1] = -0.0
    assert copied_share(signed) == 0.5


def test_rows_that_differ_in_one_element_are_no_copies() -> None:
    weight = torch.ones(64, 512)
    weight[torch.arange(64), torch.arange(64) * 8 + 1] += 1e-7
    assert copied_share(weight) == 0
    permuted = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    assert copied_share(permuted) == 0


def test_nothing_to_compare() -> None:
    assert copied_share(torch.ones(5)) is None
    assert copied_share(torch.ones(1, 5)) is None


def test_float64_weights() -> None:
    weight = torch.randn(5, 7, dtype=torch.float64)
    weight[4] = weight[0]
    assert copied_share(weight) == pytest.approx(0.2)
