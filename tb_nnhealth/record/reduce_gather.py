"""What one output, gradient or batch tensor gives over the calls of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from tb_nnhealth import native
from tb_nnhealth.record.reduce import ZEROS, Reading, flatten, read, scaled
from tb_nnhealth.record.reduce_histogram import histogram
from tb_nnhealth.record.reduce_native import CODES, INT64, integers_address, new_histogram, ordinary_address
from tb_nnhealth.record.reduce_readable import NAMES, Values, readable, widened
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.units import alive_units

DEPTH, TENSORS = 4, 8
"""How deep a nested output is searched, and how many tensors are taken from it."""
CALLS = 256
"""Calls of one module that are reduced in one step; more would only cost."""


def tensors_in(thing: Any) -> list[Any]:
    """The first tensors in nested tuples, lists, mappings, dataclasses and packed sequences."""
    if isinstance(thing, torch.Tensor):
        return [thing]
    return [tensor for _, tensor in named_tensors(thing)]


def named_tensors(thing: Any) -> list[tuple[str, Any]]:
    """The same with the path to each: "0", "input_ids", "1.mask"; "" for a tensor itself."""
    found: list[tuple[str, Any]] = []
    for pair in _walk(thing, "", DEPTH):
        found.append(pair)
        if len(found) == TENSORS:
            break
    return found


def _walk(thing: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, torch.Tensor):
        yield path, thing
        return
    if depth == 0 or thing is None or isinstance(thing, (str, bytes, int, float)):
        return
    if isinstance(thing, torch.nn.utils.rnn.PackedSequence):
        yield from _walk(thing.data, path, depth - 1)
        return
    for name, item in _items(thing):
        yield from _walk(item, f"{path}.{name}" if path else str(name), depth - 1)


def _items(thing: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(thing, Mapping):
        yield from thing.items()
    elif isinstance(thing, (tuple, list)):
        yield from enumerate(thing)
    elif is_dataclass(thing) and not isinstance(thing, type):
        for field in fields(thing):
            yield field.name, getattr(thing, field.name, None)


class Gathered:
    """Readings, unit silence and histogram of one row in one step, over all calls and tensors."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.shares: list[tuple[str, Any, float]] = []
        self.counts: Any = None
        self.calls = 0
        self.shape: tuple[int, ...] = ()
        self.dtype = ""
        self.units_seen = False
        self.alive: Any = None
        """bool (units,); None as long as every unit was alive in some call."""
        self._all_alive = False

    def take(self, tensor: Any, *, integers: bool = False, counted: bool = False) -> tuple[Values, Reading] | None:
        """Reduces ``tensor`` at once; None where it cannot be read. ``counted`` adds its histogram."""
        where = ordinary_address(tensor)
        if where:
            return self._take_natively(tensor, where, new_histogram() if counted else None)
        if integers and (where := integers_address(tensor)) and tensor.numel():
            return self._take_natively(tensor, where, new_histogram() if counted else None)
        values = readable(tensor, integers=integers, narrow=True)
        if values is None:
            return None
        counts = new_histogram() if counted and values.tensor.numel() else None
        readings = read(values, counts)
        self.readings += readings
        if not self.dtype:
            self.shape, self.dtype = values.shape, values.dtype
        if counts is not None:
            self._count(values, readings, counts)
        return values, readings[0]

    def _take_natively(self, tensor: Any, where: int, counts: Any) -> tuple[Values, Reading]:
        """The common case, without the questions that other tensors raise: this runs at every call of every layer."""
        numel, dtype, shape = tensor.numel(), tensor.dtype, tuple(tensor.shape)
        into = 0 if counts is None else counts.ctypes.data
        reading = Reading(numel, native.core.statistics(where, numel, CODES.get(dtype, INT64), into))
        self.readings.append(reading)
        name = NAMES.get(dtype, "int64")
        if not self.dtype:
            self.shape, self.dtype = shape, name
        if counts is not None:
            self.counts = counts if self.counts is None else self.counts + counts
        return Values(tensor.detach(), 0, name, shape), reading

    def _count(self, values: Values, readings: list[Reading], counts: Any) -> None:
        if readings[0].counts is not None:
            counts = readings[0].counts
        elif not counts.any():
            counts = histogram(widened(flatten(values.tensor)), readings[0].values[ZEROS])
            counts = counts.numpy() if counts.is_cpu else counts
        if values.implicit_zeros:
            counts[0] += values.implicit_zeros
        self.counts = counts if self.counts is None else self.counts + counts

    def units(self, tensor: Any, dimension: int | None, reading: Reading) -> None:
        """Notes which units were alive in this call; a unit is silent in a step only if it was in all calls."""
        if dimension is None:
            return
        self.alive_were(None if self._all_alive else alive_units(tensor, dimension, reading))

    def alive_were(self, alive: Any) -> None:
        """The same, of what ``alive_units`` gave."""
        self.units_seen = True
        if alive is None:
            self.alive, self._all_alive = None, True
        elif self._all_alive:
            return
        elif self.alive is None or self.alive.shape != alive.shape:
            self.alive = alive
        else:
            self.alive = self.alive | alive

    def scale(self, divisor: Any) -> None:
        self.readings = [scaled(reading, divisor) for reading in self.readings]

    def write(self, record: Record, row: int) -> None:
        for reading in self.readings:
            record.add(row, reading)
        for statistic, value, weight in self.shares:
            record.share(row, statistic, value, weight)
        if self.counts is not None:
            record.histogram(row, self.counts)
