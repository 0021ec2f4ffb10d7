"""Some thousand files; ``python -m tests.reliability.readers`` reads a million."""

from __future__ import annotations

from tests.reliability import readers
from tests.reliability.children import in_child


def test_damaged_files_are_read_as_far_as_they_are_valid() -> None:
    told = in_child(lambda: readers.run(2000, seed=1, jobs=1), 500.0)
    assert told.error is None
    assert told.value["failures"] == []
