"""Alerts on their way: on a thread, so that a slow receiver holds up neither the watch nor the screen."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.follow.changes import Change
from tb_nnhealth.follow.sent import Key, Sent
from tb_nnhealth.follow.way import Way

WAITING = 10_000
"""Alerts that wait at most; further ones are dropped and told of."""


class Alerts:
    """Sends what appears, at least as severe as ``least``, over each of ``ways``, once for each finding; and once that
    it has cleared, where it was told.

    ``tell`` is given a sentence where something could not be sent; it is called on the thread.
    """

    def __init__(self, ways: Sequence[Way], least: str, sent: Sent, tell: Callable[[str], None]) -> None:
        self._ways, self._sent, self._tell = list(ways), sent, tell
        self._least = SEVERITIES.index(least)
        self._queue: deque[tuple[Way, Change]] = deque()
        self._queued: set[Key] = set()
        self._dropped = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="nnhealth-alerts", daemon=True)
        self._thread.start()

    def add(self, changes: Sequence[Change]) -> None:
        """Takes the changes that are alerts; returns at once."""
        with self._changed:
            for change in changes:
                for way in self._ways:
                    if change.what == "cleared":
                        if self._told(_key(way, change, "appeared")):
                            self._enqueue(way, change)
                    elif SEVERITIES.index(change.finding["severity"]) >= self._least:
                        self._enqueue(way, change)
            self._changed.notify_all()

    def _enqueue(self, way: Way, change: Change) -> None:
        key = _key(way, change)
        if self._told(key):
            return
        if len(self._queue) >= WAITING:
            self._dropped += 1
            if self._dropped == 1:
                self._tell(f"more than {WAITING:,} alerts wait; further ones are dropped")
            return
        self._queued.add(key)
        self._queue.append((way, change))

    def _told(self, key: Key) -> bool:
        return key in self._queued or self._sent.has(key)

    def close(self, seconds: float) -> int:
        """Waits for what is on its way, for so long at most. Returns the number that did not go out."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        with self._changed:
            left = len(self._queue)
            self._queue.clear()
        return left + self._dropped

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if not self._queue:
                    return
                way, change = self._queue.popleft()
            key = _key(way, change)
            try:
                if change.what == "appeared" or self._sent.has(_key(way, change, "appeared")):
                    self._send(key, way, change)
            except Exception as error:  # the state file's disk, or a fault of ours: the next alert may do better
                self._tell(f"alert to {way.name}: {type(error).__name__}: {error}")
            with self._changed:
                self._queued.discard(key)

    def _send(self, key: Key, way: Way, change: Change) -> None:
        self._sent.begin(key)
        delivery = way.send(change)
        if delivery.why:
            self._tell(f"alert to {way.name} failed: {delivery.why}")
        if not delivery.may_have_arrived:
            self._sent.take_back(key)


def _key(way: Way, change: Change, what: str = "") -> Key:
    """That a finding has cleared is another alert than that it appeared."""
    return way.name, change.identity.fingerprint + ("-cleared" if (what or change.what) == "cleared" else "")
