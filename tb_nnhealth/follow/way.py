"""A way by which an alert goes out: a command, or a webhook."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from tb_nnhealth.follow.changes import Change


class Delivery(NamedTuple):
    """What became of an alert."""

    why: str
    """Why it failed, "" where it did not."""
    may_have_arrived: bool
    """False where it surely did not: it may be sent again."""


class Way(Protocol):
    """Where alerts go."""

    name: str

    def send(self, change: Change) -> Delivery:
        """Sends, for a bounded time. Raises nothing."""
        ...
