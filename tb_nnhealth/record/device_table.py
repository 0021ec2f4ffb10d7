"""Parameters of one optimizer in one step on a GPU: a launch for each dtype before the step, and one after it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from tb_nnhealth.record import device_reduce
from tb_nnhealth.record.device_copy import upload
from tb_nnhealth.record.device_reduce import Later, address, new_counts, reading
from tb_nnhealth.record.layout_entries import WatchedParameter
from tb_nnhealth.record.reduce import Reading
from tb_nnhealth.record.reduce_table import Record

_READ, _COPY, _MINUS = range(3)  # the operations of device_kernel
_VECTOR = 16
"""Bytes to which addresses are aligned where tensors are read in vectors."""
_PLACES = 512
"""Bytes to which the copies are aligned, as PyTorch aligns tensors."""
_ORDINARY = (torch.Tensor, torch.nn.Parameter)
_SHARE = 0.5
"""Of the memory that is free, what the copies may take."""
Rows = tuple[int, int, int]
Key = tuple[Any, Any, bool]
"""Device, dtype, and whether all is aligned: what one launch reads together."""


class _Watched(NamedTuple):
    entry: WatchedParameter
    parameter: Any
    rows: Rows
    """Of weight, gradient and update."""
    form: tuple[Any, ...]
    place: int
    """Of its copy among the copies, in bytes; -1 without one."""


class Tables:
    """Pointer tables on the devices, kept from one measured step to the next and sent anew where they differ."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[array[int], Any, array[int], Any]] = {}

    def sent(self, name: Any, jobs: array[int], tiles: array[int], device: Any) -> tuple[Any, Any]:
        """``jobs`` and, for each tile, the job that it is of. ``tiles``: how many each job has."""
        kept = self._kept.get(name)
        if kept is None or kept[2] != tiles:
            job_of = upload(np.repeat(np.arange(len(tiles), dtype=np.int32), tiles), device)
        else:
            job_of = kept[3]
        there = kept[1] if kept is not None and kept[0] == jobs else upload(np.array(jobs, np.int64), device)
        self._kept[name] = jobs, there, tiles, job_of
        return there, job_of


class DeviceTable:
    """Filled by ``add``; ``before`` and ``after`` stand around the optimizer's step.

    A weight is copied in the pass that reads it, and its update is the new weight minus the copy, taken in the pass
    that reads both. The copies live from ``before`` to ``after``.
    """

    def __init__(self, tables: Tables, *, counted: bool, closure: bool) -> None:
        """``counted`` adds histograms. With a ``closure`` gradients are there only after the step."""
        self._tables, self._counted, self._closure = tables, counted, closure
        self._all: list[_Watched] = []
        self._sizes: dict[Any, int] = {}
        self._copies: dict[Any, Any] = {}

    def add(
        self, entry: WatchedParameter, parameter: Any, rows: Callable[[WatchedParameter], Rows], *, copied: bool = True
    ) -> bool:
        """Takes the parameter in, with its ``rows``; False where the kernels cannot read it or its gradient.

        Without a copy (``copied``) nothing is said of its update.
        """
        gradient = parameter.grad
        if not _where(parameter) or not (self._closure or (gradient is not None and _where(gradient))):
            return False
        place = self._sizes.get(parameter.device, 0)
        size = parameter.numel() * parameter.element_size()
        self._sizes[parameter.device] = place + copied * -(-size // _PLACES) * _PLACES
        self._all.append(_Watched(entry, parameter, rows(entry), _form(parameter), place if copied else -1))
        return True

    def before(self, record: Record) -> list[tuple[WatchedParameter, Any, None]]:
        """Reads weights and gradients; returns the parameters, with no number yet."""
        if not self._all:
            return []
        for device, size in self._sizes.items():
            self._copies[device] = torch.empty(size, dtype=torch.uint8, device=device)
        jobs = _Jobs(self._tables, "before", self._copies, counted=self._counted)
        for watched in self._all:
            copy = (_READ, 0) if watched.place < 0 else (_COPY, watched.place)
            jobs.add(watched.rows[0], watched.parameter, *copy)
        if not self._closure:
            for watched in self._all:
                jobs.add(watched.rows[1], watched.parameter.grad, _READ, 0)
        jobs.run(record)
        return [(watched.entry, watched.parameter, None) for watched in self._all]

    def after(self, record: Record, gradient_otherwise: Callable[[WatchedParameter, Any], None]) -> list[int]:
        """Reads the updates of the parameters that still have a gradient; returns their rows.

        With a closure also the gradients; of those that the kernels cannot read, ``gradient_otherwise`` is told.
        """
        copies, self._copies = self._copies, {}
        if not copies:
            return []
        jobs, rows = _Jobs(self._tables, "after", copies, counted=self._counted), []
        for watched in self._all:
            parameter, gradient = watched.parameter, watched.parameter.grad
            if gradient is None:
                continue
            if watched.place >= 0 and _form(parameter) == watched.form and _where(parameter):
                jobs.add(watched.rows[2], parameter, _MINUS, watched.place)
                rows.append(watched.rows[2])
            if self._closure and _where(gradient):
                jobs.add(watched.rows[1], gradient, _READ, 0)
            elif self._closure:
                gradient_otherwise(watched.entry, parameter)
        jobs.run(record)
        return rows


def copies_fit(parameters: Sequence[Any]) -> bool:
    """Whether the memory of their GPUs suffices for copies of ``parameters``: they may take half of what is free."""
    sizes: dict[Any, int] = {}
    for parameter in parameters:
        if parameter.is_cuda and parameter.requires_grad:
            device = parameter.device
            sizes[device] = sizes.get(device, 0) + parameter.numel() * parameter.element_size()
    return all(size <= _SHARE * _free(device) for device, size in sizes.items())


def _free(device: Any) -> int:
    """Bytes, those included that PyTorch holds for nobody."""
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + idle)


