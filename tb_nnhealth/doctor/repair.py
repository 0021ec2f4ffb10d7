"""A clean copy of a log: every whole record byte for byte, nothing else. The original is only read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2

from tb_nnhealth.doctor.spans import Kind, Span, spans
from tb_nnhealth.doctor.window import Window
from tb_nnhealth.events.reader import RECORD_BYTES_READ
from tb_nnhealth.events.storage import LOCAL, Storage
from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.history import Problem


class RepairError(Exception):
    """A place where no copy can be written; the message is for the user."""


@dataclass
class Repaired:
    """What was copied."""

    files: int = 0
    records: int = 0
    """Copied, byte for byte."""
    dropped: int = 0
    """Damaged places left out."""
    dropped_bytes: int = 0
    empty: int = 0
    """Files left out, since no record was left of them."""
    problems: list[Problem] = field(default_factory=list)
    """Files that could not be read to their end; what was copied of them is whole."""


def check_destination(logdir: str, destination: str) -> None:
    """Raises RepairError where ``destination`` exists and is not empty, lies within ``logdir``, or is a URL."""
    if "://" in destination:
        raise RepairError(f"expected a local directory for the copy, found {destination}")
    source, target = os.path.realpath(logdir), os.path.realpath(destination)
    directory = source if os.path.isdir(source) else os.path.dirname(source)
    if "://" not in logdir and LOCAL.contains(directory, target):
        raise RepairError(
            f"expected a place outside {logdir} for the copy, found {destination}; the original is never written to"
        )
    if os.path.lexists(destination) and not (os.path.isdir(destination) and not os.listdir(destination)):
        raise RepairError(f"expected a new or an empty directory for the copy, found {destination}")


def repair(runs: Iterable[RunDirectory], destination: str) -> Repaired:
    """Copies the event files of ``runs`` to ``destination``, each run under its name.

    Raises OSError where the copy cannot be written.
    """
    done = Repaired()
    os.makedirs(destination, exist_ok=True)
    for run in runs:
        for path in run.files:
            _copy(path, os.path.join(destination, *_parts(run.name)), run.storage, done)
    return done


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".", "..")]


def _copy(path: str, directory: str, storage: Storage, done: Repaired) -> None:
    """Copies one file; its directory and the copy are made with the first record that is kept."""
    out, whole = None, 0
    try:
        for window, span in _kept(storage, path, done):
            if out is None:
                os.makedirs(directory, exist_ok=True)
                out = open(os.path.join(directory, os.path.basename(path)), "xb")  # noqa: SIM115
                done.files += 1
            for piece in _pieces(window, span):
                out.write(piece)
            whole = out.tell()
            done.records += 1
        done.empty += out is None
    except _UnreadError as error:
        done.problems.append(Problem(path, f"could not be read to its end: {error}"))
        if out is not None:
            out.truncate(whole)
    finally:
        if out is not None:
            out.close()


class _UnreadError(Exception):
    """The original cannot be read on."""


def _kept(storage: Storage, path: str, done: Repaired) -> Iterator[tuple[Window, Span]]:
    """The records of a file that are events."""
    try:
        window = Window(storage, path, storage.size(path))
        for span in spans(window):
            if span.kind is Kind.RECORD and _is_event(window, span):
                yield window, span
            else:
                done.dropped += 1
                done.dropped_bytes += span.length
    except OSError as error:
        raise _UnreadError(error.strerror or str(error)) from error


def _pieces(window: Window, span: Span) -> Iterator[memoryview]:
    try:
        yield from window.pieces(span.offset, span.length)
    except OSError as error:
        raise _UnreadError(error.strerror or str(error)) from error


def _is_event(window: Window, span: Span) -> bool:
    """Whether a record's data is an event; one too long to be looked at counts as one."""
    start, length = span.data
    if length > RECORD_BYTES_READ:
        return True
    try:
        event_pb2.Event.FromString(b"".join(bytes(piece) for piece in window.pieces(start, length)))
    except (DecodeError, ValueError):
        return False
    return True
