"""One line on the terminal that says how far the checks are."""

from __future__ import annotations

import sys
import time

WIDTH = 24
SHORTEST = 0.1
"""Seconds between two drawings."""


class Progress:
    """Draws on stderr while ``shown``, and leaves nothing behind."""

    def __init__(self, shown: bool | None, total: int) -> None:
        self._stream = sys.stderr
        self._shown = _is_terminal(self._stream) if shown is None else shown
        self._total = total
        self._begun = time.monotonic()
        self._drawn = -float("inf")
        self._at, self._name = 0, ""

    def begin(self, at: int, name: str) -> None:
        self._at, self._name, self._drawn = at, name, -float("inf")
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        if not self._shown or now - self._drawn < SHORTEST:
            return
        self._drawn = now
        done = WIDTH * self._at // self._total
        bar = "█" * done + "░" * (WIDTH - done)
        self._write(f"\rpreflight {bar} {self._at + 1}/{self._total} {self._name}, {now - self._begun:.0f} s\x1b[K")

    def end(self) -> None:
        if self._shown:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # a closed or narrow stream is no reason to stop
            self._shown = False


def _is_terminal(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False
