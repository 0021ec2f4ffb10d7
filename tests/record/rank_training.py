"""Trainings of one rank of a job of two; started by test_ranks.py as ``rank_training.py RANK DIRECTORY SCENARIO``."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tb_nnhealth import SummaryWriter
from tb_nnhealth.record import rank_exchange

STEPS = 12
rank_exchange._POLL_SECONDS, rank_exchange._POLLS = 0.02, 5000  # a busy machine is waited for


def wait_for_the_others(step: int) -> None:
    """Until rank 0 has the digest of ``step``, so that its next record compares it however slow the machine is."""
    deadline = time.monotonic() + 60
    exchanges = [exchange for exchange in rank_exchange._exchanges if not (exchange.rank or exchange._stopping)]
    while time.monotonic() < deadline and any(exchange._latest.get(1, -1) < step for exchange in exchanges):
        time.sleep(0.002)


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
            if scenario not in ("sleeping", "killed"):
                wait_for_the_others(step)
        if rank:
            writer.add_scalar("loss/of_rank_1", 1.0, 0)
    if rank == 0:
        torch.save(model.state_dict(), directory / f"{scenario.replace(' ', '_')}.pt")


def main() -> None:
    rank, directory = int(sys.argv[1]), Path(sys.argv[2])
    warnings.simplefilter("error", RuntimeWarning)
    store = distributed.TCPStore("127.0.0.1", int(os.environ["STORE_PORT"]), 2, rank == 0)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    for scenario in sys.argv[3:]:
        train(rank, directory, scenario)
        if scenario != "killed":
            distributed.barrier()
    if "killed" not in sys.argv:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
