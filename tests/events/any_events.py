"""Serialized events of every form that writers use, and of forms that none does, as hypothesis strategies."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2

from tb_nnhealth import schema
from tb_nnhealth.events import encode
from tb_nnhealth.messages import Capture, Layout, PluginData, Row

TAGS = st.sampled_from(["loss", "loss/train", "Größe", "x" * 200, "nnhealth/loss", schema.stats_tag("model"), ""])
STEPS = st.integers(-3, 12) | st.sampled_from([2**40, -(2**63), 2**63 - 1])
WALLS = st.sampled_from([0.0, 1.5, 1.7e9, float("nan")])
NUMBERS = st.floats(width=32) | st.integers(-5, 5)
PLUGINS = st.sampled_from(["", "scalars", "scalars", "histograms", schema.PLUGIN_NAME])


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    dtype, stored = draw(
        st.sampled_from(
            [(types_pb2.DT_FLOAT, "<f4")] * 3
            + [(types_pb2.DT_DOUBLE, "<f8"), (types_pb2.DT_HALF, "<f2"), (types_pb2.DT_INT32, "<i4"), (0, "<f4")]
        )
    )
    tensor = tensor_pb2.TensorProto(dtype=dtype)
    for size in draw(st.lists(st.sampled_from([1, 1, 1, 2, 0, -1]), max_size=4)):
        tensor.tensor_shape.dim.add(size=size, name=draw(st.sampled_from(["", "", "", "batch"])))
    count = draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
    with np.errstate(all="ignore"):
        values = np.array([draw(st.integers(-4, 4)) for _ in range(count)]).astype(stored)
    fields = draw(st.sampled_from(["content", "list", "list", "both"]))
    if fields != "list":
        tensor.tensor_content = values.tobytes()
    if fields != "content":
        (tensor.double_val if dtype == types_pb2.DT_DOUBLE else tensor.float_val).extend(values.tolist())
    if draw(st.integers(0, 9)) == 0:
        tensor.version_number = 1
    return tensor


@st.composite
def values(draw: st.DrawFn) -> Any:
    value = summary_pb2.Summary.Value(tag=draw(TAGS))
    kind = draw(st.sampled_from(["simple", "simple", "simple", "tensor", "tensor", "image", "histo", "none"]))
    if kind == "simple":
        value.simple_value = draw(NUMBERS)
    elif kind == "tensor":
        value.tensor.CopyFrom(draw(tensors()))
    elif kind == "image":
        value.image.width = 3
    elif kind == "histo":
        value.histo.bucket.append(1.0)
    if draw(st.integers(0, 2)) == 0:
        value.metadata.plugin_data.plugin_name = draw(PLUGINS)
        value.metadata.data_class = draw(st.sampled_from([0, 1, 2]))
        value.metadata.display_name = draw(st.sampled_from(["", "Loss"]))
        if value.metadata.plugin_data.plugin_name == schema.PLUGIN_NAME:
            version = draw(st.sampled_from([1, 1, 99]))
            value.metadata.plugin_data.content = PluginData(version=version).SerializeToString()
    if draw(st.integers(0, 9)) == 0:
        value.node_name = "node"
    return value


@st.composite
def summaries(draw: st.DrawFn) -> bytes:
    found = draw(st.lists(values(), min_size=1, max_size=1) | st.lists(values(), max_size=4))
    event = event_pb2.Event(wall_time=draw(WALLS), step=draw(STEPS), summary=summary_pb2.Summary(value=found))
    return bytes(event.SerializeToString())


@st.composite
def markers(draw: st.DrawFn) -> bytes:
    step = draw(STEPS)
    session = event_pb2.SessionLog(status=draw(st.sampled_from([1, 1, 2, 3])))
    return draw(
        st.sampled_from(
            [
                encode.session_start(1.0, step),
                bytes(event_pb2.Event(step=step, session_log=session).SerializeToString()),
                encode.file_version(1.0),
                bytes(event_pb2.Event(step=step, graph_def=b"graph").SerializeToString()),
                encode.text(schema.CAPTURE_TAG, step, 1.0, Capture(written=3).SerializeToString(), draw(st.booleans())),
                b"",
            ]
        )
    )


@st.composite
def health(draw: st.DrawFn) -> bytes:
    watch, step, wall = draw(st.sampled_from(["model", "gan/g"])), draw(STEPS), draw(WALLS)
    first = draw(st.integers(0, 3)) == 0
    rows, columns = draw(st.integers(0, 3)), draw(st.sampled_from([2, 2, 2, 3]))
    kind = draw(st.sampled_from(["layout", "stats", "stats", "stats", "level", "histograms", "histograms"]))
    if kind == "layout":
        names = draw(st.permutations(["a", "b", "c"]))[: rows + 1]
        layout = Layout(
            watch=watch,
            columns=[schema.MEAN, schema.NAN_COUNT, schema.STD][:columns],
            rows=[Row(kind=schema.WEIGHT, subject=name, shape=[2]) for name in names],
        )
        return encode.text(schema.layout_tag(watch), step, wall, layout.SerializeToString(), first)
    if kind == "histograms":
        counts = np.full((rows, schema.HISTOGRAM_BINS + draw(st.sampled_from([0, 0, 0, 1]))), step % 5, np.int32)
        return encode.histograms(schema.histograms_tag(watch), step, wall, counts, first)
    table = np.full((rows, columns), draw(NUMBERS), np.float32)
    if kind == "level":
        planes = np.stack([table] * draw(st.sampled_from([3, 3, 2])))
        return encode.stats(schema.stats_tag(watch, 1), step, wall, planes, first)
    return encode.stats(schema.stats_tag(watch), step, wall, table, first)


@st.composite
def oddly_written(draw: st.DrawFn) -> bytes:
    """Valid and invalid messages as no writer writes them: fields twice, unknown fields, long numbers, bad text."""
    data = draw(summaries() | health())
    return draw(
        st.sampled_from(
            [
                data + b"\x10\x05",
                data + data,
                data + b"\x7a\x01x",
                b"\x10\x85\x80\x80\x80\x00" + data,
                data.replace(b"loss", b"lo\xff\xfe"),
                data.replace(b"loss", b"\xed\xa0\x80s"),
                data[:-1],
                b"\x0a\x00" + data,
            ]
        )
    )


events = summaries() | summaries() | health() | health() | markers() | oddly_written()
logs = st.lists(events, max_size=25)