def _form(tensor: Any) -> tuple[Any, ...]:
    return tensor.device, tensor.dtype, tensor.shape, tensor.stride()


def _where(tensor: Any) -> int:
    """The address of an ordinary tensor's elements; 0 where the kernels do not read them."""
    if type(tensor) not in _ORDINARY or not device_reduce.reads(tensor) or tensor.layout is not torch.strided:
        return 0
    if tensor.is_neg() or tensor.is_nested or not tensor.numel():
        return 0
    if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
        return 0  # what we ran would become part of the user's CUDA graph
    return address(tensor)


class _Jobs:
    """Tables of tensors for the kernels, one for each ``Key``, and the record's row of each tensor."""

    def __init__(self, tables: Tables, name: str, copies: dict[Any, Any], *, counted: bool) -> None:
        self._tables, self._name, self._copies, self._counted = tables, name, copies, counted
        self._rows: dict[Key, list[int]] = {}
        self._jobs: dict[Key, list[tuple[int, int, int, int]]] = {}

    def add(self, row: int, tensor: Any, operation: int, place: int) -> None:
        where = address(tensor)
        key = tensor.device, tensor.dtype, where % _VECTOR == 0
        self._rows.setdefault(key, []).append(row)
        self._jobs.setdefault(key, []).append((where, tensor.numel(), operation, place))

    def run(self, record: Record) -> None:
        """Reads all."""
        for key, jobs in self._jobs.items():
            self._read(record, key, self._rows[key], jobs)

    def _read(self, record: Record, key: Key, rows: list[int], jobs: list[tuple[int, int, int, int]]) -> None:
        device, dtype, aligned = key
        kernel: Any = device_reduce.kernels()
        numels = [numel for _, numel, _, _ in jobs]
        tiles = array("q", (-(-numel // kernel.TILE) for numel in numels))
        table, first = array("q"), 0
        for (where, numel, operation, place), count in zip(jobs, tiles, strict=True):
            table.extend((where, numel, first, operation, place))
            first += count
        counts = new_counts(len(jobs), device) if self._counted else None
        with reading(device) as batch:
            partials, start = batch.reserve(numels)
            there, job_of = self._tables.sent((self._name, *key), table, tiles, device)
            kernel.read_table[(len(partials),)](
                there,
                job_of,
                self._copies[device],
                partials,
                partials if counts is None else counts,
                DTYPE=kernel.DTYPES[dtype],
                ALIGNED=aligned,
                COUNTED=self._counted,
                SIZE=kernel.TILE,
                **kernel.OPTIONS,
            )
        for i, (row, numel) in enumerate(zip(rows, numels, strict=True)):
            record.add(row, Reading(numel, Later(batch, start + i, None if counts is None else counts[i])))
        if counts is not None:
            record.histogram_many(rows, counts)
