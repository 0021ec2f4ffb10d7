"""Replies made lately, for whoever asks the same while the log is the same: several tabs, several people."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

BYTES_MOST = 4 << 20
"""Of one route."""


class Reply(NamedTuple):
    """A reply as it is sent: ``encoding`` is "gzip" or None."""

    data: bytes
    mime: str
    encoding: str | None


class KeptReplies:
    """Replies by what was asked and the state of the log; those that nobody asked for longest go first."""

    def __init__(self, most: int = BYTES_MOST) -> None:
        self._most, self._bytes = most, 0
        self._lock = threading.Lock()
        self._replies: OrderedDict[Hashable, Reply] = OrderedDict()

    def get(self, key: Hashable) -> Reply | None:
        with self._lock:
            reply = self._replies.get(key)
            if reply is not None:
                self._replies.move_to_end(key)
            return reply

    def put(self, key: Hashable, reply: Reply) -> None:
        """Keeps a reply, unless it is longer than all that may be kept."""
        if len(reply.data) > self._most:
            return
        with self._lock:
            old = self._replies.pop(key, None)
            self._bytes += len(reply.data) - (0 if old is None else len(old.data))
            self._replies[key] = reply
            while self._bytes > self._most:
                _, gone = self._replies.popitem(last=False)
                self._bytes -= len(gone.data)
