from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import decode, f32


def test_few_records_have_a_column_each() -> None:
    columns = reduce.columns([np.array([0, 10, 25])], 400)
    assert columns.spans() == [[0, 9], [10, 24], [25, 25]]


def test_many_records_share_columns_of_equal_width() -> None:
    columns = reduce.columns([np.arange(100)], 4)
    assert columns.spans() == [[0, 24], [25, 49], [50, 74], [75, 99]]


def test_columns_without_a_record_are_left_out() -> None:
    steps = np.concatenate((np.arange(50), np.arange(1000, 1050)))
    columns = reduce.columns([steps], 10)
    assert columns.spans() == [[0, 999], [1000, 1049]]


def test_watches_with_alternating_steps_share_columns() -> None:
    even, odd = np.arange(0, 100, 2), np.arange(1, 100, 2)
    columns = reduce.columns([even, odd], 400)
    assert len(columns) == 50
    assert set(columns.of(even)) == set(columns.of(odd)) == set(range(50))


def test_no_records_no_columns() -> None:
    columns = reduce.columns([np.zeros(0, np.int64)], 10)
    assert len(columns) == 0
    assert columns.spans() == []


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=300, unique=True), st.integers(1, 50))
def test_every_step_lies_in_a_column_that_spans_it(steps: list[int], limit: int) -> None:
    at = np.array(sorted(steps))
    columns = reduce.columns([at], limit)
    spans = columns.spans()
    assert len(spans) <= limit
    assert [spans[i][0] <= step <= spans[i][1] for step, i in zip(at, columns.of(at), strict=True)] == [True] * len(at)
    assert set(columns.of(at)) == set(range(len(columns)))


@pytest.mark.parametrize(
    ("scale", "band", "near", "far"),
    [
        ("log", (1e-3, 1e-2), 2e-2, 1e-5),
        ("log", (1e-3, 1e-2), 1e-5, 0.0),
        ("log", (1e-3, 1e-2), 1e30, np.inf),
        ("log", (1e-3, 1e-2), 5e-3, 9e-3),
        ("relative", (0.5, 2), 1.0, 0.1),
        ("share", (0, 0.3), 0.0, 0.2),
        ("share", (0, 0.3), 0.4, 1.0),
        ("share", (0, 0), 0.0, 1e-6),
        ("symlog", (-5, 5), 10.0, -20.0),
        ("symlog", (-5, 5), -20.0, 1e4),
    ],
)
def test_distance_orders_values_by_how_ill_they_are(
    scale: reduce.Scale, band: tuple[float, float], near: float, far: float
) -> None:
    distances = reduce.distance(scale, np.array([near, far, np.nan]), band)
    assert distances[0] < distances[1]
    assert distances[2] == reduce.MISSING


def test_the_worst_of_a_column_is_kept_in_either_direction() -> None:
    values = np.array([[1, 1], [1, 1e-4], [50, 1], [1, np.nan], [1, np.nan], [1, np.nan]])
    far = reduce.distance("log", values, (0.5, 2))
    at = reduce.worst(far, np.array([0, 0, 0, 1, 1, 1]), 2)
    assert at.tolist() == [[2, 1], [3, -1]]


@pytest.mark.parametrize("few", [0, 1 << 20], ids=["a loop", "whole arrays"])
def test_the_worst_of_many_columns_is_that_of_each(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduce, "_FEW", few)
    rng = np.random.default_rng(0)
    for count in (1, 3, 40):
        far = rng.integers(-3, 3, (60, 4)).astype(float)
        far[rng.random(far.shape) < 0.3] = reduce.MISSING
        column = np.sort(rng.integers(0, count, 60))
        expected = np.full((count, 4), -1)
        for i, j in np.ndindex(count, 4):
            places = [k for k in range(60) if column[k] == i and far[k, j] != reduce.MISSING]
            if places:
                expected[i, j] = max(places, key=lambda k, j=j: (far[k, j], -k))  # type: ignore[misc]
        assert reduce.worst(far, column, count).tolist() == expected.tolist()
    assert reduce.worst(np.zeros((0, 4)), np.zeros(0, np.intp), 2).tolist() == [[-1] * 4] * 2


def test_extremes_leave_out_what_is_missing() -> None:
    low, high = reduce.extremes(np.array([3.0, np.nan, 1.0, np.nan]), np.array([0, 0, 0, 1]), 2)
    assert (low[0], high[0]) == (1.0, 3.0)
    assert np.isnan([low[1], high[1]]).all()


def test_spans_of_marks() -> None:
    assert reduce.spans(np.array([True, True, False, True])) == [(0, 1), (3, 3)]
    assert reduce.spans(np.zeros(3, bool)) == []


def test_arrays_go_through_base64_and_back() -> None:
    values = np.array([[1.5, np.nan], [-np.inf, 1e300]])
    back = decode(f32(values), 2, 2)
    assert back[0, 0] == 1.5
    assert np.isnan(back[0, 1])
    assert back[1].tolist() == [-np.inf, np.inf]
