"""A log that grows, through TensorBoard's own provider, as the plugin follows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_logs import scalar, write_log
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer

from tb_nnhealth import schema
from tb_nnhealth.events.framing import frame
from tb_nnhealth.plugin import experiment as experiments
from tb_nnhealth.plugin.experiment import Experiment
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.provider import ProviderSource


@pytest.fixture
def multiplexer(tmp_path: Path) -> plugin_event_multiplexer.EventMultiplexer:
    write_log(tmp_path / "a", Network(steps=30))
    write_log(tmp_path / "b", Network(steps=20))
    found = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={schema.PLUGIN_NAME: 0})
    found.AddRunsFromDirectory(str(tmp_path))
    found.Reload()
    return found


def test_new_data_are_read_and_runs_without_any_are_left_alone(
    multiplexer: plugin_event_multiplexer.EventMultiplexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(experiments, "BYTES_KEPT", 0)
    source = ProviderSource(data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path)))
    read: list[str] = []
    original = source.run
    monkeypatch.setattr(source, "run", lambda name: (read.append(name), original(name))[1])
    experiment = Experiment(source)
    experiment.judge(30)
    assert [row["steps"] for row in experiment.rows()] == [29, 19]
    assert source._runs == {"a": None, "b": None}, "neither is kept in memory"
    experiment.judge(30)
    assert read == ["a", "b"]
    with next((tmp_path / "a").iterdir()).open("ab") as file:
        for step in range(30):
            file.write(frame(scalar("loss/train", step, 1.0)))
    multiplexer.Reload()
    experiment.judge(30)
    grown = experiment.rows()
    assert read == ["a", "b", "a"]
    assert [row["loss"] is not None and row["loss"]["tag"] for row in grown] == ["loss/train", "loss"]
    with experiment.open("a") as opened:
        assert len(opened.run.scalars["loss/train"]) == 30
        assert opened.report["run"] == "a"


def test_what_was_opened_stays_as_it_was_while_its_files_grow(
    multiplexer: plugin_event_multiplexer.EventMultiplexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments, "REFRESH_SECONDS", 0.0)
    file = next((tmp_path / "a").iterdir())
    with file.open("ab") as out:
        for step in range(30):
            out.write(frame(scalar("loss/train", step, 1.0)))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path))
    experiment = Experiment(ProviderSource(provider, logdir=str(tmp_path), scalar_samples=10))
    experiment.judge(30)
    with experiment.open("a") as opened:
        series = opened.run.scalars["loss/train"]
        assert len(series) == 30
        with file.open("ab") as out:
            for step in range(15, 45):
                out.write(frame(scalar("loss/train", step, 2.0)))
        multiplexer.Reload()
        experiment.judge(30)
        assert opened.run.scalars["loss/train"] is series
        assert series.values.tolist() == [1.0] * 30
    with experiment.open("a") as opened:
        assert opened.run.scalars["loss/train"].values.tolist() == [1.0] * 15 + [2.0] * 30
