"""What a source of runs is: the one thing that report, command line and tab know of where data comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tb_nnhealth.history import Problem, Run


class LogDirError(Exception):
    """A log directory that does not exist or cannot be listed. The message is for the user."""


@dataclass(frozen=True)
class Glimpse:
    """What a source knows of a run without reading it."""

    last_step: int = 0
    last_wall: float | None = None
    has_records: bool = False


class Source(Protocol):
    """Runs by name.

    Not safe for several threads at once: whoever shares a source holds a lock around its calls. A later call may update
    the runs it gave in place; what shares a source says how far.
    """

    def runs(self) -> list[str]:
        """Names of the runs as of the last ``refresh``, sorted."""
        ...

    def refresh(self) -> None:
        """Looks for new runs and new data. Raises nothing for bad data; see ``problems``."""
        ...

    def run(self, name: str) -> Run:
        """The run with all data as of the last ``refresh``. Raises KeyError for a name not in ``runs()``.

        What could not be read of this run is in ``Run.problems``.
        """
        ...

    @property
    def problems(self) -> list[Problem]:
        """What could not be read besides the problems of single runs."""
        ...
