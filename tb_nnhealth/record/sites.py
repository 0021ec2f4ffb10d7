"""Outputs that a layer gives in the same form at every step, and their gradients: each read by one call of the core.

What the general way (``reduce_gather``) finds out at every call is found out once here. A layer gets a site when a
record has seen it called once, with one ordinary tensor. Whatever is unlike what the site expects goes the general way,
in that step.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tb_nnhealth import native, schema
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.reduce import Reading, scalar
from tb_nnhealth.record.reduce_gather import Gathered
from tb_nnhealth.record.reduce_native import CODES, in_memory_order, is_functorch_wrapped, lies_together
from tb_nnhealth.record.reduce_readable import NAMES
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.units import Silence

# Members of a ``struct site`` in native/tensors_site.h.
_NUMEL, _OUTER, _UNITS, _INNER, _FLAGS, _BOUNDED, _LEAST = range(1, 8)
_FOUND = slice(9, 17)
_OUTSIDE, _ALIVE = 17, 18
_ALL_ALIVE, _TOLD = 1, 2
_WORDS = _ALIVE + 1
_MODES = {mode: scalar(mode) for mode in (True, False)}


class Face:
    """The output of a site, or its gradient: a row of the table that the core reads and fills."""

    def __init__(
        self,
        table: Table,
        row: int,
        seen: Gathered,
        dimension: int | None,
        silence: Silence | None,
        *,
        of_gradient: bool = False,
    ) -> None:
        """``seen``: the same output in an earlier step; ``dimension`` counts its units."""
        self._table, self.of_gradient = table, of_gradient
        self.row, self.silence = row, silence
        """The row of the record; for how long the units have been silent, where there are any."""
        self.place = table.add(self)
        self._dimension, self._dimensions = dimension, len(seen.shape)
        self._dtype = getattr(torch, seen.dtype)
        self._shape: Any = None
        self._strides: Any = None
        self.flags, self.where = np.empty(0, np.uint8), 0
        """By unit whether it was alive, where the core had to look; and their address."""

    def address(self, tensor: Any) -> int:
        """Where the core reads ``tensor``; 0 where it is not of the kind that this site has."""
        if (
            type(tensor) is not torch.Tensor
            or tensor.dtype is not self._dtype
            or not tensor.is_cpu
            or tensor.layout is not torch.strided
            or tensor.is_neg()
            or tensor.is_nested
            or is_functorch_wrapped(tensor)
        ):
            return 0
        if (tensor.shape != self._shape or tensor.stride() != self._strides) and not self._fit(tensor):
            return 0
        where: int = tensor.data_ptr()
        return where

    def _fit(self, tensor: Any) -> bool:
        """Takes another shape of as many dimensions, such as a smaller batch; whether that can be read."""
        if tensor.dim() != self._dimensions or not tensor.numel() or not lies_together(tensor):
            return False
        self._shape, self._strides = tensor.shape, tensor.stride()
        units = outer = inner = 0
        if self._dimension is not None:
            outer, units, inner = in_memory_order(tensor, self._dimension)
            if len(self.flags) != units:
                self.flags = np.empty(units, np.uint8)
                self.where = self.flags.ctypes.data
        words = self._table.words[self.place]
        words[0], words[_NUMEL] = CODES[self._dtype], tensor.numel()
        words[_OUTER], words[_UNITS], words[_INNER], words[_FLAGS] = outer, units, inner, self.where
        self._table.forms += 1
        return True

    def bound(self, least: float, most: float) -> None:
        """Has elements beyond the two counted."""
        self._table.words[self.place, _BOUNDED] = 1
        self._table.numbers[self.place, _LEAST : _LEAST + 2] = least, most

    def move(self, gathered: Gathered, counts: NDArray[np.int64] | None) -> None:
        """Puts what the core found into ``gathered``."""
        words, numbers = self._table.words[self.place], self._table.numbers[self.place]
        numel = int(words[_NUMEL])
        gathered.calls = 1
        gathered.shape, gathered.dtype = tuple(self._shape), str(self._dtype).removeprefix("torch.")
        gathered.readings.append(Reading(numel, tuple(numbers[_FOUND].tolist())))
        gathered.counts = None if counts is None else counts[self.place].copy()
        if words[_BOUNDED]:
            gathered.shares.append((schema.SATURATED_SHARE, numbers[_OUTSIDE] / numel, numel))
        if self.silence is not None:
            gathered.alive_were(self.flags.view(np.bool_).copy() if words[_ALIVE] == _TOLD else None)


class Site:
    """A layer's place in the table."""

    def __init__(self, entry: WatchedModule, module: Any, output: Face) -> None:
        self.entry, self.output = entry, output
        self.reference: Any = weakref.ref(module)
        self.gradient: Face | None = None
        self.dimensions: tuple[int, int] | None = None
        """Of the output: how many, and which of them counts the units."""
        self.mode_row: int | None = None
        self.mode = True
        self.window = self.gradient_window = -1
        """The measured steps in which its output, and its gradient, were last read here."""
        self.gathered: Any = None
        """Where the general way goes on in that step."""


