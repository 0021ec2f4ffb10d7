"""The reports of many runs, as a sequence that holds them packed, and beyond some megabytes on disk."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from tb_nnhealth.fleet.scan import Summary, unpack

HELD_BYTES = 32 << 20
"""Of packed reports in memory; the rest waits in a temporary file."""

Report = dict[str, Any]


class Reports(Sequence[Report]):
    """Each report is unpacked when it is asked for, and not kept: iterate rather than gather."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(HELD_BYTES)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._places: list[tuple[int, int]] = []
        self.summaries: list[Summary] = []

    def append(self, packed: bytes, summary: Summary) -> None:
        at = self._file.seek(0, 2)
        self._file.write(packed)
        self._places.append((at, len(packed)))
        self.summaries.append(summary)

    def arrange(self, key: Callable[[Summary], Any]) -> None:
        """Sorts by what ``key`` makes of a summary."""
        order = sorted(range(len(self)), key=lambda i: key(self.summaries[i]))
        self._places = [self._places[i] for i in order]
        self.summaries = [self.summaries[i] for i in order]

    def keep(self, wanted: Callable[[Summary], bool]) -> None:
        """Forgets the reports that are not wanted."""
        kept = [i for i, summary in enumerate(self.summaries) if wanted(summary)]
        self._places = [self._places[i] for i in kept]
        self.summaries = [self.summaries[i] for i in kept]

    def join(self, members: Sequence[int], packed: bytes, summary: Summary) -> None:
        """Puts one report in the place of those at ``members``."""
        gone = set(members)
        self._places = [place for i, place in enumerate(self._places) if i not in gone]
        self.summaries = [known for i, known in enumerate(self.summaries) if i not in gone]
        self.append(packed, summary)

    @property
    def severest(self) -> int:
        """Place in ``SEVERITIES`` of the severest finding of all, -1 without any."""
        return max((summary.severest for summary in self.summaries), default=-1)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Report: ...
    @overload
    def __getitem__(self, index: slice) -> list[Report]: ...
    def __getitem__(self, index: int | slice) -> Report | list[Report]:
        if isinstance(index, slice):
            return [self._unpacked(place) for place in self._places[index]]
        return self._unpacked(self._places[index])

    def __iter__(self) -> Iterator[Report]:
        return (self._unpacked(place) for place in list(self._places))

    def _unpacked(self, place: tuple[int, int]) -> Report:
        self._file.seek(place[0])
        return unpack(self._file.read(place[1]))
