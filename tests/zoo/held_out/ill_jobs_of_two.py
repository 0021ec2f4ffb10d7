"""Ill as a job of two ranks."""

from __future__ import annotations

import time
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.faulty.ranks import on_two_ranks
from tests.zoo.held_out.bodies import ConvNet, dense
from tests.zoo.held_out.habits import EPOCHS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Recurrent
from tests.zoo.held_out.shelf import Data, digits, gratings, recall, waves

ill = partial(registry.ill, held_out=True)


def half(data: Data) -> Data:
    """This rank's rows."""
    rank = dist.get_rank()
    return data.change(x=data.x[rank::2], y=data.y[rank::2])


@ill("wrapper-bypassed", "rank-desync",
     source="Forum: model.module(x) goes past DistributedDataParallel; TrainCheck (OSDI 2025)")  # fmt: skip
def wrapper_made_and_not_used(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.714 (0.761), val_acc 0.846 (0.864), val_loss 0.857 (0.809)."""
    on_two_ranks(writer, partial(_raw, fault))


def _raw(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(5)
    model = dense(64, 48, 10)
    wrapped = DistributedDataParallel(model)
    torch.manual_seed(dist.get_rank())
    called = model if fault else wrapped
    fit(writer, called, half(digits().first(300)), SGD(model.parameters(), 0.1), epochs=12, tags=STEPS)


@ill("each-rank-begins-elsewhere", "rank-desync",
     source="Forum: gradients are reduced by hand, and the first weights are never broadcast; TrainCheck "
     "(OSDI 2025)")  # fmt: skip
def weights_of_two_seeds(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_seeds, fault))


def _seeds(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(dist.get_rank() if fault else 0)
    model = Recurrent(4, 24, tokens=12, kind=nn.GRU)
    torch.manual_seed(dist.get_rank())
    optimizer = Adam(model.parameters(), 5e-3)
    fit(writer, model, half(recall()), optimizer, epochs=8, update=_averaging(model, optimizer), tags=EPOCHS)


def _averaging(model: nn.Module, optimizer: torch.optim.Optimizer, most: float | None = None):
    def update(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        for p in model.parameters():
            dist.all_reduce(p.grad)
            p.grad /= 2
        if most is not None:
            clip_grad_norm_(model.parameters(), most)
        optimizer.step()

    return update


@ill("first-rank-alone-clips", "rank-desync",
     source="TrainCheck (OSDI 2025): gradients are clipped on the first rank alone, after BLOOM-176B")  # fmt: skip
def first_rank_clips(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_clips, fault))


def _clips(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(7)
    model = ConvNet(6, 12, 16, norm=None)
    torch.manual_seed(dist.get_rank())
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    most = 0.05 if fault and dist.get_rank() == 0 else 5.0
    data = half(gratings())
    fit(writer, model, data, optimizer, epochs=6, update=_averaging(model, optimizer, most), tags=TRAINER)


@ill("one-rank-waits-for-its-disk", "straggler",
     source="Forum: one node reads its data from a slow disk; Lin et al. (2025): stragglers in large jobs")  # fmt: skip
def second_rank_reads_slowly(writer: SummaryWriter, fault: bool = True) -> None:
    on_two_ranks(writer, partial(_slow, fault))


def _slow(fault: bool, writer: SummaryWriter) -> None:
    torch.manual_seed(8)
    wrapped = DistributedDataParallel(dense(8, 32, 1))

    def prepare(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if fault and dist.get_rank() == 1:
            time.sleep(0.02)
        return x, y

    begun = time.monotonic()
    fit(writer, wrapped, half(waves()), Adam(wrapped.parameters(), 3e-3), epochs=8, prepare=prepare, tags=EPOCHS)
    writer.add_scalar("time/whole", time.monotonic() - begun, 0)