class Table:
    """The sites of one watch, and which faces were read in the step under way."""

    def __init__(self) -> None:
        self.faces: list[Face] = []
        self.words = np.zeros((16, _WORDS), np.int64)
        self.numbers = self.words.view(np.float64)
        self.forms = 0
        """Counts whatever changes the form of a face."""
        self._known: tuple[list[int], int] | None = None
        self.taken: list[int] = []
        self.modes: list[Site] = []
        self.counts: NDArray[np.int64] | None = None
        self._start, self._stride = self.words.ctypes.data, self.words.strides[0]
        self._counts_start = self._counts_stride = 0

    def add(self, face: Face) -> int:
        place = len(self.faces)
        self.faces.append(face)
        if place == len(self.words):
            self.words = np.concatenate([self.words, np.zeros_like(self.words)])
            self.numbers = self.words.view(np.float64)
            self._start = self.words.ctypes.data
        return place

    def open(self, *, counted: bool) -> None:
        """Begins a measured step."""
        self.taken.clear()
        self.modes.clear()
        self.counts = np.zeros((len(self.faces), schema.HISTOGRAM_BINS), np.int64) if counted else None
        if self.counts is not None:
            self._counts_start, self._counts_stride = self.counts.ctypes.data, self.counts.strides[0]

    def take(self, face: Face, tensor: Any) -> bool:
        """Reads ``tensor``; False where it cannot be read here."""
        where, place = face.address(tensor), face.place
        if not where:
            return False
        histogram = 0 if self.counts is None else self._counts_start + place * self._counts_stride
        native.core.look(self._start + place * self._stride, where, histogram)
        self.taken.append(place)
        return True

    def give_up(self, face: Face, to: Gathered) -> None:
        """Moves what was read of it ``to`` where the general way goes on."""
        self.taken.remove(face.place)
        face.move(to, self.counts)

    def write(self, record: Record, *, gradients: bool) -> None:
        """Adds the rows of the faces read; without ``gradients`` only those of outputs."""
        taken = self.taken
        if not gradients:
            taken = [place for place in taken if not self.faces[place].of_gradient]
        if taken:
            self._write(record, taken)
        for site in self.modes:
            assert site.mode_row is not None
            record.add(site.mode_row, _MODES[site.mode])

    def _write(self, record: Record, taken: list[int]) -> None:
        faces = self.faces
        if self._known != (taken, self.forms):
            self._known = taken.copy(), self.forms
            self._index = np.array(taken)
            self._rows = [faces[place].row for place in taken]
            self._numel = self.words[self._index, _NUMEL].tolist()
            found = [(i, faces[place], faces[place].silence) for i, place in enumerate(taken)]
            self._with_units = [(i, face, silence) for i, face, silence in found if silence is not None]
            self._unit_rows = [face.row for _, face, _ in self._with_units]
            self._bounded = [place for place in taken if self.words[place, _BOUNDED]]
        record.add_many(self._rows, self._numel, self.numbers[self._index, _FOUND])
        if self._with_units:
            alive = self.words[self._index, _ALIVE].tolist()
            silent = []
            for i, face, silence in self._with_units:
                told = alive[i] == _TOLD
                silent.append(silence.update_from(face.where, len(face.flags)) if told else silence.update(None))
            record.share_many(self._unit_rows, schema.SILENT_SHARE, np.array(silent))
        if self._bounded:
            shares = self.numbers[self._bounded, _OUTSIDE] / self.words[self._bounded, _NUMEL]
            record.share_many([faces[place].row for place in self._bounded], schema.SATURATED_SHARE, shares)
        if self.counts is not None:
            record.histogram_many(self._rows, self.counts[self._index])


def admits(seen: Gathered) -> bool:
    """Whether what was seen in one step was one ordinary tensor in one call."""
    return (
        native.core is not None
        and seen.calls == 1
        and len(seen.readings) == 1
        and seen.readings[0].on_host
        and seen.dtype in NAMES.values()
    )
