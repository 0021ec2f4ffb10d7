"""Event files that lie beside a copy of themselves: a backup, or what a program left that copies under another name.

Read as one more file of the run, an older copy would take back all that the training wrote since.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import permutations

from tb_nnhealth.events.storage import Storage

_BEGUN = re.compile(r"tfevents\.\d+")
"""What a copy's name keeps of the original's in any case: when the file was begun."""
COMPARED_BYTES = 512
"""At the beginning and at the end of the shorter file: each record carries a checksum and, as a rule, a time."""

LEAST_BYTES = 128
"""What says the version of a file, and no more, is shorter, and alike in files of one moment."""


def copies(paths: Iterable[str], storage: Storage) -> dict[str, str]:
    """Those of the event files of a run that hold nothing but the beginning of another one, each with that one.

    ``events.bak``, ``.events.a1B2c3`` of rsync, ``events (1)``: a copy's name holds the original's.
    """
    found: dict[str, str] = {}
    for copy, original in _named_alike(paths):
        try:
            sizes = storage.stamp(copy).size, storage.stamp(original).size
            short, long = (copy, original) if sizes[0] <= sizes[1] else (original, copy)
            if short not in found and long not in found and _begins(short, long, min(sizes), storage):
                found[short] = long
        except OSError:
            continue  # whoever reads the file says so
    return found


def _named_alike(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of which the first one's name holds the second one's."""
    begun: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in paths:
        name = path.replace("\\", "/").rpartition("/")[2]
        time = _BEGUN.search(name)
        begun[time[0] if time else ""].append((name, path))
    for alike in begun.values():
        yield from ((path, other) for (name, path), (inner, other) in permutations(alike, 2) if inner in name)


def _begins(short: str, long: str, size: int, storage: Storage) -> bool:
    """Whether the ``size`` bytes of ``short`` are the first ones of ``long``, by those at both of their ends."""
    count = min(size, COMPARED_BYTES)
    return size >= LEAST_BYTES and all(
        _bytes(short, at, count, storage) == _bytes(long, at, count, storage) for at in {0, size - count}
    )


def _bytes(path: str, offset: int, count: int, storage: Storage) -> bytes:
    memory = bytearray(count)
    return bytes(memory[: storage.read_into(memoryview(memory), path, offset)])
