"""Finding the runs below a log directory, named as TensorBoard names them.

A run is a directory that holds event files; its name is its path relative to the log directory, "." for the log
directory itself. Each directory is one run, however many links lead to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from tb_nnhealth.events.storage import LOCAL, Entry, Stamp, Storage
from tb_nnhealth.history import Problem

DEPTH = 32
RUNS = 10_000
DIRECTORIES = 200_000


@dataclass(frozen=True)
class RunDirectory:
    """A run's name, directory, and the paths of its event files in the order of names.

    ``beside``: the event files of the runs that hold its validation, each with the word that names its phase.
    ``below``: those of the runs that may be lines of its plots, by name; ``above``: the run that this may be a line of.
    """

    name: str
    path: str
    files: tuple[str, ...]
    storage: Storage = LOCAL
    beside: tuple[tuple[str, tuple[str, ...]], ...] = ()
    below: tuple[tuple[str, tuple[str, ...]], ...] = ()
    above: str = ""

    @property
    def read(self) -> tuple[str, ...]:
        """All files that the run is read from."""
        return self.files + tuple(path for _, files in self.beside + self.below for path in files)

    def stamps(self) -> tuple[Stamp, ...]:
        """Of the files that the run is read from. Raises OSError where one of them is gone, or no file."""
        return tuple(self.storage.stamp(path) for path in self.read)


@dataclass
class Found:
    """What a walk came upon."""

    runs: list[RunDirectory] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def is_event_file(name: str) -> bool:
    """Whether TensorBoard takes a file of this name for an event file."""
    return "tfevents" in name and not name.endswith(".profile-empty")


def find_runs(logdir: str, storage: Storage = LOCAL, *, outside: bool = False) -> Found:
    """The runs below ``logdir`` in the order of names; links that leave it are followed only with ``outside``.

    Raises OSError where ``logdir`` itself cannot be listed; what fails below it becomes a Problem.
    """
    storage.renew(logdir)
    storage.entries(logdir)
    walk = _Walk(storage, None if outside else storage.real(logdir))
    # Links wait until all that they may point to has been seen under its own name.
    directories, links = deque([("", logdir, 0)]), deque[tuple[str, str, int]]()
    while (directories or links) and not walk.full(logdir):
        name, path, depth = directories.popleft() if directories else links.popleft()
        for entry in walk.visit(name, path, depth):
            inner = (f"{name}/{entry.name}" if name else entry.name, storage.join(path, entry.name), depth + 1)
            (links if entry.link else directories).append(inner)
    return Found(sorted(walk.runs, key=lambda run: run.name), walk.problems)


def event_files(directory: str, root: str, storage: Storage = LOCAL) -> tuple[str, ...]:
    """The event files directly in ``directory``, in the order of names.

    None where it cannot be listed, or lies outside ``root``, however it is spelled.
    """
    real = storage.real(root)
    if not storage.contains(real, storage.real(directory)):
        return ()
    walk = _Walk(storage, real)
    walk.visit("", directory, 0)
    return walk.runs[0].files if walk.runs else ()


class _Walk:
    """What has been found so far; ``root`` is the real path that links may not leave, None where they may."""

    def __init__(self, storage: Storage, root: str | None) -> None:
        self._storage, self._root = storage, root
        self._seen: set[Hashable] = set()
        self.runs: list[RunDirectory] = []
        self.problems: list[Problem] = []

    def full(self, logdir: str) -> bool:
        if len(self.runs) < RUNS and len(self._seen) < DIRECTORIES:
            return False
        what = f"{len(self.runs)} runs in {len(self._seen)} directories"
        self.problems.append(Problem(logdir, f"not searched to the end: {what} were found; name a smaller directory"))
        return True

    def visit(self, name: str, path: str, depth: int) -> list[Entry]:
        """Notes the run in ``path``, if it is one; returns the directories in it that may be entered."""
        try:
            identity = self._storage.identity(path)
            if identity in self._seen:
                return []
            self._seen.add(identity)
            entries = [e for e in self._storage.entries(path) if self._wanted(path, e)]
        except OSError as error:
            self.problems.append(Problem(path, f"cannot be listed: {error.strerror or error}"))
            return []
        files = tuple(self._storage.join(path, e.name) for e in entries if not e.directory)
        if files:
            self.runs.append(RunDirectory(name or ".", path, files, self._storage))
        inner = [e for e in entries if e.directory]
        if inner and depth >= DEPTH:
            self.problems.append(Problem(path, f"not searched below: {DEPTH} directories deep"))
            return []
        return inner

    def _wanted(self, path: str, entry: Entry) -> bool:
        if not (entry.directory or is_event_file(entry.name)):
            return False
        if not entry.link or self._root is None:
            return True
        path = self._storage.join(path, entry.name)
        target = self._storage.real(path)
        if self._storage.contains(self._root, target):
            return True
        self.problems.append(Problem(path, f"not followed: a link out of the log directory, to {target}"))
        return False
