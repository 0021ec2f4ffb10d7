"""What reading a tensor costs, by the element: the native core beside PyTorch's own operations, in one process.

    python benchmarks/elements.py [--numel 4194304] [--rounds 25] [--json FILE]

The passes take turns, in an order shuffled anew each round, on one thread and by the processor's clock. Reported are
nanoseconds per float32 and the ratio to ``torch.sum``, which only reads, in the same round: the median over the rounds,
and the middle half of them.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tb_nnhealth import native, schema
from tb_nnhealth.record.reduce import FIELDS, read
from tb_nnhealth.record.reduce_histogram import histogram
from tb_nnhealth.record.reduce_readable import readable

FLOOR = "torch.sum, the read floor"
READ, COPY, MINUS = range(3)


def passes(numel: int) -> dict[str, Callable[[], object]]:
    """What is compared; each reads all of one tensor, or of the two or three that it names."""
    weight, gradient = torch.randn(numel), torch.randn(numel) * 1e-3
    copy, counts = torch.empty(numel), np.zeros(schema.HISTOGRAM_BINS, np.int64)
    core = native.core

    def natively(*jobs: tuple[torch.Tensor, int, torch.Tensor]) -> Callable[[], object]:
        table = array("q")
        for tensor, operation, other in jobs:
            table.extend((tensor.data_ptr(), numel, 0, operation, other.data_ptr(), 0))
        results = np.empty((len(jobs), len(FIELDS)))
        return lambda: core.run(table.buffer_info()[0], len(jobs), results.ctypes.data)

    def by_torch(tensor: torch.Tensor) -> object:
        values = readable(tensor)
        assert values is not None
        return read(values)

    def without_core(tensor: torch.Tensor) -> Callable[[], object]:
        def run() -> object:
            native.core = None
            try:
                return by_torch(tensor)
            finally:
                native.core = core

        return run

    ours: dict[str, Callable[[], object]] = {}
    if core is not None:
        address = weight.data_ptr()
        half = weight.bfloat16()
        ours = {
            "core: all statistics": lambda: core.statistics(address, numel, 0, 0),
            "core: the same and a histogram": lambda: core.statistics(address, numel, 0, counts.ctypes.data),
            "core: bfloat16, all statistics": lambda: core.statistics(half.data_ptr(), numel, 3, 0),
            "core: weight and its copy, gradient": natively((weight, COPY, copy), (gradient, READ, gradient)),
            "core: update, new weight minus copy": natively((weight, MINUS, gradient)),
        }
    return {
        FLOOR: weight.sum,
        **ours,
        "torch: all statistics, as without the core": without_core(weight),
        "torch: histogram": lambda: histogram(weight, 0),
        "torch: std_mean": lambda: torch.std_mean(weight),
        "torch: six operations": lambda: (
            weight.mean(), weight.std(), weight.min(), weight.max(), weight.norm(), weight.isfinite().all(),
        ),
    }  # fmt: skip


def measure(numel: int, rounds: int) -> dict[str, tuple[float, list[float]]]:
    """Of each pass the median of nanoseconds per element, and the ratio to the floor in each round."""
    ways = passes(numel)
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name in random.sample(list(ways), len(ways)):
            start = time.process_time_ns()
            ways[name]()
            times[name].append((time.process_time_ns() - start) / numel)
    floor = times[FLOOR]
    return {
        name: (statistics.median(own), [a / b for a, b in zip(own, floor, strict=True)]) for name, own in times.items()
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numel", type=int, default=1 << 22, help="elements of a tensor (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=25, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds: expected 2 or more, found {options.rounds}")
    torch.set_num_threads(1)
    results = measure(options.numel, options.rounds)
    used = "not built" if native.core is None else native.core.instruction_sets()[-1]
    print(f"{options.numel:,} elements, one thread, native core: {used}\n")
    print("| pass | ns per element | times torch.sum |\n| --- | ---: | ---: |")
    for name, (nanoseconds, ratios) in results.items():
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"| {name} | {nanoseconds:.3f} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    if options.json:
        told = {"torch": torch.__version__, "core": used, "numel": options.numel, "rounds": options.rounds}
        kept = {name: {"ns": ns, "ratios": ratios} for name, (ns, ratios) in results.items()}
        options.json.write_text(json.dumps({**told, "passes": kept}, indent=2) + "\n")


if __name__ == "__main__":
    main()
