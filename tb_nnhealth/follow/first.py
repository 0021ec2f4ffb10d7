"""The first look at many runs: over processes, and through the index that ``nnhealth inspect`` keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet.executors import workers
from tb_nnhealth.fleet.index import Index, stamps_of
from tb_nnhealth.fleet.scan import How, Scanned, scan

Progress = Callable[[Iterable[Scanned], int], Iterable[Scanned]]


def scan_all(
    directories: Sequence[RunDirectory], how: How, jobs: int | None, index: Index | None, progress: Progress
) -> Iterator[Scanned]:
    """Each run, those first that the index knows. The work has begun when this returns."""
    known = {directory.name: index.get(directory) if index is not None else None for directory in directories}
    new = {directory.name: directory for directory in directories if known[directory.name] is None}
    stamps = {name: stamps_of(directory) for name, directory in new.items()} if index is not None else {}
    results = workers(list(new.values()), jobs).start(partial(scan, how=how), list(new.values())) if new else ()

    def found() -> Iterator[Scanned]:
        yield from filter(None, known.values())
        for scanned in progress(results, len(new)):
            if index is not None:
                index.put(new[scanned.run], stamps[scanned.run], scanned)
            yield scanned

    return found()
