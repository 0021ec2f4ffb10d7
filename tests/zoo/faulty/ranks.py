"""A data-parallel job of two gloo processes: this one is rank 0; it starts this module as rank 1."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.problems import Batches, Problem

RANKS = 2
PATIENCE = timedelta(seconds=150)

Job = Callable[[SummaryWriter], None]
"""What each rank does; it must be picklable: a function of a module, or a partial of one."""


class Quiet(SummaryWriter):
    """The writer of a rank other than 0, in the same directory: it watches, and leaves the scalars to rank 0."""

    def add_scalar(self, *_: Any, **__: Any) -> None:
        return None


def on_two_ranks(writer: SummaryWriter, job: Job) -> None:
    """Runs ``job`` on both ranks. Raises RuntimeError where the second one fails."""
    store = dist.TCPStore("127.0.0.1", 0, RANKS, is_master=True, timeout=PATIENCE, wait_for_workers=False)
    command = [sys.executable, "-m", "tests.zoo.faulty.ranks", str(store.port), str(writer.log_dir)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as second:
        try:
            assert second.stdin is not None
            second.stdin.write(pickle.dumps(job))
            second.stdin.close()
            with member(0, store):
                job(writer)
            status = second.wait(PATIENCE.total_seconds())
        finally:
            second.kill()
    if status != 0:
        raise RuntimeError(f"zoo: the second rank ended with status {status}")


def second_rank(port: int, log_dir: str, job: Job) -> None:
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, RANKS, is_master=False, timeout=PATIENCE)
    with Quiet(log_dir) as writer, member(1, store):
        job(writer)


@contextmanager
def member(rank: int, store: dist.Store) -> Iterator[None]:
    dist.init_process_group("gloo", store=store, timeout=PATIENCE, rank=rank, world_size=RANKS)
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(data: Problem, size: int, rank: int) -> Batches:
    """This rank's batches: the shuffled data, dealt out to the ranks in turn."""
    for i, batch in enumerate(data.shuffled(size)):
        if i % RANKS == rank:
            yield batch


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """What DistributedDataParallel does, by hand."""
    for parameter in parameters:
        assert parameter.grad is not None
        dist.all_reduce(parameter.grad)
        parameter.grad /= RANKS


def broadcast_weights(model: nn.Module) -> None:
    for parameter in model.parameters():
        dist.broadcast(parameter.data, 0)


if __name__ == "__main__":
    second_rank(int(sys.argv[1]), sys.argv[2], pickle.load(sys.stdin.buffer))
