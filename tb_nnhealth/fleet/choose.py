"""Which runs a user means: by name, by age, and by share of the work. A job's ranks are taken or left together."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet import jobs

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Shard:
    """The ``number``-th of ``of`` shares, from 1."""

    number: int
    of: int


@dataclass(frozen=True)
class Choice:
    """Runs that match any of ``only``, were written to at ``since`` or later, and belong to ``shard``."""

    only: tuple[str, ...] = ()
    since: float | None = None
    shard: Shard | None = None

    def of(self, directories: Mapping[str, RunDirectory]) -> list[RunDirectory]:
        """The chosen ones of ``directories``, which has them by name, in its order."""
        shown = jobs.names(directories)
        wanted: dict[str, bool] = {}
        for run, directory in directories.items():
            if self._mine(shown[run]) and not wanted.get(shown[run]):
                wanted[shown[run]] = self._named(run, shown[run]) and self._recent(directory)
        return [directory for run, directory in directories.items() if wanted.get(shown[run])]

    def _mine(self, name: str) -> bool:
        """By the name's checksum: shares stay what they are while runs are added."""
        share = self.shard
        return share is None or zlib.crc32(name.encode("utf-8", "surrogatepass")) % share.of == share.number - 1

    def _named(self, *names: str) -> bool:
        return not self.only or any(matches(name, pattern) for name in names for pattern in self.only)

    def _recent(self, directory: RunDirectory) -> bool:
        return self.since is None or _newest(directory) >= self.since


def _newest(directory: RunDirectory) -> float:
    """When a run was last written to; infinity where that is not known: it is looked at rather than left out."""
    times = []
    for path in directory.read:
        try:
            times.append(directory.storage.stamp(path).modified)
        except OSError:
            continue
    return max(times, default=0.0) or float("inf")


def matches(name: str, pattern: str) -> bool:
    """Whether a run is meant by a glob of its whole name, or by ``/a regular expression/`` of a part of it."""
    expression = _expression(pattern)
    return fnmatchcase(name, pattern) if expression is None else re.search(expression, name) is not None


def checked(pattern: str) -> str:
    """``pattern``. Raises ValueError for a regular expression that is none."""
    expression = _expression(pattern)
    if expression is not None:
        try:
            re.compile(expression)
        except re.error as error:
            raise ValueError(f"expected a glob, or a regular expression between slashes: {error}") from error
    return pattern


def _expression(pattern: str) -> str | None:
    return pattern[1:-1] if len(pattern) > 2 and pattern[0] == pattern[-1] == "/" else None


def since(text: str, now: float) -> float:
    """The time that an age ("90m", "24h", "7d", "2w") or a date ("2026-03-01", "2026-03-01T18:00") means."""
    age = _AGE.fullmatch(text.strip())
    if age is not None:
        return now - float(age[1]) * _SECONDS[age[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"expected an age such as 90m, 24h, 7d or 2w, or a date such as 2026-03-01, found {text!r}"
        ) from None


def shard(text: str) -> Shard:
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ValueError(f"expected N/OF, the first share of four being 1/4, found {text!r}")
    return Shard(int(number), int(of))
