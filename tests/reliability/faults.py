"""Single faults inside the shim: the n-th call of an internal function fails, and the training must not notice.

    python -m tests.reliability.faults [--faults 1000] [--seed 0] [--jobs N]

A first training finds which functions of tb_nnhealth are called, on any thread, and how often. Each fault is one
training in a process of its own, in which one of those calls raises. It passes where the training ends with the same
losses, weights and random state as one that nobody watches, and every entry is either written or counted as dropped.
Left out are functions that the training or PyTorch calls, itself or through a method of SummaryWriter: where those
begin, nothing of ours is there to catch.
Counted apart is where ``watch`` refuses: it takes a TypeError or ValueError in the checks of its arguments for the
caller's, and raises it before the training begins.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import random
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

import tb_nnhealth
from tb_nnhealth.record import summary_writer

from .children import Outcome, in_child
from .training import train, undisturbed

PACKAGE = str(Path(tb_nnhealth.__file__).parent) + os.sep
SHELL = summary_writer.__file__
"""What this calls begins in the user's line, or in PyTorch's."""
SECONDS = 120.0
"""What hangs is ended after so long."""


class Injected(Exception):
    """A fault of a kind that nobody expects."""


KINDS: tuple[type[Exception], ...] = (
    RuntimeError, OSError, MemoryError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, Injected,
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """Call number ``call`` of the function ``name`` in ``file`` that begins in ``line`` raises ``kind``."""

    file: str
    line: int
    name: str
    call: int
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} in call {self.call} of {self.name} ({self.file}:{self.line})"


def inner(frame: FrameType) -> CodeType | None:
    """The code that ``frame`` begins, where it is ours and called by ours."""
    code, caller = frame.f_code, frame.f_back
    if not code.co_filename.startswith(PACKAGE) or caller is None:
        return None
    called_from = caller.f_code.co_filename
    return code if called_from.startswith(PACKAGE) and called_from != SHELL else None


def key(code: CodeType) -> tuple[str, int, str]:
    return os.path.relpath(code.co_filename, PACKAGE), code.co_firstlineno, code.co_name


def traced(function: Any) -> None:
    threading.settrace(function)
    sys.settrace(function)


def untraced() -> None:
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]


def calls(directory: Path) -> Counter[tuple[str, int, str]]:
    """How often each inner function is called in a training without faults."""
    found: Counter[tuple[str, int, str]] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        code = inner(frame)
        if code is not None:
            found[key(code)] += 1

    try:
        train(directory, opened=lambda: traced(count))
    finally:
        untraced()
    return found


def with_fault(directory: Path, fault: Fault) -> dict[str, Any]:
    """What became of a training in which ``fault`` happens."""
    where, kind = (fault.file, fault.line, fault.name), next(k for k in KINDS if k.__name__ == fault.kind)
    count, lock, happened = 0, threading.Lock(), False

    def raise_once(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count, happened
        code = inner(frame)
        if code is None or happened or key(code) != where:
            return
        with lock:
            count += 1
            if count != fault.call:
                return
            happened = True
        raise kind(f"injected into {code.co_name}")

    try:
        digest, writer = train(directory, opened=lambda: traced(raise_once))
    finally:
        untraced()
    recorder = writer._recorder
    tallies = recorder.counts.values() if recorder is not None else ()
    return {
        "digest": digest,
        "happened": happened,
        "unaccounted": sum(tally.produced - tally.written - tally.dropped for tally in tallies),
        "dropped": sum(tally.dropped for tally in tallies),
    }


def chosen(found: Counter[tuple[str, int, str]], faults: int, seed: int) -> list[Fault]:
    """Of each function its first and last call first, then calls and kinds of fault at random."""
    rng = random.Random(seed)
    ends = [(where, call) for where, count in sorted(found.items()) for call in sorted({1, count})]
    rng.shuffle(ends)
    between = [(where, call) for where, count in sorted(found.items()) for call in range(2, count)]
    rng.shuffle(between)
    return [Fault(*where, call, rng.choice(KINDS).__name__) for where, call in (ends + between)[:faults]]


def harm(outcome: Outcome, expected: str) -> str | None:
    """What was wrong with a training, None where nothing was."""
    if outcome.error is not None:
        return None if refused(outcome) else outcome.error
    if outcome.value["digest"] != expected:
        return "the training's result differs"
    if outcome.value["unaccounted"]:
        return f"{outcome.value['unaccounted']} entries neither written nor counted as dropped"
    return None


def refused(outcome: Outcome) -> bool:
    return outcome.error is not None and outcome.error.startswith("Refused")


def run(faults: int, seed: int, jobs: int) -> dict[str, Any]:
    """Tries the faults; what was found as numbers, and the failures as sentences."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    expected = undisturbed()
    _import_all()
    with tempfile.TemporaryDirectory(prefix="faults-") as base:
        counted = in_child(lambda: [[*where, n] for where, n in calls(Path(base) / "first").items()], SECONDS)
        if counted.error is not None:
            raise RuntimeError(f"the training without faults: {counted.error}")
        found = Counter({(file, line, name): n for file, line, name, n in counted.value})
        todo = chosen(found, faults, seed)
        failures, happened, dropped, refusals = [], 0, 0, 0
        for number, (fault, outcome) in enumerate(_outcomes(todo, Path(base), jobs), 1):
            wrong = harm(outcome, expected)
            if wrong is not None:
                failures.append(f"{fault}: {wrong}")
            elif refused(outcome):
                refusals += 1
            else:
                happened += outcome.value["happened"]
                dropped += outcome.value["dropped"]
            if sys.stderr.isatty() or number % 100 == 0:
                print(f"\r{number}/{len(todo)} faults, {len(failures)} harmful", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    return {
        "functions": len(found), "calls": sum(found.values()), "faults": len(todo), "happened": happened,
        "kinds": len(KINDS), "dropped": dropped, "refused": refusals, "failures": failures,
    }  # fmt: skip


def _import_all() -> None:
    """So that no child imports anything: what a module does when it is imported is no call of its functions."""
    for module in pkgutil.walk_packages(tb_nnhealth.__path__, "tb_nnhealth."):
        if not module.name.startswith(("tb_nnhealth.integrations", "tb_nnhealth.record.device_kernel")):
            importlib.import_module(module.name)


def _outcomes(todo: list[Fault], base: Path, jobs: int) -> Iterator[tuple[Fault, Outcome]]:
    def one(numbered: tuple[int, Fault]) -> tuple[Fault, Outcome]:
        number, fault = numbered
        return fault, in_child(lambda: with_fault(base / str(number), fault), SECONDS)

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, enumerate(todo))


def said(told: dict[str, Any]) -> str:
    return (
        f"{told['faults']:,} faults of {told['kinds']} kinds in {told['functions']} functions ({told['happened']} "
        f"happened): {len(told['failures'])} trainings harmed; "
        f"{told['dropped']} entries dropped and counted, {told['refused']} refused by watch()"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    told = run(options.faults, options.seed, options.jobs)
    for failure in told["failures"]:
        print(failure)
    print(said(told))
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))
    return int(bool(told["failures"]))


if __name__ == "__main__":
    sys.exit(main())
