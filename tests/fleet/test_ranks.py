"""Jobs of many ranks: one run with ranks inside, the rank that went wrong first, ranks that stopped writing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from events.logs import Log
from synthetic_logs import write_scalars

from tb_nnhealth import schema
from tb_nnhealth.cli.main import main
from tb_nnhealth.messages import Layout, Row
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.files import FileSource


def report(capsys: pytest.CaptureFixture[str], logs: Path, *arguments: str) -> dict[str, Any]:
    """Of the only run."""
    (found,) = reports(capsys, logs, *arguments)
    return found


def reports(capsys: pytest.CaptureFixture[str], logs: Path, *arguments: str) -> list[dict[str, Any]]:
    assert main(["inspect", str(logs), "--format", "json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["runs"]
    return found


def ill(step: int) -> Network:
    return Network(steps=100).spoil(schema.LOSS, "", step)


def healthy(steps: int = 100) -> Network:
    return Network(steps=steps).loss(2 * np.exp(-np.arange(steps) / 30) + 0.3)


def test_the_rank_that_went_wrong_first_is_named(log: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    logs = log(**{"exp/rank_0": healthy(), "exp/rank_1": ill(71), "exp/rank_2": ill(41), "exp/rank_3": healthy()})
    found = report(capsys, logs)
    assert found["run"] == "exp"
    assert found["verdict"] == "critical"
    assert found["ranks"]["count"] == 4
    assert found["ranks"]["first"]["rank"] == 2
    assert found["ranks"]["first"]["run"] == "exp/rank_2"
    assert [entry["verdict"] for entry in found["ranks"]["ranks"]] == ["healthy", "critical", "critical", "healthy"]
    assert found["ranks"]["stopped"] == []
    root = found["findings"][0]
    assert (root["rule"], root["rank"], root["ranks"]) == ("non-finite", 2, [1, 2])
    assert found["summary"].startswith(f"Rank 2 of 4 went wrong first, at step {root['first_step']}.")


def test_what_only_another_rank_has_is_told_as_well(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = ill(81)
    for layer in range(3, other.depth):
        other.spoil(schema.ACTIVATION, other.layer(layer), 81)
    found = report(capsys, log(**{"exp-rank0": ill(41), "exp-rank1": other}))
    ranks = {finding["subject"]: finding["ranks"] for finding in found["findings"]}
    assert [0] in ranks.values()
    assert [1] in ranks.values()


def test_a_healthy_job_is_one_healthy_run(log: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    logs = log(**{f"exp/node{n}/rank{r}": healthy() for n in range(2) for r in range(2)}, other=healthy())
    job, other = reports(capsys, logs)
    assert (job["run"], job["verdict"], job["ranks"]["count"]) == ("exp", "healthy", 4)
    assert "rank" not in job["summary"]
    assert other["ranks"] is None


def test_a_rank_that_stopped_writing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rank, steps in enumerate((1000, 990, 120, 1000)):
        write_scalars(tmp_path / f"rank{rank}", loss=[(i, 1 / (i + 1)) for i in range(steps)])
    found = report(capsys, tmp_path)
    assert found["run"] == "."
    assert found["ranks"]["stopped"] == [2]
    assert found["steps"] == 999
    assert found["summary"].startswith("Rank 2 stopped writing at step 119; the others go on.")


def test_ranks_that_write_more_seldom_have_not_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rank, every in enumerate((1, 40, 1)):
        write_scalars(tmp_path / f"rank{rank}", loss=[(i, 1 / (i + 1)) for i in range(0, 1000, every)])
    assert report(capsys, tmp_path)["ranks"]["stopped"] == []


def test_ranks_may_be_shown_apart(log: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    logs = log(**{"exp/rank_0": healthy(), "exp/rank_1": ill(41)})
    assert [r["run"] for r in reports(capsys, logs, "--ranks", "apart")] == ["exp/rank_0", "exp/rank_1"]
    assert [r["run"] for r in reports(capsys, logs)] == ["exp"]
    assert [r["run"] for r in reports(capsys, logs)] == ["exp"], "from the index as well"


def test_a_baseline_knows_the_findings_of_a_job(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs, file = log(**{"exp/rank_0": healthy(), "exp/rank_1": ill(41)}), tmp_path / "known.json"
    assert report(capsys, logs, "--write-baseline", str(file))["findings"]
    again = report(capsys, logs, "--baseline", str(file))
    assert again["findings"] == []
    assert again["known"] > 0


@pytest.mark.parametrize("format_", ["text", "markdown", "sarif", "junit", "github", "jsonl"])
def test_every_format_takes_a_job(log: Callable[..., Path], capsys: pytest.CaptureFixture[str], format_: str) -> None:
    logs = log(**{"exp/rank_0": healthy(), "exp/rank_1": ill(41)})
    assert main(["inspect", str(logs), "--format", format_]) == 0
    assert "non-finite" in capsys.readouterr().out


def compared(directory: Path, last: dict[int, int], every: dict[int, int] | None = None) -> dict[str, Any]:
    """``ranks`` of the report on a log of rank 0 that heard of each rank until the record ``last``."""
    rows = [Row(kind=schema.RANK_LOSS, subject=str(rank)) for rank in last]
    log = Log(directory)
    log.layout(Layout(columns=[schema.MEAN], rows=rows, ranks=len(last), watch=schema.DEFAULT_WATCH))
    for step in range(100):
        heard = [
            1.0 if step <= end and step % (every or {}).get(rank, 1) == 0 else np.nan for rank, end in last.items()
        ]
        log.record(step, np.array(heard, np.float32)[:, None])
    source = FileSource([directory])
    source.refresh()
    from tb_nnhealth.report.ranks import compared as compare

    ranks = compare(source.run("."))
    assert ranks is not None
    return ranks


def test_rank_0s_own_log_tells_which_ranks_fell_silent(tmp_path: Path) -> None:
    ranks = compared(tmp_path, {0: 99, 1: 99, 2: 40, 3: 95})
    assert ranks["stopped"] == [2]
    assert [(entry["rank"], entry["steps"]) for entry in ranks["ranks"]] == [(0, 99), (1, 99), (2, 40), (3, 95)]


def test_a_rank_that_measures_more_seldom_has_not_fallen_silent(tmp_path: Path) -> None:
    assert compared(tmp_path, {0: 99, 1: 79}, {1: 10})["stopped"] == []


def test_a_rank_that_fell_silent_stands_in_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compared(tmp_path, {0: 99, 1: 99, 2: 40})
    assert "Rank 2 stopped writing at step 40; the others go on." in report(capsys, tmp_path)["summary"]
