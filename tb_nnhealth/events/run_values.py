"""The values of a run's events in the order in which they take effect, plain ones many at a time.

Scalars and records make up nearly all of a log. The native core decodes them into columns; what is not written
as plainly goes to the general decoder, event by event. Without the core everything does, and the values are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import types_pb2

from tb_nnhealth import schema
from tb_nnhealth.events.decode import SCALARS_PLUGIN, Decoder, Tag, Value
from tb_nnhealth.events.reader import EventFile
from tb_nnhealth.events.scan import Chunk
from tb_nnhealth.history import Floats, Problem
from tb_nnhealth.native import core

POINTS_HELD = 1 << 14
POINTS_OF_A_TAG = 512
"""Points of scalars that wait in the columns to be handed on together: so many, and so many for each tag."""
MOST_POINTS_HELD = 1 << 19
"""14 MB, and as much again while they are sorted."""
_TABLE = np.dtype([("tag", "i8"), ("step", "i8"), ("wall", "f8"), ("at", "i8"), ("sizes", "i8", 3)])
_OTHER, _SCALAR, _OURS = 0, 1, 2  # as in native/tags.h
_SHAPES = {
    "stats": (types_pb2.DT_FLOAT, 2, 0, 0, 0),
    "coarser": (types_pb2.DT_FLOAT, 3, len(schema.LEVEL_PLANES), 0, 0),
    "histograms": (types_pb2.DT_INT32, 2, 0, schema.HISTOGRAM_BINS, 0),
}


class Points(NamedTuple):
    """Points of one scalar tag in the order of writing: int64, float64, float64, all of one length."""

    tag: str
    steps: NDArray[np.int64]
    walls: NDArray[np.float64]
    values: NDArray[np.float64]


class Records(NamedTuple):
    """Records of level 0 in the order of writing, float32 of shape (records, rows, columns)."""

    watch: str
    steps: NDArray[np.int64]
    walls: NDArray[np.float64]
    values: Floats


class HistogramRecords(NamedTuple):
    """Records of histograms in the order of writing, int32 of shape (records, rows, ``schema.HISTOGRAM_BINS``)."""

    watch: str
    steps: NDArray[np.int64]
    walls: NDArray[np.float64]
    counts: NDArray[np.int32]


Many = Points | Records | HistogramRecords


class RunValues:
    """Reads the event files of one run, one after the other."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._columns = None if core is None else core.columns()
        self._tags: list[str] = []
        """Of the columns, by number."""
        self._owners: dict[str, tuple[int, ...]] = {}
        """What the columns were told of tags."""

    @property
    def problems(self) -> list[Problem]:
        """What could not be understood."""
        return self._decoder.problems

    def read(self, file: EventFile) -> Iterator[Value | Many]:
        """The values written to ``file`` since it was read last. To be read to the end: the columns are shared."""
        for event, chunk, scanned in file.pieces(self._columns):
            self._meet(scanned.tags)
            if event is None:
                yield from self._taken(chunk, scanned.points >= self._enough)
                continue
            values = list(self._decoder.values(event, file.path))
            if values:
                yield from self._taken(chunk)
                yield from values
            self._tell_owners(event)
        yield from self._taken(None)

    @property
    def _enough(self) -> int:
        return min(MOST_POINTS_HELD, POINTS_HELD + POINTS_OF_A_TAG * len(self._tags))

    def _meet(self, count: int) -> None:
        if count > len(self._tags):
            for name in core.tags(self._columns, len(self._tags)):
                self._tags.append(name.decode())
                self._decoder.met_scalar(self._tags[-1])

    def _tell_owners(self, event: Any) -> None:
        """Tells the columns whose the tags of an event are that the general decoder has seen."""
        if self._columns is None:
            return
        for value in event.summary.value:
            owner = self._owner(value.tag)
            if owner is not None and self._owners.get(value.tag) != owner:
                self._owners[value.tag] = owner
                if core.own(self._columns, value.tag.encode(), *owner) == len(self._tags):
                    self._tags.append(value.tag)

    def _owner(self, tag: str) -> tuple[int, ...] | None:
        plugin = self._decoder.owner(tag)
        if plugin is None:
            return None
        if plugin == SCALARS_PLUGIN:
            return (_SCALAR,)
        ours = self._decoder.ours(tag) if plugin == schema.PLUGIN_NAME else None
        shape = _SHAPES.get("coarser" if ours.level else ours.series) if ours else None
        return (_OURS, *shape) if shape else (_OTHER,)

    def _taken(self, chunk: Chunk | None, points: bool = True) -> Iterator[Many]:
        """What the columns hold of ``chunk``, and of the scalars of all chunks."""
        if self._columns is None:
            return
        if points:
            yield from self._points()
        if chunk is None:
            return
        tables = np.frombuffer(core.take_tables(self._columns), _TABLE)
        for number in np.unique(tables["tag"]) if len(tables) else ():
            ours = Tag.parse(self._tags[number])  # not as the decoder has it by now: a later event may have disowned it
            if ours is not None and not ours.level:  # coarser ones are for readers who were given a sample
                yield from _records(ours, chunk, tables[tables["tag"] == number])

    def _points(self) -> Iterator[Points]:
        counts, *columns = core.take_points(self._columns)
        steps, walls, values = (np.frombuffer(c, t) for c, t in zip(columns, ("i8", "f8", "f8"), strict=True))
        each = np.frombuffer(counts, "i8")
        ends = np.cumsum(each)
        for number in np.flatnonzero(each).tolist():
            place = slice(ends[number] - each[number], ends[number])
            yield Points(self._tags[number], steps[place], walls[place], values[place])


def _records(tag: Tag, chunk: Chunk, tables: NDArray[np.void]) -> Iterator[Records | HistogramRecords]:
    """Neighbours of one shape together."""
    sizes = tables["sizes"]
    changes = np.flatnonzero((sizes[1:] != sizes[:-1]).any(axis=1)) + 1
    for some in np.split(tables, changes):
        values = np.empty((len(some), *some["sizes"][0, :2].tolist()), "<f4" if tag.series == "stats" else "<i4")
        core.gather(chunk.address, len(chunk), some["at"].tobytes(), values[0].nbytes, values.ctypes.data)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        steps, walls = some["step"].copy(), some["wall"].copy()
        yield (Records if tag.series == "stats" else HistogramRecords)(tag.watch, steps, walls, values)
