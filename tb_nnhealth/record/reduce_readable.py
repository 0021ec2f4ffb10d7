"""Whatever tensor a training may hold, as plain numbers to reduce; or nothing, where it cannot be read."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from tb_nnhealth import native
from tb_nnhealth.record import device_reduce
from tb_nnhealth.record.reduce_native import CODES, is_functorch_wrapped, is_ordinary

_WIDE = (torch.float32, torch.float64)
_SPARSE_COMPRESSED = tuple(
    getattr(torch, name) for name in ("sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc") if hasattr(torch, name)
)
_ORDINARY = (torch.Tensor, torch.nn.Parameter)
SHARD, SUMMAND = "shard", "summand"
"""What a rank may hold of a tensor: some of its elements; or numbers whose sum over the ranks it is."""
_NO_PYTHON_DISPATCH = torch.Tensor.__torch_dispatch__


NAMES = {dtype: str(dtype).removeprefix("torch.") for dtype in CODES}


class Values(NamedTuple):
    """``tensor``: detached, dense; ``implicit_zeros``: what a sparse layout leaves out.

    Its dtype is float32 or float64, or one of lower precision where ``readable`` was told so.

    ``dtype`` is that of the tensor as it was stored and, in brackets, what this rank holds of it where that is not all.
    """

    tensor: Any
    implicit_zeros: int
    dtype: str
    shape: tuple[int, ...]


def plain(tensor: Any) -> Any:
    """The ordinary tensor behind ``tensor``, detached, in its own dtype and layout; None where there is none.

    Refused are tensors that functorch wraps (what is computed from them must not escape), those without data
    (meta, fake, uninitialized), quantized and nested ones, and subclasses with a dispatch of their own; of
    a DTensor this rank's part is taken, which needs no communication.
    """
    if is_functorch_wrapped(tensor):
        return None
    if type(tensor) in _ORDINARY and tensor.is_cpu:
        return None if tensor.is_quantized or tensor.is_nested else tensor.detach()
    if torch.nn.parameter.is_lazy(tensor):
        return None
    with torch._C.DisableTorchFunction():
        if type(tensor).__torch_dispatch__ is not _NO_PYTHON_DISPATCH:
            tensor = _local_part(tensor)
            if tensor is None or type(tensor).__torch_dispatch__ is not _NO_PYTHON_DISPATCH:
                return None
        if tensor.is_meta or tensor.is_quantized or tensor.is_nested:
            return None
        if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
            return None  # what we ran would become part of the user's CUDA graph
        return tensor.detach()


def widened(tensor: Any) -> Any:
    """``tensor`` itself, or as float32 where it is of lower precision."""
    return tensor if tensor.dtype in _WIDE else tensor.to(torch.float32)


def held(tensor: Any) -> str:
    """What this rank holds of ``tensor``: SHARD, SUMMAND, or "" where it is the whole."""
    if not is_distributed(tensor):
        return ""
    sizes = tensor.device_mesh.shape
    split = [p for p, size in zip(tensor.placements, sizes, strict=True) if size > 1 and not p.is_replicate()]
    return SUMMAND if any(p.is_partial() for p in split) else SHARD if split else ""


def is_distributed(tensor: Any) -> bool:
    return type(tensor) not in _ORDINARY and hasattr(tensor, "to_local") and hasattr(tensor, "device_mesh")


def _local_part(tensor: Any) -> Any:
    if not is_distributed(tensor):
        return None
    local = tensor._local_tensor
    return local.wait() if hasattr(local, "wait") else local


def readable(tensor: Any, *, integers: bool = False, narrow: bool = False) -> Values | None:
    """``tensor`` as Values; None where it is empty or cannot be read, and for integers and bools unless asked for.

    Low-precision floats are widened to float32, unless ``narrow`` ones are welcome and read by the native core
    or by the kernels of a device.
    Complex numbers become their magnitude.
    """
    if (narrow or tensor.dtype in _WIDE) and native.core is not None and is_ordinary(tensor):
        return Values(tensor.detach(), 0, NAMES[tensor.dtype], tuple(tensor.shape)) if tensor.numel() else None
    data = plain(tensor)
    if data is None or data.numel() == 0:
        return None
    part = held(tensor)
    dtype = str(data.dtype).removeprefix("torch.") + (f" ({part})" if part else "")
    shape, implicit_zeros = tuple(data.shape), 0
    if data.layout is torch.sparse_coo:
        total, data = data.numel(), data.coalesce().values()
        implicit_zeros = total - data.numel()
    elif data.layout in _SPARSE_COMPRESSED:
        total, data = data.numel(), data.values()
        implicit_zeros = total - data.numel()
    elif data.layout is not torch.strided:
        data = data.to_dense()
    if data.is_complex():
        data = data.abs()
    elif not data.is_floating_point() and not integers:
        return None
    if data.is_neg():
        data = data.resolve_neg()
    if data.dtype not in _WIDE and not (narrow and device_reduce.reads(data)):
        data = data.to(torch.float32)
    return Values(data, implicit_zeros, dtype, shape)
