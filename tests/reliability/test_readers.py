"""Some thousand files; ``python -m tests.reliability.readers`` reads a million."""

from __future__ import annotations

from pathlib import Path

from tests.reliability.experiment import told


def test_damaged_files_are_read_as_far_as_they_are_valid(tmp_path: Path) -> None:
    found = told("readers", tmp_path / "told.json", "--files", "2000", "--seed", "1", "--jobs", "1")
    assert found["failures"] == []
    assert found["peak_mb"] < 256
