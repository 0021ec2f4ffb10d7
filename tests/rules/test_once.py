"""What rules ask alike is worked out once in a judgement, and anew in the next."""

from __future__ import annotations

from collections import Counter

import pytest

from tb_nnhealth import messages
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.evidence.once import once, one_judgement

CALLS: Counter[tuple[str, int]] = Counter()


@once
def length(history: History, more: int = 0) -> list[int]:
    CALLS["length", more] += 1
    return [len(history) + more]


@pytest.fixture(autouse=True)
def _uncounted() -> None:
    CALLS.clear()


def _history() -> History:
    return History(messages.Layout())


def test_a_judgement_asks_once_of_each_history_and_number() -> None:
    one, other = _history(), _history()
    with one_judgement():
        assert length(one) is length(one)
        assert length(one) is not length(other)
        assert length(one, 1) == [1]
        assert length(one, more=1) == [1]
    assert CALLS == {("length", 0): 2, ("length", 1): 2}


def test_the_next_judgement_asks_anew() -> None:
    history = _history()
    with one_judgement():
        first = length(history)
    with one_judgement():
        assert length(history) is not first


def test_outside_of_a_judgement_nothing_is_kept() -> None:
    history = _history()
    assert length(history) is not length(history)


def test_a_judgement_within_one_keeps_to_itself() -> None:
    history = _history()
    with one_judgement():
        outer = length(history)
        with one_judgement():
            assert length(history) is not outer
        assert length(history) is outer


def test_an_error_is_not_kept() -> None:
    @once
    def fails(run: Run) -> None:
        CALLS["fails", 0] += 1
        raise ValueError("no")

    run = Run("a")
    with one_judgement():
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                fails(run)
    assert CALLS["fails", 0] == 2
