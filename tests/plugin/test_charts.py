from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
from tb_nnhealth.plugin.arrays import decode
from tb_nnhealth.plugin.noise import smoothed
from tb_nnhealth.plugin.scalars import drawn_scale, losses, points, scalars
from tb_nnhealth.rules.synthetic import Network


def noisy_line(n: int, sigma: float) -> np.ndarray:
    return np.linspace(10, 0, n) + sigma * np.random.default_rng(0).standard_normal(n)


@pytest.mark.parametrize("count", [50, 400])
def test_the_average_follows_the_trend_and_the_noise_is_told_from_it(count: int) -> None:
    values = noisy_line(4000, 0.3)
    column = np.arange(4000) * count // 4000
    mean, sigma = smoothed(values, column, count)
    truth = 10 - 10 * (np.arange(count) + 0.5) / count
    assert np.abs(mean - truth)[5:-5].max() < 0.25
    assert np.median(sigma) == pytest.approx(0.3, rel=0.15)


def test_one_spike_does_not_widen_the_noise() -> None:
    values = noisy_line(400, 0.1)
    quiet = smoothed(values, np.arange(400), 400)[1]
    values[200] = 1e4
    loud = smoothed(values, np.arange(400), 400)[1]
    assert loud.max() < 3 * quiet.max()


def test_an_explosion_does_not_spoil_what_came_before() -> None:
    values = np.where(np.arange(400) < 300, 1.0, 1e30)
    mean, _ = smoothed(values, np.arange(400), 400)
    assert mean[:290] == pytest.approx(1.0)


def test_missing_values_give_no_average() -> None:
    values = np.where(np.arange(100) < 50, 1.0, np.nan)
    mean, sigma = smoothed(values, np.arange(100), 100)
    assert mean[:50] == pytest.approx(1.0)
    assert np.isnan(mean[50:]).all()
    assert np.isnan(sigma[50:]).all()


def chart(found: dict, name: str) -> dict:
    return next(chart for chart in found["charts"] if chart["id"] == name)


def test_the_standard_charts_of_a_watched_run() -> None:
    network = Network(steps=100).loss(np.linspace(2, 1, 100)).loss(np.linspace(2, 1.5, 100), tag="val/loss")
    network.scalars["train/accuracy"] = [(i, i / 100) for i in range(100)]
    found = scalars(network.run())
    assert [chart["id"] for chart in found["charts"]] == ["loss", "accuracy", "learning-rate", "gradient-norm"]
    loss = chart(found, "loss")
    assert [(series["tag"], series["role"]) for series in loss["series"]] == [
        ("loss/train", "train"),
        ("val/loss", "val"),
    ]
    assert decode(chart(found, "learning-rate")["series"][0]["values_f32"]) == pytest.approx(1e-3)
    total = decode(chart(found, "gradient-norm")["series"][0]["values_f32"])
    assert total[0] == pytest.approx(1e-3 * np.sqrt(6 * (64 * 64 + 64)), rel=0.1)
    assert found["tags"] == ["loss/train", "val/loss", "train/accuracy"]


def test_a_run_without_a_logged_loss_shows_the_criterions() -> None:
    assert [(s.tag, s.role) for s in losses(Network(steps=10).run())] == [("loss", "train")]


def test_groups_with_one_learning_rate_are_one_line() -> None:
    network = Network(steps=10)
    row = network.layout.rows.add(kind=schema.LEARNING_RATE, subject="0.1")
    assert row.kind == schema.LEARNING_RATE
    network.values = np.concatenate((network.values, network.values[:, [network._row("learning_rate", "0.0")]]), axis=1)
    assert len(chart(scalars(network.run()), "learning-rate")["series"]) == 1
    network.set(schema.LEARNING_RATE, "0.1", mean=1e-4)
    names = [series["tag"] for series in chart(scalars(network.run()), "learning-rate")["series"]]
    assert names == ["learning rate 0.0", "learning rate 0.1"]


def test_named_tags_have_a_chart_each_in_the_order_asked_for() -> None:
    run = Run("r", scalars={tag: Series([(0, 0.0, 1.0)]) for tag in ("a", "b", "c")})
    assert [chart["id"] for chart in scalars(run, ["c", "a"])["charts"]] == ["tag:c", "tag:a"]


def test_points_are_last_values_with_extremes() -> None:
    steps, values = np.arange(100), np.arange(100.0)
    values[15] = 1e6
    found = points(steps, values, None, None, 10)
    assert found["steps"] == list(range(9, 100, 10))
    assert decode(found["values_f32"]).tolist() == list(range(9, 100, 10))
    assert decode(found["max_f32"])[1] == 1e6
    assert decode(found["min_f32"])[1] == 10


def test_a_non_finite_loss_is_drawn_as_logged() -> None:
    values = np.where(np.arange(20) < 15, 1.0, np.nan)
    found = points(np.arange(20), values, None, None, 400)
    assert np.isnan(decode(found["values_f32"])).tolist() == [False] * 15 + [True] * 5


def test_a_series_of_few_points_has_no_noise() -> None:
    found = points(np.arange(3), np.array([1.0, 5.0, 2.0]), None, None, 400)
    assert decode(found["mean_f32"]).tolist() == [1, 5, 2]
    assert decode(found["low_f32"]).tolist() == [1, 5, 2]


def test_a_range_of_steps_and_an_empty_one() -> None:
    found = points(np.arange(20), np.arange(20.0), 5, 7, 400)
    assert found["steps"] == [5, 6, 7]
    assert points(np.arange(20), np.arange(20.0), 50, 70, 400)["steps"] == []


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1, 2, 3], "linear"), ([1e-3, 1, 10, 1e3], "log"), ([0, 1, 1e6], "linear"), ([np.nan], "linear")],
)
def test_scale_of_a_chart(values: list[float], scale: str) -> None:
    assert drawn_scale(np.array(values, float)) == scale
