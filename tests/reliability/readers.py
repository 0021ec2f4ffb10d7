"""Damaged event files: the reader neither falls, hangs nor swells, and gives all that stands before the damage.

    python -m tests.reliability.readers [--files 1000000] [--seed 0] [--jobs N]

Files are made of valid events of every form. A half has damage within serialized events that are then framed as valid,
so that it reaches the decoders; others are flipped, cut, spliced with another file, or lie about a length. Each is read
by the reader that ``nnhealth inspect`` uses, natively where the core is built, and beside an undamaged run, which must
stay as it is. ``python -m tests.source.fuzz`` compares the native core with Python on such files, and runs under
AddressSanitizer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tb_nnhealth.events.framing import frame_in_python
from tb_nnhealth.source.run_files import RunFiles
from tests.events.logs import FILE
from tests.source.fuzz import Memory, corpus, mutated

from .children import in_child

BATCH = 5000
LONGEST_SECONDS = 1.0
"""More for one file counts as hanging."""


def spoiled(rng: random.Random, whole: bytes, other: bytes) -> bytes:
    """``whole`` with damage to the file, not to what its records hold."""
    at = rng.randrange(len(whole) + 1)
    kind = rng.randrange(5)
    if kind == 0:
        return mutated(rng, whole)
    if kind == 1:
        return whole[:at]
    if kind == 2:
        return whole[:at] + other[rng.randrange(len(other) + 1) :]
    if kind == 3:
        lie = struct.pack("<Q", rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(whole), rng.randrange(1000)]))
        return whole[:at] + lie + whole[at + 8 :]
    return whole[:at] + rng.randbytes(rng.randrange(64)) + whole[at:]


def file_of(rng: random.Random, events: list[bytes]) -> tuple[bytes, int]:
    """A file, and how many of its first bytes are whole records as they were framed."""

    def framed() -> list[bytes]:
        chosen = rng.choices(events, k=rng.randint(1, 12))
        return [frame_in_python(mutated(rng, data) if rng.random() < 0.5 else data) for data in chosen]

    frames = framed()
    whole = b"".join(frames)
    if rng.random() < 0.5:
        return whole, len(whole)
    damaged = spoiled(rng, whole, b"".join(framed()))
    same = next(
        (i for i, (a, b) in enumerate(zip(whole, damaged, strict=False)) if a != b), min(len(whole), len(damaged))
    )
    valid = 0
    for frame in frames:
        if valid + len(frame) > same:
            break
        valid += len(frame)
    return damaged, valid


def batch(files: int, seed: int) -> dict[str, Any]:
    """Reads ``files`` files; the slowest, the memory used, and the failures as sentences."""
    rng, events = random.Random(seed), corpus()
    sound = b"".join(frame_in_python(data) for data in events[:20])
    undamaged = repr(RunFiles("sound", Memory(sound)).refresh([FILE]).scalars.keys())
    failures, slowest = [], 0.0
    for number in range(files):
        whole, valid = file_of(rng, events)
        reading, begun = RunFiles("run", Memory(whole)), time.perf_counter()
        try:
            reading.refresh([FILE])
        except Exception as error:
            failures.append(f"seed {seed}, file {number}: {type(error).__name__}: {error}: {whole!r}")
            continue
        seconds = time.perf_counter() - begun
        slowest = max(slowest, seconds)
        read = reading._files[FILE].offset
        if read < valid:
            failures.append(f"seed {seed}, file {number}: read {read} of {valid} valid bytes: {whole!r}")
        if seconds > LONGEST_SECONDS:
            failures.append(f"seed {seed}, file {number}: took {seconds:.1f} s: {whole!r}")
    if repr(RunFiles("sound", Memory(sound)).refresh([FILE]).scalars.keys()) != undamaged:
        failures.append(f"seed {seed}: a sound file is no longer read as before")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"failures": failures, "slowest": slowest, "peak_mb": peak}


def run(files: int, seed: int, jobs: int) -> dict[str, Any]:
    """Reads in batches, each in a process of its own, so that a crash costs one."""
    corpus()
    sizes = [min(BATCH, files - at) for at in range(0, files, BATCH)]
    failures, slowest, peak = [], 0.0, 0.0
    with ThreadPoolExecutor(jobs) as pool:
        work = [lambda n=n, i=i: batch(n, seed * 1_000_003 + i) for i, n in enumerate(sizes)]
        for number, outcome in enumerate(pool.map(lambda w: in_child(w, 3600.0), work), 1):
            if outcome.error is not None:
                failures.append(f"batch {number}: {outcome.error}")
                continue
            failures += outcome.value["failures"]
            slowest, peak = max(slowest, outcome.value["slowest"]), max(peak, outcome.value["peak_mb"])
            print(f"\r{number}/{len(sizes)} batches, {len(failures)} failures", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {"files": files, "slowest_seconds": slowest, "peak_mb": peak, "failures": failures}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    told = run(options.files, options.seed, options.jobs)
    for failure in told["failures"][:20]:
        print(failure[:2000])
    print(
        f"{told['files']} files in {time.monotonic() - begun:.0f} s: {len(told['failures'])} failures; "
        f"slowest {1e3 * told['slowest_seconds']:.0f} ms, at most {told['peak_mb']:.0f} MB"
    )
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))
    return int(bool(told["failures"]))


if __name__ == "__main__":
    sys.exit(main())
