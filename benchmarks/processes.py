"""What this process and all below it use together: processor time, and memory at its peak. On Linux, from /proc."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_EVERY = 0.05


class Tree:
    """This process and its descendants, but for those in ``without``."""

    def __init__(self, without: Sequence[int] = ()) -> None:
        self._without = frozenset(without)
        self.processor_seconds = 0.0
        self.peak_bytes = 0
        """Resident memory of all but this process, looked at 20 times a second; what they share counts for each."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        before, done = self._used(), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            self.processor_seconds = self._used() - before

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(_EVERY):
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident, self._below(os.getpid()))))

    def _used(self) -> float:
        return sum(map(_processor, [os.getpid(), *self._below(os.getpid())]))

    def _below(self, pid: int) -> list[int]:
        try:
            threads = list(Path(f"/proc/{pid}/task").iterdir())
            children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        except OSError:
            return []
        return [p for child in children if child not in self._without for p in (child, *self._below(child))]


def _processor(pid: int) -> float:
    """Seconds of a process and of those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
