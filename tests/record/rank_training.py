"""Trainings of one rank of a job of two; started by ``rank_job``."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import torch
from rank_job import member
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tb_nnhealth import SummaryWriter
from tb_nnhealth.record import rank_exchange

STEPS = 12
rank_exchange.PATIENCE = rank_exchange.FIRST_PATIENCE = 60.0  # a busy machine is waited for


def train(rank: int, directory: Path, scenario: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    parallel = DistributedDataParallel(model)
    used = model if scenario == "raw module" else parallel
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    generator = torch.Generator().manual_seed(0 if scenario == "same data" else rank)
    own = f"rank{rank}" if scenario == "own directories" else "run"
    with SummaryWriter(directory / scenario.replace(" ", "_") / own) as writer:
        if scenario != "unwatched":
            writer.watch(parallel, optimizer, criterion=criterion, every=1)
        for step in range(STEPS):
            if scenario == "killed" and rank == 1 and step == 4:
                os._exit(9)
            if scenario == "killed" and rank == 0 and step == 4:
                used = model  # nobody is left to reduce with
            if scenario == "sleeping" and rank == 1:
                time.sleep(0.3)
            x = torch.randn(16, 6, generator=generator)
            optimizer.zero_grad()
            criterion(used(x), (x[:, 0] > 0).long()).backward()
            if scenario == "clipped" and rank == 1 and step >= 5:
                nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
        if rank:
            writer.add_scalar("loss/of_rank_1", 1.0, 0)
    if rank == 0:
        torch.save(model.state_dict(), directory / f"{scenario.replace(' ', '_')}.pt")


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    member(train)
