"""The same function of many runs, over anything shaped like an executor of ``concurrent.futures``."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from functools import partial

from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet.scan import Scanned, lost

RUNS_PER_PROCESS = 4
"""With fewer runs than this for each process, starting it costs more than it saves."""
RUNS_PER_SPAWNED_PROCESS = 32
"""The same where a process begins with nothing imported."""
WAITING_PER_WORKER = 4
"""Runs handed over at a time: enough that nobody waits for the next, too few to fill memory."""

Scan = Callable[[RunDirectory], Scanned]


@dataclass(frozen=True)
class Workers:
    """``make`` starts an executor in which ``count`` work at a time; None for none: then this process works."""

    make: Callable[[], Executor] | None
    count: int

    def start(self, function: Scan, directories: Sequence[RunDirectory]) -> Iterator[Scanned]:
        """The results, as they come. Work has begun when this returns: no thread of the caller's is forked later."""
        if self.make is None:
            return map(function, directories)
        return _Work(self, function, list(reversed(directories))).results()


def workers(directories: Sequence[RunDirectory], jobs: int | None = None) -> Workers:
    """Processes; threads for storages that no other process sees, and for few runs far away; none for few runs."""
    cores, runs = os.cpu_count() or 1, len(directories)
    if not any(run.storage.remote for run in directories):
        count = min(jobs or cores, runs // RUNS_PER_PROCESS)
        return Workers(partial(_processes, count, None), count) if count > 1 else Workers(None, 1)
    count = min(jobs or 2 * cores, runs // RUNS_PER_SPAWNED_PROCESS)  # each of them waits half of the time
    if count > 1 and all(run.storage.shared for run in directories):
        # This process has threads that wait for the storage: a fork of it might wait for ever.
        return Workers(partial(_processes, count, "spawn"), count)
    count = min(jobs or 4 * cores, runs)
    return Workers(partial(ThreadPoolExecutor, count), count) if count > 1 else Workers(None, 1)


def _processes(count: int, method: str | None) -> Executor:
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(count, mp_context=context, initializer=_leave_interrupts_to_the_parent)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Work:
    """Runs on their way: handed over a few at a time, and once more, each alone, where a process was lost."""

    def __init__(self, workers: Workers, function: Scan, left: list[RunDirectory]) -> None:
        assert workers.make is not None
        self._make, self._count = workers.make, workers.count
        self._function, self._left = function, left
        self._waiting: dict[Future[Scanned], RunDirectory] = {}
        self._executor = self._make()
        self._hand_over()

    def results(self) -> Iterator[Scanned]:
        try:
            while self._waiting:
                done, _ = wait_for(self._waiting, return_when=FIRST_COMPLETED)
                broken = []
                for future in done:
                    directory = self._waiting.pop(future)
                    try:
                        yield future.result()
                    except BrokenExecutor:
                        broken.append(directory)
                    except Exception as error:
                        yield lost(directory.name, f"could not be judged: {type(error).__name__}: {error}")
                if broken:
                    yield from self._alone([*broken, *self._waiting.values()])
                self._hand_over()
        finally:
            self._stop()

    def _hand_over(self) -> None:
        while self._left and len(self._waiting) < self._count * WAITING_PER_WORKER:
            directory = self._left.pop()
            try:
                self._waiting[self._executor.submit(self._function, directory)] = directory
            except BrokenExecutor:
                self._left.append(directory)
                if not self._waiting:
                    self._restart()
                else:
                    return

    def _alone(self, suspects: Sequence[RunDirectory]) -> Iterator[Scanned]:
        """One of ``suspects`` has ended its process, a process that all of them shared: each gets one of its own."""
        self._waiting.clear()
        for directory in suspects:
            self._restart()
            try:
                yield self._executor.submit(self._function, directory).result()
            except BrokenExecutor:
                yield lost(directory.name, "not judged: the process that read it was ended, perhaps for lack of memory")
            except Exception as error:
                yield lost(directory.name, f"could not be judged: {type(error).__name__}: {error}")
        self._restart()

    def _restart(self) -> None:
        self._stop()
        self._executor = self._make()

    def _stop(self) -> None:
        for future in self._waiting:  # not every executor's shutdown does it
            future.cancel()
        self._executor.shutdown(wait=True)
