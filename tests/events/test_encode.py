"""Events put together by hand are, byte for byte, those that protobuf serializes."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto import event_pb2

from tb_nnhealth import schema
from tb_nnhealth.events import encode


@given(
    tag=st.text(min_size=1, max_size=300),
    step=st.integers(-(2**63), 2**63 - 1),
    wall=st.floats(0.0, 1e12).map(abs),
    shape=st.lists(st.integers(0, 40), min_size=2, max_size=3),
)
def test_later_events_of_a_tag_are_the_first_without_its_metadata(
    tag: str, step: int, wall: float, shape: list[int]
) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    first = event_pb2.Event.FromString(encode.stats(tag, step, wall, values, True))
    first.summary.value[0].ClearField("metadata")
    with mock.patch.object(encode, "core", None):
        assert encode.stats(tag, step, wall, values, False) == first.SerializeToString()
    assert encode.stats(tag, step, wall, values, False) == first.SerializeToString()


@pytest.mark.parametrize("rows", [1, 50, 5000])
def test_histograms_likewise(rows: int) -> None:
    counts = np.arange(rows * schema.HISTOGRAM_BINS, dtype=np.int32).reshape(rows, -1)
    first = event_pb2.Event.FromString(encode.histograms("nnhealth/model/histograms", 300, 1.5, counts, True))
    first.summary.value[0].ClearField("metadata")
    assert encode.histograms("nnhealth/model/histograms", 300, 1.5, counts, False) == first.SerializeToString()
