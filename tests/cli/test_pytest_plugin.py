"""The pytest plugin, run by a pytest of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from synthetic_logs import write_scalars

from tb_nnhealth import schema
from tb_nnhealth.rules.synthetic import Network

pytest_plugins = ["pytester"]


@pytest.fixture
def logdir(log: Callable[..., Path]) -> Path:
    good = Network(steps=100).loss(2 * np.exp(-np.arange(100) / 30) + 0.3)
    return log(good=good, bad=Network(steps=100).spoil(schema.LOSS, "", 81))


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Runs pytest with this plugin alone, whether or not it is installed as an entry point."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]")
    return lambda *arguments: pytester.runpytest_inprocess("-p", "tb_nnhealth.pytest_plugin", *map(str, arguments))


def test_each_run_is_a_test_and_a_critical_one_fails(run: Callable[..., pytest.RunResult], logdir: Path) -> None:
    result = run("--nnhealth", logdir, "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*nnhealth: bad*FAILED*", "*nnhealth: good*PASSED*", "*non-finite*", "*  1. *"])
    assert result.ret == 1


def test_less_severe_findings_fail_where_that_is_asked_for(
    run: Callable[..., pytest.RunResult], logdir: Path, pytester: pytest.Pytester
) -> None:
    (pytester.path / "nnhealth.toml").write_text('[rules.non-finite]\nseverity = "warning"\n', "utf-8")
    run("--nnhealth", logdir).assert_outcomes(passed=2)
    run("--nnhealth", logdir, "--nnhealth-fail-on", "warning").assert_outcomes(passed=1, failed=1)
    (pytester.path / "nnhealth.toml").write_text(
        'fail-on = "warning"\n[rules.non-finite]\nseverity = "warning"\n', "utf-8"
    )
    run("--nnhealth", logdir).assert_outcomes(passed=1, failed=1)


def test_settings_and_baseline_of_the_project_hold(
    run: Callable[..., pytest.RunResult], logdir: Path, pytester: pytest.Pytester
) -> None:
    known = [{"run": "bad", "rule": rule, "subject": "*"} for rule in ("non-finite", "still-improving")]
    (pytester.path / "known.json").write_text(json.dumps({"findings": known}), "utf-8")
    (pytester.path / "nnhealth.toml").write_text('baseline = "known.json"\n', "utf-8")
    run("--nnhealth", logdir).assert_outcomes(passed=2)


def test_a_run_without_data_is_skipped_and_not_passed(run: Callable[..., pytest.RunResult], tmp_path: Path) -> None:
    write_scalars(tmp_path / "short", loss=[(0, 1.0)])
    run("--nnhealth", tmp_path).assert_outcomes(skipped=1)


def test_a_run_that_a_test_writes_to_is_judged_afterwards(
    run: Callable[..., pytest.RunResult], tmp_path: Path, pytester: pytest.Pytester
) -> None:
    path = write_scalars(tmp_path / "evil\x1b[2J", loss=[(0, 1.0)])
    more = "".join(f"f.write(frame(scalar('loss', {i}, float('nan'))));" for i in range(1, 50))
    imports = "from synthetic_logs import scalar; from tb_nnhealth.events.framing import frame"
    pytester.makepyfile(f"{imports}\ndef test_trains():\n    with open({str(path)!r}, 'ab') as f: {more}")
    result = run("--nnhealth", tmp_path, "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*nnhealth: evil?x1b?2J FAILED*"])


def test_nothing_to_judge_is_a_usage_error(run: Callable[..., pytest.RunResult], tmp_path: Path) -> None:
    result = run("--nnhealth", tmp_path)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no event files found below*"])
    assert run("--nnhealth", tmp_path / "nowhere").ret == pytest.ExitCode.USAGE_ERROR


def test_the_fixture_fails_the_test_that_trained(
    run: Callable[..., pytest.RunResult], logdir: Path, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        f"""
        def test_good(nnhealth_healthy):
            (report,) = nnhealth_healthy({str(logdir / "good")!r})
            assert report["verdict"] == "healthy"

        def test_bad(nnhealth_healthy):
            nnhealth_healthy({str(logdir)!r})
        """
    )
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*NaN*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_fixture_takes_no_data_for_no_proof(
    run: Callable[..., pytest.RunResult], tmp_path: Path, pytester: pytest.Pytester
) -> None:
    write_scalars(tmp_path / "short", loss=[(0, 1.0)])
    pytester.makepyfile(f"def test(nnhealth_healthy): nnhealth_healthy({str(tmp_path / 'short')!r})")
    run().assert_outcomes(failed=1)


def test_without_its_options_it_does_nothing(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(): pass")
    run().assert_outcomes(passed=1)


def test_it_loads_nothing_heavy_into_a_pytest_that_does_not_use_it() -> None:
    script = "import sys, tb_nnhealth.pytest_plugin; print({'numpy', 'tensorboard', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
