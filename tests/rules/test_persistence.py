from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth.rules.persistence import episodes, share_of, window_of


def column(*values: int) -> np.ndarray:
    return np.array(values, bool).reshape(-1, 1)


def steps(n: int) -> np.ndarray:
    return np.arange(0, 10 * n, 10)


def test_fires_when_half_of_a_window_is_ill_and_begins_at_the_crossing():
    ill = column(0, 0, 0, 1, 1, 1, 1, 1)
    (episode,) = episodes(ill, np.ones_like(ill), steps(8), window=4)
    assert (episode.first_step, episode.fired_step, episode.last_step) == (30, 40, 70)
    assert (episode.count, episode.active) == (5, True)


def test_one_short_of_the_share_is_silent():
    ill = column(0, 1, 0, 0, 0, 1, 0, 0, 0)
    assert episodes(ill, np.ones_like(ill), steps(9), window=4) == []


def test_ends_and_is_then_not_active():
    ill = column(1, 1, 1, 0, 0, 0, 0, 0)
    (episode,) = episodes(ill, np.ones_like(ill), steps(8), window=4)
    assert (episode.first_step, episode.last_step, episode.active) == (0, 20, False)


def test_records_that_are_not_judged_count_neither_way():
    ill = column(1, 0, 1, 0, 1, 0, 1)
    judged = column(1, 0, 1, 0, 1, 0, 1)
    (episode,) = episodes(ill, judged, steps(7), window=4, share=1.0)
    assert (episode.first_step, episode.fired_step, episode.count) == (0, 60, 4)


def test_fewer_judged_records_than_the_window_say_nothing():
    ill = column(1, 1, 1)
    assert episodes(ill, np.ones_like(ill), steps(3), window=4, share=0.5) == []


def test_columns_are_independent():
    ill = np.zeros((20, 3), bool)
    ill[5:, 1] = True
    found = episodes(ill, np.ones_like(ill), steps(20), window=4)
    assert [episode.column for episode in found] == [1]


def test_a_lone_ill_record_far_before_the_episode_is_not_its_onset():
    ill = np.zeros((40, 1), bool)
    ill[2] = ill[30:] = True
    (episode,) = episodes(ill, np.ones_like(ill), steps(40), window=4)
    assert episode.first_step == 300


@pytest.mark.parametrize(
    ("every", "expected"), [(1, 20), (2, 20), (4, 10), (5, 8), (25, 6), (1000, 6)], ids=lambda value: str(value)
)
def test_sparse_records_need_fewer(every: int, expected: int) -> None:
    assert window_of(np.arange(40) * every, 20, 6) == expected


def test_records_close_together_at_the_start_need_as_many_as_ever() -> None:
    steps = np.concatenate([np.arange(30), np.arange(100, 600, 100)])
    assert window_of(steps, 20, 6) == 20
    assert window_of(steps[:1], 20, 6) == 20


def test_a_short_window_asks_for_more_of_itself() -> None:
    assert share_of(20, 20) == 0.5
    assert share_of(8, 20) > 0.5
