"""``--shard`` and ``nnhealth merge``: the parts are the whole, and a missing part is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tb_nnhealth import schema
from tb_nnhealth.cli.main import main
from tb_nnhealth.rules.synthetic import Network


def runs(log: Callable[..., Path], count: int = 8) -> Path:
    ill = {f"ill{i}": Network(steps=60).spoil(schema.LOSS, "", 41) for i in range(2)}
    return log(**{f"run{i}": Network(steps=10) for i in range(count)}, **ill)


def parts(logs: Path, directory: Path, of: int) -> list[str]:
    made = []
    for number in range(1, of + 1):
        made.append(str(directory / f"part{number}.json"))
        assert main(["inspect", str(logs), "--shard", f"{number}/{of}", "--format", "json", "--output", made[-1]]) == 0
    return made


@pytest.mark.parametrize("format_", ["text", "json", "jsonl", "markdown", "sarif", "junit", "github"])
def test_the_parts_are_the_whole(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str
) -> None:
    logs = runs(log)
    made = parts(logs, tmp_path, 3)
    assert main(["inspect", str(logs), "--format", format_]) == 0
    whole = capsys.readouterr().out
    assert main(["merge", *reversed(made), "--format", format_]) == 0
    assert capsys.readouterr().out == whole


def test_a_part_says_which_it_is(log: Callable[..., Path], tmp_path: Path) -> None:
    made = parts(runs(log), tmp_path, 4)
    told = [json.loads(Path(part).read_text("utf-8")) for part in made]
    assert [part["shard"] for part in told] == [{"number": i, "of": 4} for i in range(1, 5)]
    assert sum(len(part["runs"]) for part in told) == 10


def test_a_missing_part_is_told(log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = parts(runs(log), tmp_path, 3)
    assert main(["merge", made[0], made[2], "--format", "json"]) == 0
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem == {"path": "2/3", "message": "this shard is missing; its runs are not shown"}


def test_the_exit_status_and_the_choice_are_those_of_inspect(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = parts(runs(log), tmp_path, 2)
    assert main(["merge", *made, "--fail-on", "critical", "--verdict", "critical", "--format", "json"]) == 1
    assert [run["run"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["ill0", "ill1"]
    assert main(["merge", *made, "--sort", "severity", "--format", "json"]) == 0
    assert [run["run"] for run in json.loads(capsys.readouterr().out)["runs"]][:2] == ["ill0", "ill1"]


def test_of_a_run_in_two_parts_the_newer_report_is_taken(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    for file, steps in ((old, 10), (new, 20)):
        assert main(["inspect", str(log(a=Network(steps=steps))), "--format", "json", "--output", str(file)]) == 0
    for order in ((old, new), (new, old)):
        assert main(["merge", *map(str, order), "--format", "json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [run["steps"] for run in found["runs"]] == [19]
        assert "is in" in found["problems"][0]["message"]
    assert main(["merge", str(new), str(new), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("no json", "expected a report"),
        ("[]", "expected a report"),
        ('{"schema": 1}', "expected a report"),
        ('{"schema": 7, "runs": [], "problems": []}', "expected a report of schema 1, found 7"),
        ('{"schema": 1, "runs": [{"run": 1}], "problems": []}', "expected a report"),
    ],
)
def test_what_is_no_report_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, told: Any) -> None:
    part = tmp_path / "part.json"
    part.write_text(content, "utf-8")
    assert main(["merge", str(part)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert str(part) in error


def test_a_part_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(tmp_path / "none.json")]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err
