"""Whether two runs are the same, value by value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from tb_nnhealth.events import run_values, scan
from tb_nnhealth.history import History, Run


def assert_same_run(one: Run, other: Run) -> None:
    assert one.name == other.name
    assert list(one.watches) == list(other.watches)
    for name in one.watches:
        assert_same_history(one.watches[name], other.watches[name])
    assert list(one.scalars) == list(other.scalars)
    for tag in one.scalars:
        for column in ("steps", "walls", "values"):
            ours, theirs = getattr(one.scalars[tag], column), getattr(other.scalars[tag], column)
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{column} of {tag}")
    assert one.capture == other.capture
    assert one.preflight == other.preflight
    assert one.sampled == other.sampled


def assert_same_history(one: History, other: History) -> None:
    assert one.layout == other.layout
    assert one.resolution == other.resolution
    np.testing.assert_array_equal(one.steps, other.steps)
    np.testing.assert_array_equal(one.walls, other.walls)
    for kind in {row.kind for row in one.layout.rows}:
        for statistic in one.layout.columns:
            ours, theirs = one.table(kind, statistic), other.table(kind, statistic)
            np.testing.assert_array_equal(ours.values, theirs.values, err_msg=f"{statistic} of {kind}")
        for subject in one.subjects(kind):
            for ours, theirs in zip(one.histograms(kind, subject), other.histograms(kind, subject), strict=True):
                np.testing.assert_array_equal(ours, theirs, err_msg=f"histograms of {kind} {subject}")


@contextmanager
def without_native() -> Iterator[None]:
    with mock.patch.object(scan, "core", None), mock.patch.object(run_values, "core", None):
        yield


def logs_of(run: Run) -> list[Any]:
    watches = [log for h in run.watches.values() for log in (h._records, h._histograms)]
    return [*(series._log for series in run.scalars.values()), *watches]


def assert_same_to_the_last_detail(one: Run, other: Run) -> None:
    """Also in what later appends depend on."""
    assert_same_run(one, other)
    assert one.problems == other.problems
    for ours, theirs in zip(logs_of(one), logs_of(other), strict=True):
        for name in ("stride", "_pins", "_next", "changes", "capacity"):
            assert getattr(ours, name) == getattr(theirs, name), name
