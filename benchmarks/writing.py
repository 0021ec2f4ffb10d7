"""Writing health records: what one costs the training thread, beside a scalar for each of its numbers.

    python benchmarks/writing.py [--rounds 9] [--json FILE]

One record holds 24 statistics and a histogram of each of 200 layers. Ways of writing it: ours, with the native core and
without; the same tensors through PyTorch's SummaryWriter; and its ``add_scalar`` for each of the 4,800 statistics,
without histograms. They take turns in an order shuffled anew each round; a round writes some records, each followed by
a millisecond of other work in Python. Reported for a record:

- the calls: processor time of the training thread in them;
- taken from the training: by how much calls and other work take longer than the work alone, on the wall clock. That is
  also the time for which the writer's thread keeps the interpreter's lock. On a busy machine it tells little;
- processor time of all threads;
- bytes.

The median over the rounds, and the middle half of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from tensorboard.compat.proto import event_pb2
from torch.utils.tensorboard import SummaryWriter as TorchWriter

from tb_nnhealth import Recorder, schema
from tb_nnhealth.events import encode
from tb_nnhealth.events.framing import frame_in_python
from tb_nnhealth.messages import Layout, Row
from tb_nnhealth.record import rotation

LAYERS, STATISTICS = 200, 24
WORK = 20_000
"""Turns of a loop in Python between two records: about a millisecond."""

Write = Callable[[int], None]
Way = Callable[[str], Iterator[tuple[Write, Callable[[], object]]]]
"""Gives what writes the record of a step, and what waits until all is written."""

_rng = np.random.default_rng(0)
VALUES = _rng.standard_normal((LAYERS, STATISTICS)).astype(np.float32)
VALUES[:, [schema.STATISTICS.index(name) for name in (schema.NAN_COUNT, schema.INF_COUNT)]] = 0
COUNTS = _rng.integers(0, 4096, (LAYERS, schema.HISTOGRAM_BINS), dtype=np.int32)
COLUMNS = [*schema.STATISTICS, *(f"more_{i}" for i in range(STATISTICS - len(schema.STATISTICS)))]
NAMES = [f"layer{i}.weight" for i in range(LAYERS)]


# --- the ways of writing ----------------------------------------------------------------------------------------------


def ours(directory: str) -> Iterator[tuple[Write, Callable[[], object]]]:
    rows = [Row(kind=schema.WEIGHT, subject=name, shape=[64, 64]) for name in NAMES]
    with Recorder(directory) as recorder:
        stream = recorder.open_watch()
        stream.layout(Layout(watch=schema.DEFAULT_WATCH, columns=COLUMNS, rows=rows))

        def write(step: int) -> None:
            stream.stats(step, VALUES.copy())
            stream.histograms(step, COUNTS.copy())

        yield write, recorder.flush


def torch_tensors(directory: str) -> Iterator[tuple[Write, Callable[[], object]]]:
    with closing(TorchWriter(directory)) as writer:

        def write(step: int) -> None:
            for data in (
                encode.stats(schema.stats_tag(schema.DEFAULT_WATCH), step, 1.0, VALUES, step == 0),
                encode.histograms(schema.histograms_tag(schema.DEFAULT_WATCH), step, 1.0, COUNTS, step == 0),
            ):
                writer._get_file_writer().add_event(event_pb2.Event.FromString(data), step)

        yield write, writer.flush


def add_scalar(directory: str) -> Iterator[tuple[Write, Callable[[], object]]]:
    with closing(TorchWriter(directory)) as writer:
        tags = [[f"{name}/{column}" for column in COLUMNS] for name in NAMES]

        def write(step: int) -> None:
            for row, values in zip(tags, VALUES.tolist(), strict=True):
                for tag, value in zip(row, values, strict=True):
                    writer.add_scalar(tag, value, step)

        yield write, writer.flush


WITHOUT_NATIVE = "ours without the native core"
ADD_SCALAR = "4,800 add_scalar of PyTorch's writer, no histograms"
WAYS: dict[str, tuple[Way, int]] = {
    "ours": (ours, 40),
    WITHOUT_NATIVE: (ours, 40),
    "packed, through PyTorch's writer": (torch_tensors, 10),
    ADD_SCALAR: (add_scalar, 1),
}
"""Each with the records that it writes in a round."""


# --- the measurement --------------------------------------------------------------------------------------------------

Quartiles = tuple[float, float, float]


@dataclass
class Result:
    way: str
    calls_ms: Quartiles
    taken_ms: Quartiles
    processor_ms: Quartiles
    kilobytes: float
    times_less_than_add_scalar: Quartiles
    """Of the calls' time."""


