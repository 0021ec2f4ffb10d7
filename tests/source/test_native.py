"""A run read by the native core is the run read without it: whatever was written, damaged, and however it grew."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from events.any_events import logs
from events.damage import damaged
from events.logs import FILE, Log
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tb_nnhealth import history, schema
from tb_nnhealth.events import reader, run_values
from tb_nnhealth.native import core
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.run_files import RunFiles

from .compare import assert_same_to_the_last_detail, without_native
from .fuzz import fuzz

pytestmark = pytest.mark.skipif(core is None, reason="the native core is not built")


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(whole=damaged(logs), data=st.data())
def test_damaged_and_growing_logs(tmp_path: Path, whole: bytes, data: st.DataObject) -> None:
    path = tmp_path / FILE
    chunk = data.draw(st.sampled_from([1, 50, 400, 1 << 20]))
    ours, theirs = RunFiles("run"), None
    with without_native():
        theirs = RunFiles("run")
    with mock.patch.object(reader, "CHUNK_BYTES", chunk), mock.patch.object(reader, "RECORD_BYTES_READ", 3000):
        for size in sorted([*data.draw(st.lists(st.integers(0, len(whole)), max_size=2)), len(whole)]):
            path.write_bytes(whole[:size])
            found = ours.refresh([str(path)])
            with without_native():
                expected = theirs.refresh([str(path)])
            assert_same_to_the_last_detail(found, expected)


def test_thousands_of_mutated_files() -> None:
    fuzz(2000, seed=1)


def test_most_of_a_log_is_plain(tmp_path: Path) -> None:
    log = Log(tmp_path)
    network = Network(depth=2, width=4, steps=40).loss(np.ones(40))
    log.network(network)
    files = RunFiles("run")
    with mock.patch.object(reader.event_pb2.Event, "FromString", wraps=reader.event_pb2.Event.FromString) as general:
        run = files.refresh([str(log.path)])
    assert (len(run.watches[schema.DEFAULT_WATCH]), len(run.scalars["loss/train"])) == (40, 40)
    assert general.call_count < 10


@pytest.mark.parametrize("bound", [100, 65536])
def test_many_points_of_many_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int) -> None:
    monkeypatch.setattr(history, "POINTS_KEPT", bound)
    monkeypatch.setattr(run_values, "MOST_POINTS_HELD", 64)
    monkeypatch.setattr(reader, "CHUNK_BYTES", 1000)
    log = Log(tmp_path)
    rng = np.random.default_rng(0)
    for step in range(1000):
        for tag in range(int(rng.integers(1, 4))):
            log.scalar(f"tag {tag}", step if rng.random() > 0.005 else step // 2, float(rng.standard_normal()))
        if step == 700:
            log.start(0)
            log.start(600)
    with without_native():
        expected = RunFiles("run").refresh([str(log.path)])
    assert_same_to_the_last_detail(RunFiles("run").refresh([str(log.path)]), expected)
