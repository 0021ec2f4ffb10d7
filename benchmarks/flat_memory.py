"""``python benchmarks/flat_memory.py``: trains a small model for many watched steps and prints the memory at marks.

Every tenth step is measured; scalars are written, and the rules run as they do live. Exit status 1 where
the resident memory of the second half grows by more than ``--limit`` MiB.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from tb_nnhealth import SummaryWriter


def resident() -> float:
    """MiB of this process that are in memory, on Linux."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--marks", type=int, default=10)
    parser.add_argument("--limit", type=float, default=8.0)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer, criterion = torch.optim.SGD(model.parameters(), 1e-3), nn.MSELoss()
    memory = []
    print("steps    resident MiB    live objects    seconds")
    with tempfile.TemporaryDirectory() as directory, SummaryWriter(directory) as writer:
        writer.watch(model, optimizer, criterion=criterion, every=options.every)
        start = time.perf_counter()
        for step in range(options.steps):
            x = torch.randn(8, 4)
            optimizer.zero_grad()
            loss = criterion(model(x), x.sum(1, keepdim=True))
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/train", loss, step)
            if (step + 1) % (options.steps // options.marks) == 0:
                writer.flush()
                gc.collect()
                memory.append(resident())
                seconds = time.perf_counter() - start
                print(f"{step + 1:7d}  {memory[-1]:12.1f}  {len(gc.get_objects()):14d}  {seconds:9.0f}", flush=True)
    growth = memory[-1] - memory[len(memory) // 2 - 1]
    print(f"the second half grew by {growth:.1f} MiB")
    return int(growth > options.limit)


if __name__ == "__main__":
    sys.exit(main())
