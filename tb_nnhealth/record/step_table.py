"""Parameters of one optimizer in one step, read by the native core: one call before the step and one after it."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import ref

import numpy as np
import torch
from numpy.typing import NDArray

from tb_nnhealth import native, schema
from tb_nnhealth.record import step_snapshot
from tb_nnhealth.record.layout_entries import WatchedParameter
from tb_nnhealth.record.reduce import FIELDS
from tb_nnhealth.record.reduce_native import CODES, is_functorch_wrapped, ordinary_address
from tb_nnhealth.record.reduce_table import Record

_READ, _COPY, _MINUS = range(3)
_ALIGNED = 64
KEPT_BYTES = 16 << 20
"""The most memory that a room keeps between measured steps."""
Rows = tuple[int, int, int]


class _Watched(NamedTuple):
    entry: WatchedParameter
    reference: Any
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
    that reads both. The copies live from ``before`` to ``after``. The table of a later step is the same wherever
    ``again`` says so.
    """

    def __init__(self, room: Room, *, counted: bool, closure: bool) -> None:
        """``counted`` adds histograms. With a ``closure`` gradients are there only after the step."""
        self._room = room
        self._counted, self._closure = counted, closure
        self._all: list[_Watched] = []
        self._parameters: list[Any] = []
        """Of the step under way; between steps they are held weakly alone."""
        self._size = 0
        self._copies: int | None = None
        self._forms: list[tuple[Any, ...]] = []
        self._reading: _Jobs | None = None
        self._subtracting: _Jobs | None = None
        self.names: frozenset[str] = frozenset()
        """Of the parameters taken in, once they were read."""

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
        place = self._size if copied else -1
        self._all.append(_Watched(entry, ref(parameter), rows(entry), where, numel, code, place, gradient))
        self._parameters.append(parameter)
        self._size += copied * -(-numel * parameter.element_size() // _ALIGNED) * _ALIGNED
        return True

    def again(self, parameters: list[Any], room: Room, *, counted: bool) -> bool:
        """Begins a further step; False where its ``parameters`` are others than before, or in another form."""
        if self._reading is None or self._closure or len(parameters) != len(self._all):
            return False
        gradients = []
        for parameter, watched, form in zip(parameters, self._all, self._forms, strict=True):
            gradient = parameter.grad
            if watched.reference() is not parameter or gradient is None or not parameter.requires_grad:
                return False
            if _form(parameter, gradient) != form:
                return False
            if gradient.is_neg() or is_functorch_wrapped(gradient):
                return False
            gradients.append(gradient.data_ptr())
        self._room, self._counted, self._parameters = room, counted, parameters
        self._reading.table[len(parameters) :, 0] = gradients
        return True

    @property
    def surely_fits(self) -> bool:
        """The copies need no look at the memory that is left."""
        return self._size <= step_snapshot.SURELY_FITS

    def let_go(self) -> None:
        """The step is over."""
        self._parameters, self._copies = [], None

    def before(self, record: Record) -> list[tuple[WatchedParameter, Any, float]]:
        """Reads weights and gradients; returns each parameter and the root mean square of its weight."""
        if not self._all:
            return []
        self._copies = start = self._room.of(self._size)
        jobs = self._reading
        if jobs is None:
            jobs = self._reading = _Jobs()
            for watched in self._all:
                jobs.add(watched.rows[0], watched.where, watched.numel, watched.code, _COPY, 0)
            for watched in () if self._closure else self._all:
                jobs.add(watched.rows[1], *watched.gradient, _READ, 0)
            jobs.complete()
            self._places = np.array([watched.place for watched in self._all])
            jobs.table[: len(self._all), 3] = np.where(self._places < 0, _READ, _COPY)
            self.names = frozenset(watched.entry.name for watched in self._all)
            if not self._closure:
                self._forms = [_form(parameter, parameter.grad) for parameter in self._parameters]
        jobs.table[: len(self._all), 4] = np.where(self._places < 0, 0, self._places + start)
        weights = jobs.run(record, counted=self._counted)[: len(self._all), FIELDS.index("rms")].tolist()
        entries = [watched.entry for watched in self._all]
        return list(zip(entries, self._parameters, weights, strict=True))

    def after(self, record: Record, gradient_otherwise: Callable[[WatchedParameter, Any], None]) -> list[int]:
        """Reads the updates of the parameters that still have a gradient; returns their rows.

        With a closure also the gradients; of those that the core cannot read, ``gradient_otherwise`` is told.
        """
        if self._copies is None:
            return []
        copies, self._copies = self._copies, None
        if self._as_before():
            if self._subtracting is None:
                self._subtracting = _Jobs()
                for watched in self._all:
                    self._subtracting.add(watched.rows[2], watched.where, watched.numel, watched.code, _MINUS, 0)
                self._subtracting.complete()
            self._subtracting.table[:, 4] = self._places + copies
            self._subtracting.run(record, counted=self._counted)
            return self._subtracting.rows
        return self._after(record, copies, gradient_otherwise)

    def _as_before(self) -> bool:
        """Whether all have the form that they had before the step, at the same place, and a copy."""
        if self._closure:
            return False
        for parameter, watched, form in zip(self._parameters, self._all, self._forms, strict=True):
            if parameter.grad is None or watched.place < 0 or _place(parameter) != form[0]:
                return False
        return True

    def _after(
        self, record: Record, copies: int, gradient_otherwise: Callable[[WatchedParameter, Any], None]
    ) -> list[int]:
        jobs = _Jobs()
        pairs = zip(self._parameters, self._all, strict=True)
        changed = [(parameter, watched) for parameter, watched in pairs if parameter.grad is not None]
        rows = []
        for parameter, watched in changed:
            where = ordinary_address(parameter)
            if (
                where
                and watched.place >= 0
                and (parameter.numel(), CODES[parameter.dtype]) == (watched.numel, watched.code)
            ):
                jobs.add(watched.rows[2], where, watched.numel, watched.code, _MINUS, copies + watched.place)
                rows.append(watched.rows[2])
        for parameter, watched in changed if self._closure else ():
            gradient = _gradient(parameter)
            if gradient[0]:
                jobs.add(watched.rows[1], *gradient, _READ, 0)
            else:
                gradient_otherwise(watched.entry, parameter)
        jobs.complete()
        jobs.run(record, counted=self._counted)
        return rows


class Room:
    """Memory for the copies of one optimizer's weights.

    Fresh memory costs several times what is done with it: each page is made and zeroed when it is first written. So the
    room is kept from one measured step to the next, and beyond them where it is small.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def rest(self) -> None:
        """The next step is not measured."""
        if len(self._bytes) > KEPT_BYTES:
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


def _place(parameter: Any) -> tuple[Any, ...]:
    """Where a parameter lies and of what kind it is."""
    return parameter.data_ptr(), parameter.shape, parameter.stride(), parameter.dtype


def _form(parameter: Any, gradient: Any) -> tuple[Any, ...]:
    """The same, and of what kind its gradient is: all that the core relies on."""
    return (
        _place(parameter),
        gradient.dtype,
        gradient.layout,
        type(gradient),
        gradient.shape,
        gradient.stride() if gradient.layout is torch.strided else (),
        gradient.device,
    )


class _Jobs:
    """A table of tensors for the core, and the record's row of each."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self._numel: list[int] = []
        self._added = array("q")

    def add(self, row: int, where: int, numel: int, code: int, operation: int, other: int) -> None:
        self.rows.append(row)
        self._numel.append(numel)
        self._added.extend((where, numel, code, operation, other, 0))

    def complete(self) -> None:
        """All are added: ``table``, int64 of shape (tensors, 6), is what the core reads."""
        self.table = np.array(self._added, np.int64).reshape(-1, 6)
        self._start = self.table.ctypes.data

    def run(self, record: Record, *, counted: bool) -> NDArray[np.float64]:
        """Reads all; float64 (tensors, FIELDS)."""
        count = len(self.rows)
        values = np.empty((count, len(FIELDS)))
        if not count:
            return values
        counts = np.zeros((count, schema.HISTOGRAM_BINS), np.int64) if counted else None
        self.table[:, 5] = 0 if counts is None else counts.ctypes.data + np.arange(count) * counts.strides[0]
        native.core.run(self._start, count, values.ctypes.data)
        record.add_many(self.rows, self._numel, values)
        if counts is not None:
            record.histogram_many(self.rows, counts)
        return values
