"""Parameters of one optimizer in one step, read by the native core: one call before the step and one after it."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import native, schema
from tb_nnhealth.record.layout_entries import WatchedParameter
from tb_nnhealth.record.reduce import FIELDS
from tb_nnhealth.record.reduce_native import CODES, ordinary_address
from tb_nnhealth.record.reduce_table import Record

_READ, _COPY, _MINUS = range(3)
_ALIGNED = 64
Rows = tuple[int, int, int]


class _Watched(NamedTuple):
    entry: WatchedParameter
    parameter: Any
    rows: Rows
    """Of weight, gradient and update."""
    where: int
    numel: int
    code: int
    place: int
    """Of its copy among the copies, in bytes; -1 without one."""
    gradient: tuple[int, int, int]
    """Where it lies, its elements and dtype; zeros with a closure."""


class ParameterTable:
    """Filled by ``add``; ``before`` and ``after`` stand around the optimizer's step.

    A weight is copied in the pass that reads it, and its update is the new weight minus the copy, taken in the pass
    that reads both. The copies live from ``before`` to ``after``.
    """

    def __init__(self, room: Room, *, counted: bool, closure: bool) -> None:
        """``counted`` adds histograms. With a ``closure`` gradients are there only after the step."""
        self._room = room
        self._counted, self._closure = counted, closure
        self._all: list[_Watched] = []
        self._size = 0
        self._copies: int | None = None

    def add(
        self, entry: WatchedParameter, parameter: Any, rows: Callable[[WatchedParameter], Rows], *, copied: bool = True
    ) -> bool:
        """Takes the parameter in, with its ``rows``; False where the core cannot read it or its gradient.

        Without a copy (``copied``) nothing is said of its update.
        """
        where = ordinary_address(parameter)
        gradient = (0, 0, 0) if self._closure else _gradient(parameter)
        if not where or not (self._closure or gradient[0]):
            return False
        numel: int = parameter.numel()
        code = CODES[parameter.dtype]
        self._all.append(
            _Watched(entry, parameter, rows(entry), where, numel, code, self._size if copied else -1, gradient)
        )
        self._size += copied * -(-numel * parameter.element_size() // _ALIGNED) * _ALIGNED
        return True

    def before(self, record: Record) -> list[tuple[WatchedParameter, Any, float]]:
        """Reads weights and gradients; returns each parameter and the root mean square of its weight."""
        if not self._all:
            return []
        jobs = _Jobs(counted=self._counted)
        self._copies = start = self._room.of(self._size)
        for watched in self._all:
            copy = (_READ, 0) if watched.place < 0 else (_COPY, start + watched.place)
            jobs.add(watched.rows[0], watched.where, watched.numel, watched.code, *copy)
        for watched in () if self._closure else self._all:
            jobs.add(watched.rows[1], *watched.gradient, _READ, 0)
        weights = jobs.run(record)[: len(self._all), FIELDS.index("rms")].tolist()
        return [(watched.entry, watched.parameter, rms) for watched, rms in zip(self._all, weights, strict=True)]

    def after(self, record: Record, gradient_otherwise: Callable[[WatchedParameter, Any], None]) -> list[int]:
        """Reads the updates of the parameters that still have a gradient; returns their rows.

        With a closure also the gradients; of those that the core cannot read, ``gradient_otherwise`` is told.
        """
        if self._copies is None:
            return []
        jobs = _Jobs(counted=self._counted)
        changed = [watched for watched in self._all if watched.parameter.grad is not None]
        rows = []
        for watched in changed:
            parameter, where = watched.parameter, ordinary_address(watched.parameter)
            if (
                where
                and watched.place >= 0
                and (parameter.numel(), CODES[parameter.dtype]) == (watched.numel, watched.code)
            ):
                copy = self._copies + watched.place
                jobs.add(watched.rows[2], where, watched.numel, watched.code, _MINUS, copy)
                rows.append(watched.rows[2])
        for watched in changed if self._closure else ():
            gradient = _gradient(watched.parameter)
            if gradient[0]:
                jobs.add(watched.rows[1], *gradient, _READ, 0)
            else:
                gradient_otherwise(watched.entry, watched.parameter)
        jobs.run(record)
        return rows


class Room:
    """Memory for the copies of one optimizer's weights.

    It is kept only from one measured step to the next: fresh memory costs more than what is done with it.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def of(self, size: int) -> int:
        """The address of ``size`` bytes."""
        if len(self._bytes) != size:
            self._bytes = np.empty(size, np.uint8)
        return int(self._bytes.ctypes.data)


def _gradient(parameter: Any) -> tuple[int, int, int]:
    gradient = parameter.grad
    where = 0 if gradient is None else ordinary_address(gradient)
    return (where, gradient.numel(), CODES[gradient.dtype]) if where else (0, 0, 0)


class _Jobs:
    """A table of tensors for the core, and the record's row of each."""

    def __init__(self, *, counted: bool) -> None:
        self._counted = counted
        self._rows: list[int] = []
        self._numel: list[int] = []
        self._table = array("q")

    def add(self, row: int, where: int, numel: int, code: int, operation: int, other: int) -> None:
        self._rows.append(row)
        self._numel.append(numel)
        self._table.extend((where, numel, code, operation, other, 0))

    def run(self, record: Record) -> NDArray[np.float64]:
        """Reads all; float64 (tensors, FIELDS)."""
        count = len(self._rows)
        values = np.empty((count, len(FIELDS)))
        if not count:
            return values
        table = self._table
        if self._counted:
            counts = np.zeros((count, schema.HISTOGRAM_BINS), np.int64)
            for i in range(count):
                table[6 * i + 5] = counts.ctypes.data + i * counts.strides[0]
        native.core.run(table.buffer_info()[0], count, values.ctypes.data)
        record.add_many(self._rows, self._numel, values)
        if self._counted:
            record.histogram_many(self._rows, counts)
        return values
