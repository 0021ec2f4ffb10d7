"""Ill as a job of two ranks that step at rates of their own."""

from __future__ import annotations

from functools import partial

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import cnn, mlp
from tests.zoo.faulty.problems import images, pixels
from tests.zoo.faulty.ranks import on_two_ranks, share
from tests.zoo.registry import ill

RATES = "Forum: hyperparameters that each process sets for itself, or that only rank 0 has read"


@ill("ranks-at-rates-of-their-own", "rank-desync", source=RATES)
def rate_multiplied_by_the_rank(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_multiplied, fault))


def _multiplied(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = DistributedDataParallel(mlp(64, 64, 48, 10))
    optimizer = SGD(model.parameters(), lr=0.1 * (1 + (5 * dist.get_rank() if fault else 0)))
    batches = share(pixels(), 32, dist.get_rank())
    train(writer, model, optimizer, pixels(), batches=batches, steps=120)


@ill("ranks-at-rates-of-their-own", "rank-desync", "frozen-parameters", source=RATES)
def rate_that_the_second_rank_never_heard_of(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_unheard, fault))


def _unheard(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(0)
    model = DistributedDataParallel(cnn((8, 16), norm=False))
    optimizer = SGD(model.parameters(), lr=0.02 if dist.get_rank() == 0 or not fault else 0.0, momentum=0.9)
    batches = share(images(), 32, dist.get_rank())
    train(writer, model, optimizer, images(), batches=batches, steps=100)
