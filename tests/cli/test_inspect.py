from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from synthetic_logs import write_log, write_scalars

from tb_nnhealth import __version__, schema
from tb_nnhealth.cli import output, reading
from tb_nnhealth.cli.main import main
from tb_nnhealth.rules.synthetic import Network

NNHEALTH = [sys.executable, "-m", "tb_nnhealth.cli.main"]


def ill() -> Network:
    """NaN in a layer from step 81 on, and from there in all that follows."""
    network = Network(steps=100).spoil(schema.LOSS, "", 81)
    for layer in range(3, network.depth):
        network.spoil(schema.ACTIVATION, network.layer(layer), 81)
    return network


def healthy() -> Network:
    return Network(steps=100).loss(2 * np.exp(-np.arange(100) / 30) + 0.3)


def test_the_text_says_what_is_wrong_where_and_since_when(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(log(good=healthy(), bad=ill()))]) == 0
    told = capsys.readouterr()
    assert "non-finite" in told.out
    assert "layers.3" in told.out
    assert "81" in told.out
    assert "✔ healthy  good" in told.out
    assert "\x1b" not in told.out, "no colour where the output is no terminal"
    assert told.err == ""


def test_json_is_the_interfaces_object(log: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(log(good=healthy(), bad=ill())), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    assert [run["run"] for run in found["runs"]] == ["bad", "good"]
    assert [run["verdict"] for run in found["runs"]] == ["critical", "healthy"]
    assert found["runs"][0]["steps"] == 99
    assert found["problems"] == []


@pytest.mark.parametrize(("severity", "status"), [("info", 1), ("warning", 1), ("critical", 1)])
def test_fail_on_finds_what_is_as_severe(log: Callable[..., Path], severity: str, status: int) -> None:
    assert main(["inspect", str(log(bad=ill())), "--fail-on", severity]) == status


def test_fail_on_passes_a_healthy_run(log: Callable[..., Path]) -> None:
    assert main(["inspect", str(log(good=healthy())), "--fail-on", "warning"]) == 0


def test_a_log_of_plain_scalars_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    falling = [(i, 2 * np.exp(-i / 50) + 0.3 + 0.01 * rng.standard_normal()) for i in range(300)]
    write_scalars(tmp_path / "run", **{"loss/train": [(i, float(v)) for i, v in falling]})
    assert main(["inspect", str(tmp_path), "--format", "json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert run["verdict"] == "healthy"
    assert run["checks"]["passed"] > 0
    assert [check for check in run["checks"]["outcomes"] if check["status"] == "error"] == []


def test_an_event_file_can_be_named_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_log(tmp_path / "run", healthy())
    assert main(["inspect", str(path)]) == 0
    assert "healthy" in capsys.readouterr().out


def test_the_report_goes_to_a_file(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "report.json"
    assert main(["inspect", str(log(bad=ill())), "--format", "json", "--output", str(target)]) == 0
    assert json.loads(target.read_text("utf-8"))["runs"][0]["run"] == "bad"
    assert capsys.readouterr().out == ""


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["inspect", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("nnhealth: ")
    assert "Traceback" not in told.err
    return told.err


def test_a_directory_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = failure(capsys, str(tmp_path / "nowhere"))
    assert "nowhere" in told
    assert "No such file or directory" in told


def test_a_directory_without_event_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no event files found below" in failure(capsys, str(tmp_path))


def test_a_file_that_cannot_be_written(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "no" / "such" / "report.txt"
    assert f"cannot write {target}" in failure(capsys, str(log(good=healthy())), "--output", str(target))


def test_nothing_but_garbage_is_a_read_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(b"this is no event file" * 10)
    told = failure(capsys, str(tmp_path))
    assert "nothing could be read" in told
    assert "events.out.tfevents.1" in told


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_directory_that_may_not_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert "Permission denied" in failure(capsys, str(closed))


def test_a_damaged_file_is_named_and_the_rest_is_judged(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    logdir = log(good=healthy(), bad=ill())
    damaged = next((logdir / "good").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-50_000] + b"\x07" * 100)
    assert main(["inspect", str(logdir), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in found["runs"]] == ["bad", "good"]
    assert found["runs"][1]["steps"] > 0
    assert any(damaged.name in problem["path"] for problem in found["problems"])


def test_one_directory_of_two_does_not_exist(log: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(log(good=healthy())), "/no/such/place", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["runs"]) == 1
    assert found["problems"][0]["path"] == "/no/such/place"


def test_names_from_a_log_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scalars(tmp_path / "evil\x1b[2J", loss=[(0, 1.0)])
    assert main(["inspect", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "evil\\x1b[2J" in told


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], coloured: bool
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert output.in_colour() is coloured


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["inspect"],
        *(["inspect", "x", *wrong] for wrong in (["--format", "pdf"], ["--jobs", "0"], ["--fail-on", "x"])),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert ": error: " in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"nnhealth {__version__}\n"


@pytest.mark.parametrize("command", [NNHEALTH, [sys.executable, "-m", "tb_nnhealth"]], ids=["script", "module"])
def test_closed_standard_output_keeps_the_exit_status(log: Callable[..., Path], command: list[str]) -> None:
    words = [*command, "inspect", str(log(bad=ill())), "--fail-on", "critical"]
    found = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *words], stderr=subprocess.PIPE, text=True)
    assert (found.returncode, found.stderr) == (1, "")


def test_of_many_rules_that_lack_the_same_the_text_names_a_few(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scalars(tmp_path / "run", **{"loss/train": [(step, 2 * 0.97**step + 0.3) for step in range(100)]})
    assert main(["inspect", str(tmp_path), "--format", "json"]) == 0
    left_out = json.loads(capsys.readouterr().out)["runs"][0]["checks"]["could_not_check"]
    alike = [entry["rule"] for entry in left_out if entry["needs"] == "call writer.watch(model, optimizer) and train"]
    assert main(["inspect", str(tmp_path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"could not check {', '.join(alike[:4])} and {len(alike) - 4} more: call writer.watch" in told


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--fail-on", "critical"), 1)])
def test_a_reader_that_leaves_early_is_no_error(
    log: Callable[..., Path], options: tuple[str, ...], status: int
) -> None:
    logdir = log(bad=ill(), **{f"run{i}": Network(steps=3) for i in range(3)})
    process = subprocess.Popen(
        [*NNHEALTH, "inspect", str(logdir), "--format", "json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == status


def test_a_terminal_without_unicode_gets_what_it_can_show(log: Callable[..., Path]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [*NNHEALTH, "inspect", str(log(good=Network(steps=3)))], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert b"good" in done.stdout


def test_an_interrupt_ends_quietly(
    log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "inspect_runs", interrupted)
    assert main(["inspect", str(log(good=Network(steps=3)))]) == 130
    assert capsys.readouterr().err == "nnhealth: interrupted\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["inspct", "runs"], "found 'inspct'; did you mean inspect?"),
        (["."], "expected a command before ., perhaps `nnhealth inspect .`"),
        (["s3://bucket/runs"], "perhaps `nnhealth inspect s3://bucket/runs`"),
        (["inspect", "runs", "--fromat", "json"], "nnhealth inspect has no argument --fromat; did you mean --format?"),
        (["inspect", "runs", "--zzz"], "nnhealth inspect has no argument --zzz\n"),
        (["inspect", "runs", "--format", "jsn"], "invalid choice: 'jsn'"),
        (["merge"], "the following arguments are required"),
        (["rules", "dead-units", "more"], "not expected: more"),
    ],
)
def test_a_usage_error_says_what_was_probably_meant_and_where_to_read_on(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    assert told in said
    assert "--help` tells what there is" in said
    assert len(said.splitlines()) == 2


def test_a_choice_that_leaves_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scalars(tmp_path / "a", loss=[(0, 1.0)])
    assert main(["inspect", str(tmp_path), "--only", "zzz*", "--no-index"]) == 0
    assert "none of 1 run(s) matches --only, --since or --shard" in capsys.readouterr().err
