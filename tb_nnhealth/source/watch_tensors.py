"""One watch's history from the tensors that TensorBoard kept of it: all of them, or a sample.

A sample of the finest records leaves spikes out. Where TensorBoard was told to keep fewer than were written, the
finest level that was kept whole stands in, with the minimum, mean and maximum over the records it covers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.events.decode import FiltersSeen, Histograms, LayoutSeen, Record, Value
from tb_nnhealth.events.run_values import HistogramRecords, Records
from tb_nnhealth.history import Floats, History
from tb_nnhealth.source.build import WatchBuilder

ReadTag = Callable[[str], Sequence[Value]]
"""Reads one of our tags: its values in the order of steps, none where there are none or they cannot be read."""

_ORDER = {LayoutSeen: 0, Record: 1, Histograms: 2}
"""Order of writing at one step."""


def build_watch(name: str, read: ReadTag, whole: Callable[[], History | None]) -> WatchBuilder:
    """The watch ``name`` from its tags.

    Where the finest level is not complete, ``whole`` is asked for the history from elsewhere first.
    """
    builder = WatchBuilder()
    layouts = [value for value in read(schema.layout_tag(name)) if isinstance(value, LayoutSeen)]
    records = _records(read, name, 0)
    coarser = _still_valid(_records(read, name, 1), records)
    level = 0
    if not _complete(records, coarser) and layouts:
        if (history := whole()) is not None:
            builder.history, builder.started = history, layouts[0].wall
            return builder
        newest = records[-1:]
        level, records = _finest_complete(name, read, coarser)
        records = [_representative(record, layouts[-1].layout.columns) for record in records]
        records += [record for record in newest if not records or record.step > records[-1].step]
    histograms = [value for value in read(schema.histograms_tag(name)) if isinstance(value, Histograms)]
    written: list[LayoutSeen | Record | Histograms] = [*layouts, *records, *histograms]
    written.sort(key=lambda value: (value.step, _ORDER[type(value)]))
    for is_layout, some in groupby(written, key=lambda value: isinstance(value, LayoutSeen)):
        if is_layout:
            for value in some:
                builder.layout(value)  # type: ignore[arg-type]
        else:
            _add(builder, name, list(some))
    for seen in read(schema.filters_tag(name)):
        if isinstance(seen, FiltersSeen):
            builder.filters(seen)
    if builder.history is not None:
        builder.history.resolution = schema.LEVEL_FACTOR**level
    return builder


def _add(builder: WatchBuilder, name: str, values: Sequence[Any]) -> None:
    """Records and histograms of one layout, many at a time: the two are kept apart, so each may go before the other."""
    for (kind, _), some in groupby(
        sorted(values, key=lambda value: _ORDER[type(value)]), key=lambda value: (type(value), value[-1].shape)
    ):
        same = list(some)
        steps, walls = np.array([v.step for v in same], np.int64), np.array([v.wall for v in same], np.float64)
        tables = np.stack([value[-1] for value in same])
        if kind is Record:
            builder.records(Records(name, steps, walls, tables))
        else:
            builder.histogram_records(HistogramRecords(name, steps, walls, tables))


def _records(read: ReadTag, name: str, level: int) -> list[Record]:
    return [value for value in read(schema.stats_tag(name, level)) if isinstance(value, Record)]


def _complete(finer: Sequence[Record], coarser: Sequence[Record]) -> bool:
    return len(finer) >= schema.LEVEL_FACTOR * len(coarser)


def _still_valid(coarser: Sequence[Record], finest: Sequence[Record]) -> list[Record]:
    """Without those whose last record a resumed session has written anew, or not reached again yet."""
    walls = {record.step: record.wall for record in finest}
    last = finest[-1].step if finest else float("inf")
    return [record for record in coarser if record.step <= last and walls.get(record.step, record.wall) <= record.wall]


def _finest_complete(name: str, read: ReadTag, records: list[Record]) -> tuple[int, list[Record]]:
    level = 1
    while not _complete(records, coarser := _records(read, name, level + 1)):
        level, records = level + 1, coarser
    return level, records


def _representative(record: Record, columns: Sequence[str]) -> Record:
    """One record for all that a coarser one covers: their mean, but their extremes where those are what counts."""
    low, high, mean = record.values
    values: Floats = mean.copy()
    for column, name in enumerate(columns[: values.shape[1]]):
        if name in (schema.MAX, schema.NAN_COUNT, schema.INF_COUNT):
            values[:, column] = high[:, column]
        elif name == schema.MIN:
            values[:, column] = low[:, column]
    return record._replace(values=values)
