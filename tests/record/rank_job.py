"""Starts a job of several processes on this machine: one script, once for each rank."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

PATIENCE = timedelta(seconds=300)
Job = Callable[[int], Path]
"""The directory of a job of so many ranks, which is started when it is first asked for."""


def run_job(script: Path, directory: Path, *cases: str, ranks: int = 2) -> tuple[list[int], list[str], float]:
    """Exit statuses and standard error of all ranks, and the seconds that they took.

    Each process runs ``script RANK RANKS DIRECTORY CASE...``.
    """
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = int(server.getsockname()[1])
    environment = {**os.environ, "STORE_PORT": str(port), "OMP_NUM_THREADS": "1"}
    begin = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(ranks), directory, *cases],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(ranks)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=PATIENCE.total_seconds())[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], errors, time.monotonic() - begin


def member(train: Callable[[int, Path, str], Any]) -> None:
    """What each process does: joins the job and trains the cases it was given, one after the other."""
    import torch.distributed as distributed

    rank, ranks, directory, cases = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    store = distributed.TCPStore("127.0.0.1", int(os.environ["STORE_PORT"]), ranks, rank == 0, timeout=PATIENCE)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=PATIENCE)
    for case in cases:
        train(rank, directory, case)
        if distributed.is_initialized() and not lost(case):
            distributed.barrier()
    if distributed.is_initialized() and not any(map(lost, cases)):
        distributed.destroy_process_group()


def lost(case: str) -> bool:
    """Whether a rank is no longer there afterwards."""
    return "killed" in case
