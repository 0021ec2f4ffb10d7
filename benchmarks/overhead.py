"""What recording costs a training: each way of recording beside the bare training, in one process.

    python -m benchmarks overhead [--quick] [--only WAY] [--json FILE] [--chart FILE] [MODEL ...]

Every way trains its own copy of the same model. They take turns in short blocks of steps, in an order shuffled anew
each round, each between two blocks of bare training, so that whatever else the machine does falls on both alike. A
block ends when all it recorded is written. Reported is what a way adds to a step, as a share of the bare blocks right
before and after it: the median over the rounds and the middle half of them, on the wall clock and as processor time of
all threads of the process, which is what the machine pays and which other programs disturb less. A second bare training
("A/A") shows what the method cannot tell apart.

A cadence that is chosen while training measures a step now and then, so that a median of short blocks says nothing of
it. It is told over its whole run, its first step included: the sum of all its blocks against that of the bare ones
beside them, and the middle half of 400 resamplings of the blocks.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks import chart, peers, ways
from benchmarks.machine import machine
from benchmarks.trainings import MODELS, USUAL, training

BARE, AGAIN, DEFAULTS = "bare", "A/A", "watch, defaults"
OURS = "watch,"
WAYS: dict[str, ways.Way] = {
    BARE: ways.bare,
    AGAIN: ways.bare,
    DEFAULTS: ways.watched(None),
    "watch, every=1": ways.watched(1, histograms="never"),
    "watch, every=1, histograms": ways.watched(1, histograms="every"),
    "watch, every=1, no native core": ways.without_native(ways.watched(1, histograms="never")),
    "add_histogram": ways.add_histogram,
    "add_scalar": ways.add_scalar,
    "wandb.watch": peers.wandb_watch,
    "Lightning grad_norm": peers.lightning_norms,
    "Cockpit": peers.cockpit,
    "Composer OptimizerMonitor": peers.composer_monitor,
}
ALONG = (BARE, AGAIN, DEFAULTS)
"""Measured over a whole run."""
_SLOW = 20
"""Times the bare step, from which a single step is a block."""
_FEWEST_STEPS = 2
"""Of a block of any other way."""
_WARM_STEPS, _WARM_SECONDS, _PEERS_WARM_STEPS = 80, 10.0, 3
"""Before the rounds: ours reads the model's structure in the first records, and looks closely at 64."""
_PATIENCE, _FEWEST_ROUNDS = 3, 3
"""A way whose blocks are longer than so many of bare training takes part in the first rounds only, three at least."""
Times = dict[str, list[tuple[float, float]]]
"""Of each way, seconds per step of each block: on the wall clock, and processor time."""
Added = dict[str, list[tuple[float, float]]]
"""Of each way, what its blocks took beyond the bare ones beside them, as a share, on the two clocks."""


@dataclass
class Result:
    """What a way adds to a step, as a share of the bare step: low, middle and high."""

    way: str
    wall: tuple[float, float, float]
    processor: tuple[float, float, float]
    blocks: int


@dataclass
class Measured:
    """One model: its ways, and those that could not be measured, with the reason."""

    name: str
    title: str
    parameters: int
    bare_ms: float = 0.0
    run_seconds: float = 0.0
    """Length of the whole run that ``defaults`` and its own A/A were told over."""
    results: list[Result] = field(default_factory=list)
    over_the_run: list[Result] = field(default_factory=list)
    chosen: str = ""
    """What the default cadence said of itself at the end."""
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Effort:
    """Rounds and lengths: ``seconds`` of bare training in a block, ``run`` seconds of training by the defaults."""

    rounds: int
    seconds: float
    run: float


class StoppedError(Exception):
    """Interrupted; what was measured until then stands in ``args[0]``."""


def measure(name: str, wanted: Sequence[str], effort: Effort, chance: random.Random) -> Measured:
    title, _ = MODELS[name]
    told = Measured(name, title, sum(p.numel() for p in training(name).model.parameters()))
    with ways.pauses_unjudged():
        if DEFAULTS in wanted:
            with _turns(told, ALONG) as turns:
                _whole_run(turns, told, effort, chance)
        with _turns(told, [way for way in wanted if way != DEFAULTS]) as turns:
            _rounds(turns, told, effort, chance)
    return told


