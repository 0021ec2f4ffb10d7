"""``nnhealth inspect --follow``: in this process, where the log grows in its pauses, and as a process of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from events.logs import scalar_event
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from synthetic_logs import START, write_scalars

from tb_nnhealth.cli import following
from tb_nnhealth.cli.main import main
from tb_nnhealth.events.framing import frame
from tb_nnhealth.fleet import scan

NNHEALTH = [sys.executable, "-m", "tb_nnhealth.cli.main", "inspect", "--follow"]
Grow = Callable[[], None]


def healthy(directory: Path) -> Path:
    losses = 2 * np.exp(-np.arange(60) / 20) + 0.3
    return write_scalars(directory, **{"loss/train": list(enumerate(losses.tolist()))})


def write_nan(path: Path, begin: int = 60) -> None:
    """Five steps more, the loss no number."""
    with path.open("ab") as file:
        for step in range(begin, begin + 5):
            file.write(frame(scalar_event("loss/train", step, float("nan"), START + step)))


@pytest.fixture
def followed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the watch; at each pause the next of ``grow`` happens, then Ctrl-C."""

    def follow(logdir: Path, *arguments: object, grow: list[Grow]) -> tuple[int, str, str]:
        left: Iterator[Grow] = iter(grow)

        def pause(_: float) -> None:
            happens = next(left, None)
            if happens is None:
                raise KeyboardInterrupt
            happens()

        monkeypatch.setattr(following, "sleep", pause)
        index = [] if "--index" in arguments else ["--no-index"]
        status = main(["inspect", str(logdir), "--follow", "--no-config", *index, *map(str, arguments)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return follow


Followed = Callable[..., tuple[int, str, str]]


def test_findings_are_told_as_they_appear_and_clear(followed: Followed, tmp_path: Path) -> None:
    path = healthy(tmp_path / "logs" / "exp1")

    def replaced() -> None:
        path.unlink()
        healthy(tmp_path / "logs" / "exp2")

    status, out, err = followed(tmp_path / "logs", grow=[lambda: None, lambda: write_nan(path), replaced])
    lines = [line for line in out.splitlines() if "non-finite" in line]
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line).split("  ")[0] for line in lines] == ["✖ critical", "✔ cleared"]
    assert "exp1  non-finite  loss/train  steps 60–64: " in lines[0]
    assert "following 1 run: 1 healthy" in err
    assert status == 0


def test_lines_of_json(followed: Followed, tmp_path: Path) -> None:
    path = healthy(tmp_path / "exp1")
    _, out, _ = followed(tmp_path, "--format", "jsonl", grow=[lambda: write_nan(path)])
    told = [json.loads(line) for line in out.splitlines()]
    (nan,) = [entry for entry in told if entry["finding"]["rule"] == "non-finite"]
    assert (nan["event"], nan["run"], nan["finding"]["first_step"]) == ("appeared", "exp1", 60)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", nan["time"])


def test_ctrl_c_ends_with_the_status_of_what_holds(followed: Followed, tmp_path: Path) -> None:
    path = healthy(tmp_path / "exp1")
    assert followed(tmp_path, "--fail-on", "critical", grow=[])[0] == 0
    assert followed(tmp_path, "--fail-on", "critical", grow=[lambda: write_nan(path)])[0] == 1
    assert followed(tmp_path, grow=[])[0] == 0


