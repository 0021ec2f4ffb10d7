"""One event file, examined: its records, and what its events say."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2

from tb_nnhealth.doctor.clocks import Clock
from tb_nnhealth.doctor.formats import Formats
from tb_nnhealth.doctor.signatures import all_zero, known
from tb_nnhealth.doctor.spans import Kind, Span, spans
from tb_nnhealth.doctor.trouble import Trouble
from tb_nnhealth.doctor.window import Window
from tb_nnhealth.events.reader import RECORD_BYTES_READ
from tb_nnhealth.events.storage import Storage

OVERSIZED_BYTES = 256 << 20
"""TensorBoard's data server cannot hand over a reply that is longer (``server_ingester.py``)."""
SeeEvent = Callable[[Any, str, int], None]


@dataclass
class FileSeen:
    """What was found in a file."""

    path: str
    size: int = 0
    records: int = 0
    values: int = 0
    """Events of it that hold more than the file's version."""
    first: float | None = None
    last: float | None = None
    """Wall times of its events."""
    troubles: list[Trouble] = field(default_factory=list)


def examine_file(path: str, storage: Storage, see: SeeEvent) -> FileSeen:
    """Examines the file at ``path``; ``see(event, path, offset)`` is told of each of its events."""
    seen = FileSeen(path)
    clock, formats = Clock(path), Formats(path)
    damage: dict[str, list[Span]] = {}
    try:
        seen.size = storage.size(path)
        window = Window(storage, path, seen.size)
        for span in spans(window):
            if span.kind is not Kind.RECORD:
                if span.kind is Kind.CORRUPT and all_zero(window, span):
                    span = span._replace(why=_ZEROS)
                damage.setdefault(span.kind.value, []).append(span)
                continue
            seen.records += 1
            event = _event(window, span, damage)
            if event is not None:
                seen.values += event.WhichOneof("what") not in ("file_version", None)
                clock.see(event, span.offset)
                formats.see(event, span.offset)
                see(event, path, span.offset)
    except OSError as error:
        seen.troubles.append(_unreadable(path, error))
        return seen
    other = None if seen.records else known(window)
    if other is not None:
        told = f"It is no event file, but {other[0]}. TensorBoard reads nothing of it."
        seen.troubles.append(Trouble("no-event-file", "critical", path, told, other[1], 0))
        return seen
    seen.first, seen.last = clock.first, clock.last
    seen.troubles += [*_damaged(path, seen, damage), *_nothing_in(seen, damage), *formats.troubles(), *clock.troubles()]
    return seen


def _event(window: Window, span: Span, damage: dict[str, list[Span]]) -> Any:
    """The event in a record; None where it is too long to be read, or is none."""
    start, length = span.data
    if length > OVERSIZED_BYTES:
        damage.setdefault("oversized", []).append(span)
    if length > RECORD_BYTES_READ:
        return None
    try:
        return event_pb2.Event.FromString(b"".join(bytes(piece) for piece in window.pieces(start, length)))
    except (DecodeError, ValueError):  # ValueError: the pure Python runtime's, for text that is not UTF-8
        damage.setdefault("undecodable", []).append(span)
        return None


_ZEROS = "zeros, space that was never written: the machine lost power, or a copy was cut off"
MANY_PLACES = 3
_MANY = " So many places come of two processes that write one file, or of a copy in text mode."
_REPAIR = "`nnhealth doctor LOGDIR --repair NEW` writes a copy without it."
_WORDS = {
    "corrupt": ("corrupt-record", "critical", "TensorBoard reads no further, at each reload anew"),
    "oversized": (
        "oversized-record",
        "warning",
        "TensorBoard's data server cannot hand over more than 256 MiB at once",
    ),
    "undecodable": ("undecodable-record", "warning", "their data is no event; readers pass them over or stop there"),
}


def _damaged(path: str, seen: FileSeen, damage: dict[str, list[Span]]) -> list[Trouble]:
    found = []
    for kind, (name, severity, comes) in _WORDS.items():
        places = damage.get(kind, [])
        if places:
            first, lost = places[0], sum(span.length for span in places)
            behind = seen.size - first.offset
            why = f" ({first.why})" if first.why else ""
            told = f"{len(places)} {kind} place(s) of {lost:,} bytes in all, the first at byte {first.offset:,}{why}: "
            told += comes + (f", and {behind:,} bytes lie from there on." if kind == "corrupt" else ".")
            told += _MANY if kind == "corrupt" and len(places) >= MANY_PLACES else ""
            advice = _REPAIR if kind != "oversized" else "Log smaller images, meshes or embeddings, or in several tags."
            found.append(
                Trouble(name, severity, path, told, advice, first.offset, count=len(places))  # type: ignore[arg-type]
            )
    for span in damage.get("torn", []):
        found.append(_torn(path, span, seen.last))
    return found


def _torn(path: str, span: Span, last: float | None) -> Trouble:
    fresh = last is not None and abs(time.time() - last) < 60
    return Trouble(
        "torn-record",
        "info" if fresh else "warning",
        path,
        f"The file ends within a record: at byte {span.offset:,} stands the beginning of {span.why}. "
        + ("It may still be being written." if fresh else "The writer was killed, or the disk was full."),
        "Nothing, if the training runs. " + _REPAIR if fresh else _REPAIR,
        span.offset,
    )


def _nothing_in(seen: FileSeen, damage: dict[str, list[Span]]) -> list[Trouble]:
    if seen.values or damage:
        return []
    what = "is empty" if not seen.size else "holds no event but its version"
    advice = "Remove it, unless a training has just begun; close() or a with block writes what still waits."
    told = (
        f"The file {what}: a writer was opened and nothing written, or the writer was killed or the disk full before."
    )
    return [Trouble("empty-file", "info", seen.path, told, advice)]


def _unreadable(path: str, error: OSError) -> Trouble:
    told = f"It cannot be read: {error.strerror or error}."
    return Trouble("unreadable", "critical", path, told, "Check its permissions, and that it is a regular file.")
