"""The tensors of event files as arrays, with the shape checked before memory is taken for it."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import types_pb2


class FormatError(ValueError):
    """A value that cannot be understood; the message says what was expected and what was found."""


_STORED: Final[dict[int, tuple[str, str]]] = {
    types_pb2.DT_FLOAT: ("<f4", "float_val"),
    types_pb2.DT_DOUBLE: ("<f8", "double_val"),
    types_pb2.DT_HALF: ("<f2", "half_val"),
    types_pb2.DT_BFLOAT16: ("<u2", "half_val"),
    types_pb2.DT_INT8: ("<i1", "int_val"),
    types_pb2.DT_INT16: ("<i2", "int_val"),
    types_pb2.DT_INT32: ("<i4", "int_val"),
    types_pb2.DT_INT64: ("<i8", "int64_val"),
    types_pb2.DT_UINT8: ("<u1", "int_val"),
    types_pb2.DT_UINT16: ("<u2", "int_val"),
    types_pb2.DT_UINT32: ("<u4", "uint32_val"),
    types_pb2.DT_UINT64: ("<u8", "uint64_val"),
    types_pb2.DT_BOOL: ("?", "bool_val"),
}
"""Type of the elements in ``tensor_content``, and the field that may hold them instead, by ``TensorProto.dtype``."""


def tensor_data(tensor: Any) -> NDArray[Any] | bytes:
    """A ``TensorProto`` as a read-only array, or the bytes of its one string.

    Raises FormatError for a shape that does not fit the elements stored, and for types without numbers.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.dtype == types_pb2.DT_STRING:
        if shape or len(tensor.string_val) != 1:
            raise FormatError(f"expected one string, found {len(tensor.string_val)} in a tensor of shape {shape}")
        text: bytes = tensor.string_val[0]
        return text
    if tensor.dtype not in _STORED:
        raise FormatError(f"expected numbers or a string, found a tensor of type {_type_name(tensor.dtype)}")
    stored, field = _STORED[tensor.dtype]
    content: bytes = tensor.tensor_content
    item = np.dtype(stored).itemsize
    found = len(content) / item if content else len(getattr(tensor, field))
    if min(shape, default=0) < 0 or math.prod(shape) != found:
        raise FormatError(f"its shape {shape} does not fit the {found:g} elements stored")
    if content or not found:
        values = np.frombuffer(content, stored)
    elif tensor.dtype == types_pb2.DT_HALF:
        values = np.array(tensor.half_val, np.uint16).view(np.float16)
    else:
        values = np.array(getattr(tensor, field)).astype(stored)
    if tensor.dtype == types_pb2.DT_BFLOAT16:
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.reshape(shape).astype(values.dtype.newbyteorder("="), copy=False)


def number(tensor: Any) -> float:
    """The one number of a scalar's ``TensorProto``. Raises FormatError where it holds none, or several."""
    data = tensor_data(tensor)
    if isinstance(data, bytes) or data.size != 1:
        what = "a string" if isinstance(data, bytes) else f"a tensor of shape {data.shape}"
        raise FormatError(f"expected a scalar, found {what}")
    return float(data.item())


def _type_name(dtype: int) -> str:
    try:
        return str(types_pb2.DataType.Name(dtype))
    except ValueError:
        return str(dtype)
