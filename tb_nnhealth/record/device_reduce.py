"""Statistics of tensors on a GPU by the kernels in ``device_kernel``: nothing here waits for the device.

A tensor is read when it is met, by one launch. What its tiles gave is pooled later, together with all that was read
since, by one launch more: when a record is made, or when somebody asks for a result before that.
"""

from __future__ import annotations

import logging
import threading
from array import array
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch

from tb_nnhealth import schema
from tb_nnhealth.record.device_copy import upload

DEVICE = "cuda"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_FIELDS = 8
_SLAB = 1 << 14
"""Tiles whose partial results are allocated at once."""
_SLABS = 64
"""Slabs from which a batch is pooled though nobody has asked."""
_lock = threading.RLock()
"""Held from reserving to launching: hooks of the backward pass run on threads of their own."""
_open: dict[tuple[Any, int], Batch] = {}
_given_up = False


@cache
def _kernels() -> Any:
    try:
        from tb_nnhealth.record import device_kernel
    except Exception as error:  # no Triton, or one that does not suit this PyTorch
        logging.getLogger("tb_nnhealth").info(
            "Tensors on the GPU are measured by PyTorch's own operations, since Triton is not in use: %s", error
        )
        return None
    return device_kernel


def kernels() -> Any:
    """The module ``device_kernel``; None without Triton, and once a kernel has failed."""
    return None if _given_up else _kernels()


def give_up(error: Exception) -> None:
    """PyTorch's own operations measure from here on."""
    global _given_up
    _given_up = True
    logging.getLogger("tb_nnhealth").warning("A kernel failed; PyTorch's own operations measure instead: %s", error)


def reads(tensor: Any) -> bool:
    """Whether the kernels read ``tensor``, which is ordinary and detached, wherever it is contiguous."""
    return tensor.device.type == DEVICE and tensor.dtype in DTYPES and kernels() is not None


def address(tensor: Any) -> int:
    """Where its elements lie together; 0 where they do not, or there are none."""
    if tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)):
        return int(tensor.data_ptr())
    return 0


def on(device: Any) -> AbstractContextManager[Any]:
    """Kernels are launched on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class Later:
    """The FIELDS of one tensor, which its batch may not have pooled yet; ``counts``: its histogram, int64, or None."""

    __slots__ = ("batch", "counts", "place")

    def __init__(self, batch: Batch, place: int, counts: Any) -> None:
        self.batch, self.place, self.counts = batch, place, counts

    def tensor(self) -> Any:
        """float32 (8,) on the device."""
        return self.batch.results()[self.place]

    def __getitem__(self, field: int) -> Any:
        """One of the FIELDS, a 0-d tensor."""
        return self.tensor()[field]


class Batch:
    """Tensors read on one stream and not yet pooled."""

    width = _FIELDS
    """Numbers of each tensor."""

    def __init__(self, device: Any, stream: Any) -> None:
        self.device = device
        self._stream = stream
        self._jobs = array("q")
        self._slabs: list[Any] = []
        self._free = 0
        self._results: Any = None

    def reserve(self, numels: list[int]) -> tuple[Any, int]:
        """float32 (tiles, PARTIAL) for tensors of so many elements, end to end; and the place of the first."""
        tile, width = _kernels().TILE, _kernels().PARTIAL
        tiles = [-(-numel // tile) for numel in numels]
        total = sum(tiles)
        if total > self._free:
            self._free = max(total, _SLAB)
            self._slabs.append(torch.empty((self._free, width), dtype=torch.float32, device=self.device))
        start = len(self._slabs[-1]) - self._free
        self._free -= total
        partials = self._slabs[-1][start : start + total]
        place, where = len(self._jobs) // 2, partials.data_ptr()
        for numel, count in zip(numels, tiles, strict=True):
            self._jobs.extend((where, numel))
            where += count * width * partials.element_size()
        return partials, place

    @property
    def full(self) -> bool:
        """Nothing more can be added."""
        return self._results is not None or len(self._slabs) > _SLABS

    def results(self) -> Any:
        """float32 (tensors, FIELDS) of all that was read, for use on the current stream. Ends the batch."""
        with _lock:
            if self._results is None:
                try:
                    self._pool()
                except Exception as error:
                    give_up(error)
                    raise
        if self._stream is not None:
            current = torch.cuda.current_stream(self.device)
            if current != self._stream:
                current.wait_stream(self._stream)
                self._results.record_stream(current)
        return self._results

    def _pool(self) -> None:
        kernel, tensors = _kernels(), len(self._jobs) // 2
        with on(self.device), torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            jobs = upload(np.array(self._jobs, np.int64), self.device)
            results = torch.empty((tensors, _FIELDS), dtype=torch.float32, device=self.device)
            kernel.pool_tiles[(tensors,)](jobs, results, kernel.TILE, kernel.POOLED, **kernel.OPTIONS)
        self._results = results
        self._slabs.clear()


@contextmanager
def reading(device: Any) -> Iterator[Batch]:
    """What is being read on ``device`` and its current stream, for as long as something is added to it."""
    with _lock, on(device):
        yield _batch(device)


def _batch(device: Any) -> Batch:
    stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
    key = device, 0 if stream is None else stream.cuda_stream
    found = _open.get(key)
    if found is None or found.full:
        found = _open[key] = Batch(device, stream)
    return found


def statistics(tensor: Any, *, counted: bool = False) -> Later | None:
    """The FIELDS of ``tensor``, with its histogram if ``counted``; None where the kernels do not read it."""
    if not reads(tensor) or not address(tensor):
        return None
    kernel = _kernels()
    flat = tensor.as_strided((tensor.numel(),), (1,))
    try:
        with reading(tensor.device) as batch:
            partials, place = batch.reserve([tensor.numel()])
            counts = new_counts(1, tensor.device) if counted else None
            kernel.read_tensor[(len(partials),)](
                flat,
                tensor.numel(),
                partials,
                partials if counts is None else counts,
                COUNTED=counted,
                SIZE=kernel.TILE,
                **kernel.OPTIONS,
            )
    except Exception as error:
        give_up(error)
        return None
    return Later(batch, place, None if counts is None else counts[0])


def new_counts(tensors: int, device: Any) -> Any:
    """Histograms to be added to, int64 (tensors, ``schema.HISTOGRAM_BINS``)."""
    return torch.zeros((tensors, schema.HISTOGRAM_BINS), dtype=torch.int64, device=device)
