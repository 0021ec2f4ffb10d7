"""Each failing disk once; ``python -m tests.reliability.disks`` tries them with several seeds."""

from __future__ import annotations

from pathlib import Path

from tests.reliability import disks
from tests.reliability.children import Outcome
from tests.reliability.experiment import told


def test_training_survives_and_nothing_is_unaccounted_for(tmp_path: Path) -> None:
    found = told("disks", tmp_path / "told.json", "--seeds", "1")
    assert found["failures"] == []
    assert found["trials"] == len(disks.DISKS)


def test_harm_is_seen() -> None:
    sound = {"digest": "a", "unaccounted": 0, "last": disks.STEPS - 1}
    assert disks.harm(Outcome(sound), "a") is None
    assert disks.harm(Outcome(sound), "b") is not None
    assert disks.harm(Outcome({**sound, "unaccounted": 1}), "a") is not None
    assert disks.harm(Outcome({**sound, "last": 3}), "a") is not None
    assert disks.harm(Outcome(error="it had not ended after 120 s"), "a") is not None
