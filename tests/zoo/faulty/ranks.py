"""A data-parallel job of two gloo processes: this one is rank 0, the second is started here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing import get_context

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.problems import Batches, Problem

RANKS = 2
PATIENCE = timedelta(seconds=60)

Job = Callable[[SummaryWriter], None]
"""What each rank does; it must be picklable: a function of a module, or a partial of one."""


def on_two_ranks(writer: SummaryWriter, job: Job) -> None:
    """Runs ``job`` on both ranks, each with a writer of its own. Raises RuntimeError where the second one fails."""
    with tempfile.TemporaryDirectory(prefix="zoo-ranks-") as directory:
        second = get_context("spawn").Process(target=_second, args=(job, directory), daemon=True)
        second.start()
        with member(0, directory):
            job(writer)
        second.join(PATIENCE.total_seconds())
        if second.exitcode != 0:
            second.kill()
            raise RuntimeError(f"zoo: the second rank ended with status {second.exitcode}")


def _second(job: Job, directory: str) -> None:
    torch.set_num_threads(1)
    with member(1, directory), SummaryWriter(str(Path(directory) / "rank-1")) as writer:
        job(writer)


@contextmanager
def member(rank: int, directory: str) -> Iterator[None]:
    dist.init_process_group("gloo", f"file://{directory}/store", PATIENCE, RANKS, rank)
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
