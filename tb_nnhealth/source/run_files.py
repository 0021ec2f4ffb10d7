"""One run, read from its event files."""

from __future__ import annotations

from collections.abc import Iterable

from tb_nnhealth.events.copies import copies
from tb_nnhealth.events.decode import SessionStart
from tb_nnhealth.events.reader import EventFile
from tb_nnhealth.events.run_values import RunValues
from tb_nnhealth.events.storage import LOCAL, Storage
from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.history import Problem, Run
from tb_nnhealth.source.beside import is_line, with_lines, with_validation
from tb_nnhealth.source.build import RunBuilder


class RunFiles:
    """Reads the event files of one run, in the order of names, and reads on where they grow.

    From the second session start of the run on, each makes obsolete what was written before it from its step
    on, as TensorBoard's Python loader has it (its data server knows no session starts). Both agree that a step
    which goes back makes obsolete what its own tag holds from there on.
    """

    def __init__(self, name: str, storage: Storage = LOCAL) -> None:
        self._storage = storage
        self._others: dict[str, RunFiles] = {}
        self._begin(name)

    def _begin(self, name: str) -> None:
        """With nothing read."""
        self._builder = RunBuilder(name)
        self._values = RunValues()
        self._files: dict[str, EventFile] = {}
        self._started = False

    @property
    def run(self) -> Run:
        """The run as read so far; the same object every time."""
        return self._builder.run

    def leave(self) -> None:
        """Histories and series given so far stay as they are; from here on copies of them grow."""
        self._builder.leave()
        for other in self._others.values():
            other.leave()

    def refresh_with(self, directory: RunDirectory) -> Run:
        """Reads what is new in the run at ``directory``, and in those that hold its validation and its lines."""
        run = self.refresh(directory.files)
        run.part_of = directory.above if directory.above and is_line(directory.name, run) else ""
        if not run.part_of:
            run.scalars = with_validation(run.scalars, self._read_others(directory.beside))
            run.scalars = with_lines(run.scalars, self._read_others(directory.below))
        return run

    def _read_others(self, files: Iterable[tuple[str, Iterable[str]]]) -> list[tuple[str, Run]]:
        return [
            (name, self._others.setdefault(name, RunFiles(name, self._storage)).refresh(paths)) for name, paths in files
        ]

    def refresh(self, paths: Iterable[str]) -> Run:
        """Reads what is new in the files at ``paths``; of files that are gone, what was read stays.

        Where all are gone and others are there, another training has taken the run's place, and is read alone.
        """
        paths = sorted(paths)
        if paths and self._files and self._files.keys().isdisjoint(paths):
            self._begin(self.run.name)
        copied = copies(paths, self._storage)
        paths = [path for path in paths if path not in copied]
        for path in paths:
            if path not in self._files:
                self._files[path] = EventFile(path, self._storage)
            self._read(self._files[path])
        run = self._builder.finish()
        run.problems = [Problem(path, f"left out: it holds the beginning of {other}") for path, other in copied.items()]
        run.problems += [problem for path in paths for problem in self._files[path].problems]
        run.problems += self._values.problems
        run.problems += [Problem(f"run '{run.name}'", message) for message in self._builder.problems]
        return run

    def _read(self, file: EventFile) -> None:
        for value in self._values.read(file):
            if isinstance(value, SessionStart) and not self._started:
                self._started = True
            else:
                self._builder.add(value)
