from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tb_nnhealth.cli import demo
from tb_nnhealth.cli.main import main


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A demo that trains nothing."""

    def train(logdir: str) -> None:
        for name in module.TRAININGS:
            (Path(logdir) / name).mkdir(parents=True)

    module = ModuleType("tb_nnhealth.demo")
    module.TRAININGS = ("good", "bad")  # type: ignore[attr-defined]
    module.main = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tb_nnhealth.demo", module)
    monkeypatch.setattr(demo, "find_spec", lambda name: object())
    return module


def test_the_demo_trains_once_and_says_how_to_look(
    trainings: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logdir = tmp_path / "deep" / "logs"
    assert main(["demo", "--logdir", str(logdir), "--no-tensorboard"]) == 0
    assert sorted(path.name for path in logdir.iterdir()) == ["bad", "good"]
    assert f"tensorboard --logdir {logdir}" in capsys.readouterr().out
    trainings.main = lambda logdir: pytest.fail("trained again")  # type: ignore[attr-defined]
    assert main(["demo", "--logdir", str(logdir), "--no-tensorboard"]) == 0


def test_an_empty_directory_is_as_good_as_none(trainings: ModuleType, tmp_path: Path) -> None:
    assert main(["demo", "--logdir", str(tmp_path), "--no-tensorboard"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]


def test_a_file_is_no_directory(trainings: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("precious")
    assert main(["demo", "--logdir", str(tmp_path / "logs"), "--no-tensorboard"]) == 2
    assert "cannot look into" in capsys.readouterr().err


def test_an_interrupted_demo_leaves_nothing_behind(trainings: ModuleType, tmp_path: Path) -> None:
    def interrupted(logdir: str) -> None:
        (Path(logdir) / "good").mkdir()
        raise KeyboardInterrupt

    trainings.main = interrupted  # type: ignore[attr-defined]
    assert main(["demo", "--logdir", str(tmp_path / "logs"), "--no-tensorboard"]) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_others_is_left_alone(
    trainings: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("precious")
    assert main(["demo", "--logdir", str(tmp_path), "--no-tensorboard"]) == 2
    assert "choose another --logdir" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "precious"


def test_what_is_missing_is_named(
    trainings: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert main(["demo", "--logdir", str(tmp_path / "logs")]) == 2
    assert "pip install torch scikit-learn" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["x", "-1", "70000"])
def test_a_port_that_is_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--port", port])
    assert exit_.value.code == 2
    assert "port" in capsys.readouterr().err
