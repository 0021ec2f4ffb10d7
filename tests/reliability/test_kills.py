"""A sample of the kills; ``python -m tests.reliability.kills`` does five hundred."""

from __future__ import annotations

from pathlib import Path

from tests.reliability import kills
from tests.reliability.experiment import told
from tests.reliability.training import train


def test_nothing_flushed_is_lost(tmp_path: Path) -> None:
    found = told("kills", tmp_path / "told.json", "--kills", "10", "--seed", "1", "--jobs", "2")
    assert found["failures"] == []
    assert found["flushed"] > 40


def test_a_log_that_lacks_steps_is_seen(tmp_path: Path) -> None:
    train(tmp_path, 4)
    assert kills.loss(tmp_path, 4, killed=False) is None
    assert kills.loss(tmp_path, 5, killed=True) is not None
    file = next(tmp_path.iterdir())
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert kills.loss(tmp_path, 4, killed=False) is not None
