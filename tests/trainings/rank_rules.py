"""Ill and healthy twins for the rules on ranks: jobs of two gloo processes."""

from __future__ import annotations

import time
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.ranks import on_two_ranks

from .fit import fit, mlp, nothing
from .registry import pair


def half(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """This rank's half of a batch."""
    return x[dist.get_rank() :: 2], y[dist.get_rank() :: 2]


def pause(step: int) -> None:
    """As long as a step of a larger model, in which the ranks hear of each other."""
    time.sleep(0.05)


@pair("rank-desync", onset=(0, 40))
def module_called_inside_its_wrapper(writer: SummaryWriter, ill: bool) -> None:
    on_two_ranks(writer, partial(_wrapped, ill))


def _wrapped(ill: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = mlp(64, 32, 10)
    wrapper = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    called = model if ill else wrapper
    fit(
        writer, called, optimizer, watched=wrapper, flat=True, batch=half, before_step=pause, steps=60, every=1
    )  # fmt: skip


@pair("straggler", subject="rank 1", onset=(0, 20), timed=True)
def rank_with_a_slow_disk(writer: SummaryWriter, ill: bool) -> None:
    on_two_ranks(writer, partial(_slow, ill))


def _slow(ill: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = DistributedDataParallel(mlp(64, 32, 10))

    def read(step: int) -> None:
        time.sleep(0.06)

    before = read if ill and dist.get_rank() else nothing
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    fit(writer, model, optimizer, flat=True, batch=half, before_step=before, steps=60, every=1)