def work() -> int:
    total = 0
    for i in range(WORK):
        total += i
    return total


def block(write: Write | None, written: Callable[[], object], steps: range) -> tuple[float, float, float]:
    """Milliseconds for a record: of the calls, of calls and work on the wall clock, of all threads' processor time."""
    calls = 0.0
    wall, processor = time.perf_counter(), time.process_time()
    for step in steps:
        if write is not None:
            begun = time.thread_time()
            write(step)
            calls += time.thread_time() - begun
        work()
    taken = time.perf_counter() - wall
    written()
    return tuple(1000 * spent / len(steps) for spent in (calls, taken, time.process_time() - processor))  # type: ignore[return-value]


def measure(rounds: int) -> list[Result]:
    with tempfile.TemporaryDirectory() as place:
        ways = {name: way(f"{place}/{i}") for i, (name, (way, _)) in enumerate(WAYS.items())}
        running = {name: next(iterator) for name, iterator in ways.items()}
        at = dict.fromkeys(WAYS, 0)
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
        for number in range(rounds + 1):
            for name in random.sample(list(WAYS), len(WAYS)):
                count = WAYS[name][1]
                steps = range(at[name], at[name] + count)
                at[name] += count
                with ExitStack() as stack:
                    if name == WITHOUT_NATIVE:
                        stack.enter_context(mock.patch.object(rotation, "frame", frame_in_python))
                        stack.enter_context(mock.patch.object(encode, "core", None))
                    spent = block(*running[name], steps)
                idle = block(None, lambda: None, range(count))
                if number:  # the first warms up
                    calls, taken, processor = spent
                    found[name].append((calls, max(taken - idle[1], calls), max(processor - idle[2], calls)))
        for iterator in ways.values():
            next(iterator, None)
        sizes = {
            name: sum(path.stat().st_size for path in (Path(place) / str(i)).iterdir()) / at[name] / 1000
            for i, name in enumerate(WAYS)
        }
    result = []
    for name, rows in found.items():
        calls, taken, processor = zip(*rows, strict=True)
        less = [b[0] / a[0] for a, b in zip(rows, found[ADD_SCALAR], strict=True)]
        result.append(
            Result(name, quartiles(calls), quartiles(taken), quartiles(processor), sizes[name], quartiles(less))
        )
    return result


def quartiles(numbers: list[float] | tuple[float, ...]) -> Quartiles:
    low, middle, high = statistics.quantiles(numbers, n=4)
    return low, middle, high


def table(results: list[Result]) -> str:
    def told(q: Quartiles, form: str) -> str:
        low, middle, high = (format(number, form) for number in q)
        return f"{middle} ({low} to {high})"

    lines = [
        "| a record of 200 × 24 | calls, ms | taken from the training, ms | processor, ms | KB | calls, times less |"
    ]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {r.way} | {told(r.calls_ms, '.3f')} | {told(r.taken_ms, '.3f')} | {told(r.processor_ms, '.3f')} "
        f"| {r.kilobytes:.0f} | {told(r.times_less_than_add_scalar, ',.0f')} |"
        for r in results
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of each way (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds: expected 2 or more, found {options.rounds}")
    results = measure(options.rounds)
    print(table(results))
    if options.json:
        told = {"cores": os.cpu_count(), "rounds": options.rounds}
        options.json.write_text(json.dumps({**told, "results": [asdict(r) for r in results]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
