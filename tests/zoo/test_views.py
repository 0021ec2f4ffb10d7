from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.synthetic import Network
from tests.zoo.views import VIEWS, a_mean_in_an_epoch, a_running_mean, every_fourth_record, every_tenth_point, until


def _run() -> Run:
    """100 records, and at each step a loss that counts the steps."""
    run = Network(steps=100).run()
    run.scalars["loss"] = Series([(i, float(i), float(i)) for i in range(100)])
    run.scalars["val/acc"] = Series([(20 * i, 20.0 * i, 0.5) for i in range(5)])
    return run


def test_records_and_points_are_left_out() -> None:
    run = _run()
    (whole,) = run.watches.values()
    (few,) = every_fourth_record(run).watches.values()
    assert few.steps.tolist() == whole.steps[::4].tolist()
    assert np.array_equal(few.table("weight", "rms").values, whole.table("weight", "rms").values[::4])
    tenth = every_tenth_point(run).scalars
    assert tenth["loss"].steps.tolist() == list(range(0, 100, 10))
    assert len(tenth["val/acc"]) == 5


def test_means_stand_at_the_last_step_that_they_are_of() -> None:
    means = a_mean_in_an_epoch(_run()).scalars["loss"]
    assert (len(means), means.steps[0], means.values[0], means.steps[-1]) == (12, 8, 4.0, 99)
    smoothed = a_running_mean(_run()).scalars["loss"].values
    assert smoothed[:3].tolist() == pytest.approx([0.0, 0.05, 0.1475])


def test_a_moment_knows_nothing_of_what_comes_later() -> None:
    run = until(0.3, _run())
    (watch,) = run.watches.values()
    assert (watch.steps[-1], run.scalars["loss"].steps[-1], run.scalars["val/acc"].steps[-1]) == (29, 29, 20)


def test_no_view_changes_the_run() -> None:
    run = _run()
    for seen in VIEWS.values():
        seen(run)
    assert len(run.scalars["loss"]) == len(next(iter(run.watches.values()))) == 100
