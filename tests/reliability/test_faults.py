"""A sample of the single faults; ``python -m tests.reliability.faults`` tries a thousand."""

from __future__ import annotations

from pathlib import Path

from tests.reliability.children import in_child
from tests.reliability.experiment import told


def test_faults_inside_the_shim_harm_no_training(tmp_path: Path) -> None:
    found = told("faults", tmp_path / "told.json", "--faults", "24", "--seed", "1", "--jobs", "2")
    assert found["failures"] == []
    assert found["happened"] > 12


def test_work_that_raises_ends_or_hangs_is_told() -> None:
    def hang() -> None:
        while True:
            pass

    assert "ZeroDivisionError" in str(in_child(lambda: 1 // 0, 60.0).error)
    assert in_child(lambda: {"a": 1}, 60.0).value == {"a": 1}
    assert in_child(hang, 0.5).error == "it had not ended after 0.5 s"
