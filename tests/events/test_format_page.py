"""docs/format.md says what is so: its example, tables and numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2

from tb_nnhealth import history, schema
from tb_nnhealth.events import encode, reader
from tb_nnhealth.events.decode import Decoder, Record
from tb_nnhealth.events.framing import frame
from tb_nnhealth.events.reader import EventFile

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text("utf-8")
PROSE = " ".join(PAGE.split())


def example() -> bytes:
    (block,) = re.findall(r"```\n(53.*?)```", PAGE, re.DOTALL)
    lines = [re.match(r"\s*((?:[0-9a-f]{2}(?: |\n|$))+)", line + "\n") for line in block.splitlines()]
    return bytes.fromhex("".join(line[1] for line in lines if line))


def test_the_example_is_what_the_encoder_writes() -> None:
    values = np.array([[0.5, np.nan]], np.float32)
    assert example() == frame(encode.stats(schema.stats_tag("model"), 7, 1.5, values, True))


def test_the_example_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tfevents"
    path.write_bytes(example())
    file, decoder = EventFile(str(path)), Decoder()
    (record,) = [value for event in file.read() for value in decoder.values(event, "")]
    assert file.problems == decoder.problems == []
    assert isinstance(record, Record)
    assert record[:4] == ("model", 0, 7, 1.5)
    np.testing.assert_array_equal(record.values, np.array([[0.5, np.nan]], np.float32))


def table(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    below = PAGE.split(f"\n## {heading}\n")[1]
    rows = re.search(r"((?:^\|.*\n)+)", below, re.MULTILINE)
    assert rows
    return [[cell.strip() for cell in row.strip("|\n ").split("|")] for row in rows[1].splitlines()[2:]]


def test_every_kind_and_column_has_its_row() -> None:
    _, *kinds, columns = re.split(r"^\| (?:kind|column) \|.*$", PAGE.split("\n## Layout\n")[1], flags=re.MULTILINE)

    def named(text: str) -> list[str]:
        cells = [line.split("|")[1] for line in text.split("\n## ")[0].splitlines() if line.startswith("| `")]
        return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]

    assert sorted(name for part in kinds for name in named(part)) == sorted(schema.KINDS)
    assert named(columns) == list(schema.STATISTICS)


def test_the_field_numbers_are_tensorboards() -> None:
    messages = {
        "Event": event_pb2.Event,
        "SessionLog": event_pb2.SessionLog,
        "Summary": summary_pb2.Summary,
        "Summary.Value": summary_pb2.Summary.Value,
        "SummaryMetadata": summary_pb2.SummaryMetadata,
        "SummaryMetadata.PluginData": summary_pb2.SummaryMetadata.PluginData,
        "TensorProto": tensor_pb2.TensorProto,
        "TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
        "TensorShapeProto.Dim": tensor_shape_pb2.TensorShapeProto.Dim,
    }
    told = {row[0].strip("`"): re.findall(r"`(\w+)` = (\d+)", row[1]) for row in table("Events")}
    assert told.keys() == messages.keys()
    for name, fields in told.items():
        assert fields
        for field, number in fields:
            assert messages[name].DESCRIPTOR.fields_by_name[field].number == int(number), field
    assert summary_pb2.DATA_CLASS_TENSOR == 2
    assert event_pb2.SessionLog.START == 1
    assert (types_pb2.DT_FLOAT, types_pb2.DT_INT32, types_pb2.DT_STRING) == (1, 3, 7)


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"# The log format, version {schema.FORMAT_VERSION}\n" in PAGE
    assert encode.FILE_VERSION in PAGE
    assert f"int32 (rows, {schema.HISTOGRAM_BINS})" in PAGE
    exponents = f"bins 1 to {schema.EXPONENT_BINS} those with floor(log2 |x|) from −{-schema.EXPONENT_LOW}"
    assert f"{exponents} to {schema.EXPONENT_HIGH}" in PROSE
    assert f"bin {schema.HISTOGRAM_BINS - 1} NaN" in PROSE
    assert f"K = 1 to {schema.LEVELS - 1}" in PAGE
    assert f"Each {schema.LEVEL_FACTOR} records" in PROSE
    assert f"each of the last {schema.SILENCE_WINDOW} records" in PROSE
    assert f"longer than {reader.RECORD_BYTES_READ >> 20} MB" in PROSE
    assert f"beyond {history.RECORDS_KEPT:,} records of a watch (or {history.RECORD_BYTES_KEPT >> 20} MB)" in PROSE
    assert f"after the first {history.OPENING_KEPT} is" in PROSE
    assert f"beyond {history.POINTS_KEPT:,} points and histograms beyond {history.HISTOGRAMS_KEPT}" in PROSE


def test_the_tags_are_those_of_the_schema() -> None:
    tags = [row[0].split("`")[1] for row in table("Tags")]
    assert tags == [
        schema.layout_tag("WATCH"),
        schema.stats_tag("WATCH"),
        f"{schema.TAG_PREFIX}WATCH/stats/K",
        schema.histograms_tag("WATCH"),
        schema.filters_tag("WATCH"),
        schema.CAPTURE_TAG,
        schema.PREFLIGHT_TAG,
        schema.FINDINGS_TAG,
        schema.open_findings_tag(schema.OPEN_SEVERITIES[0]),
        schema.OPEN_FINDINGS_TAG,
    ]
