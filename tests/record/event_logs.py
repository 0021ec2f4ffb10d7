"""Reads event files back for the tests of the writers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2

from tb_nnhealth import schema
from tb_nnhealth.record.faults import ShimWarning


@contextmanager
def told(match: str | None = None) -> Iterator[Any]:
    """What happens within warns of a fault of the shim that matches."""
    with pytest.warns(ShimWarning, match=match) as warned:
        yield warned


def event_files(directory: Path) -> list[Path]:
    """Event files below ``directory``, as TensorBoard orders them."""
    return sorted(path for path in Path(directory).rglob("*tfevents*") if path.is_file())


def events(path: Path) -> list[Any]:
    """The events of one file, or of all files below a directory, by TensorBoard's own reader."""
    paths = [path] if path.is_file() else event_files(path)
    return [event_pb2.Event.FromString(data) for each in paths for data in RawEventFileLoader(str(each)).Load()]


def values(path: Path, tag: str) -> list[tuple[int, float]]:
    return [(e.step, v.simple_value) for e in events(path) for v in e.summary.value if v.tag == tag]


def steps(path: Path, tag: str) -> list[int]:
    return [e.step for e in events(path) for v in e.summary.value if v.tag == tag]


def record_steps(path: Path, watch: str = schema.DEFAULT_WATCH, level: int = 0) -> list[int]:
    return steps(path, schema.stats_tag(watch, level))


def comparable(path: Path) -> dict[str, list[str]]:
    """Per sub-directory all events without what differs between two runs: times, and names made of them."""
    found: dict[str, list[str]] = {}
    for file in event_files(path):
        for event in events(file):
            event.ClearField("wall_time")
            found.setdefault(str(file.parent.relative_to(path)), []).append(str(event))
    return found
