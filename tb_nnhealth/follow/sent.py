"""Which alerts have gone out, so that none goes out twice, not even after a restart.

The file holds a line of JSON for each attempt, written and synced *before* it is made: after a crash in between an
alert counts as sent. Where the attempt is known to have failed, a second line takes the first back.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Key = tuple[str, str]
"""The name of the way it goes, and the finding's fingerprint."""


class StateError(Exception):
    """A state file that cannot be used; the message is for the user."""


class Sent:
    """The alerts that have gone out; with ``path``, also those of earlier processes. Raises StateError."""

    def __init__(self, path: Path | None = None) -> None:
        self._keys: set[Key] = set()
        self._file: IO[str] | None = None
        if path is not None:
            try:
                self._keys = _read(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = _locked(path)
            except OSError as error:
                raise StateError(f"{path}: cannot be used as the state file: {error.strerror or error}") from error

    def has(self, key: Key) -> bool:
        return key in self._keys

    def begin(self, key: Key) -> None:
        """To be called before an alert is sent: it counts as sent from here on. Raises OSError."""
        self._note(key, True)

    def take_back(self, key: Key) -> None:
        """The alert is known not to have arrived. Raises OSError."""
        self._note(key, False)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _note(self, key: Key, sent: bool) -> None:
        (self._keys.add if sent else self._keys.discard)(key)
        if self._file is not None:
            self._file.write(json.dumps({"to": key[0], "fingerprint": key[1], "sent": sent}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())


def _read(path: Path) -> set[Key]:
    """The keys in a state file; a line that a crash cut off is passed over."""
    keys: set[Key] = set()
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return keys
    for line in lines:
        try:
            entry = json.loads(line)
            key = str(entry["to"]), str(entry["fingerprint"])
            (keys.add if entry["sent"] else keys.discard)(key)
        except (ValueError, TypeError, KeyError):
            continue
    return keys


def _locked(path: Path) -> IO[str]:
    file = path.open("a", encoding="utf-8")
    if file.tell():
        file.write("\n")  # ends a line that a crash cut off; an empty one is passed over
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise StateError(f"{path}: another nnhealth uses this state file; give each its own") from None
    return file
