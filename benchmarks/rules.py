"""What the rules cost: processor time of a judgement, and of the live judge over a run, by the number of layers.

    python -m benchmarks rules [--quick] [--json FILE] [LAYERS ...]

A run is a synthetic healthy network of so many fully connected layers, eight rows each, every statistic in place. "A
judgement" asks every rule about the whole run. "The live judge" is fed a record at a time and asked whenever it says
that it is due, as the writer's thread does, on a clock that advances by the length of a step and by its own work. Its
cost is told for each record, and as a share of the time that the training took.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.machine import machine
from tb_nnhealth.history import History, Run
from tb_nnhealth.record import judge as live
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.synthetic import Network

BUDGET = 0.02
DRAWN = 40
"""Records that are drawn at random; longer runs repeat them."""


@dataclass
class Result:
    layers: int
    records: int
    judgement_ms: float
    judgements: int
    """By the live judge, in the run."""
    record_ms: float
    """Processor time of the live judge for each record."""
    share: float
    """Of the run's time, that the live judge worked."""


class Clock:
    """Time that passes by being told."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return time.thread_time()


def measure(layers: int, records: int, step: float, rounds: int) -> Result:
    network = Network(depth=layers, width=8, steps=DRAWN)
    values = [np.ascontiguousarray(network.values[i % DRAWN]) for i in range(DRAWN)]
    history = History(network.layout)
    for i in range(records):
        history.append(i, i * step, values[i % DRAWN])
    run = Run("rules", {"main": history})
    times = []
    for _ in range(rounds):
        begun = time.thread_time()
        judge(run)
        times.append(time.thread_time() - begun)
    judgements, worked, elapsed = _live(network, values, records, step)
    share = worked / elapsed
    return Result(layers, records, 1000 * statistics.median(times), judgements, 1000 * worked / records, share)


def _live(network: Network, values: list[np.ndarray], records: int, step: float) -> tuple[int, float, float]:
    """Judgements, processor seconds of the judge, and seconds of the run."""
    clock, asked, begun = Clock(), 0, time.thread_time()
    with mock.patch.object(live, "time", clock):
        judging = live.LiveJudge("rules")
        judging.layout("main", network.layout)
        for i in range(records):
            clock.now += step
            judging.stats("main", i, clock.now, values[i % DRAWN])
            if judging.seconds_to_due() == 0:
                before = time.thread_time()
                judging.findings(budget=BUDGET)
                clock.now += time.thread_time() - before
                asked += 1
    return asked, time.thread_time() - begun, clock.now


def table(results: list[Result]) -> str:
    lines = ["| layers | records | a judgement | live: judgements | for each record | of the run's time |"]
    lines += ["| ---: | ---: | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {r.layers:,} | {r.records:,} | {r.judgement_ms:,.0f} ms | {r.judgements} | {r.record_ms:.2f} ms "
        f"| {r.share:.2%} |"
        for r in results
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks rules", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layers", nargs="*", type=int, help="(default: 10 100 1000 10000)")
    parser.add_argument("--records", type=int, default=500, help="of the run (default: %(default)s)")
    parser.add_argument("--step", type=float, default=1.0, help="seconds between records (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="judgements timed (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="10 and 100 layers, 50 records")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    options = parser.parse_args(arguments)
    if any(layers < 2 for layers in options.layers):
        parser.error(f"expected 2 layers or more, found {min(options.layers)}")
    results: list[Result] = []
    try:
        for layers in options.layers or ((10, 100) if options.quick else (10, 100, 1000, 10000)):
            results.append(measure(layers, 50 if options.quick else options.records, options.step, options.rounds))
            print(f"{layers} layers: done", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; what there is:", file=sys.stderr)
    print(table(results))
    if options.json:
        told = {"machine": machine(), "step_seconds": options.step, "results": [asdict(each) for each in results]}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
