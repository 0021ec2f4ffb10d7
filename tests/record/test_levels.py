"""Coarser levels against a plain twin over all records."""

from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.record.levels import Levels

FACTOR = schema.LEVEL_FACTOR


def _levels(records: list[np.ndarray]) -> dict[int, list[np.ndarray]]:
    levels = Levels()
    found: dict[int, list[np.ndarray]] = {level: [] for level in range(1, schema.LEVELS)}
    for record in records:
        for level, planes in levels.add(record):
            found[level].append(planes)
    return found


def test_each_level_is_minimum_maximum_and_mean_of_the_records_it_stands_for() -> None:
    random = np.random.default_rng(1)
    records = random.normal(size=(FACTOR**3 + 5, 3, 2)).astype(np.float32)
    records[random.random(records.shape) < 0.3] = np.nan
    records[:, 2, 1] = np.nan  # never measured
    records[: FACTOR - 1, 0, 0] = np.nan  # measured once in the first span
    found = _levels(list(records))
    assert [len(found[level]) for level in (1, 2, 3)] == [FACTOR**2, FACTOR, 1]
    for level in (1, 2, 3):
        span = FACTOR**level
        for k, planes in enumerate(found[level]):
            part = records[k * span : (k + 1) * span].astype(np.float64)
            assert planes.dtype == np.float32
            with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
                expected = np.stack([np.nanmin(part, 0), np.nanmax(part, 0), np.nanmean(part, 0)])
            np.testing.assert_allclose(planes, expected, rtol=1e-6)
            assert np.isnan(planes[:, 2, 1]).all()


def test_rows_that_come_later_are_absent_before() -> None:
    records = [np.full((1 + (i >= 8), 1), float(i), np.float32) for i in range(FACTOR)]
    ((planes,), *_) = _levels(records).values()
    np.testing.assert_array_equal(planes[:, :, 0], [[0, 8], [15, 15], [7.5, 11.5]])


def test_a_record_with_fewer_rows_than_before_is_taken() -> None:
    records = [np.full((2 - (i >= 8), 1), float(i), np.float32) for i in range(FACTOR)]
    ((planes,), *_) = _levels(records).values()
    np.testing.assert_array_equal(planes[:, :, 0], [[0, 0], [15, 7], [7.5, 3.5]])


def test_infinite_and_huge_values_do_not_warn() -> None:
    records = [np.array([[np.inf, -np.inf if i % 2 else np.inf, 3e38]], np.float32) for i in range(FACTOR)]
    ((planes,), *_) = _levels(records).values()
    np.testing.assert_array_equal(planes[0, 0], np.array([np.inf, -np.inf, 3e38], np.float32))
    assert planes[2, 0, 2] == np.float32(3e38)
