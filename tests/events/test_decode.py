"""Values of events: ours and every form in which TensorBoard writers store scalars."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.plugins.scalar import summary_v2
from tensorboard.util import tensor_util

from tb_nnhealth import schema
from tb_nnhealth.checks import CheckResult, PreflightReport
from tb_nnhealth.events import decode, encode
from tb_nnhealth.events.decode import Decoder, Tag, Value
from tb_nnhealth.events.tensor import FormatError, tensor_data
from tb_nnhealth.messages import Capture, Layout, PluginData, Row

STATS = schema.stats_tag("model")
PREFLIGHT = PreflightReport((CheckResult("causality", "fail", "Größe", {"first_position": 3}, ("Mask.",)),))


def decoded(*events: bytes | event_pb2.Event, decoder: Decoder | None = None) -> list[Value]:
    decoder = decoder or Decoder()
    parsed = [event_pb2.Event.FromString(e) if isinstance(e, bytes) else e for e in events]
    return [value for event in parsed for value in decoder.values(event, "FILE")]


def tensor_event(tag: str, tensor: tensor_pb2.TensorProto, plugin: str = "scalars", data_class: int = 0) -> Any:
    value = summary_pb2.Summary.Value(tag=tag, tensor=tensor)
    if plugin:
        value.metadata.plugin_data.plugin_name = plugin
        value.metadata.data_class = data_class
    return event_pb2.Event(wall_time=2.0, step=3, summary=summary_pb2.Summary(value=[value]))


def shape(*sizes: int) -> tensor_shape_pb2.TensorShapeProto:
    return tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in sizes])


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("sizes", [(0, 12), (1, 12), (7, 3)])
def test_record_comes_back(sizes: tuple[int, int], first: bool) -> None:
    values = np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
    values.flat[:2] = np.nan, np.inf
    (record,) = decoded(encode.stats(STATS, 5, 1.25, values, first))
    assert isinstance(record, decode.Record)
    assert record[:4] == ("model", 0, 5, 1.25)
    assert record.values.dtype == np.float32
    np.testing.assert_array_equal(record.values, values)


def test_coarser_record_comes_back() -> None:
    values = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    (record,) = decoded(encode.stats(schema.stats_tag("gan/g", 2), 255, 1.0, values, True))
    assert isinstance(record, decode.Record)
    assert record[:3] == ("gan/g", 2, 255)
    np.testing.assert_array_equal(record.values, values)


def test_arrays_of_any_memory_order_are_encoded_by_rows() -> None:
    values = np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3))[:, ::-1]
    (record,) = decoded(encode.stats(STATS, 0, 1.0, values, True))
    np.testing.assert_array_equal(record.values, values)


def test_histograms_come_back() -> None:
    counts = np.arange(2 * schema.HISTOGRAM_BINS, dtype=np.int32).reshape(2, -1)
    (value,) = decoded(encode.histograms(schema.histograms_tag("model"), 7, 1.0, counts, True))
    assert isinstance(value, decode.Histograms)
    assert value.counts.dtype == np.int32
    np.testing.assert_array_equal(value.counts, counts)


def test_texts_come_back() -> None:
    layout = Layout(watch="model", columns=["mean"], rows=[Row(kind="weight", subject="fc.weight", shape=[3, 2])])
    findings = json.dumps([{"rule": "dead-units", "message": "Größe"}])
    capture = Capture(written=3, errors=["a"], overhead=0.5)
    values = decoded(
        encode.text(schema.layout_tag("model"), 0, 1.0, layout.SerializeToString(), True),
        encode.text(schema.CAPTURE_TAG, 1, 1.0, capture.SerializeToString(), True),
        encode.text(schema.FINDINGS_TAG, 2, 1.0, findings.encode(), True),
        encode.text(schema.PREFLIGHT_TAG, 3, 1.0, PREFLIGHT.encode(), True),
        encode.session_start(1.0, 44),
        encode.file_version(1.0),
    )
    assert values == [
        decode.LayoutSeen("model", 0, 1.0, layout),
        decode.CaptureSeen(1, capture),
        decode.FindingsSeen(2, findings),
        decode.PreflightSeen(3, PREFLIGHT.to_json()),
        decode.SessionStart(44),
    ]


@pytest.mark.parametrize(
    ("spelled", "tag"),
    [
        ("nnhealth/model/layout", Tag("layout", "model")),
        ("nnhealth/a/b/stats/13", Tag("stats", "a/b", 13)),
        ("nnhealth/stats/stats/0", Tag("stats", "stats", 0)),
        ("nnhealth/capture", Tag("capture")),
        ("nnhealth/findings", Tag("findings")),
        ("nnhealth/preflight", Tag("preflight")),
        ("nnhealth/findings/layout", Tag("layout", "findings")),
        ("nnhealth/layout", None),
        ("nnhealth//layout", None),
        ("nnhealth/model/stats/-1", None),
        ("nnhealth/model/stats/٣", None),
        ("nnhealth/model/stats/123456789", None),
        ("nnhealth/model/other", None),
        ("loss/train", None),
        ("capture", None),
    ],
)
def test_tags(spelled: str, tag: Tag | None) -> None:
    assert Tag.parse(spelled) == tag


def test_a_tag_of_a_later_minor_addition_is_left_alone() -> None:
    decoder = Decoder()
    values = np.zeros((1, 1), np.float32)
    assert decoded(encode.stats("nnhealth/model/spectra", 0, 1.0, values, True), decoder=decoder) == []
    assert decoder.problems == []


def too_new(data: bytes) -> event_pb2.Event:
    event = event_pb2.Event.FromString(data)
    event.summary.value[0].metadata.plugin_data.content = PluginData(version=99).SerializeToString()
    return event


def test_a_newer_format_is_refused_by_name_and_the_rest_is_read() -> None:
    values = np.zeros((1, 1), np.float32)
    decoder = Decoder()
    read = decoded(
        too_new(encode.stats(STATS, 0, 1.0, values, True)),
        encode.stats(STATS, 1, 1.0, values, False),
        encode.stats(schema.stats_tag("other"), 1, 1.0, values, True),
        decoder=decoder,
    )
    assert [value.watch for value in read] == ["other"]
    (problem,) = decoder.problems
    assert problem.path == "FILE"
    for part in (STATS, "version 99", f"up to version {schema.FORMAT_VERSION}", "Upgrade tb-nnhealth"):
        assert part in problem.message


def test_a_file_of_a_known_version_after_a_newer_one_is_read() -> None:
    event = encode.stats(STATS, 1, 1.0, np.zeros((1, 1), np.float32), True)
    assert len(decoded(too_new(event), event)) == 1


def test_records_whose_first_event_was_lost_are_read() -> None:
    assert len(decoded(encode.stats(STATS, 1, 1.0, np.zeros((1, 1), np.float32), False))) == 1


def test_another_plugins_tensor_under_our_prefix_is_not_ours() -> None:
    tensor = tensor_util.make_tensor_proto(np.zeros((1, 1), np.float32))
    assert decoded(tensor_event(STATS, tensor, plugin="other")) == []


def bad_events() -> list[tuple[str, Any, str]]:
    zeros = np.zeros((2, 3), np.float32)
    bomb = event_pb2.Event.FromString(encode.stats(STATS, 0, 1.0, zeros, True))
    for dim in bomb.summary.value[0].tensor.tensor_shape.dim:
        dim.size = 1 << 31
    negative = event_pb2.Event.FromString(encode.stats(STATS, 0, 1.0, zeros, True))
    for dim, size in zip(negative.summary.value[0].tensor.tensor_shape.dim, (-2, -3), strict=True):
        dim.size = size
    repeated = event_pb2.Event.FromString(encode.stats(STATS, 0, 1.0, zeros, True))
    repeated.summary.value[0].tensor.ClearField("tensor_content")
    repeated.summary.value[0].tensor.float_val.append(1.0)
    strings = event_pb2.Event.FromString(encode.text(schema.CAPTURE_TAG, 0, 1.0, b"", True))
    strings.summary.value[0].tensor.string_val.append(b"")
    histograms = schema.histograms_tag("model")
    return [
        ("bomb", bomb, "does not fit"),
        ("negative", negative, "does not fit"),
        ("repeated", repeated, "does not fit"),
        ("rank", encode.stats(STATS, 0, 1.0, np.zeros(3, np.float32), True), r"float32 of shape (n, n)"),
        ("planes", encode.stats(schema.stats_tag("m", 1), 0, 1.0, np.zeros((2, 1, 1)), True), "(3, n, n)"),
        ("type", encode.histograms(STATS, 0, 1.0, np.zeros((1, 1), np.int32), True), "float32"),
        ("bins", encode.histograms(histograms, 0, 1.0, np.zeros((1, 5), np.int32), True), str(schema.HISTOGRAM_BINS)),
        ("string", encode.text(STATS, 0, 1.0, b"x", True), "found a string"),
        ("number", encode.stats(schema.layout_tag("m"), 0, 1.0, zeros, True), "expected one string"),
        ("message", encode.text(schema.layout_tag("m"), 0, 1.0, b"\xff\xff", True), "no valid layout"),
        ("json", encode.text(schema.FINDINGS_TAG, 0, 1.0, b"\xff\xff", True), "no valid findings"),
        ("strings", strings, "expected one string, found 2"),
    ]


@pytest.mark.parametrize(("event", "says"), [pytest.param(e, says, id=name) for name, e, says in bad_events()])
def test_what_does_not_fit_its_tag_is_left_out_and_told(event: Any, says: str) -> None:
    decoder = Decoder()
    assert decoded(event, decoder=decoder) == []
    (problem,) = decoder.problems
    assert says in problem.message


DTYPES = {
    types_pb2.DT_FLOAT: ("float_val", np.float32),
    types_pb2.DT_DOUBLE: ("double_val", np.float64),
    types_pb2.DT_INT8: ("int_val", np.int8),
    types_pb2.DT_INT16: ("int_val", np.int16),
    types_pb2.DT_INT32: ("int_val", np.int32),
    types_pb2.DT_INT64: ("int64_val", np.int64),
    types_pb2.DT_UINT8: ("int_val", np.uint8),
    types_pb2.DT_UINT16: ("int_val", np.uint16),
    types_pb2.DT_UINT32: ("uint32_val", np.uint32),
    types_pb2.DT_UINT64: ("uint64_val", np.uint64),
    types_pb2.DT_BOOL: ("bool_val", np.bool_),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=types_pb2.DataType.Name)
@pytest.mark.parametrize("stored", ["content", "field"])
def test_scalars_of_every_type_and_storage(dtype: int, stored: str) -> None:
    field, kind = DTYPES[dtype]
    tensor = tensor_pb2.TensorProto(dtype=dtype, tensor_shape=shape())
    if stored == "content":
        tensor.tensor_content = np.array(1, kind).tobytes()
    else:
        getattr(tensor, field).append(1)
    assert decoded(tensor_event("t", tensor)) == [decode.Scalar("t", 3, 2.0, 1.0)]


@pytest.mark.parametrize(("dtype", "bits"), [(types_pb2.DT_HALF, 0x3E00), (types_pb2.DT_BFLOAT16, 0x3FC0)])
@pytest.mark.parametrize("stored", ["content", "field"])
def test_scalars_of_16_bits(dtype: int, bits: int, stored: str) -> None:
    tensor = tensor_pb2.TensorProto(dtype=dtype)
    if stored == "content":
        tensor.tensor_content = np.array(bits, "<u2").tobytes()
    else:
        tensor.half_val.append(bits)
    assert decoded(tensor_event("t", tensor)) == [decode.Scalar("t", 3, 2.0, 1.5)]


def test_scalars_as_tensorboard_itself_makes_them() -> None:
    event = event_pb2.Event(wall_time=2.0, step=3, summary=summary_v2.scalar_pb("a", 0.1))
    assert decoded(event) == [decode.Scalar("a", 3, 2.0, float(np.float32(0.1)))]


def test_later_scalars_of_a_tag_need_no_metadata() -> None:
    tensor = tensor_util.make_tensor_proto(np.float32(4))
    read = decoded(tensor_event("t", tensor), tensor_event("t", tensor, plugin=""))
    assert [value.value for value in read] == [4.0, 4.0]


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_util.make_tensor_proto(np.zeros(2, np.float32)),
        tensor_util.make_tensor_proto(b"text"),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_COMPLEX64, scomplex_val=[1, 2]),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"ab"),
        tensor_pb2.TensorProto(dtype=999, float_val=[1]),
    ],
)
def test_scalars_that_are_none(tensor: tensor_pb2.TensorProto) -> None:
    decoder = Decoder()
    assert decoded(tensor_event("t", tensor), decoder=decoder) == []
    assert [problem.message.split(":")[0] for problem in decoder.problems] == ["tag 't'"]


@pytest.mark.parametrize("plugin", ["images", "histograms", "text", "hparams", ""])
def test_other_plugins_tensors_give_nothing(plugin: str) -> None:
    decoder = Decoder()
    tensor = tensor_util.make_tensor_proto(np.zeros((4, 3), np.float32))
    assert decoded(tensor_event("t", tensor, plugin=plugin), decoder=decoder) == []
    assert decoder.problems == []


def test_a_plain_number_of_another_plugin_is_no_scalar() -> None:
    value = summary_pb2.Summary.Value(tag="t", simple_value=1.0)
    value.metadata.plugin_data.plugin_name = "other"
    event = event_pb2.Event(summary=summary_pb2.Summary(value=[value]))
    assert len(decoded(event)) == 1, "without a data class TensorBoard takes it for a scalar"
    value.metadata.data_class = summary_pb2.DATA_CLASS_TENSOR
    assert decoded(event_pb2.Event(summary=summary_pb2.Summary(value=[value]))) == []


def test_several_values_in_one_event() -> None:
    values = [summary_pb2.Summary.Value(tag=tag, simple_value=1.0) for tag in "abc"]
    event = event_pb2.Event(step=1, summary=summary_pb2.Summary(value=values))
    assert [value.tag for value in decoded(event)] == ["a", "b", "c"]


def test_old_histograms_images_and_graphs_give_nothing() -> None:
    value = summary_pb2.Summary.Value(tag="h")
    value.histo.num = 3
    assert decoded(event_pb2.Event(summary=summary_pb2.Summary(value=[value])), event_pb2.Event(graph_def=b"x")) == []


def test_problems_are_bounded() -> None:
    decoder = Decoder()
    for i in range(3 * decode.PROBLEMS_TOLD):
        decoded(tensor_event(f"t{i}", tensor_util.make_tensor_proto(b"text")), decoder=decoder)
    assert len(decoder.problems) == decode.PROBLEMS_TOLD


def test_tensors_equal_tensorboards_reading() -> None:
    rng = np.random.default_rng(0)
    for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_):
        for sizes in ((), (1,), (3,), (2, 0), (2, 3, 4)):
            tensor = tensor_util.make_tensor_proto(np.array(rng.integers(0, 2, sizes), kind))
            theirs, ours = tensor_util.make_ndarray(tensor), tensor_data(tensor)
            assert isinstance(ours, np.ndarray)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


def test_no_element_is_invented() -> None:
    with pytest.raises(FormatError, match=r"\(1000, 1000\) does not fit the 1 elements"):
        tensor_data(tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=shape(1000, 1000), float_val=[1.0]))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[]",
        '{"shape": [Infinity, 1, 1, 1], "pixels": "", "low": [], "high": [], "parameter": "", "total": 1}',
        '{"shape": [1, 1, 1, 1], "pixels": "AA==", "low": [0], "high": [1], "parameter": "", "total": 1e999}',
        '{"shape": [1, 1, 1, 1], "pixels": "AA==", "low": [1'
        + "0" * 400
        + '], "high": [1], "parameter": "", "total": 1}',
    ],
)
def test_pictures_of_filters_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match="no valid filters"):
        decode.health_value(Tag("filters", "model"), 0, 1.0, text.encode())
