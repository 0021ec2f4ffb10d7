"""Ill as a job of two ranks: weights that part, batches that do not, a rank that lags behind."""

from __future__ import annotations

import time
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import descend, train
from tests.zoo.faulty.networks import Recurrent, cnn, mlp
from tests.zoo.faulty.problems import images, pixels, rows
from tests.zoo.faulty.ranks import average_gradients, broadcast_weights, on_two_ranks, share
from tests.zoo.registry import ill

RAW = "TrainCheck (OSDI 2025): the raw module is called in place of the DDP wrapper"
BROADCAST = "TrainCheck (OSDI 2025): weights of ranks differ from the start"
DROPPED = "TrainCheck (OSDI 2025): all-reduce that drops values"
SAMPLER = "Forum: DistributedDataParallel without DistributedSampler"
LAGGING = "Straggler; Jiang et al., MegaScale (NSDI 2024)"


@ill("raw-module-called", "rank-desync", source=RAW)
def module_called_in_place_of_its_wrapper(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_wrapped_mlp, fault))


def _wrapped_mlp(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = mlp(64, 64, 10)
    wrapper = DistributedDataParallel(model)
    optimizer = Adam(wrapper.parameters(), lr=1e-3)
    batches = share(pixels(), 32, dist.get_rank())
    train(writer, model if fault else wrapper, optimizer, pixels(), batches=batches, watched=wrapper, steps=100)


@ill("raw-module-called", "rank-desync", onset=40, source=RAW)
def wrapper_lost_after_the_validation(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_wrapped_convolutions, fault))


class Unwrapping(nn.Module):
    """Calls the wrapper, and from a step on the module within: ``model = model.module`` for a checkpoint."""

    def __init__(self, wrapper: DistributedDataParallel, since: int) -> None:
        super().__init__()
        self.wrapper = wrapper
        self.left = since

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.left -= 1
        answer: torch.Tensor = (self.wrapper if self.left >= 0 else self.wrapper.module)(x)
        return answer


def _wrapped_convolutions(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    wrapper = DistributedDataParallel(cnn((8, 16), norm=False))
    model = Unwrapping(wrapper, 40 if fault else 10**6)
    optimizer = SGD(wrapper.parameters(), lr=0.02, momentum=0.9)
    batches = share(images(), 32, dist.get_rank())
    train(writer, model, optimizer, images(), batches=batches, watched=wrapper, steps=100)


@ill("weights-never-broadcast", "rank-desync", source=BROADCAST)
def ranks_initialized_with_seeds_of_their_own(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_own_seeds, fault))


def _own_seeds(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(dist.get_rank())
    model = mlp(64, 48, 48, 10, activation=nn.Tanh)
    if not fault:
        broadcast_weights(model)
    optimizer = SGD(model.parameters(), lr=0.1)
    update = descend(optimizer, lambda step: average_gradients(list(model.parameters())))
    train(writer, model, optimizer, pixels(), batches=share(pixels(), 32, dist.get_rank()), update=update, steps=100)


@ill("weights-never-broadcast", "rank-desync", subject="head*", source=BROADCAST)
def head_drawn_anew_after_the_broadcast(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_own_heads, fault))


def _own_heads(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(10 + dist.get_rank())
    model = Recurrent(nn.GRU, 32)
    broadcast_weights(model)
    if fault:
        nn.init.xavier_normal_(model.head.weight)
    optimizer = AdamW(model.parameters(), lr=3e-3)
    update = descend(optimizer, lambda step: average_gradients(list(model.parameters())))
    train(writer, model, optimizer, rows(), batches=share(rows(), 32, dist.get_rank()), update=update, steps=100)


@ill("all-reduce-drops-values", "rank-desync", subject="*bias", source=DROPPED)
def biases_left_out_of_the_exchange(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_some_reduced, fault))


def _some_reduced(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = mlp(64, 48, 48, 10)
    exchanged = [p for p in model.parameters() if p.dim() > 1 or not fault]
    optimizer = Adam(model.parameters(), lr=1e-3)
    update = descend(optimizer, lambda step: average_gradients(exchanged))
    train(writer, model, optimizer, pixels(), batches=share(pixels(), 32, dist.get_rank()), update=update, steps=100)


@ill("all-reduce-drops-values", "rank-desync", onset=30, source=DROPPED)
def last_bucket_lost_midway(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_bucket_lost, fault))


def _bucket_lost(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = cnn((8, 16), norm=False)
    parameters = list(model.parameters())
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)

    def exchange(step: int) -> None:
        average_gradients(parameters[: -2 if fault and step >= 30 else None])

    update = descend(optimizer, exchange)
    train(writer, model, optimizer, images(), batches=share(images(), 32, dist.get_rank()), update=update, steps=100)


@ill("no-distributed-sampler", "repeated-batch", "rank-desync", source=SAMPLER)
def both_ranks_on_the_same_digits(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_same_data, fault))


def _same_data(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = DistributedDataParallel(mlp(64, 64, 10))
    optimizer = SGD(model.parameters(), lr=0.05)
    batches = pixels().shuffled(32) if fault else share(pixels(), 32, dist.get_rank())
    train(writer, model, optimizer, pixels(), batches=batches, steps=100)


@ill("no-distributed-sampler", "repeated-batch", "rank-desync", source=SAMPLER)
def both_ranks_on_the_same_images(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_same_images, fault))


def _same_images(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = DistributedDataParallel(cnn((8, 16), norm=False))
    optimizer = Adam(model.parameters(), lr=1e-3)
    batches = images().shuffled(32) if fault else share(images(), 32, dist.get_rank())
    train(writer, model, optimizer, images(), batches=batches, steps=100)


@ill("lagging-rank", "straggler", source=LAGGING)
def rank_with_a_slow_disk(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_lagging, 0.03 if fault else 0.0, 0))


@ill("lagging-rank", "straggler", onset=50, source=LAGGING)
def rank_that_is_throttled_midway(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_lagging, 0.04 if fault else 0.0, 50))


def _lagging(seconds: float, since: int, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = DistributedDataParallel(mlp(64, 64, 10))
    optimizer = SGD(model.parameters(), lr=0.05)

    def wait(step: int) -> None:
        if dist.get_rank() == 1 and step >= since:
            time.sleep(seconds)

    batches = share(pixels(), 32, dist.get_rank())
    train(writer, model, optimizer, pixels(), batches=batches, before_step=wait, steps=130)
