"""Runs from the event files below one or more log directories, written by any TensorBoard writer."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tb_nnhealth.events.storage import Storage
from tb_nnhealth.events.storage_fsspec import storage_of
from tb_nnhealth.events.storage_url import displayed
from tb_nnhealth.events.walk import Found, RunDirectory, find_runs, is_event_file
from tb_nnhealth.history import Problem, Run
from tb_nnhealth.phases import lines, validations
from tb_nnhealth.source.base import LogDirError
from tb_nnhealth.source.run_files import RunFiles


class FileSource:
    """The runs below ``paths``: log directories, or single event files, of this machine or URLs that fsspec knows.

    A run is named by its directory relative to the log directory; where several log directories have one of that
    name, by their path as well. ``outside`` follows links that leave the log directory. Runs are read when they
    are asked for; ``runs_kept`` of them stay in memory to be read on, the others are read anew.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        outside: bool = False,
        runs_kept: int = 64,
        storage: Storage | None = None,
    ) -> None:
        """``storage``: where all of ``paths`` lie; None to tell it from each of them."""
        several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        self._paths = list(dict.fromkeys(os.fspath(path) for path in several))
        self._outside, self._runs_kept = outside, runs_kept
        self._places = {} if storage is None else {path: (storage, path) for path in self._paths}
        self._found: dict[str, RunDirectory] = {}
        self._read: OrderedDict[str, RunFiles] = OrderedDict()
        self._problems: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        """What could not be searched. What could not be read of a run is in its own problems."""
        return list(self._problems)

    def runs(self) -> list[str]:
        return list(self._found)

    @property
    def directories(self) -> Mapping[str, RunDirectory]:
        """The runs by name: where each of them lies."""
        return self._found

    def refresh(self) -> None:
        """Looks for new runs and files.

        Raises LogDirError where none of the paths can be listed and no run is known from before.
        """
        self._problems = []
        found: list[tuple[str, RunDirectory]] = []
        unreadable = []
        for path in self._paths:
            try:
                below = self._find(path)
            except OSError as error:
                why = f"cannot be read as a log directory: {error.strerror or error}{_hint(error)}"
                unreadable.append(Problem(displayed(path), why))
                continue
            self._problems += below.problems
            found += [(path, run) for run in below.runs]
        if len(unreadable) == len(self._paths) and not self._found:
            raise LogDirError("; ".join(f"{p.path}: {p.message}" for p in unreadable) or "no log directory given")
        self._problems += unreadable
        self._found = self._named(found)
        here = {run.path for run in self._found.values()}
        for gone in self._read.keys() - here:
            del self._read[gone]

    def run(self, name: str) -> Run:
        directory = self._found[name]
        files = self._read.pop(directory.path, None) or RunFiles(name, directory.storage)
        self._read[directory.path] = files
        while len(self._read) > self._runs_kept:
            self._read.popitem(last=False)
        files.run.name = name
        return files.refresh_with(directory)

    def _find(self, path: str) -> Found:
        if path not in self._places:
            self._places[path] = storage_of(path)
        storage, path = self._places[path]
        if is_event_file(os.path.basename(path)):
            storage.renew(path)
            try:
                storage.size(path)
            except OSError:
                pass  # a directory of that name, or nothing: listing it says which
            else:
                return Found([RunDirectory(".", path, (path,), storage)])
        return find_runs(path, storage, outside=self._outside)

    def _named(self, found: Sequence[tuple[str, RunDirectory]]) -> dict[str, RunDirectory]:
        """The runs by a name that only one of them has, sorted; a directory found twice is one run."""
        directories = {run.storage.real(run.path): (path, run) for path, run in reversed(found)}
        shared = Counter(run.name for _, run in directories.values())
        named = {}
        for path, run in directories.values():
            name = run.name
            if shared[name] > 1:
                path = displayed(path).rstrip("/")
                name = path if name == "." else f"{path}/{name}"
            named[name] = replace(run, name=name)
        for name, others in validations(named).items():
            beside = [
                (word, named[other].files) for word, other in others.items() if _next_to(named[name], named[other])
            ]
            named[name] = replace(named[name], beside=tuple(beside))
        for name, candidates in lines(named).items():
            below = [line for line in candidates if _next_to(named[name], named[line])]
            named[name] = replace(named[name], below=tuple((line, named[line].files) for line in below))
            named |= {line: replace(named[line], above=name) for line in below}
        return dict(sorted(named.items()))


def _next_to(run: RunDirectory, other: RunDirectory) -> bool:
    """Whether the directories lie as their names say, and not in two log directories."""
    around = os.path.dirname(other.path)
    return run.storage == other.storage and around in (os.path.dirname(run.path), run.path.rstrip("/"))


def _hint(error: OSError) -> str:
    if isinstance(error, NotADirectoryError):
        return "; expected a directory, or an event file, whose name has tfevents in it"
    return ""
