"""A combination of each model of the sweep; ``python -m tests.ways.sweep`` tries them all."""

from __future__ import annotations

import warnings

import pytest

from tests.ways.models import MODELS
from tests.ways.sweep import Combination, combinations, sample

COMPILED = sample("aot_eager")[::6]


def test_there_are_enough_models() -> None:
    assert len(MODELS) >= 40
    assert {(c.precision, c.accumulation, c.checkpointed) for c in sample()} == {
        (c.precision, c.accumulation, c.checkpointed) for c in combinations()
    }


@pytest.mark.parametrize("combination", [*sample(), *COMPILED], ids=str)
def test_training_is_the_same(combination: Combination) -> None:
    with warnings.catch_warnings():
        assert combination.differs() == []
