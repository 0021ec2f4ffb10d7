"""Damaged event files: the reader neither falls, hangs nor swells, and gives all that stands before the damage.

    python -m tests.reliability.readers [--files 1000000] [--seed 0] [--jobs N]

Files are made of valid events of every form. A half has damage within serialized events that are then framed as valid,
so that it reaches the decoders; others are flipped, cut, spliced with another file, or lie about a length. Each is read
by the reader that ``nnhealth inspect`` uses, natively where the core is built: exactly up to where a scanner of a dozen
lines finds the last whole record. One file in fifty is read in Python as well, which must give the same run. An
undamaged run beside them must stay as it is. ``tests/fuzz`` looks for more, guided by coverage.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c

from tb_nnhealth.events.framing import frame_in_python, masked
from tb_nnhealth.source.run_files import RunFiles
from tests.events.logs import FILE
from tests.source.compare import assert_same_to_the_last_detail
from tests.source.fuzz import Memory, compare, corpus, mutated

from .children import in_child

BATCH = 5000
BATCH_SECONDS = 600.0
"""What hangs is ended after so long, with its batch."""
LONGEST_SECONDS = 1.0
"""More of the processor's time for one file counts as hanging."""
COMPARED_EVERY = 50
"""So many files are read natively, and one of them in Python as well."""


def spoiled(rng: random.Random, whole: bytes, other: Callable[[], bytes]) -> bytes:
    """``whole`` with damage to the file, not to what its records hold; ``other()`` is a file to splice it with."""
    at = rng.randrange(len(whole) + 1)
    kind = rng.randrange(5)
    if kind == 0:
        return mutated(rng, whole)
    if kind == 1:
        return whole[:at]
    if kind == 2:
        rest = other()
        return whole[:at] + rest[rng.randrange(len(rest) + 1) :]
    if kind == 3:
        lie = struct.pack("<Q", rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(whole), rng.randrange(1000)]))
        return whole[:at] + lie + whole[at + 8 :]
    return whole[:at] + rng.randbytes(rng.randrange(64)) + whole[at:]


def file_of(rng: random.Random, events: list[bytes]) -> bytes:
    """A file of some events, damaged before they were framed, or afterwards, or both, or not at all."""

    def framed() -> bytes:
        chosen = rng.choices(events, k=rng.randint(1, 12))
        return b"".join([frame_in_python(mutated(rng, data) if rng.random() < 0.5 else data) for data in chosen])

    whole = framed()
    return whole if rng.random() < 0.5 else spoiled(rng, whole, framed)


def valid_bytes(whole: bytes) -> int:
    """How many of its first bytes are whole records: the format in its simplest words, beside our reader."""
    at = 0
    while len(whole) - at >= 16:
        (length, length_crc) = struct.unpack_from("<QI", whole, at)
        end = at + 12 + length
        if masked(google_crc32c.value(whole[at : at + 8])) != length_crc or end + 4 > len(whole):
            break
        if struct.unpack_from("<I", whole, end)[0] != masked(google_crc32c.value(whole[at + 12 : end])):
            break
        at = end + 4
    return at


def wrong(whole: bytes, *, twice: bool) -> tuple[str | None, float]:
    """What went wrong in reading a file, if anything, and the processor's seconds; ``twice``: in Python as well."""
    reading, begun = RunFiles("run", Memory(whole)), time.process_time()
    try:
        reading.refresh([FILE])
    except Exception as error:
        return f"{type(error).__name__}: {error}", 0.0
    seconds = time.process_time() - begun
    read, valid = reading._files[FILE].offset, valid_bytes(whole)
    if read != valid:
        return f"read {read} of {valid} valid bytes", seconds
    if seconds > LONGEST_SECONDS:
        return f"took {seconds:.1f} s", seconds
    if twice:
        try:
            compare(whole, 1 << 20)
        except Exception as error:
            return f"the native core and Python differ: {type(error).__name__}: {error}", seconds
    return None, seconds


def batch(files: int, seed: int, events: list[bytes]) -> dict[str, Any]:
    """Reads ``files`` files; the slowest, the memory used, and the failures as sentences."""
    rng = random.Random(seed)
    sound = b"".join(frame_in_python(data) for data in events[:20])
    undamaged = RunFiles("sound", Memory(sound)).refresh([FILE])
    failures, slowest = [], 0.0
    for number in range(files):
        whole = file_of(rng, events)
        why, seconds = wrong(whole, twice=number % COMPARED_EVERY == 0)
        slowest = max(slowest, seconds)
        if why is not None:
            failures.append(f"seed {seed}, file {number}: {why}: {whole!r}")
    try:
        assert_same_to_the_last_detail(RunFiles("sound", Memory(sound)).refresh([FILE]), undamaged)
    except AssertionError as error:
        failures.append(f"seed {seed}: a sound file is no longer read as before: {error}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"failures": failures, "slowest": slowest, "peak": peak}


def run(files: int, seed: int, jobs: int, kept: Path | None = None) -> dict[str, Any]:
    """Reads in batches, each in a process of its own, so that a crash costs one; goes on where ``kept`` ends."""
    told: dict[str, Any] = {"seed": seed, "files": 0, "slowest_seconds": 0.0, "peak_mb": 0.0, "failures": []}
    if kept is not None and kept.exists():
        told = json.loads(kept.read_text())
    events, seed, done = corpus(), told["seed"], told["files"]
    sizes = [min(BATCH, files - at) for at in range(done, files, BATCH)]
    with ThreadPoolExecutor(jobs) as pool:
        work = [lambda n=n, i=i: batch(n, seed * 1_000_003 + i, events) for i, n in enumerate(sizes, done // BATCH)]
        for size, outcome in zip(sizes, pool.map(lambda w: in_child(w, BATCH_SECONDS), work), strict=True):
            found = outcome.value or {"failures": [f"a batch of {size} files: {outcome.error}"]}
            told["files"] += size
            told["failures"] += found["failures"]
            told["slowest_seconds"] = max(told["slowest_seconds"], found.get("slowest", 0.0))
            told["peak_mb"] = max(told["peak_mb"], found.get("peak", 0.0))
            for failure in found["failures"]:
                print(failure[:2000], flush=True)
            if kept is not None:
                kept.write_text(json.dumps(told, indent=1))
    return told


def said(told: dict[str, Any]) -> str:
    return (
        f"{told['files']:,} files: {len(told['failures'])} failures; the slowest took "
        f"{1e3 * told['slowest_seconds']:.0f} ms of a processor, their readers at most {told['peak_mb']:.0f} MB"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="the result, after each batch; where it exists, it is gone on with")
    options = parser.parse_args(arguments)
    told = run(options.files, options.seed, options.jobs, options.json)
    print(said(told))
    return int(bool(told["failures"]))


if __name__ == "__main__":
    sys.exit(main())
