"""Mutated event files, read with the native core and without it: the same run, whatever the file holds.

    python -m tests.source.fuzz --files 100000 [--seed 0]

``native/`` built with ``CFLAGS="-fsanitize=address,undefined"``, ``LD_PRELOAD`` naming ``libasan`` and ``libubsan``,
and ``PYTHONMALLOC=malloc`` make of it a search for reads beyond the memory of a file.
"""

from __future__ import annotations

import argparse
import random
import time
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings

from tb_nnhealth.events import reader
from tb_nnhealth.events.framing import frame_in_python
from tb_nnhealth.events.storage import LocalStorage, Stamp
from tb_nnhealth.source.run_files import RunFiles
from tests.events.any_events import logs
from tests.events.logs import FILE

from .compare import assert_same_to_the_last_detail, without_native


class Memory(LocalStorage):
    """One file."""

    def __init__(self, whole: bytes) -> None:
        self._whole = whole

    def stamp(self, path: str) -> Stamp:
        return Stamp(len(self._whole), "", 0.0)

    def read_into(self, memory: memoryview, path: str, offset: int) -> int:
        found = self._whole[offset : offset + len(memory)]
        memory[: len(found)] = found
        return len(found)


def corpus() -> list[bytes]:
    """Serialized events of every form."""
    found: set[bytes] = set()

    @settings(max_examples=200, database=None, derandomize=True, phases=[Phase.generate], deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(logs)
    def collect(events: list[bytes]) -> None:
        found.update(events)

    collect()
    return sorted(found)


def mutated(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice([1, 1, 2, 8, 60]))
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:end] = rng.randbytes(end - at)
        elif kind == 2:
            del out[at:end]
        elif kind == 3:
            out[at:at] = out[at:end]
        elif kind == 4:
            out[at:end] = rng.choice([b"\xff" * 9, b"\x00", b"\x80" * 10, b"\xff" * 8 + b"\x7f", b"\xff" * 9 + b"\x01"])
        elif rng.random() < 0.1:
            del out[at:]
    return bytes(out)


def file_of(rng: random.Random, events: list[bytes]) -> bytes:
    """Some events, their data mutated before they were framed, or the file afterwards."""
    chosen = rng.choices(events, k=rng.randint(1, 12))
    frames = [frame_in_python(mutated(rng, data) if rng.random() < 0.5 else data) for data in chosen]
    whole = b"".join(frames)
    return mutated(rng, whole) if rng.random() < 0.3 else whole


def compare(whole: bytes, chunk: int) -> None:
    storage = Memory(whole)
    with mock.patch.object(reader, "CHUNK_BYTES", chunk):
        ours = RunFiles("run", storage).refresh([FILE])
    with without_native():
        theirs = RunFiles("run", storage).refresh([FILE])
    assert_same_to_the_last_detail(ours, theirs)


def fuzz(files: int, seed: int) -> None:
    """Raises AssertionError, with the file in its notes, where the two ways differ."""
    rng, events = random.Random(seed), corpus()
    for _ in range(files):
        whole = file_of(rng, events)
        try:
            compare(whole, rng.choice([1, 100, 1000, 1 << 20]))
        except BaseException:
            print(f"the file that failed: {whole!r}")
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begun = time.monotonic()
    fuzz(options.files, options.seed)
    print(f"{options.files} files in {time.monotonic() - begun:.0f} s: no difference")


if __name__ == "__main__":
    main()
