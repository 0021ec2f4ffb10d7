"""A validation that was written as a run of its own is judged with its training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from events.logs import Log
from torch.utils.tensorboard import SummaryWriter

from tb_nnhealth import SummaryWriter as OurWriter
from tb_nnhealth.cli.main import main
from tb_nnhealth.history import Run
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.files import FileSource
from tb_nnhealth.source.provider import ProviderSource

from .backends import DONE, KEEP_ALL, PythonBackend

EPOCHS = 60
FALLING = 2.2 * np.exp(-np.arange(EPOCHS) / 10) + 0.01
RISING = np.concatenate([np.linspace(2.3, 1.1, 12), np.linspace(1.1, 2.6, EPOCHS - 12)])


def keras(logs: Path) -> Path:
    for name, values in (("train", FALLING), ("validation", RISING)):
        log = Log(logs / name)
        for epoch, value in enumerate(values):
            log.scalar("epoch_loss", epoch, float(value))
    return logs


def from_files(logs: Path, name: str) -> Run:
    source = FileSource([logs])
    source.refresh()
    return source.run(name)


def rules_of(run: Run) -> list[tuple[str, str]]:
    return [(finding.rule, finding.subject) for finding in judge(run).findings if finding.severity != "info"]


def test_keras_writes_two_runs(tmp_path: Path) -> None:
    run = from_files(keras(tmp_path), "train")
    assert sorted(run.scalars) == ["epoch_loss", "validation/epoch_loss"]
    assert rules_of(run) == [("overfitting", "validation/epoch_loss")]
    assert sorted(from_files(tmp_path, "validation").scalars) == ["epoch_loss"]


def test_add_scalars_writes_a_run_for_each_line(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "exp")) as writer:
        for epoch, (train, val) in enumerate(zip(FALLING, RISING, strict=True)):
            writer.add_scalars("loss", {"train": train, "val": val}, epoch)
    assert rules_of(from_files(tmp_path, "exp")) == [("overfitting", "loss/val")]


def test_a_line_is_judged_with_the_run_above_and_not_by_itself(tmp_path: Path) -> None:
    """Live, from files and from TensorBoard alike."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    writer = OurWriter(str(tmp_path / "exp"))
    writer.watch(model, optimizer, every=1)
    for step, (train, val) in enumerate(zip(FALLING, RISING, strict=True)):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
        writer.add_scalars("loss", {"train": train, "val": val}, step)
        writer.add_scalars("norms", {"w": 1.0}, step)
    writer.add_scalar(DONE, EPOCHS, 0)
    live = writer.findings()
    writer.close()
    backend = PythonBackend(str(tmp_path), KEEP_ALL)
    backend.load(["exp"])
    source = ProviderSource(backend.provider)
    source.refresh()
    here, there = from_files(tmp_path, "exp"), source.run("exp")
    assert list(here.scalars) == list(there.scalars) == [DONE, "loss/train", "loss/val"]
    assert ("overfitting", "loss/val") in rules_of(here)
    told = [
        [(finding.rule, finding.subject, finding.severity, finding.first_step) for finding in findings]
        for findings in (live, judge(here).findings, judge(there).findings, writer.findings())
    ]
    assert told[0] == told[1] == told[2] == told[3]
    for name in ("exp/loss_train", "exp/loss_val"):
        for line in (from_files(tmp_path, name), source.run(name)):
            assert (line.part_of, list(line.scalars), judge(line).findings) == ("exp", ["loss"], ())
            report = build(line, judge(line))
            assert (report["verdict"], report["summary"]) == ("no-data", "A line of `exp`, judged with that run.")
    assert from_files(tmp_path, "exp/norms_w").part_of == ""


def test_a_run_named_like_a_line_is_one_only_if_it_holds_that_line(tmp_path: Path) -> None:
    Log(tmp_path / "exp").scalar("lr", 0, 0.1)
    Log(tmp_path / "exp" / "mse_loss").scalar("loss", 0, 1.0)
    Log(tmp_path / "exp" / "loss_train").network(Network(depth=1, width=4, steps=20))
    assert list(from_files(tmp_path, "exp").scalars) == ["lr"]
    for name in ("exp/mse_loss", "exp/loss_train"):
        assert from_files(tmp_path, name).part_of == ""


