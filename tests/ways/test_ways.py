"""Each way of training: the same with a watch as without, recorded as worked out by hand, and nothing left of it."""

from __future__ import annotations

import pytest
import torch

from tests.ways.catalogue import WAYS
from tests.ways.registry import Way
from tests.ways.trial import Trial, remains, train


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_way(way: Way) -> None:
    outcomes, left = [], []
    for watching in (False, True):
        if way.compiles:
            torch._dynamo.reset()
        trial = Trial(watching=watching)
        outcomes.append(train(way.train, trial))
        if way.compiles:
            torch._dynamo.reset()
        left.append(remains(trial))
    plain, watched = outcomes
    complaints = [error for stream in trial.recorder.streams.values() for error in stream.errors]
    assert trial.wrong == []
    assert [way.says in complaint for complaint in complaints] == ([True] if way.says else []), complaints
    for part, expected in plain.state.items():
        assert watched.state[part] == expected, part
    assert watched.warned <= plain.warned
    assert trial.checked, "nothing was compared"
    assert left[1] == left[0]  # torch itself keeps some things alive
