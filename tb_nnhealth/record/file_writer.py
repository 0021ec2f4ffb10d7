"""PyTorch's ``FileWriter`` over our event file: the same methods, the same events, another way to the disk."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tensorboard.compat.proto import event_pb2
from torch.utils.tensorboard import FileWriter as TorchFileWriter

from tb_nnhealth.record.entries import Entry, Serialized
from tb_nnhealth.record.event_file import EventFile
from tb_nnhealth.record.faults import describe, warn
from tb_nnhealth.record.recorder import Recorder


class RunEvents:
    """The ``event_writer`` of a run's own file: events go through the run's recorder, and no fault comes back."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def get_logdir(self) -> str:
        return self._recorder.log_dir

    def add_event(self, event: Any) -> None:
        if not isinstance(event, event_pb2.Event):
            raise _no_event(event)
        with self._surviving("an event was lost"):
            self._recorder.add_event(event)

    def flush(self) -> None:
        with self._surviving("flushing failed"):
            self._recorder.flush()

    def close(self) -> None:
        with self._surviving("closing failed"):
            self._recorder.close()

    def reopen(self) -> None:
        self._recorder.reopen()

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            warn(f"{self._recorder.log_dir}: {what} ({describe(error)})")


class PlainEvents:
    """The ``event_writer`` of a directory beneath the run's, as ``add_scalars`` and ``add_hparams`` make them.

    The directory is made when the first event is written, so that no fault of the disk raises here. ``entry`` makes of
    an event's bytes what is put into the file's queue.
    """

    def __init__(
        self, directory: str, flush_secs: float, suffix: str, entry: Callable[[bytes], Entry] = Serialized
    ) -> None:
        self._entry = entry
        self._file = EventFile(directory, suffix=suffix, flush_secs=flush_secs)
        weakref.finalize(self, self._file.begin_close).atexit = False

    def get_logdir(self) -> str:
        return self._file.directory

    def add_event(self, event: Any) -> None:
        if not isinstance(event, event_pb2.Event):
            raise _no_event(event)
        self._file.put(self._entry(event.SerializeToString()))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def detach(self) -> None:
        self._file.detach()

    def reopen(self) -> None:
        """Nothing to do: an event that is added after ``close`` begins a new file."""


class FileWriter(TorchFileWriter):  # type: ignore[misc]
    """PyTorch's, which makes the events, with ``event_writer`` one of ours, which writes them."""

    def __init__(self, event_writer: RunEvents | PlainEvents) -> None:
        self.event_writer = event_writer


def _no_event(found: Any) -> TypeError:
    return TypeError(f"expected an event_pb2.Event, found {type(found).__name__}")
