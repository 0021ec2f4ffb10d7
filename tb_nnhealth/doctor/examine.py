"""A whole log directory, examined run by run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError

from tb_nnhealth import schema
from tb_nnhealth.doctor import writers
from tb_nnhealth.doctor.files import FileSeen, examine_file
from tb_nnhealth.doctor.retention import Retention
from tb_nnhealth.doctor.steps import Steps
from tb_nnhealth.doctor.trouble import Examined, Trouble, worst_first
from tb_nnhealth.doctor.writers import Written
from tb_nnhealth.events.copies import copies
from tb_nnhealth.events.tensor import FormatError, tensor_data
from tb_nnhealth.events.walk import Found, RunDirectory
from tb_nnhealth.messages import Capture

STALE_SECONDS = 3600.0
"""For which a training writes nothing that still runs: an epoch without a health step is shorter."""


def examine(found: Found) -> Examined:
    """Reads every event file of the runs in ``found``, one record at a time."""
    files: list[FileSeen] = []
    troubles: list[Trouble] = []
    for run in found.runs:
        run_files, run_troubles = examine_run(run)
        files += run_files
        troubles += run_troubles
    troubles += [_not_searched(problem.path, problem.message) for problem in found.problems]
    return Examined(
        len(found.runs),
        len(files),
        sum(file.records for file in files),
        sum(file.size for file in files),
        worst_first(troubles),
    )


def examine_run(run: RunDirectory) -> tuple[list[FileSeen], list[Trouble]]:
    """The files of one run in the order in which TensorBoard reads them, and what is wrong with them."""
    steps, retention, captured = Steps(), Retention(), _Captured()

    def see(event: Any, path: str, offset: int) -> None:
        steps.see(event, path, offset)
        retention.see(event)
        captured.see(event)

    copied = copies(run.files, run.storage)
    files = [
        _copied(path, copied[path], run) if path in copied else examine_file(path, run.storage, see)
        for path in sorted(run.files)
    ]
    troubles = [trouble for file in files for trouble in file.troubles]
    newest = max((file.last for file in files if file.last is not None), default=0.0)
    troubles += [*steps.troubles(), *writers.troubles(_written(files), run.path), *captured.troubles(run.path, newest)]
    return files, troubles + retention.troubles(run.path)


def _copied(path: str, original: str, run: RunDirectory) -> FileSeen:
    told = (
        f"It holds the beginning of {original.rpartition('/')[2]} and nothing else: a copy of it. TensorBoard reads "
        "both, and drops what the copy lacks where that is read last."
    )
    advice = "Move it out of the log directory, or give it a name without tfevents."
    size = run.storage.stamp(path).size
    return FileSeen(path, size, troubles=[Trouble("copied-file", "warning", path, told, advice)])


def _written(files: Iterable[FileSeen]) -> list[Written]:
    return [
        Written(file.path, file.first, file.last, file.values)
        for file in files
        if file.first is not None and file.last is not None
    ]


class _Captured:
    """What our own recorder says of itself in the log."""

    def __init__(self) -> None:
        self._newest: Any = None

    def see(self, event: Any) -> None:
        for value in event.summary.value:
            if value.tag == schema.CAPTURE_TAG and value.HasField("tensor"):
                try:
                    data = tensor_data(value.tensor)
                    self._newest = Capture.FromString(data) if isinstance(data, bytes) else None
                except (DecodeError, FormatError):
                    continue

    def troubles(self, directory: str, newest: float) -> list[Trouble]:
        """``newest``: wall time of the run's last event."""
        found: list[Trouble] = []
        if self._newest is None:
            return found
        if self._newest.dropped:
            lost, written = self._newest.dropped, self._newest.written
            told = (
                f"The recorder dropped {lost:,} records and wrote {written:,}: its disk was slower than the training."
            )
            found.append(
                Trouble("dropped-records", "warning", directory, told, "Log to a local disk.", count=int(lost))
            )
        silent = time.time() - newest
        if not self._newest.closed and silent > STALE_SECONDS:
            told = (
                f"Nothing was written for {silent / 3600:,.0f} h, and the writer was not closed: the training was "
                "killed or hangs, and its last health step may be missing."
            )
            advice = "See whether the process lives. Use the writer in a with block, which closes it on errors too."
            found.append(Trouble("not-closed", "info", directory, told, advice))
        return found


def _not_searched(path: str, message: str) -> Trouble:
    return Trouble("not-searched", "info", path, f"It was {message}.", "Name it as a log directory of its own.")
