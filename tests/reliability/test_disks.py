"""Each failing disk once; ``python -m tests.reliability.disks`` tries them with several seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability import disks
from tests.reliability.children import in_child
from tests.reliability.training import train


@pytest.fixture(scope="module")
def expected() -> str:
    told = in_child(lambda: train(None, disks.STEPS)[0], 120.0)
    return str(told.value)


@pytest.mark.parametrize("disk", disks.DISKS)
def test_training_survives_and_nothing_is_unaccounted_for(disk: str, expected: str, tmp_path: Path) -> None:
    outcome = in_child(lambda: disks.trial(tmp_path / "run", disk, 0), disks.HUNG_SECONDS)
    assert disks.harm(outcome, expected) is None
