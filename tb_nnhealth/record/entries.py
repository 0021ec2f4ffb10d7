"""What waits to be written, and the bounded queue in which it waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["event", "record", "extra"]
"""Ordinary events of the user's; health records; what belongs to them (layouts, histograms, levels, notes)."""
KINDS: tuple[Kind, ...] = ("event", "record", "extra")


@dataclass
class Tally:
    """``written + dropped + waiting == produced``, at any time and exactly."""

    produced: int = 0
    written: int = 0
    dropped: int = 0


class Entry:
    """One event to be written. ``encode`` and ``written`` are called on the writer's thread."""

    kind: Kind = "extra"
    keep = False
    """Never dropped to make room, and tried again when its writing failed."""
    size = 0
    """Bytes that it holds in memory while it waits."""
    number = 0
    """Its place in the order of arrival; set by the queue."""
    failures = 0
    settled = False
    """Counted as written or as dropped."""

    def encode(self) -> bytes | None:
        """The serialized ``Event``, or None where there is none. Called again where the entry is tried again."""
        raise NotImplementedError  # each kind of entry has an encoding of its own

    def written(self) -> Sequence[Entry]:
        """Called once the event is in the file; returns what is to be written because of it."""
        return ()


class Serialized(Entry):
    """An event that has its bytes already."""

    def __init__(self, data: bytes, kind: Kind = "event", *, keep: bool = False) -> None:
        self.data = data
        self.kind = kind
        self.keep = keep
        self.size = len(data)

    def encode(self) -> bytes:
        return self.data


class BoundedQueue:
    """First in, first out, bounded in entries and bytes; not thread-safe by itself.

    When it is full, the oldest entry that need not be kept makes room. The newest is always taken, also where
    it alone exceeds ``most_bytes``.
    """

    def __init__(self, most_entries: int, most_bytes: int) -> None:
        self.most_entries = most_entries
        self.most_bytes = most_bytes
        self.counts: dict[Kind, Tally] = {kind: Tally() for kind in KINDS}
        self.last_number = 0
        self._entries: deque[Entry] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def first_number(self) -> int | None:
        return self._entries[0].number if self._entries else None

    @property
    def half_full(self) -> bool:
        return 2 * len(self._entries) >= self.most_entries or 2 * self._bytes >= self.most_bytes

    def append(self, entry: Entry) -> None:
        self.counts[entry.kind].produced += 1
        while self._entries and (len(self._entries) >= self.most_entries or self._bytes + entry.size > self.most_bytes):
            self._drop_oldest()
        self.last_number += 1
        entry.number = self.last_number
        self._entries.append(entry)
        self._bytes += entry.size

    def take(self, entries: int, size: int) -> deque[Entry]:
        """Removes and returns the first entries: at most ``entries`` of them and, beyond the first, ``size`` bytes."""
        taken: deque[Entry] = deque()
        while self._entries and len(taken) < entries and (not taken or size >= self._entries[0].size):
            entry = self._entries.popleft()
            size -= entry.size
            self._bytes -= entry.size
            taken.append(entry)
        return taken

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Puts entries that were taken back in front, in their order, and makes room again if need be."""
        for entry in reversed(list(entries)):
            self._entries.appendleft(entry)
            self._bytes += entry.size
        while len(self._entries) > max(1, self.most_entries):
            self._drop_oldest()

    def clear(self) -> None:
        """Drops, and counts, all that waits."""
        for entry in self._entries:
            self.counts[entry.kind].dropped += 1
        self._entries.clear()
        self._bytes = 0

    def _drop_oldest(self) -> None:
        index = next((i for i, entry in enumerate(self._entries) if not entry.keep), 0)
        entry = self._entries[index]
        del self._entries[index]
        self._bytes -= entry.size
        self.counts[entry.kind].dropped += 1