def test_an_estimator_evaluates_into_a_directory_below(tmp_path: Path) -> None:
    keras(tmp_path)
    (tmp_path / "exp").mkdir()
    (tmp_path / "validation").rename(tmp_path / "exp" / "eval")
    for file in (tmp_path / "train").iterdir():
        file.rename(tmp_path / "exp" / file.name)
    assert rules_of(from_files(tmp_path, "exp")) == [("overfitting", "eval/epoch_loss")]


def test_a_training_of_its_own_lends_nothing(tmp_path: Path) -> None:
    Log(tmp_path / "train").scalar("loss", 0, 1.0)
    Log(tmp_path / "val").network(Network(depth=1, width=4, steps=20))
    Log(tmp_path / "test").scalar("loss/train", 0, 1.0)
    assert list(from_files(tmp_path, "train").scalars) == ["loss"]


def test_the_runs_own_scalar_is_preferred(tmp_path: Path) -> None:
    Log(tmp_path / "train").scalar("val/loss", 0, 1.0)
    Log(tmp_path / "val").scalar("loss", 0, 2.0)
    run = from_files(tmp_path, "train")
    assert {tag: list(series.values) for tag, series in run.scalars.items()} == {"val/loss": [1.0]}


def test_two_log_directories_are_two_places(tmp_path: Path) -> None:
    Log(tmp_path / "a" / "train").scalar("loss", 0, 1.0)
    Log(tmp_path / "b" / "val").scalar("loss", 0, 2.0)
    source = FileSource([tmp_path / "a", tmp_path / "b"])
    source.refresh()
    assert list(source.run("train").scalars) == ["loss"]


def test_it_grows_with_its_validation(tmp_path: Path) -> None:
    source = FileSource([keras(tmp_path)])
    source.refresh()
    before = source.directories["train"].stamps()
    assert len(source.run("train").scalars["validation/epoch_loss"]) == EPOCHS
    other = Log(tmp_path / "validation", "events.out.tfevents.0000000002.host.1.0")
    other.scalar("epoch_loss", EPOCHS, 3.0)
    source.refresh()
    assert source.directories["train"].stamps() != before
    assert len(source.run("train").scalars["validation/epoch_loss"]) == EPOCHS + 1
    assert len(source.run("train").scalars["epoch_loss"]) == EPOCHS


def test_a_second_look_sees_that_the_validation_grew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs, index = keras(tmp_path / "logs"), str(tmp_path / "index")
    (logs / "validation").rename(tmp_path / "later")

    def found() -> list[str]:
        assert main(["inspect", str(logs), "--index", index, "--no-config", "--format", "json"]) == 0
        told = json.loads(capsys.readouterr().out)
        return [finding["rule"] for run in told["runs"] for finding in run["findings"] if finding["severity"] != "info"]

    assert found() == []
    (tmp_path / "later").rename(logs / "validation")
    assert found() == ["overfitting"]


def test_tensorboard_tells_the_same(tmp_path: Path) -> None:
    keras(tmp_path)
    for name in ("train", "validation"):
        Log(tmp_path / name, "events.out.tfevents.0000000002.host.1.0").scalar(DONE, EPOCHS, 0.0)
    backend = PythonBackend(str(tmp_path), KEEP_ALL)
    backend.load(["train", "validation"], EPOCHS)
    source = ProviderSource(backend.provider)
    source.refresh()
    before = source.grown_to("train")
    here, there = from_files(tmp_path, "train"), source.run("train")
    assert list(there.scalars) == list(here.scalars)
    assert [finding.to_json() for finding in judge(there).findings] == [
        finding.to_json() for finding in judge(here).findings
    ]
    other = Log(tmp_path / "validation", "events.out.tfevents.0000000003.host.1.0")
    other.scalar("epoch_loss", EPOCHS, 3.0)
    other.scalar(DONE, EPOCHS + 1, 0.0)
    backend.load(["validation"], EPOCHS + 1)
    source.refresh()
    assert source.grown_to("train") != before
    assert len(source.run("train").scalars["validation/epoch_loss"]) == EPOCHS + 1
