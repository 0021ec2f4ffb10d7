"""Ill as a job of two ranks that do not treat their gradients alike."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import descend, train
from tests.zoo.faulty.networks import Recurrent, cnn, mlp
from tests.zoo.faulty.problems import images, pixels, rows
from tests.zoo.faulty.ranks import average_gradients, broadcast_weights, on_two_ranks, share
from tests.zoo.registry import ill

CLIP = "TrainCheck (OSDI 2025): gradients clipped on one rank only (BLOOM-176B)"
NO_SYNC = "Forum: no_sync() never left, or left before the forward"


@ill("clipped-on-one-rank", "rank-desync", source=CLIP)
def norm_clipped_on_the_first_rank(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_clipped, fault))


def _clipped(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = DistributedDataParallel(mlp(64, 64, 64, 10))
    optimizer = SGD(model.parameters(), lr=0.1)

    def clip(step: int) -> None:
        if dist.get_rank() == 0 or not fault:
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)

    batches = share(pixels(), 32, dist.get_rank())
    train(writer, model, optimizer, pixels(), batches=batches, update=descend(optimizer, clip), steps=100)


@ill("clipped-on-one-rank", "rank-desync", onset=40, source=CLIP)
def layer_norms_clipped_on_the_second_rank_midway(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_clipped_midway, fault))


def _clipped_midway(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(dist.get_rank())
    model = Recurrent(nn.GRU, 32)
    broadcast_weights(model)
    optimizer = SGD(model.parameters(), lr=0.3)

    def exchange(step: int) -> None:
        average_gradients(list(model.parameters()))
        if fault and step >= 40 and dist.get_rank() == 1:
            nn.utils.clip_grad_norm_(model.head.parameters(), 0.01)

    batches = share(rows(), 32, dist.get_rank())
    train(writer, model, optimizer, rows(), batches=batches, update=descend(optimizer, exchange), steps=100)


class Accumulating(nn.Module):
    """Runs its wrapper under ``no_sync`` for the first forwards of each round, or for all."""

    def __init__(self, wrapper: DistributedDataParallel, since: int | None) -> None:
        super().__init__()
        self.wrapper = wrapper
        self.since = since
        self.forwards = 0

    def forward(self, x: Tensor) -> Tensor:
        apart = self.since is not None and self.forwards >= self.since
        self.forwards += self.training
        with self.wrapper.no_sync() if apart else nullcontext():
            answer: Tensor = self.wrapper(x)
        return answer


@ill("never-synchronized", "rank-desync", source=NO_SYNC)
def no_sync_around_every_forward(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_unsynchronized, 0 if fault else None))


@ill("never-synchronized", "rank-desync", onset=50, source=NO_SYNC)
def no_sync_never_left_after_fifty_steps(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_unsynchronized, 50 if fault else None))


def _unsynchronized(since: int | None, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    wrapper = DistributedDataParallel(cnn((8, 16), norm=False))
    optimizer = Adam(wrapper.parameters(), lr=1e-3)
    batches = share(images(), 32, dist.get_rank())
    model = Accumulating(wrapper, since)
    train(writer, model, optimizer, images(), batches=batches, watched=wrapper, steps=100)
