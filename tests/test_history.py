"""A History keeps what the rules need, in bounded memory, depending on the sequence of records alone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tb_nnhealth import history as history_module
from tb_nnhealth import schema
from tb_nnhealth.columns import PINS_KEPT
from tb_nnhealth.history import History, Run, Series
from tb_nnhealth.messages import Layout, Row


def layout(rows: int = 2) -> Layout:
    return Layout(
        columns=schema.STATISTICS,
        rows=[Row(kind=schema.WEIGHT, subject=f"w{i}", shape=[4]) for i in range(rows)],
    )


def record(value: float, rows: int = 2, nan_count: float = 0.0) -> np.ndarray:
    values = np.full((rows, len(schema.STATISTICS)), value, np.float32)
    values[:, schema.STATISTICS.index(schema.NAN_COUNT)] = nan_count
    values[:, schema.STATISTICS.index(schema.INF_COUNT)] = 0.0
    return values


def test_table_selects_kind_and_statistic():
    history = History(layout())
    history.append(0, 0.0, record(1.5))
    history.append(5, 1.0, record(2.5))
    table = history.table(schema.WEIGHT, schema.RMS)
    assert table.subjects == ("w0", "w1")
    assert table.steps.tolist() == [0, 5]
    assert table.values.tolist() == [[1.5, 1.5], [2.5, 2.5]]


def test_statistic_that_was_not_recorded_is_absent_not_zero():
    old = layout()
    del old.columns[-1]
    history = History(old)
    history.append(0, 0.0, record(1.0)[:, :-1])
    assert np.isnan(history.table(schema.WEIGHT, schema.STATISTICS[-1]).values).all()


def test_rows_that_came_later_are_absent_before():
    history = History(layout(1))
    history.append(0, 0.0, record(1.0, rows=1))
    history.layout = layout(3)
    history.append(1, 0.0, record(2.0, rows=3))
    values = history.table(schema.WEIGHT, schema.RMS).values
    assert np.isnan(values[0, 1:]).all()
    assert values[1].tolist() == [2.0, 2.0, 2.0]


def test_a_step_that_goes_back_rewinds():
    history = History(layout())
    for step in (0, 1, 2, 3, 2):
        history.append(step, float(step), record(step))
    assert history.steps.tolist() == [0, 1, 2]
    series = Series([(0, 0.0, 1.0), (1, 0.0, 2.0), (0, 0.0, 3.0)])
    assert (series.steps.tolist(), series.values.tolist()) == ([0], [3.0])


@pytest.fixture
def small_history(monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.setattr(history_module, "RECORDS_KEPT", 512)
    return History(layout())


def test_thinning_keeps_opening_newest_and_onset_of_non_finite_values(small_history: History):
    onset = 1501
    for step in range(5000):
        small_history.append(step, 0.0, record(step, nan_count=1.0 if step >= onset else 0.0))
    steps = small_history.steps
    assert len(steps) <= 513
    assert steps[: history_module.OPENING_KEPT].tolist() == list(range(history_module.OPENING_KEPT))
    assert onset in steps
    assert steps[-1] == 4999
    assert (np.diff(steps) > 0).all()


def test_thinning_depends_only_on_the_sequence(small_history: History):
    other = History(layout())
    for step in range(3000):
        small_history.append(step, 0.0, record(step))
        small_history.table(schema.WEIGHT, schema.RMS)  # looking at it in between changes nothing
    for step in range(3000):
        other.append(step, 0.0, record(step))
    assert other.steps.tolist() == small_history.steps.tolist()
    assert np.array_equal(
        other.table(schema.WEIGHT, schema.RMS).values, small_history.table(schema.WEIGHT, schema.RMS).values
    )


def test_flickering_non_finite_values_do_not_defeat_the_bound(small_history: History):
    for step in range(20_000):
        small_history.append(step, 0.0, record(step, nan_count=float(step % 2)))
        assert len(small_history) <= 512
    steps = small_history.steps
    onsets = np.arange(1, 2 * PINS_KEPT, 2)
    assert np.isin(onsets, steps).all()
    gaps = np.diff(steps[np.isin(steps, onsets, invert=True) & (steps >= history_module.OPENING_KEPT)])
    assert gaps.max() == 64  # not coarser than 20,000 records in 512 places need


def test_a_rewind_into_a_thinned_middle_leaves_no_gap(small_history: History):
    for step in range(2000):
        small_history.append(step, 0.0, record(step))
    before = small_history.steps
    for step in range(1000, 1800):
        small_history.append(step, 0.0, record(step))
    steps = small_history.steps
    assert steps[steps < 1000].tolist() == before[before < 1000].tolist()
    assert steps[-1] == 1799
    assert np.diff(steps).min() > 0
    assert np.diff(steps).max() < 2 * np.diff(before).max()


def test_a_series_at_its_bound_takes_little_memory():
    series = Series()
    tracemalloc.start()
    for step in range(history_module.POINTS_KEPT):
        series.append(step, 0.1 * step, step / 3)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(series) == history_module.POINTS_KEPT
    assert held < 30 * history_module.POINTS_KEPT


def test_what_was_taken_from_a_history_does_not_change_with_it(small_history: History):
    small_history.append(0, 0.0, record(0.0))
    table, steps = small_history.table(schema.WEIGHT, schema.RMS), small_history.steps
    for step in range(1, 2000):
        small_history.append(step, 0.0, record(step))
    assert (table.values.tolist(), steps.tolist()) == ([[0.0, 0.0]], [0])


def test_a_copy_and_its_original_go_separate_ways(small_history: History):
    for step in range(700):
        small_history.append(step, 0.1 * step, record(step))
        small_history.append_histogram(step, 0.0, np.full((2, schema.HISTOGRAM_BINS), step, np.int32))
    copy = small_history.copy()
    assert copy.layout is small_history.layout
    for history, value in ((small_history, -1.0), (copy, -2.0)):
        for step in range(650, 1500):
            history.append(step, 0.0, record(value))
    for history, value in ((small_history, -1.0), (copy, -2.0)):
        table = history.table(schema.WEIGHT, schema.RMS)
        assert set(table.values[table.steps >= 650].ravel().tolist()) == {value}
        older = table.steps[table.steps < 650]
        assert table.values[: len(older), 1].tolist() == older.tolist()
    assert copy.steps.tolist() == small_history.steps.tolist()
    assert copy.histograms(schema.WEIGHT, "w0")[0].tolist() == small_history.histograms(schema.WEIGHT, "w0")[0].tolist()


def test_a_copied_series_goes_its_own_way():
    series = Series([(step, 0.0, float(step)) for step in range(100)])
    copy = series.copy()
    series.append(100, 0.0, 1.0)
    copy.rewind(50)
    copy.append(60, 0.0, 2.0)
    assert series.steps.tolist() == list(range(101))
    assert copy.steps.tolist() == [*range(50), 60]
    assert copy.values[-1] == 2.0


def test_histograms_of_one_row():
    history = History(layout())
    counts = np.arange(2 * schema.HISTOGRAM_BINS, dtype=np.int32).reshape(2, schema.HISTOGRAM_BINS)
    history.append_histogram(7, 0.0, counts)
    steps, found = history.histograms(schema.WEIGHT, "w1")
    assert steps.tolist() == [7]
    assert np.array_equal(found[0], counts[1])
    steps, found = history.histograms(schema.WEIGHT, "absent")
    assert len(steps) == 0
    assert found.shape == (0, schema.HISTOGRAM_BINS)


def test_a_run_without_a_true_wall_time_has_none() -> None:
    nowhere, later = Series([(0, float("nan"), 1.0)]), Series([(0, 5.0, 1.0), (1, float("inf"), 1.0)])
    assert Run("r", scalars={"a": nowhere}).last_wall is None
    assert Run("r", scalars={"a": nowhere, "b": later}).first_wall == 5.0
    assert Run("r", scalars={"a": nowhere, "b": later}).last_wall is None


def test_the_last_histograms_of_many_rows_are_those_of_each() -> None:
    history = History(layout(6))
    for step in range(5):
        rows = 6 if step > 2 else 4
        counts = np.arange(rows * schema.HISTOGRAM_BINS, dtype=np.int32) + step
        history.append_histogram(step, 0.0, counts.reshape(rows, -1))
    names = [*history.subjects(schema.WEIGHT), "nobody"]
    for most in (1, 3, 9):
        steps, counts = history.last_histograms(schema.WEIGHT, names, most)
        assert steps.tolist() == list(range(5))[-most:]
        assert not counts[:, -1].any()
        for i, name in enumerate(names[:-1]):
            own, alone = history.histograms(schema.WEIGHT, name)
            there = np.isin(steps, own)
            assert np.array_equal(counts[there, i], alone[np.isin(own, steps)])
            assert not counts[~there, i].any()