@contextmanager
def _turns(told: Measured, wanted: Sequence[str]) -> Iterator[Turns]:
    """Every way set up on a training of its own, resting; those that cannot run are told of."""
    with tempfile.TemporaryDirectory() as directory:
        open_ways: dict[str, ways.Running] = {}
        recordings: dict[str, ways.Recording] = {}
        resting: dict[str, Any] = {}
        try:
            for i, way in enumerate(wanted):
                running = WAYS[way](training(told.name), f"{directory}/{i}")
                try:
                    recordings[way] = next(running)
                except ways.AbsentError as reason:
                    told.absent[way] = str(reason)
                    _say(f"{told.name}: {way} left out: {reason}")
                    continue
                open_ways[way] = running
                resting[way] = recordings[way].rest()
                resting[way].__enter__()
            yield Turns(recordings, resting)
        finally:
            for way, running in open_ways.items():
                if way in resting:
                    resting[way].__exit__(None, None, None)
                try:
                    next(running, None)
                except Exception as error:
                    _say(f"{told.name}: {way} did not end in order: {type(error).__name__}: {error}")


class Turns:
    """Recordings that take turns: all rest but the one whose block it is."""

    def __init__(self, recordings: dict[str, ways.Recording], resting: dict[str, Any]) -> None:
        self._recordings, self._resting = recordings, resting

    @property
    def names(self) -> list[str]:
        return list(self._recordings)

    def reason(self, way: str) -> str:
        return self._recordings[way].reason() if way in self._recordings else ""

    def block(self, way: str, count: int) -> tuple[float, float]:
        """Seconds per step, on the wall clock and of all threads' processor time."""
        recording = self._recordings[way]
        self._resting[way].__exit__(None, None, None)
        try:
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(count):
                recording.step()
            recording.written()
            return (time.perf_counter() - wall) / count, (time.process_time() - processor) / count
        finally:
            self._resting[way] = recording.rest()
            self._resting[way].__enter__()


def _whole_run(turns: Turns, told: Measured, effort: Effort, chance: random.Random) -> None:
    usual, single = _usual_block(turns, effort)
    times: Times = {way: [] for way in turns.names}
    try:
        for done in range(max(2, round(effort.run / (usual * single)))):
            _say(f"{told.name}: whole run, {done * usual * single:.0f} of {effort.run:.0f} s", passing=True)
            for way in chance.sample(list(times), len(times)):
                times[way].append(turns.block(way, usual))
    except KeyboardInterrupt:
        raise StoppedError(told) from None
    finally:
        told.chosen = turns.reason(DEFAULTS)
        complete = min(map(len, times.values()))
        if complete >= 2:
            told.bare_ms = 1000 * statistics.median(processor for _, processor in times[BARE])
            told.run_seconds = complete * usual * statistics.median(wall for wall, _ in times[BARE])
            told.over_the_run = [_over_the_run(way, times, complete) for way in times if way != BARE]


def _usual_block(turns: Turns, effort: Effort) -> tuple[int, float]:
    """Steps of a block, and seconds of a bare step."""
    turns.block(BARE, 5)
    single = min(turns.block(BARE, 5)[1] for _ in range(3))
    return max(_FEWEST_STEPS, round(effort.seconds / single)), single


def _rounds(turns: Turns, told: Measured, effort: Effort, chance: random.Random) -> None:
    usual, single = _usual_block(turns, effort)
    bare: list[tuple[float, float]] = []
    added: Added = {way: [] for way in turns.names if way != BARE}
    counts, rounds = {}, {}
    try:
        for way in added:
            _say(f"{told.name}: {way} warms up", passing=True)
            slow = turns.block(way, 1)[1] / single
            if slow < _SLOW:
                turns.block(way, _warm_steps(way, single, effort))
                slow = turns.block(way, 3)[1] / single
            slow = max(1.0, slow)
            counts[way] = max(_FEWEST_STEPS if slow < _SLOW else 1, round(usual / slow))
            block = counts[way] * slow * single
            rounds[way] = min(
                effort.rounds, max(_FEWEST_ROUNDS, round(effort.rounds * _PATIENCE * effort.seconds / block))
            )
        for done in range(effort.rounds):
            _say(f"{told.name}: round {done + 1} of {effort.rounds}", passing=True)
            gc.collect()
            taking_part = [way for way in added if done < rounds[way]]
            bare.append(turns.block(BARE, usual))
            for way in chance.sample(taking_part, len(taking_part)):
                own = turns.block(way, counts[way])
                bare.append(turns.block(BARE, usual))
                added[way].append(_beyond(own, bare[-2], bare[-1]))
    except KeyboardInterrupt:
        raise StoppedError(told) from None
    finally:
        if len(bare) >= 2:
            told.bare_ms = 1000 * statistics.median(processor for _, processor in bare)
            told.results = [_of_rounds(way, shares) for way, shares in added.items() if len(shares) >= 2]


def _beyond(own: tuple[float, float], before: tuple[float, float], after: tuple[float, float]) -> tuple[float, float]:
    wall, processor = (2 * mine / (one + other) - 1 for mine, one, other in zip(own, before, after, strict=True))
    return wall, processor


