"""SIGKILL at random moments: what was flushed stays readable, and at most one health step is lost.

    python -m tests.reliability.kills [--kills 500] [--seed 0] [--jobs N]

Each trial is a training in a process of its own that flushes its writer every few steps and then says so through a
pipe. It is killed at a random moment; its log must read without a fault up to the end that was cut off, and hold a
record and the losses of every step up to the last one that was said to be flushed, but for one health step. One trial
in ten is left to end in order, and must lose nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tb_nnhealth.source.files import FileSource

from .training import train

STEPS, FLUSH_EVERY = 40, 3


@dataclass(frozen=True)
class Trial:
    """One training; ``after``: seconds from its first step until it is killed, None where it ends by itself."""

    number: int
    after: float | None


def victim(directory: Path, pipe: int) -> None:
    """Trains until it is killed, and says through ``pipe`` how many steps are flushed, one byte each."""
    warnings.simplefilter("ignore")
    done = 0

    def each(writer: Any) -> None:
        nonlocal done
        done += 1
        if done == 1:
            os.write(pipe, bytes([0]))
        if done % FLUSH_EVERY == 0:
            writer.flush()
            os.write(pipe, bytes([done]))

    train(directory, STEPS, each=each)
    os.write(pipe, bytes([STEPS]))


def flushed_until_killed(directory: Path, trial: Trial) -> int:
    """Steps that the training of ``trial`` said were flushed before its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            victim(directory, writing)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        said = pipe.read(1)  # the first step has been made
        if trial.after is not None:
            time.sleep(trial.after)
            os.kill(child, signal.SIGKILL)
        rest = pipe.read()
    os.waitpid(child, 0)
    return max(said + rest, default=0)


def loss(directory: Path, flushed: int, *, killed: bool) -> str | None:
    """What of the first ``flushed`` steps the log in ``directory`` lacks, in a sentence; None where nothing."""
    source = FileSource([str(directory)])
    source.refresh()
    if not source.runs():
        return None if flushed == 0 else f"nothing readable, though {flushed} steps were flushed"
    run = source.run(source.runs()[0])
    if any("checksum" in problem.message for problem in run.problems):
        return f"a record within the file is damaged: {run.problems[0].message}"
    scalars = len(run.scalars["loss/train"].steps) if "loss/train" in run.scalars else 0
    records = sum(len(history) for history in run.watches.values())
    spared = 1 if killed else 0
    if scalars < flushed or records < flushed - spared:
        return f"{flushed} steps were flushed; read were {scalars} losses and {records} health steps"
    return None


def run(kills: int, seed: int, jobs: int) -> dict[str, Any]:
    """Runs the trials; their counts, and the failures as sentences."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="kills-") as base:
        train(Path(base) / "first", STEPS)  # which imports what is needed
        begun = time.monotonic()
        train(Path(base) / "second", STEPS)
        length = time.monotonic() - begun
        rng = random.Random(seed)
        whole = [Trial(-1 - i, None) for i in range(-(-kills // 10))]
        todo = [Trial(i, rng.uniform(0, length)) for i in range(kills)] + whole
        failures, flushed = [], 0
        for number, (trial, steps, wrong) in enumerate(_trials(todo, Path(base), jobs), 1):
            flushed += steps
            if wrong is not None:
                failures.append(f"trial {trial.number}, killed after {trial.after}: {wrong}")
            if sys.stderr.isatty() or number % 100 == 0:
                print(f"\r{number}/{len(todo)} trials, {len(failures)} failed", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    return {"kills": kills, "ended": len(whole), "flushed": flushed, "failures": failures}


def _trials(todo: list[Trial], base: Path, jobs: int) -> Iterator[tuple[Trial, int, str | None]]:
    def one(trial: Trial) -> tuple[Trial, int, str | None]:
        directory = base / str(trial.number)
        directory.mkdir()
        flushed = flushed_until_killed(directory, trial)
        if trial.after is None and flushed < STEPS:
            return trial, flushed, f"the training ended by itself after {flushed} of {STEPS} steps"
        return trial, flushed, loss(directory, flushed, killed=trial.after is not None)

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, todo)


def said(told: dict[str, Any]) -> str:
    return (
        f"{told['kills']} trainings killed and {told['ended']} ended in order: "
        f"of {told['flushed']:,} flushed steps more than one was lost in {len(told['failures'])} of them"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    told = run(options.kills, options.seed, options.jobs)
    for failure in told["failures"]:
        print(failure)
    print(said(told))
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))
    return int(bool(told["failures"]))


if __name__ == "__main__":
    sys.exit(main())
