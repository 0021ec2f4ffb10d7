"""The events that a recorder writes, as bytes: pure functions, one for each kind of event.

All return the serialized ``Event``; ``framing.frame`` makes a record of it. ``first`` says that it is
the first event of its tag in the run's files: only that one carries the metadata by which TensorBoard knows
whose series it is. ``docs/format.md`` is the page that says what each holds.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2

from tb_nnhealth import schema
from tb_nnhealth.messages import PluginData
from tb_nnhealth.native import core

_DOUBLE = struct.Struct("<d")
FILE_VERSION = "brain.Event:2"
"""What every event file says of itself in its first event."""
SOURCE_WRITER = "tensorboard.summary.writer.event_file_writer"
"""TensorBoard's own, as in the files that PyTorch's SummaryWriter makes: ours are the same."""


def file_version(wall: float) -> bytes:
    """The first event of every file."""
    event = event_pb2.Event(wall_time=wall, file_version=FILE_VERSION)
    event.source_metadata.writer = SOURCE_WRITER
    return _serialized(event)


def session_start(wall: float, step: int) -> bytes:
    """The marker that training (re)started: what earlier files hold from ``step`` on is obsolete."""
    session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    return _serialized(event_pb2.Event(wall_time=wall, step=step, session_log=session))


def stats(tag: str, step: int, wall: float, values: NDArray[np.float32], first: bool) -> bytes:
    """A record of statistics, float32: shape (rows, columns), or (3, rows, columns) of a coarser level."""
    return _array(tag, step, wall, np.asarray(values, "<f4"), types_pb2.DT_FLOAT, first)


def histograms(tag: str, step: int, wall: float, counts: NDArray[np.int32], first: bool) -> bytes:
    """A record of histograms, int32, shape (rows, ``schema.HISTOGRAM_BINS``)."""
    return _array(tag, step, wall, np.asarray(counts, "<i4"), types_pb2.DT_INT32, first)


def text(tag: str, step: int, wall: float, payload: bytes, first: bool) -> bytes:
    """One string of bytes, a tensor without dimensions: a layout, the capture's state, or findings."""
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[payload])
    tensor.tensor_shape.SetInParent()
    return _tensor(tag, step, wall, tensor, first)


def scalar(tag: str, step: int, wall: float, value: float) -> bytes:
    """A plain number, as every TensorBoard writer writes a scalar."""
    values = [summary_pb2.Summary.Value(tag=tag, simple_value=value)]
    return _serialized(event_pb2.Event(wall_time=wall, step=step, summary=summary_pb2.Summary(value=values)))


def markdown(tag: str, step: int, wall: float, content: bytes, first: bool) -> bytes:
    """Markdown for TensorBoard's Text tab, one string of shape (1,), as PyTorch's ``add_text`` writes it."""
    shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_shape=shape, string_val=[content])
    value = summary_pb2.Summary.Value(tag=tag, tensor=tensor)
    if first:
        value.metadata.plugin_data.plugin_name = "text"
        value.metadata.data_class = summary_pb2.DATA_CLASS_TENSOR
    return _serialized(event_pb2.Event(wall_time=wall, step=step, summary=summary_pb2.Summary(value=[value])))


def _array(tag: str, step: int, wall: float, values: NDArray[Any], dtype: int, first: bool) -> bytes:
    if first or not values.size:
        return _message_array(tag, step, wall, values, dtype, first)
    if core is None:
        return _array_by_hand(tag, step, wall, values, dtype)
    values = np.ascontiguousarray(values)
    serialized: bytes = core.array_event(
        *_array_prefix(tag, dtype, values.shape), step, wall, values.ctypes.data, values.nbytes
    )
    return serialized


def _array_by_hand(tag: str, step: int, wall: float, values: NDArray[Any], dtype: int) -> bytes:
    """An event without metadata, put together by hand: a training writes thousands, and the messages cost more.

    The bytes are those that protobuf gives.
    """
    value, tensor = _array_prefix(tag, dtype, values.shape)
    content = values.tobytes()
    tensor += _varint(len(content))
    value += _varint(len(tensor) + len(content)) + tensor
    summary = b"\x0a" + _varint(len(value) + len(content)) + value
    number = b"\x10" + _varint(step) if step else b""
    time = b"\x09" + _DOUBLE.pack(wall) if wall else b""
    return b"".join((time, number, b"\x2a", _varint(len(summary) + len(content)), summary, content))


@lru_cache(maxsize=256)
def _array_prefix(tag: str, dtype: int, shape: tuple[int, ...]) -> tuple[bytes, bytes]:
    """Tag and key of the tensor in ``Summary.Value``; type, shape and key of the content in ``TensorProto``."""
    sizes = b"".join(_delimited(b"\x12", b"\x08" + _varint(size) if size else b"") for size in shape)
    tensor = b"\x08" + _varint(dtype) + _delimited(b"\x12", sizes) + b"\x22"
    return _delimited(b"\x0a", tag.encode()) + b"\x42", tensor


def _delimited(key: bytes, content: bytes) -> bytes:
    return key + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """``number`` as protobuf writes an int64: seven bits a byte, the least first."""
    number &= (1 << 64) - 1
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _message_array(tag: str, step: int, wall: float, values: NDArray[Any], dtype: int, first: bool) -> bytes:
    sizes = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in values.shape]
    tensor = tensor_pb2.TensorProto(
        dtype=dtype, tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=sizes), tensor_content=values.tobytes()
    )
    return _tensor(tag, step, wall, tensor, first)


def _tensor(tag: str, step: int, wall: float, tensor: Any, first: bool) -> bytes:
    value = summary_pb2.Summary.Value(tag=tag, tensor=tensor)
    if first:
        value.metadata.plugin_data.plugin_name = schema.PLUGIN_NAME
        value.metadata.plugin_data.content = PluginData(version=schema.FORMAT_VERSION).SerializeToString()
        value.metadata.data_class = summary_pb2.DATA_CLASS_TENSOR
    summary = summary_pb2.Summary(value=[value])
    return _serialized(event_pb2.Event(wall_time=wall, step=step, summary=summary))


def _serialized(event: Any) -> bytes:
    serialized: bytes = event.SerializeToString()
    return serialized
