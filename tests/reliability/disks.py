"""Disks that fail while a training writes to them: full, gone, replaced, failing now and then, standing still.

    python -m tests.reliability.disks [--seeds 5]

Each trial is a training in a process of its own, on real files. In its midst the disk fails, and later it is well
again. The training must end with the same result, every entry must be written or counted as dropped, and records must
be written again within ten seconds of the disk being well.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from tb_nnhealth.record import output
from tb_nnhealth.source.files import FileSource

from .children import Outcome, in_child
from .training import train

STEPS, ILL, WELL = 60, 15, 40
RESUMED_SECONDS = 10.0
HUNG_SECONDS = 120.0

Heal = Callable[[], None]


def full(directory: Path, rng: random.Random) -> Heal:
    """No file may grow beyond a few bytes: every write ends with EFBIG, as on a full disk with ENOSPC."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (rng.randrange(40), hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def gone(directory: Path, rng: random.Random) -> Heal:
    """The log directory is deleted, with the file that is being written."""
    shutil.rmtree(directory)
    return lambda: None


def replaced(directory: Path, rng: random.Random) -> Heal:
    """A file stands where the log directory was, so that nothing can be made in it."""
    shutil.rmtree(directory)
    directory.write_text("not a directory")
    return lambda: directory.unlink()


def no_descriptors(directory: Path, rng: random.Random) -> Heal:
    """The directory is deleted, and the process may open no more files."""
    shutil.rmtree(directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def failing(directory: Path, rng: random.Random) -> Heal:
    """Every other write ends with EIO."""

    def write(descriptor: int, data: Any) -> int:
        if rng.random() < 0.5:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.write(descriptor, data)

    return _writing(write)


def piecemeal(directory: Path, rng: random.Random) -> Heal:
    """Writes take a part of what they are given, and sometimes fail after it."""

    def write(descriptor: int, data: Any) -> int:
        if rng.random() < 0.05:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data[: rng.randint(1, len(data))])

    return _writing(write)


def stalled(directory: Path, rng: random.Random) -> Heal:
    """A write does not return until the disk is well."""
    well = threading.Event()

    def write(descriptor: int, data: Any) -> int:
        well.wait()
        return os.write(descriptor, data)

    heal = _writing(write)

    def end() -> None:
        heal()
        well.set()

    return end


DISKS: dict[str, Callable[[Path, random.Random], Heal]] = {
    disk.__name__.replace("_", " "): disk
    for disk in (full, gone, replaced, no_descriptors, failing, piecemeal, stalled)
}


def _writing(write: Callable[[int, Any], int]) -> Heal:
    """Has the event files written by ``write``."""
    replacement = mock.Mock(wraps=os)
    replacement.write = write
    patch = mock.patch.object(output, "os", replacement)
    patch.start()
    return patch.stop


def trial(directory: Path, disk: str, seed: int) -> dict[str, Any]:
    """What became of a training whose disk fails as ``disk`` says."""
    warnings.simplefilter("ignore")
    rng = random.Random(f"{disk} {seed}")
    step, heal = 0, None

    def each(writer: Any) -> None:
        nonlocal step, heal
        step += 1
        if step == ILL:
            heal = DISKS[disk](directory, rng)
        elif step == WELL:
            heal()
        elif step == WELL + 1:
            _until_written(writer)

    digest, writer = train(directory, STEPS, each=each)
    tallies = writer._recorder.counts.values()
    return {
        "digest": digest,
        "produced": sum(tally.produced for tally in tallies),
        "unaccounted": sum(tally.produced - tally.written - tally.dropped for tally in tallies),
        "dropped": sum(tally.dropped for tally in tallies),
        "last": _last_step(directory),
    }


def _until_written(writer: Any) -> None:
    """Waits until the records are written again, at most as long as that may take."""
    deadline = time.monotonic() + RESUMED_SECONDS
    while time.monotonic() < deadline and not writer._recorder.flush(1.0):
        time.sleep(0.1)


def _last_step(directory: Path) -> int | None:
    source = FileSource([str(directory)])
    source.refresh()
    run = source.run(source.runs()[0]) if source.runs() else None
    return max((int(h.steps[-1]) for h in run.watches.values() if len(h)), default=None) if run else None


def harm(outcome: Outcome, expected: str) -> str | None:
    """What was wrong with a trial, None where nothing was."""
    if outcome.error is not None:
        return outcome.error
    if outcome.value["digest"] != expected:
        return "the training's result differs"
    if outcome.value["unaccounted"]:
        return f"{outcome.value['unaccounted']} entries neither written nor counted as dropped"
    if outcome.value["last"] != STEPS - 1:
        return (
            f"the last record is of step {outcome.value['last']}; expected {STEPS - 1}, written after the disk was well"
        )
    return None


def run(seeds: int) -> dict[str, Any]:
    """Every disk with every seed; the counts, and the failures as sentences."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = train(None, STEPS)[0]
    failures, produced, dropped = [], 0, 0
    with tempfile.TemporaryDirectory(prefix="disks-") as base:
        for disk in DISKS:
            for seed in range(seeds):
                directory = Path(base) / f"{disk}-{seed}" / "run"
                outcome = in_child(lambda d=directory, k=disk, s=seed: trial(d, k, s), HUNG_SECONDS)
                wrong = harm(outcome, expected)
                if wrong is not None:
                    failures.append(f"{disk}, seed {seed}: {wrong}")
                if outcome.value is not None:
                    produced += outcome.value["produced"]
                    dropped += outcome.value["dropped"]
    return {
        "disks": sorted(DISKS), "trials": seeds * len(DISKS), "produced": produced, "dropped": dropped,
        "failures": failures,
    }  # fmt: skip


def said(told: dict[str, Any]) -> str:
    return (
        f"{told['trials']} trainings on disks that are {', '.join(told['disks'])}: {len(told['failures'])} harmed; "
        f"of {told['produced']:,} entries {told['dropped']} dropped, all counted"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="trials of each disk")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    told = run(options.seeds)
    for failure in told["failures"]:
        print(failure)
    print(said(told))
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))
    return int(bool(told["failures"]))


if __name__ == "__main__":
    sys.exit(main())
