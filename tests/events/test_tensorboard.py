"""TensorBoard reads what we write, and we read what TensorBoard's writers write."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator, event_file_loader, plugin_event_accumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.scalar import summary_v2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from tb_nnhealth import schema
from tb_nnhealth.events.decode import Decoder, Scalar
from tb_nnhealth.events.reader import EventFile
from tb_nnhealth.messages import PluginData

from .logs import Log, small_log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return small_log(tmp_path)


def test_its_loaders_give_the_bytes_we_wrote(log: Log) -> None:
    ours = [event.SerializeToString() for event in EventFile(str(log.path)).read()]
    assert list(event_file_loader.RawEventFileLoader(str(log.path)).Load()) == ours
    theirs = list(event_file_loader.LegacyEventFileLoader(str(log.path)).Load())
    assert [event.SerializeToString() for event in theirs] == ours


@pytest.mark.parametrize("accumulator", [event_accumulator, plugin_event_accumulator])
def test_its_accumulators_read_our_records_without_a_warning(log: Log, accumulator, caplog) -> None:
    caplog.set_level(logging.WARNING)
    for name in ("tensorboard", "absl"):
        logging.getLogger(name).propagate = True
    read = accumulator.EventAccumulator(str(log.path)).Reload()
    assert not [record.getMessage() for record in caplog.records]
    tag = schema.stats_tag(schema.DEFAULT_WATCH)
    assert tag in read.Tags()["tensors"]
    metadata = read.SummaryMetadata(tag)
    assert metadata.plugin_data.plugin_name == schema.PLUGIN_NAME
    assert metadata.data_class == summary_pb2.DATA_CLASS_TENSOR
    assert PluginData.FromString(metadata.plugin_data.content).version == schema.FORMAT_VERSION
    arrays = [tensor_util.make_ndarray(event.tensor_proto) for event in read.Tensors(tag)]
    assert [event.step for event in read.Tensors(tag)] == [0, 1, 2]
    assert {(array.shape, array.dtype.name) for array in arrays} == {((2, 3), "float32")}
    layout = tensor_util.make_ndarray(read.Tensors(schema.layout_tag(schema.DEFAULT_WATCH))[0].tensor_proto)
    assert layout.shape == ()
    assert isinstance(layout.item(), bytes)


def test_its_writers_file_is_read(tmp_path: Path) -> None:
    writer = EventFileWriter(str(tmp_path))
    for step in range(500):
        value = summary_pb2.Summary.Value(tag="old", simple_value=step)
        writer.add_event(event_pb2.Event(wall_time=step, step=step, summary=summary_pb2.Summary(value=[value])))
        writer.add_event(event_pb2.Event(wall_time=step, step=step, summary=summary_v2.scalar_pb("new", step)))
    writer.close()
    (path,) = tmp_path.iterdir()
    file, decoder = EventFile(str(path)), Decoder()
    values = [value for event in file.read() for value in decoder.values(event, file.path)]
    assert values == [Scalar(tag, step, float(step), float(step)) for step in range(500) for tag in ("old", "new")]
    assert file.problems == decoder.problems == []


def test_a_growing_file_is_followed_beside_tensorboards_loader(tmp_path: Path) -> None:
    log = Log(tmp_path)
    ours, theirs = EventFile(str(log.path)), event_file_loader.RawEventFileLoader(str(log.path))
    rng = np.random.default_rng(0)
    for step in range(20):
        for _ in range(int(rng.integers(0, 4))):
            log.scalar("t", step, 1.0)
        assert [event.SerializeToString() for event in ours.read()] == list(theirs.Load())
