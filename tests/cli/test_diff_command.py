from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_logs import write_scalars

from tb_nnhealth import schema
from tb_nnhealth.cli.main import main
from tb_nnhealth.rules.synthetic import Network


def healthy() -> Network:
    return Network(steps=100).loss(2 * np.exp(-np.arange(100) / 30) + 0.3)


def ill() -> Network:
    return healthy().spoil(schema.LOSS, "", 81)


def silent_layer() -> Network:
    network = ill()
    return network.set(schema.GRADIENT, network.weight(2), rms=np.zeros(100), min=np.zeros(100), max=np.zeros(100))


@pytest.fixture
def logdir(log: Callable[..., Path]) -> Path:
    return log(good=healthy(), bad=ill(), worse=silent_layer())


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path, status: int = 0) -> dict[str, Any]:
    assert main(["diff", *map(str, arguments), "--format", "json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def rules(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["rule"] for finding in findings]


def test_new_gone_and_common_findings(logdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, logdir, "good", "bad")
    assert [run["verdict"] for run in found["runs"]] == ["healthy", "critical"]
    back = told(capsys, logdir, "bad", "good")
    assert rules(found["new"]) == rules(back["gone"]) == ["non-finite"]
    assert rules(found["gone"]) == rules(back["new"])
    more = told(capsys, logdir, "bad", "worse")
    assert "non-finite" in [pair["first"]["rule"] for pair in more["common"]]
    assert more["new"]
    assert more["gone"] == []


def test_a_run_beside_itself_has_only_common_findings(logdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, logdir / "bad", logdir / "bad")
    assert (found["new"], found["gone"]) == ([], [])
    assert all(pair["first"] == pair["second"] for pair in found["common"])
    assert found["common"]


def test_key_scalars_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nan = float("nan")
    write_scalars(tmp_path / "a", **{"loss/train": [(0, 3.0), (1, 1.0), (2, nan)], "acc/val": [(0, 0.5), (1, 0.9)]})
    write_scalars(tmp_path / "b", **{"loss/train": [(0, 2.0)], "lr": [(0, 0.1)], "gpu/temperature": [(0, 70.0)]})
    rows = {row["tag"]: row for row in told(capsys, tmp_path / "a", tmp_path / "b")["scalars"]}
    assert set(rows) == {"loss/train", "acc/val", "lr"}
    assert rows["loss/train"]["first"] == {"points": 3, "last": "NaN", "last_step": 2, "best": 1.0, "best_step": 1}
    assert rows["acc/val"]["first"]["best"] == pytest.approx(0.9)
    assert rows["acc/val"]["second"] is None
    assert "best" not in rows["lr"]["second"]


def test_the_text_marks_what_changed(logdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(logdir / "good"), str(logdir / "bad")]) == 0
    text = capsys.readouterr().out
    assert "+ critical  non-finite" in text
    assert "loss" in text
    assert "findings: 1 new, " in text


def test_fail_on_asks_for_what_is_worse_than_before(logdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(logdir), "good", "bad", "--fail-on", "critical"]) == 1
    assert main(["diff", str(logdir), "bad", "good", "--fail-on", "critical"]) == 0
    assert main(["diff", str(logdir), "bad", "bad", "--fail-on", "info"]) == 0
    tuned = ["--rule", "non-finite.severity=info", "--fail-on", "warning"]
    assert main(["diff", str(logdir), "good", "bad", *tuned]) == 0


def test_names_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scalars(tmp_path / "evil\x1b[2J\n+ fake", **{"loss\x1b": [(0, 1.0)]})
    assert main(["diff", str(tmp_path / "evil\x1b[2J\n+ fake"), str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\n+ fake" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["logs"], "expected two runs"),
        (["logs/good", "logs/nowhere"], "No such file or directory"),
        (["logs/good", "logs"], "holds 3 runs; name one of them"),
        (["logs", "good", "bda"], "did you mean 'bad'?"),
        (["logs/good", "empty"], "no event files found below empty"),
    ],
)
def test_what_cannot_be_compared(
    logdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(logdir.parent)
    Path("empty").mkdir()
    assert main(["diff", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
