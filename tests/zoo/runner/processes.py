"""Specimens in parallel, each in a process of its own, which may crash or hang without harm to the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.zoo.runner.run import Result, work

LIMIT = 180.0
"""Seconds of wall time after which a training counts as hanging; the machine may be busy."""


@dataclass
class _Worker:
    name: str
    process: BaseProcess
    deadline: float


def results(
    names: Sequence[str], logs: Path, *, jobs: int, trained: bool = False, agreement: bool = False, limit: float = LIMIT
) -> Iterator[Result]:
    """Results in the order in which they come."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.zoo.runner.run"])
    waiting, running = list(reversed(names)), dict[Connection, _Worker]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(theirs, name, logs, trained, agreement))
                process.start()
                theirs.close()
                running[ours] = _Worker(name, process, time.monotonic() + limit)
            ready = wait(list(running), timeout=1.0)
            overdue = [pipe for pipe, worker in running.items() if worker.deadline < time.monotonic()]
            for pipe in [*ready, *(pipe for pipe in overdue if pipe not in ready)]:
                assert isinstance(pipe, Connection)
                worker = running.pop(pipe)
                yield (
                    _received(pipe, worker, limit)
                    if pipe in ready
                    else Result(worker.name, error=f"no end after {limit:g} s")
                )
                _end(pipe, worker)
    finally:
        for pipe, worker in running.items():
            _end(pipe, worker)


def _work(pipe: Connection, name: str, logs: Path, trained: bool, agreement: bool) -> None:
    os.setsid()  # so that processes which the training starts can be ended with it
    multiprocessing.set_start_method(None, force=True)  # its loaders start workers as a user's would, not as this was
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    warnings.simplefilter("ignore")
    pipe.send(work(name, logs, trained=trained, agreement=agreement))
    pipe.close()


def _received(pipe: Connection, worker: _Worker, limit: float) -> Result:
    try:
        result = pipe.recv()
    except EOFError:
        worker.process.join(5)
        return Result(worker.name, error=f"its process ended with status {worker.process.exitcode}")
    assert isinstance(result, Result)
    return result


def _end(pipe: Connection, worker: _Worker) -> None:
    pipe.close()
    worker.process.join(2)
    pid = worker.process.pid
    if pid is not None and worker.process.is_alive():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        worker.process.join(5)
