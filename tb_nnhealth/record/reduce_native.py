"""Reductions by the native core, for dense floating-point tensors on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tb_nnhealth import native, schema

CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
"""The core's numbers for the dtypes that it reads."""
INT64 = 4
"""Read as float32; its statistics alone."""
_BATCH_CODES = {
    **CODES, torch.int64: INT64, torch.int32: 5, torch.int16: 6, torch.int8: 7, torch.uint8: 8, torch.bool: 8,
}  # fmt: skip
MISSING = "The native core is not in use, so PyTorch's own operations measure, at some times the cost."

_ORDINARY = (torch.Tensor, torch.nn.Parameter)
_WRAPPED, _BATCHED = (
    getattr(getattr(torch._C, "_functorch", None), name, lambda tensor: False)
    for name in ("is_functorch_wrapped_tensor", "is_legacy_batchedtensor")
)


def is_functorch_wrapped(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` stands for many: within ``torch.func``, or in autograd's ``is_grads_batched``."""
    return _WRAPPED(tensor) or _BATCHED(tensor)


def is_ordinary(tensor: Any) -> bool:
    """Whether ``tensor`` has plain elements on the CPU of a dtype that the core reads, whatever their strides."""
    return (
        type(tensor) in _ORDINARY
        and tensor.is_cpu
        and tensor.dtype in CODES
        and tensor.layout is torch.strided
        and not (tensor.is_nested or tensor.is_neg() or is_functorch_wrapped(tensor))
    )


def lies_together(tensor: Any) -> bool:
    """Whether the elements of a strided tensor fill a stretch of memory, each once, in whatever order of dimensions."""
    if tensor.is_contiguous():
        return True
    together = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != together:
                return False
            together *= size
    return True


def in_memory_order(tensor: Any, dimension: int) -> tuple[int, int, int]:
    """How a tensor that lies together is laid out about ``dimension``: outer, units, inner."""
    numel, units = tensor.numel(), tensor.shape[dimension]
    inner = tensor.stride(dimension) if units > 1 else numel
    return numel // (units * inner), units, inner


def address(tensor: Any) -> int:
    """Where the elements of an ordinary tensor begin, if they lie together; else 0, as where it has none."""
    if lies_together(tensor):
        start: int = tensor.data_ptr()
        return start if start % tensor.element_size() == 0 else 0
    return 0


def ordinary_address(tensor: Any) -> int:
    """Where the elements of ``tensor`` begin; 0 where the core is not in use, or cannot read it, or it is empty."""
    if native.core is not None and is_ordinary(tensor) and tensor.numel():
        return address(tensor)
    return 0


def statistics(flat: Any, counts: NDArray[np.int64] | None = None) -> tuple[float, ...] | None:
    """The FIELDS of a tensor, in one pass; its elements are added to ``counts``, a histogram, in the same.

    None where the core is not there or cannot read the tensor, which is detached.
    """
    core = native.core
    if core is None or not flat.is_cpu or flat.dtype not in CODES:
        return None
    start = address(flat)
    if not start:
        return None
    where = 0 if counts is None else counts.ctypes.data
    return core.statistics(start, flat.numel(), CODES[flat.dtype], where)  # type: ignore[no-any-return]


def new_histogram() -> NDArray[np.int64]:
    return np.zeros(schema.HISTOGRAM_BINS, np.int64)


def alive(tensor: Any, dimension: int) -> tuple[bool, NDArray[np.bool_] | None]:
    """Whether the core could tell, and bool (units,): whether any element of a unit along ``dimension`` is not zero.

    None instead of an array where that holds for all.
    """
    core = native.core
    if core is None or not tensor.is_cpu or tensor.dtype not in CODES:
        return False, None
    start = address(tensor)
    if not start:
        return False, None
    found = core.alive(start, CODES[tensor.dtype], *in_memory_order(tensor, dimension))
    return True, None if found is None else np.frombuffer(found, np.bool_)


def batch_address(block: Any) -> tuple[int, ...]:
    """A matrix (samples, positions) as the core's ``spread`` and ``fingerprint`` take it; empty where they do not."""
    code = _BATCH_CODES.get(block.dtype)
    if native.core is None or code is None or not block.is_cpu:
        return ()
    (samples, positions), (apart, step) = block.shape, block.stride()
    return block.data_ptr(), code, samples, apart, positions, step


def even_part(tensor: Any, form: Callable[[Any], tuple[int, int, int, int]]) -> tuple[int, ...]:
    """The same of an even part of a contiguous tensor; ``form`` gives that part's samples to step by the shape."""
    code = _BATCH_CODES.get(tensor.dtype)
    if (
        native.core is None
        or code is None
        or type(tensor) not in _ORDINARY
        or not tensor.is_cpu
        or tensor.layout is not torch.strided
        or tensor.is_nested
        or not tensor.is_contiguous()
        or tensor.is_neg()
        or is_functorch_wrapped(tensor)
    ):
        return ()
    return tensor.data_ptr(), code, *form(tensor.shape)


def integers_address(tensor: Any) -> int:
    """Where the elements of an ordinary tensor of 64-bit integers begin, if they lie together; else 0."""
    if (
        native.core is None
        or tensor.dtype is not torch.int64
        or type(tensor) not in _ORDINARY
        or not tensor.is_cpu
        or tensor.layout is not torch.strided
        or tensor.is_nested
        or not tensor.is_contiguous()
        or is_functorch_wrapped(tensor)
    ):
        return 0
    start: int = tensor.data_ptr()
    return start


def outside(tensor: Any, low: float, high: float) -> int | None:
    """How many elements lie below ``low`` or above ``high``; None as for ``statistics``."""
    core = native.core
    if core is None or not tensor.is_cpu or tensor.dtype not in CODES:
        return None
    start = address(tensor)
    return core.outside(start, tensor.numel(), CODES[tensor.dtype], low, high) if start else None


def copies(weight: Any) -> int | None:
    """Rows of a contiguous weight that equal an earlier row bit for bit; None as for ``statistics``."""
    core = native.core
    if core is None or not weight.is_cpu or weight.dtype not in CODES or not weight.is_contiguous():
        return None
    start = address(weight)
    return core.copies(start, CODES[weight.dtype], len(weight), weight.numel() // len(weight)) if start else None


@cache
def note() -> str:
    """``MISSING`` where the core is not in use, told to the log of the program once; else empty."""
    if native.core is not None:
        return ""
    logging.getLogger("tb_nnhealth").info(MISSING)
    return MISSING
