"""Jobs in which something goes wrong with a rank, or with how it is watched, run by ``rank_job``.

Whatever it is, the training must come to its end; who dies, dies by its own hand.
"""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from rank_job import member
from torch import Tensor, nn
from torch.distributed.algorithms.join import Join
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from tb_nnhealth import SummaryWriter
from tb_nnhealth.record import rank_exchange, shard_reduce

STEPS = 20
GONE, THERE = (1.0, 3.0), (60.0, 60.0)
"""Seconds of patience, at last and at first, with a rank that will not come, and with one that is only delayed."""
shard_reduce.MEETING_SECONDS = shard_reduce.COLLECTIVE_SECONDS = 3.0


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), (x[:, 0] > 0).long()).backward()
    optimizer.step()


def arguments(rank: int, case: str) -> dict[str, Any]:
    given: dict[str, Any] = {"every": 1, "name": case}
    if "all-reduce" in case:
        given["shards"] = "all-reduce"
    if "other-cadence" in case:
        given["every"] = 1 + rank
    if "by-load" in case:
        given["every"] = None
    return given


def train(rank: int, directory: Path, case: str) -> None:
    patient = case in {"destroyed", "watched-before-sharding"}
    rank_exchange.PATIENCE, rank_exchange.FIRST_PATIENCE = THERE if patient else GONE
    net = network()
    if "watched-again" in case and not rank:
        with SummaryWriter(directory / case / "before") as writer:
            writer.watch(net, name=case)  # rank 0 has watched more often than others
            writer.unwatch()
    with SummaryWriter(directory / case / "run") as writer:
        watch = None
        if "before-sharding" in case:
            watch = writer.watch(net, **arguments(rank, case))
        net = DistributedDataParallel(net) if "join" in case else fully_shard(net)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        if watch is None and not (rank and "unwatched" in case):
            watch = writer.watch(net, optimizer, **arguments(rank, case))
        if rank and "raises" in case:
            watch._capture._parameters.before = None  # type: ignore
        fit(net, optimizer, rank, case, writer)
        if "destroyed" in case:
            distributed.destroy_process_group()


def fit(net: nn.Module, optimizer: torch.optim.Optimizer, rank: int, case: str, writer: SummaryWriter) -> None:
    generator = torch.Generator().manual_seed(rank)
    steps = STEPS * (rank + 1) if "join" in case else STEPS
    if "by-load" in case:
        steps = 300
    with Join([net]) if "join" in case else nullcontext():  # type: ignore[list-item]
        for i in range(steps):
            if rank and i == 5 and "removed" in case:
                writer.unwatch()
            if i == 8 and "killed" in case:
                if rank:
                    time.sleep(0.5)  # what it has told is to arrive
                    os._exit(9)
                break
            if rank and "by-load" in case:
                time.sleep(0.002)
            step(net, optimizer, torch.randn(16, 6, generator=generator))
            if "removed" in case or ("destroyed" in case and i < STEPS // 2):
                writer.flush()  # what was told of this step has come, or will not


if __name__ == "__main__":
    member(train)
