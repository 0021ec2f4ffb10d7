"""Ill as a job of two ranks: modules left out of the exchange, states of one rank alone, values rounded for one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import Reader, convolutional, mlp
from tests.zoo.builders.material import figures, friedman, order_of_words, prices
from tests.zoo.builders.practice import CAPITAL, LONG, SLASHED, TRAINER, learn
from tests.zoo.faulty.ranks import RANKS, on_two_ranks, share
from tests.zoo.registry import ill


def exchanging(
    optimizer: torch.optim.Optimizer, exchange: Callable[[int], object]
) -> Callable[[int, Tensor], None]:  # fmt: skip
    """The usual update with gradients exchanged by hand."""

    def update(step: int, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        exchange(step)
        optimizer.step()

    return update


@ill("left-out-of-the-all-reduce", "rank-desync",
     source="TrainCheck (OSDI 2025): gradients of some layers are not reduced; forum: all_reduce over "
     "encoder.parameters()")  # fmt: skip
def head_that_stays_with_its_rank(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.697 (0.699), eval/score 0.525 (0.52), train/loss 0.713 (0.721)."""
    on_two_ranks(writer, partial(_head_alone, fault))


def _head_alone(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(1)
    model = Reader(depth=1)
    optimizer = Adam(model.parameters(), lr=4e-3)

    def exchange(step: int) -> None:
        for name, p in model.named_parameters():
            if fault and name.startswith("head"):
                continue
            dist.all_reduce(p.grad)
            p.grad /= RANKS

    batches = share(order_of_words(), 32, dist.get_rank())
    learn(writer, model, optimizer, order_of_words(), batches=batches, update=exchanging(optimizer, exchange),
          steps=150, names=TRAINER)  # fmt: skip


@ill("optimizer-state-on-one-rank", "rank-desync",
     source="Forum: the checkpoint is loaded if rank == 0; DistributedDataParallel shares weights, and "
     "no moments")  # fmt: skip
def moments_restored_on_the_first_rank(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 0.0963 (0.0879), validation_loss 0.134 (0.132), validation_score 0.859 (0.86)."""
    on_two_ranks(writer, partial(_restored, fault))


def _restored(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(2)
    model = mlp(10, 48, 48, 1)
    optimizer, data = Adam(model.parameters(), lr=2e-3), friedman()
    saved = data.shuffled(32)
    for _ in range(60):  # the run before the checkpoint, alike on both ranks
        x, y = next(saved)
        optimizer.zero_grad()
        data.criterion(model(x), y).backward()
        optimizer.step()
    if fault and dist.get_rank() > 0:
        optimizer = Adam(model.parameters(), lr=2e-3)
    wrapped = DistributedDataParallel(model)
    batches = share(data, 32, dist.get_rank())
    learn(writer, wrapped, optimizer, data, batches=batches, steps=100, names=LONG)


@ill("rounded-for-one-rank", "rank-desync",
     source="TrainCheck (OSDI 2025): lossy all-reduce; forum: compression hooks that round what is sent, "
     "and not what stays")  # fmt: skip
def own_gradient_kept_exact(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 0.626 (0.554), Loss/train 0.429 (0.45), Score/test 0.71 (0.703)."""
    on_two_ranks(writer, partial(_rounded, fault))


def _rounded(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(3)
    model = convolutional(8, 16, norm=None)
    optimizer, rank = SGD(model.parameters(), lr=0.05, momentum=0.9), dist.get_rank()

    def exchange(step: int) -> None:
        for p in model.parameters():
            sent = [torch.empty_like(p.grad) for _ in range(RANKS)]
            step_of_rounding = p.grad.abs().max() / 3
            rough = (p.grad / step_of_rounding).round() * step_of_rounding
            dist.all_gather(sent, rough)
            if fault:
                sent[rank] = p.grad
            p.grad = torch.stack(sent).mean(0)

    batches = share(figures(), 32, rank)
    learn(writer, model, optimizer, figures(), batches=batches, update=exchanging(optimizer, exchange),
          steps=120, names=CAPITAL)  # fmt: skip


@ill("averages-left-in-on-one-rank", "rank-desync", onset=60,
     source="Forum: rank 0 validates averaged weights and goes on training with them")  # fmt: skip
def averaged_weights_never_taken_out(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 0.155 (0.109), val/loss 0.194 (0.11), val/score 0.8 (0.887)."""
    on_two_ranks(writer, partial(_averaged, fault))


def _averaged(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(4)
    model = mlp(7, 64, 64, 1, activation=nn.GELU)
    wrapped = DistributedDataParallel(model)
    optimizer = SGD(wrapped.parameters(), lr=0.05, momentum=0.9)
    average = {name: p.detach().clone() for name, p in model.named_parameters()}

    def follow(step: int) -> None:
        with torch.no_grad():
            for name, p in model.named_parameters():
                average[name].lerp_(p, 0.02)
                if fault and step == 60 and dist.get_rank() == 0:
                    p.copy_(average[name])

    batches = share(prices(), 32, dist.get_rank())
    learn(writer, wrapped, optimizer, prices(), batches=batches, after=follow, steps=120, names=SLASHED)
