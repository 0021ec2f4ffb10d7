"""The event file being written at present, and its successor after a failed write.

A reader stops for ever at a torn record. So when a write fails, the torn bytes are cut off, the file is left, and after
a back-off a new one goes on; the entry that failed is dropped and counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from tb_nnhealth.events import encode
from tb_nnhealth.events.framing import frame
from tb_nnhealth.record import output
from tb_nnhealth.record.entries import Entry, Kind, Tally
from tb_nnhealth.record.faults import Faults, describe

WRITTEN_AT_ONCE = 1 << 20
LONGEST_BACK_OFF = 8.0
TRIES = 5
"""Of an entry that must be kept."""
FAULTS = (Exception, SystemExit)
"""What making an entry may raise; a SystemExit would end the thread unseen."""


class Companion(Protocol):
    """Who adds events of its own to the file. Called on the writer's thread only."""

    def new_file(self) -> Sequence[Entry]:
        """A file has been begun: what must stand in it before anything else."""

    def due(self, closing: bool) -> Sequence[Entry]:
        """All that waited has been written: what is to be added now."""

    def seconds_to_due(self) -> float | None:
        """When ``due`` is to be called next although nothing was written; None for not at all."""


class RotatingFile:
    """Writes entries; not thread-safe by itself. ``lock`` guards ``counts``, which other threads change too."""

    def __init__(
        self,
        directory: str,
        suffix: str,
        faults: Faults,
        companion: Companion | None,
        counts: Mapping[Kind, Tally],
        lock: threading.Condition,
    ) -> None:
        self.directory = directory
        self.companion = companion
        self.retry_at = 0.0
        """``time.monotonic()`` before which no new attempt is made; 0 while all goes well."""
        self.seconds = 0.0
        """Processor time used to make entries other than the user's events, and for what follows from any."""
        self._suffix = suffix
        self._faults = faults
        self._counts = counts
        self._lock = lock
        self._output: output.Output | None = None
        self._failures = 0
        self._framed: list[tuple[Entry, bytes]] = []

    @property
    def path(self) -> str | None:
        """Of the file open at present."""
        return self._output.path if self._output else None

    @property
    def unflushed(self) -> bool:
        return self._output is not None and self._output.unflushed

    def begin(self) -> None:
        """Opens a new file. Raises what the file system raises, and leaves no file behind then."""
        out = output.create(self.directory, self._suffix)
        try:
            out.append(frame(encode.file_version(time.time())))
            out.flush()
        except BaseException:
            with suppress(Exception):
                out.cut(0)
            with suppress(Exception):
                out.close()
            raise
        self._output = out
        self._failures, self.retry_at = 0, 0.0

    def end(self) -> None:
        """Closes the file; the next entry begins a new one, at once."""
        out, self._output = self._output, None
        self._failures, self.retry_at = 0, 0.0
        if out is not None:
            try:
                out.close()
            except Exception as error:
                self._faults.tell(f"{out.path} could not be closed: {describe(error)}", key="close")

    def flush(self) -> None:
        if self._output is not None:
            try:
                self._output.flush()
            except Exception as error:
                self._fail(error, deque())

    def write(self, entries: deque[Entry]) -> bool:
        """Writes ``entries`` and what follows from them. On failure returns False and leaves what to try again.

        Where it raises, which it should not, ``forsake`` counts what was given and what is left.
        """
        if not entries:
            return True
        failure = self._ready(entries)
        while entries and failure is None:
            self._framed = framed = []
            size = 0
            while entries and size < WRITTEN_AT_ONCE:
                data = self._encoded(entries[0])
                entry = entries.popleft()
                if data is not None:
                    framed.append((entry, data))
                    size += len(data)
            failure = self._append(framed, entries)
        if failure is not None:
            self._fail(failure, entries)
        return failure is None

    def forsake(self, entries: Iterable[Entry]) -> None:
        """Drops and counts those of ``entries``, and of what was being written, that are not counted yet."""
        for entry in (*entries, *(entry for entry, _ in self._framed)):
            if not entry.settled:
                self._drop(entry)
        self._framed = []

    def counted(self, make: Callable[[], Sequence[Entry]]) -> Sequence[Entry]:
        """The entries that ``make`` returns, as produced; none where it raises."""
        begun = time.thread_time()
        try:
            made = make()
        except FAULTS as error:
            self._faults.tell(f"what follows a record could not be made: {describe(error)}", key=f"follow {error!r}")
            return ()
        finally:
            self.seconds += time.thread_time() - begun
        if made:
            with self._lock:
                for entry in made:
                    self._counts[entry.kind].produced += 1
        return made

    def _ready(self, entries: deque[Entry]) -> Exception | None:
        """Sees to it that a file is open, and that a new one begins as its companion wants it."""
        try:
            if self._output is not None and self._output.gone():
                self._faults.tell(f"{self._output.path} was deleted; a new file goes on in its place", key="deleted")
                self.end()
            if self._output is None:
                self.begin()
                if self.companion is not None:
                    entries.extendleft(reversed(self.counted(self.companion.new_file)))
        except Exception as error:
            return error
        return None

    def _encoded(self, entry: Entry) -> bytes | None:
        begun = time.thread_time()
        try:
            data = entry.encode()
            if data is not None:
                return frame(data)
        except FAULTS as error:
            message = f"a record for {self.directory} could not be made: {describe(error)}"
            self._faults.tell(message, key=f"encode {error!r}")
        finally:
            if entry.kind != "event":
                self.seconds += time.thread_time() - begun
        self._drop(entry)
        return None

    def _append(self, framed: list[tuple[Entry, bytes]], entries: deque[Entry]) -> Exception | None:
        """Writes ``framed``; adds what follows, and on an error what was not reached, to ``entries``."""
        out = self._output
        if out is None or not framed:
            return None
        failure: Exception | None = None
        end, count = out.size, 0
        try:
            out.append(b"".join(data for _, data in framed))
        except Exception as error:
            failure = error
        for _, data in framed:
            if end + len(data) > out.size:
                break
            end += len(data)
            count += 1
        with self._lock:
            for entry, _ in framed[:count]:
                entry.settled = True
                self._counts[entry.kind].written += 1
        for entry, _ in framed[:count]:
            entries.extend(self.counted(entry.written))
        if failure is not None:
            with suppress(Exception):
                out.cut(end)
            entries.extendleft(entry for entry, _ in reversed(framed[count + 1 :]))
            for entry, _ in framed[count : count + 1]:
                self._refused(entry, entries)
        return failure

    def _refused(self, entry: Entry, entries: deque[Entry]) -> None:
        entry.failures += 1
        if entry.keep and entry.failures < TRIES:
            entries.appendleft(entry)
        else:
            self._drop(entry)

    def _fail(self, error: Exception, entries: deque[Entry]) -> None:
        self._faults.tell(
            f"events could not be written to {self.directory} ({describe(error)}); training goes on, "
            "writing is tried again in a new file, and what is lost is counted",
            key="write",
        )
        failures = self._failures
        self.end()
        self._failures = failures + 1
        self.retry_at = time.monotonic() + min(LONGEST_BACK_OFF, 2.0**failures)
        for entry in [entry for entry in entries if not entry.number]:
            entries.remove(entry)  # it never waited: it belongs to the file, or to the record, that failed
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        entry.settled = True
        with self._lock:
            self._counts[entry.kind].dropped += 1
