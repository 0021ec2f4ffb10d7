"""Many entries at once leave a log as they would one by one."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tb_nnhealth import columns as columns_module
from tb_nnhealth.columns import Counts, Log, Numbers, Tables

steps = st.lists(st.integers(0, 3) | st.integers(0, 400), max_size=30) | st.integers(1, 300).map(
    lambda n: list(range(1000, 1000 + n))
)
batches = st.lists(st.tuples(steps, st.integers(0, 3)), max_size=6)


def state(log: Log) -> Any:
    return list(log.steps), list(log.walls), log.stride, log._pins, log._next, log.changes


@settings(max_examples=400, deadline=None)
@given(batches, st.integers(8, 40), st.integers(0, 4), st.booleans())
def test_many_at_once_and_one_by_one(batches: list[Any], capacity: int, opening: int, pins: bool) -> None:
    with mock.patch.object(columns_module, "PINS_KEPT", 3):  # far fewer than the capacity, as in a history
        _compare(batches, capacity, opening, pins)


def _compare(batches: list[Any], capacity: int, opening: int, pins: bool) -> None:
    one, many = (Log(capacity, opening, Numbers("d")) for _ in range(2))
    ordinal = 0
    for numbers, pinned_every in batches:
        steps = np.array(numbers, np.int64)
        values = ordinal + np.arange(len(steps), dtype=np.float64)
        ordinal += len(steps)
        pinned = np.arange(len(steps)) % (pinned_every + 2) == 0 if pins else np.zeros(len(steps), np.bool_)
        for i in range(len(steps)):
            one.append(int(steps[i]), values[i] / 2, values[i], pinned=bool(pinned[i]))
        many.extend(steps, values / 2, values, pinned if pins else None)
        assert state(many) == state(one)
        assert list(many.values) == list(one.values)


def test_a_long_log_is_thinned_at_the_same_places() -> None:
    one, many = (Log(500, 64, Numbers("d")) for _ in range(2))
    values = np.arange(50_000, dtype=np.float64)
    for i in range(len(values)):
        one.append(i, 0.0, values[i])
    for some in np.split(values, [1, 700, 701, 20_000]):
        many.extend(some.astype(np.int64), 0 * some, some)
    assert state(many) == state(one)
    assert list(many.values) == list(one.values)


@given(st.lists(st.tuples(st.sampled_from("aeepks"), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))))
def test_tables_that_came_together_are_those_that_came_alone(actions: list[Any]) -> None:
    one, many = Tables(), Tables()
    number, length = 0.0, 0
    for action, count, rows, columns in actions:
        if action in "ae":
            count = 1 if action == "a" else count
            block = np.arange(count * rows * columns, dtype=np.float32).reshape(count, rows, columns) + number
            number += 1
            many.extend_from(block, slice(None))
            for values in block:
                one.append(values)
            length += count
        elif action == "p" and length:
            one.pop()
            many.pop()
            length -= 1
        elif action == "k":
            kept = np.arange(0, length, 2)
            one.keep(kept)
            many.keep(kept)
            length = len(kept)
        elif action == "s":
            assert len(many.stacked) == length
    shape = np.max([one.stacked.shape, many.stacked.shape], axis=0)
    for tables in (one, many):
        tables.reserve(*shape[1:].tolist())
    np.testing.assert_array_equal(many.stacked, one.stacked)


def test_histograms_that_came_together_hold_no_more_memory_than_their_own() -> None:
    counts = Counts()
    counts.extend_from(np.ones((100, 2, 66), np.int32), np.array([3, 7]))
    assert [kept.base for kept in counts] == [None, None]
