"""The one thread that writes a run's event file, from a queue that never blocks and never raises.

Whatever happens to the disk, the training thread only ever appends to a bounded queue. In a forked child every call
does nothing: the thread and the file are the parent's.
"""

from __future__ import annotations

import atexit
import errno
import os
import threading
import time
import weakref
from collections import deque
from contextlib import suppress

from tb_nnhealth.record.entries import BoundedQueue, Entry, Kind, Tally
from tb_nnhealth.record.faults import Faults, describe
from tb_nnhealth.record.rotation import FAULTS, Companion, RotatingFile

MOST_ENTRIES = 1 << 15
MOST_BYTES = 256 << 20
"""Bounds of the queue: what may wait while the disk stands still."""
TAKEN_ENTRIES = 512
TAKEN_BYTES = 1 << 20
"""Taken from the queue at once."""
LINGER_SECONDS = 0.1
"""Entries are written together with those that come within this time, to spare the training thread wake-ups."""
FLUSH_SECONDS = 10.0
"""Longest that a flush, a close, or the exit of the process waits for the disk."""


class EventFile:
    """The event file of one directory, and its successors after failures and after ``close``.

    Nothing is opened before the first entry is written, or ``open`` is called. ``put`` may be called from any thread,
    also after ``close``: a new file is begun then.
    """

    def __init__(
        self,
        directory: str,
        *,
        suffix: str = "",
        flush_secs: float = 120.0,
        faults: Faults | None = None,
        companion: Companion | None = None,
        most_entries: int = MOST_ENTRIES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.directory = directory
        self.faults = faults or Faults()
        self._flush_secs = flush_secs
        self._pid = os.getpid()
        self._queue = BoundedQueue(most_entries, most_bytes)
        self._changed = threading.Condition()  # guards the queue and the state below; held for moments only
        self._thread: threading.Thread | None = None
        self._asleep = False
        self._closing = False
        self._writing_from: int | None = None
        self._flushers = 0
        self._progress = 0
        self._stalled_at = -1
        self._pumping = threading.Lock()  # guards the file
        self._file = RotatingFile(directory, suffix, self.faults, companion, self.counts, self._changed)
        self._next_flush = 0.0
        _files.add(self)

    @property
    def counts(self) -> dict[Kind, Tally]:
        return self._queue.counts

    @property
    def path(self) -> str | None:
        """Path of the file open at present."""
        return self._file.path

    @property
    def seconds(self) -> float:
        """Processor time that the thread has used for what is not the user's: health entries, levels, the rules."""
        return self._file.seconds

    def open(self) -> None:
        """Begins the file now. Raises OSError, naming the directory, where that is impossible."""
        try:
            with self._pumping:
                if self._file.path is None:
                    self._file.begin()
        except Exception as error:
            reason = getattr(error, "strerror", None) or describe(error)
            if isinstance(error, FileExistsError):
                reason = "it is a file, not a directory"
            raise OSError(
                getattr(error, "errno", None) or errno.EIO,
                f"cannot write event files here ({reason}); choose another log_dir or make this one writable",
                self.directory,
            ) from error

    def detach(self) -> None:
        """Makes every call do nothing from now on, as in a forked child."""
        self._pid = -1

    def put(self, entry: Entry) -> None:
        """Hands ``entry`` over; returns at once and never raises."""
        if os.getpid() != self._pid:
            return
        try:
            with self._changed:
                was_half_full = self._queue.half_full
                self._queue.append(entry)
                if self._thread is None:
                    self._start()
                elif self._asleep or (self._queue.half_full and not was_half_full):
                    self._changed.notify_all()
        except Exception as error:
            self.faults.tell(f"an event for {self.directory} could not be queued: {describe(error)}", key="queue")

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Waits until all that was put before is in the file, at most ``timeout`` seconds; whether it is.

        Returns at once while writing fails, or stands still since an earlier flush ran out of time.
        """
        if os.getpid() != self._pid:
            return True
        try:
            return self._flush(timeout)
        except Exception as error:
            self.faults.tell(f"flushing the events of {self.directory} failed: {describe(error)}", key="flush")
            return False

    def close(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Writes all that waits and ends the file; whether that was done within ``timeout`` seconds.

        What cannot be written is dropped and counted. A disk that stands still is left to the thread.
        """
        if os.getpid() != self._pid:
            return True
        try:
            self.begin_close()
            with self._changed:
                closed = self._changed.wait_for(lambda: not self._closing, timeout)
        except Exception as error:
            self.faults.tell(f"closing the events of {self.directory} failed: {describe(error)}", key="close")
            return False
        if not closed:
            message = f"{self.directory} did not take all events within {timeout:g} s; the last ones may be lost"
            self.faults.tell(message, key="slow")
        return closed

    def begin_close(self) -> None:
        """``close`` without the waiting. Starts no thread, so that a finalizer may call it."""
        if os.getpid() != self._pid:
            return
        with self._changed:
            if self._thread is not None:
                self._closing = True
                self._changed.notify_all()
                return
        if self._file.path is not None or len(self._queue):
            self._pump(closing=True)
            self._end_close()

    def _flush(self, timeout: float) -> bool:
        with self._changed:
            target = self._queue.last_number
            if self._settled(target):
                return True
            if self._failing or self._stalled_at == self._progress:
                return False
            if self._thread is None:
                self._start()
            if self._thread is not None:
                begun = self._progress
                self._flushers += 1
                try:
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._settled(target) or self._failing, timeout)
                finally:
                    self._flushers -= 1
                settled = self._settled(target)
                self._stalled_at = begun if not settled and self._progress == begun else -1
                return settled
        self._pump(closing=False)  # no thread can be started, as at the very end of the process
        with self._changed:
            return self._settled(target)

    @property
    def _failing(self) -> bool:
        return time.monotonic() < self._file.retry_at

    def _settled(self, number: int) -> bool:
        """All entries up to ``number`` have been written or dropped."""
        waiting = [n for n in (self._writing_from, self._queue.first_number) if n is not None]
        return min(waiting, default=number + 1) > number and not self._file.unflushed

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"tb_nnhealth:{self.directory}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self.faults.tell(f"no thread could be started to write {self.directory}: {error}", key="thread")
        else:
            self._thread = thread

    # --- on the writer's thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            closing = False
            try:
                closing = self._wait()
                self._pump(closing)
            except FAULTS as error:
                self.faults.tell(f"writing events to {self.directory} failed: {describe(error)}", key="pump")
                time.sleep(LINGER_SECONDS)
            if closing and self._end_close():
                return

    def _wait(self) -> bool:
        """Sleeps until there is something to do; whether that is to close."""
        with self._changed:
            while not self._closing and (seconds := self._seconds_to_work()) != 0:
                self._asleep = True
                self._changed.wait(seconds)
                self._asleep = False
            if not self._closing:
                self._changed.wait_for(self._urgent, LINGER_SECONDS)
            return self._closing

    def _urgent(self) -> bool:
        return self._closing or self._flushers > 0 or self._queue.half_full

    def _seconds_to_work(self) -> float | None:
        """0 where there is work now; None where only a call can make any."""
        now = time.monotonic()
        if self._failing:
            return max(0.0, self._file.retry_at - now)
        if len(self._queue):
            return 0.0
        companion = self._file.companion
        times = [companion.seconds_to_due()] if companion else []
        if self._file.unflushed:
            times.append(0.0 if self._flushers else self._next_flush - now)
        return min((max(0.0, seconds) for seconds in times if seconds is not None), default=None)

    def _pump(self, closing: bool) -> None:
        """Writes all that waits, and what the companion adds. In a closing file what fails is tried once more."""
        with self._pumping:
            if closing:
                self._file.retry_at = 0.0
            try:
                wrote = self._drain() or (closing and self._drain())
                companion = self._file.companion
                if wrote and companion is not None:
                    due = self._file.counted(lambda: companion.due(closing))
                    waiting = deque(due)
                    try:
                        wrote = self._file.write(waiting)
                    except FAULTS:
                        self._file.forsake((*due, *waiting))
                        raise
                now = time.monotonic()
                if self._file.unflushed and (closing or self._flushers or now >= self._next_flush):
                    self._file.flush()
                    self._next_flush = now + self._flush_secs
            finally:
                with self._changed:
                    self._writing_from = None
                    if closing and self._file.retry_at:
                        self._queue.clear()
                    self._changed.notify_all()

    def _drain(self) -> bool:
        while True:
            with self._changed:
                taken = self._queue.take(TAKEN_ENTRIES, TAKEN_BYTES)
                self._writing_from = taken[0].number if taken else None
            if not taken:
                return True
            given = tuple(taken)
            try:
                wrote = self._file.write(taken)
            except FAULTS:
                self._file.forsake((*given, *taken))
                raise
            with self._changed:
                if not wrote:
                    self._writing_from = None
                    self._queue.put_back(taken)
                    return False
                self._progress += 1

    def _end_close(self) -> bool:
        """Ends the file; whether the thread is to end too, because nothing has come since."""
        with self._pumping:
            self._file.end()
        with self._changed:
            self._closing = False
            done = not len(self._queue)
            if done:
                self._thread = None
            self._changed.notify_all()
            return done


_files: weakref.WeakSet[EventFile] = weakref.WeakSet()


def close_all() -> None:
    """At exit: nothing that was put is lost, though nobody called ``close``."""
    deadline = time.monotonic() + FLUSH_SECONDS
    files = list(_files)
    for file in files:
        with suppress(Exception):
            file.begin_close()
    for file in files:
        file.close(max(0.0, deadline - time.monotonic()))


atexit.register(close_all)
