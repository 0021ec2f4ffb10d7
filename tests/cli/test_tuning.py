from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.cli.main import main
from tb_nnhealth.rules.synthetic import Network


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def too_quick() -> Network:
    """Updates of a third of the weights' norm in one layer, of a fifth in another, and a loss that falls slowly."""
    network = Network(steps=100)
    for layer, ratio in ((2, 0.35), (4, 0.2)):
        weight = network.get(schema.WEIGHT, network.weight(layer), schema.RMS)
        network.set(schema.UPDATE, network.weight(layer), rms=ratio * weight)
    loss = np.linspace(2.3, 1.5, 100)
    return network.set(schema.LOSS, "", mean=loss, rms=loss, min=loss, max=loss)


def judged(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    status = main(["inspect", *arguments, "--format", "json"])
    told = capsys.readouterr()
    assert status == 0, told.err
    (run,) = json.loads(told.out)["runs"]
    return run


def told_of(run: dict[str, Any]) -> dict[str, str]:
    """Severity of what was found by rule, but for what a short example shows beside."""
    return {f["rule"]: f["severity"] for f in run["findings"] if f["rule"] != "still-improving"}


def test_an_old_log_is_judged_anew_under_other_thresholds(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    logdir = str(log(run=too_quick()))
    assert "update-ratio-too-high" in told_of(judged(capsys, logdir))
    assert "update-ratio-too-high" not in told_of(judged(capsys, logdir, "--rule", "update-ratio-too-high.max=0.9"))
    assert "update-ratio-too-high" not in told_of(judged(capsys, logdir, "--rule", "update-ratio-too-high=off"))
    regraded = judged(capsys, logdir, "--rule", "update-ratio-too-high.severity=info")
    assert told_of(regraded)["update-ratio-too-high"] == "info"


def test_settings_of_the_directory_are_laid_over_what_the_log_recorded(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    network = too_quick()
    network.layout.rules_json = '{"update-ratio-too-high": false}'
    logdir = str(log(run=network))
    assert told_of(judged(capsys, logdir)) == {}
    (tmp_path / "nnhealth.toml").write_text(
        '[rules.update-ratio-too-high]\nseverity = "critical"\n"layers.2*" = false\n', "utf-8"
    )
    run = judged(capsys, logdir)
    assert told_of(run)["update-ratio-too-high"] == "critical"
    assert run["findings"][0]["subject"] == network.weight(4)
    assert told_of(judged(capsys, logdir, "--no-config")) == {}


def test_scalars_under_the_users_own_names(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    network = Network(steps=400).loss(np.exp(np.arange(400) / 60), tag="objective")
    logdir = str(log(run=network))
    assert told_of(judged(capsys, logdir)) == {}
    (tmp_path / "pyproject.toml").write_text('[tool.nnhealth.scalars]\nobjective = "loss/train"\n', "utf-8")
    assert "loss-diverging" in told_of(judged(capsys, logdir))


def test_a_baseline_leaves_what_is_new(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    logdir = str(log(run=too_quick()))
    baseline = tmp_path / "known.json"
    assert main(["inspect", logdir, "--write-baseline", str(baseline)]) == 0
    capsys.readouterr()
    run = judged(capsys, logdir, "--baseline", str(baseline))
    assert run["findings"] == []
    assert run["known"] >= 1
    assert run["verdict"] == "healthy"
    assert main(["inspect", logdir, "--baseline", str(baseline), "--fail-on", "info"]) == 0
    assert f"{run['known']} known finding(s)" in capsys.readouterr().out
    (tmp_path / "nnhealth.toml").write_text('baseline = "known.json"\nfail-on = "warning"\n', "utf-8")
    assert judged(capsys, logdir)["findings"] == []
    entries = json.loads(baseline.read_text("utf-8"))
    entries["findings"] = [{**entry, "run": "another"} for entry in entries["findings"]]
    baseline.write_text(json.dumps(entries), "utf-8")
    assert main(["inspect", logdir]) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rule", "dead-unit=off"], "did you mean 'dead-units'"),
        (["--rule", "update-ratio-too-high.maxx=1"], "did you mean 'max'"),
        (["--rule", "update-ratio-too-high.max=high"], "expected a number"),
        (["--rule", "update-ratio-too-high"], "expected RULE=off"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--baseline", "missing.json"], "missing.json: cannot read the baseline"),
        (["--baseline", "broken.json"], "--write-baseline"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_judged(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str], arguments: list[str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text('["no baseline"]', "utf-8")
    assert main(["inspect", str(log(run=Network(steps=20))), *arguments]) == 2
    assert told in capsys.readouterr().err