def test_only_what_has_grown_is_judged_again(
    followed: Followed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    judge = following.judge

    def noted(run: Any, tuning: Any) -> Any:
        judged.append(run.name)
        return judge(run, tuning)

    for module in (following, scan):
        monkeypatch.setattr(module, "judge", noted)
    path = healthy(tmp_path / "logs" / "a")
    healthy(tmp_path / "logs" / "b")
    index = ["--index", tmp_path / "index"]
    followed(tmp_path / "logs", *index, grow=[lambda: None, lambda: write_nan(path), lambda: None])
    assert judged == ["a", "b", "a"]
    followed(tmp_path / "logs", *index, grow=[])
    assert judged == ["a", "b", "a", "a"], "b is known from before"


def test_a_run_that_cannot_be_judged_is_told_and_spoils_no_other(
    followed: Followed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(run: Any, tuning: Any, judge: Any = following.judge) -> Any:
        if run.name == "bad":
            raise RuntimeError("boom\x1b")
        return judge(run, tuning)

    for module in (following, scan):
        monkeypatch.setattr(module, "judge", fragile)
    healthy(tmp_path / "bad")
    write_nan(healthy(tmp_path / "good"))
    status, out, err = followed(tmp_path, "--fail-on", "critical", grow=[lambda: None])
    assert (status, "good  non-finite" in out) == (1, True)
    assert err.count("bad: could not be judged: RuntimeError: boom\\x1b") == 1


def test_the_log_directory_may_be_gone_for_a_while(followed: Followed, tmp_path: Path) -> None:
    path = healthy(tmp_path / "logs" / "exp1")
    away = tmp_path / "away"

    def back() -> None:
        away.rename(tmp_path / "logs")
        write_nan(path)

    _, out, err = followed(tmp_path / "logs", grow=[lambda: (tmp_path / "logs").rename(away) and None, back])
    assert "exp1  non-finite" in out
    assert "cannot be read as a log directory" in err


def test_a_command_is_run_once_for_a_finding_even_after_a_restart(followed: Followed, tmp_path: Path) -> None:
    path = healthy(tmp_path / "logs" / "exp1")
    record = tmp_path / "told"
    script = f"import os; open({str(record)!r}, 'a').write(os.environ['NNHEALTH_RULE'] + chr(10))"
    command = shlex.join([sys.executable, "-c", script])
    state = ["--state", tmp_path / "state"]
    for _ in range(2):
        grow = [lambda: write_nan(path), lambda: write_nan(path, 65)]
        followed(tmp_path / "logs", "--exec", command, "--alert-on", "critical", *state, grow=grow)
    assert record.read_text().splitlines() == ["non-finite"]
    assert len((tmp_path / "state").read_text().split()) > 0


def test_metrics_are_written_after_each_look(followed: Followed, tmp_path: Path) -> None:
    path, file = healthy(tmp_path / "logs" / "exp1"), tmp_path / "health.prom"
    seen: list[float] = []

    def read() -> None:
        families = {family.name: family for family in text_string_to_metric_families(file.read_text("utf-8"))}
        verdicts = families["nnhealth_run_verdict"].samples
        seen.append(next(s.value for s in verdicts if s.labels == {"run": "exp1", "verdict": "critical"}))

    followed(tmp_path / "logs", "--metrics", file, grow=[read, lambda: write_nan(path), read])
    assert seen == [0, 1]


def test_lines_go_to_a_file(followed: Followed, tmp_path: Path) -> None:
    write_nan(healthy(tmp_path / "logs" / "exp1"))
    _, out, _ = followed(tmp_path / "logs", "--output", tmp_path / "lines", grow=[])
    assert out == ""
    assert "non-finite" in (tmp_path / "lines").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--exec", "true"], "--exec needs --follow"),
        (["--metrics-port", "0"], "--metrics-port needs --follow"),
        (["--follow", "--format", "sarif"], "--follow writes text or jsonl"),
        (["--follow", "--write-baseline", "x"], "--write-baseline does not go with --follow"),
        (["--follow", "--verdict", "critical"], "do not go with --follow"),
        (["--follow", "--hold", "5"], "--hold needs --exec or --webhook"),
        (["--follow", "--state", "x"], "--state needs --exec or --webhook"),
        (["--follow", "--metrics", "no/such/place/m"], "cannot write"),
        (["--follow", "--output", "no/such/place/o"], "cannot write no/such/place/o"),
        (
            ["--follow", "--exec", "true", "--state", "logs/exp1/events.out.tfevents.1700000000.host.1.0/x"],
            "state file",
        ),
    ],
)
def test_what_does_not_go_together(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    healthy(Path("logs/exp1"))
    assert main(["inspect", "logs", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_directory_that_never_was_is_an_error(followed: Followed, tmp_path: Path) -> None:
    status, _, err = followed(tmp_path / "nowhere", grow=[])
    assert status == 2
    assert "No such file or directory" in err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--interval", "0"],
        ["--interval", "x"],
        ["--webhook", "ftp://x"],
        ["--exec", "'"],
        ["--metrics-port", "x"],
        ["--hold", "x"],
    ],
)
def test_wrong_values_are_usage_errors(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", "x", "--follow", *wrong])
    assert exit_.value.code == 2
    assert "expected" in capsys.readouterr().err or wrong == ["--exec", "'"]


def read_until(descriptor: int, wanted: str, seconds: float = 60) -> str:
    """What comes out of ``descriptor`` until ``wanted`` does."""
    got, end = b"", time.monotonic() + seconds
    while wanted not in got.decode(errors="replace"):
        assert time.monotonic() < end, got.decode(errors="replace")
        if select.select([descriptor], [], [], 0.5)[0]:
            got += os.read(descriptor, 65536)
    return got.decode(errors="replace")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_finding_is_told_within_seconds_and_a_signal_ends_the_process(tmp_path: Path, end: signal.Signals) -> None:
    path = healthy(tmp_path / "exp1")
    arguments = [*NNHEALTH, str(tmp_path), "--interval", "0.2", "--no-config", "--no-index", "--fail-on", "critical"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        read_until(process.stderr.fileno(), "following 1 run")
        write_nan(path)
        assert "non-finite" in read_until(process.stdout.fileno(), "non-finite")
        process.send_signal(end)
        assert process.wait(30) == 1
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.skipif(os.name == "nt", reason="no pty")
def test_a_terminal_gets_a_full_screen_and_gets_its_own_back(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    write_nan(healthy(tmp_path / "exp\x1b[2J"))
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    arguments = [*NNHEALTH, str(tmp_path), "--interval", "0.2", "--no-config", "--no-index"]
    with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = read_until(ours, "Ctrl-C ends")
        assert "\x1b[?1049h" in shown
        assert "exp\\x1b[2J" in shown
        process.send_signal(signal.SIGINT)
        read_until(ours, "\x1b[?1049l")
        assert process.wait(30) == 0
    os.close(ours)