def _warm_steps(way: str, single: float, effort: Effort) -> int:
    if not way.startswith(OURS):
        return _PEERS_WARM_STEPS
    most = min(_WARM_SECONDS, effort.run) / single
    return max(12, min(_WARM_STEPS, round(most)))


def _of_rounds(way: str, shares: list[tuple[float, float]]) -> Result:
    def spread(clock: int) -> tuple[float, float, float]:
        low, middle, high = statistics.quantiles([share[clock] for share in shares], n=4)
        return low, middle, high

    return Result(way, spread(0), spread(1), len(shares))


def _over_the_run(way: str, along: Times, blocks: int) -> Result:
    chance = random.Random(0)

    def added(clock: int) -> tuple[float, float, float]:
        own = [times[clock] for times in along[way][:blocks]]
        bare = [times[clock] for times in along[BARE][:blocks]]
        resampled = []
        for _ in range(400):
            drawn = chance.choices(range(blocks), k=blocks)
            resampled.append(sum(own[i] for i in drawn) / sum(bare[i] for i in drawn) - 1)
        low, _, high = statistics.quantiles(resampled, n=4)
        return low, sum(own) / sum(bare) - 1, high

    return Result(way, added(0), added(1), blocks)


def table(measured: Sequence[Measured]) -> str:
    """Everything that was measured, a row for each model and way."""
    lines = ["| training | recording | added, processor time | added, wall clock |", "| --- | --- | ---: | ---: |"]
    for one in measured:
        title = f"{one.title}; bare step {one.bare_ms:.2f} ms"
        for result in one.over_the_run:
            name = f"{result.way}, whole run of {one.run_seconds:.0f} s"
            lines.append(f"| {title} | {name} | {_span(result.processor)} | {_span(result.wall)} |")
        for result in one.results:
            lines.append(f"| {title} | {result.way} | {_span(result.processor)} | {_span(result.wall)} |")
        lines += [f"| {title} | {way} | left out: {reason} | |" for way, reason in one.absent.items()]
    return "\n".join(lines)


def _span(shares: Sequence[float]) -> str:
    low, middle, high = shares
    return f"{middle:+.1%} ({low:+.1%} to {high:+.1%})"


def _say(text: str, *, passing: bool = False) -> None:
    """Progress, on stderr; what is ``passing`` is written over by the next on a terminal."""
    if passing and not sys.stderr.isatty():
        return
    print(f"\r{text[:118]:<118}" if passing else f"\r{text:<118}", end="" if passing else "\n", file=sys.stderr)


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    effort = Effort(4, 0.1, 1.0) if options.quick else Effort(options.rounds, options.seconds, options.run)
    wanted = [way for way in WAYS if not options.only or any(part in way for part in options.only)]
    wanted = [*dict.fromkeys([BARE, AGAIN, *wanted])]
    measured: list[Measured] = []
    chance, begun = random.Random(options.seed), time.monotonic()
    for name in options.models or USUAL:
        try:
            measured.append(measure(name, wanted, effort, chance))
        except StoppedError as stopped:
            measured.append(stopped.args[0])
            _say("stopped; what there is:")
            break
        except KeyboardInterrupt:
            break
        _say(f"{name}: done, {time.monotonic() - begun:.0f} s in all")
    print(table(measured))
    told = {
        "command": "python -m benchmarks overhead" + (" --quick" if options.quick else ""),
        "machine": machine(),
        "threads": options.threads,
        "effort": asdict(effort),
        "seed": options.seed,
        "models": [asdict(one) for one in measured],
    }
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if options.chart:
        options.chart.write_text(chart.draw(told), "utf-8")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks overhead", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)} (default: the first four)")
    parser.add_argument("--only", action="append", metavar="WAY", help="ways whose names hold this; may be repeated")
    parser.add_argument("--rounds", type=int, default=8, help="blocks of each way (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.4, help="of bare training in a block (default: %(default)s)")
    parser.add_argument("--run", type=float, default=100.0, help="seconds of the whole run (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="4 short blocks of each: to see that everything runs")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of blocks (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw them there, as SVG")
    options = parser.parse_args(arguments)
    unknown = set(options.models) - MODELS.keys()
    if unknown:
        parser.error(f"expected models of {', '.join(MODELS)}, found {', '.join(sorted(unknown))}")
    for part in options.only or ():
        if not any(part in way for way in WAYS):
            parser.error(f"--only: expected a part of one of {'; '.join(WAYS)}, found {part!r}")
    if options.rounds < 2:
        parser.error(f"--rounds: expected 2 or more, found {options.rounds}")
    return options


if __name__ == "__main__":
    main()
