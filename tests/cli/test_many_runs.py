"""``nnhealth inspect`` on many runs: choosing, sorting, the index, and places other than this machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.cli.main import main
from tb_nnhealth.rules.synthetic import Network


def ill() -> Network:
    return Network(steps=60).spoil(schema.LOSS, "", 41)


def healthy() -> Network:
    return Network(steps=100).loss(2 * np.exp(-np.arange(100) / 30) + 0.3)


def runs(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["inspect", *arguments, "--format", "json"]) == 0
    return [run["run"] for run in json.loads(capsys.readouterr().out)["runs"]]


def test_only_since_and_verdict_choose(log: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    logs = log(a1=healthy(), a2=ill(), b1=ill())
    os.utime(next((logs / "b1").iterdir()), (time.time() - 9000,) * 2)
    assert runs(capsys, str(logs), "--only", "a*") == ["a1", "a2"]
    assert runs(capsys, str(logs), "--only", "a1", "--only", "/^b/") == ["a1", "b1"]
    assert runs(capsys, str(logs), "--since", "1h") == ["a1", "a2"]
    assert runs(capsys, str(logs), "--verdict", "critical") == ["a2", "b1"]
    assert runs(capsys, str(logs), "--verdict", "critical", "--since", "1h") == ["a2"]
    assert runs(capsys, str(logs), "--only", "nothing") == []


def test_sort(log: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    logs = log(a=healthy(), b=ill(), c=Network(steps=400))
    assert runs(capsys, str(logs), "--sort", "severity")[0] == "b"
    assert runs(capsys, str(logs), "--sort", "recent")[0] == "c"
    assert runs(capsys, str(logs), "--sort", "name") == ["a", "b", "c"]


def test_the_exit_status_is_of_the_runs_that_are_shown(log: Callable[..., Path]) -> None:
    logs = str(log(good=healthy(), bad=ill()))
    assert main(["inspect", logs, "--fail-on", "critical"]) == 1
    assert main(["inspect", logs, "--fail-on", "critical", "--only", "good"]) == 0


def test_an_index_may_lie_where_the_user_says(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs, at = str(log(a=healthy(), b=ill())), tmp_path / "index"
    before = sorted(path for path in Path(logs).rglob("*"))
    first = runs(capsys, logs, "--index", str(at))
    assert at.exists()
    assert runs(capsys, logs, "--index", str(at)) == first
    cache = Path(os.environ["XDG_CACHE_HOME"])
    assert runs(capsys, logs, "--no-index") == first
    assert list(cache.iterdir()) == []
    assert runs(capsys, logs) == first
    assert list(cache.rglob("index.sqlite"))
    assert sorted(path for path in Path(logs).rglob("*")) == before, "nothing is written into the logs"


def test_a_damaged_index_is_a_note(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs, at = str(log(a=healthy())), tmp_path / "index"
    at.write_bytes(b"no database at all" * 100)
    assert main(["inspect", logs, "--index", str(at)]) == 0
    told = capsys.readouterr()
    assert "healthy" in told.out
    assert told.err.startswith("nnhealth: the index was damaged and is made anew")


def test_a_url(log: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    logs = log(a=healthy(), b=ill())
    files = fsspec.filesystem("memory")
    for path in logs.rglob("*tfevents*"):
        files.pipe_file(f"/fleet-cli/{path.relative_to(logs).as_posix()}", path.read_bytes())
    assert runs(capsys, "memory://fleet-cli") == runs(capsys, str(logs)) == ["a", "b"]
    assert runs(capsys, "memory://fleet-cli", str(logs), "--only", "*/a") == sorted(
        ["memory://fleet-cli/a", f"{logs}/a"]
    )


def test_a_url_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "nonsense://x/y"]) == 2
    assert "nonsense://x/y: cannot be read as a log directory: Protocol not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--since", "yesterday"], "expected an age such as 90m"),
        (["--only", "/(/"], "expected a glob, or a regular expression"),
        (["--verdict", "bad"], "invalid choice"),
        (["--sort", "size"], "invalid choice"),
        (["--jobs", "0"], "expected a number of processes"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", "x", *arguments])
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err
