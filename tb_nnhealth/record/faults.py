"""What goes wrong inside the shim: told once as a Python warning, kept for the log, never raised."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress

MESSAGES_KEPT = 50


class ShimWarning(RuntimeWarning):
    """Something inside tb_nnhealth went wrong; training goes on, and the log may be incomplete."""


class Faults:
    """The faults of one recorder, each told once."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self.messages: list[str] = []
        """In the order of their first occurrence, at most ``MESSAGES_KEPT``."""

    def tell(self, message: str, *, key: str | None = None) -> None:
        """Warns of ``message``, unless a fault of the same ``key`` (by default the message) was told before."""
        key = message if key is None else key
        if key in self._told or len(self.messages) >= MESSAGES_KEPT:
            return
        self._told.add(key)
        self.messages.append(message)
        warn(message)


def warn(message: str) -> None:
    """A ``ShimWarning`` that never raises: where warnings are errors, the message goes to standard error."""
    with suppress(Exception):
        try:
            warnings.warn(message, ShimWarning, stacklevel=3)
        except ShimWarning:
            print(f"tb_nnhealth: {message}", file=sys.stderr)


def describe(error: BaseException) -> str:
    """``error`` in one line, with its type."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
