"""Open findings for TensorBoard's own tabs: written when they change, readable there, and no scalar of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tb_nnhealth import schema
from tb_nnhealth.record.faults import Faults
from tb_nnhealth.record.health_log import HealthLog
from tb_nnhealth.record.open_findings import TOLD_MOST, words
from tb_nnhealth.record.recorder import Recorder
from tb_nnhealth.source.files import FileSource

CRITICAL, WARNING = map(schema.open_findings_tag, schema.OPEN_SEVERITIES)


def finding(rule: str, severity: str = "critical", **more: Any) -> dict[str, Any]:
    known = {"subject": "layers.3", "first_step": 8, "message": "It is ill.", "advice": ["Mend it."], "active": True}
    return {"rule": rule, "severity": severity, "caused_by": None, **known, **more}


def record_an_illness(directory: Path) -> None:
    """A loss that is NaN from step 60 on, which one rule calls critical."""
    with Recorder(directory) as recorder:
        for step in range(100):
            loss = {"nan_count": 1.0} if step >= 60 else {"mean": 1.0 / (step + 1), "nan_count": 0.0}
            recorder.record(step, {"loss": loss, "w:weight": {"rms": 0.1}})


def tags_of(directory: Path) -> Any:
    accumulator = EventAccumulator(str(directory))
    accumulator.Reload()
    return accumulator


def test_tensorboard_shows_them_as_scalars_and_as_text(tmp_path: Path) -> None:
    record_an_illness(tmp_path)
    read = tags_of(tmp_path)
    assert {CRITICAL, WARNING} <= set(read.Tags()["scalars"])
    last = read.Scalars(CRITICAL)[-1]
    assert (last.step, last.value) == (99, 1)
    tensor = read.Tensors(schema.OPEN_FINDINGS_TAG)[-1].tensor_proto
    assert read.SummaryMetadata(schema.OPEN_FINDINGS_TAG).plugin_data.plugin_name == "text"
    assert "non" in tensor.string_val[0].decode()
    assert [dim.size for dim in tensor.tensor_shape.dim] == [1]


def test_no_reader_of_ours_takes_them_for_the_users(tmp_path: Path) -> None:
    record_an_illness(tmp_path / "run")
    source = FileSource([tmp_path])
    source.refresh()
    run = source.run("run")
    assert list(run.scalars) == []
    assert run.problems == []


def test_settings_turn_them_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nnhealth.toml").write_text("open-findings = false\n")
    monkeypatch.chdir(tmp_path)
    record_an_illness(tmp_path / "run")
    told = tags_of(tmp_path / "run").Tags()
    assert not [tag for tags in told.values() if isinstance(tags, list) for tag in tags if "open_findings" in tag]


def written(health: HealthLog, findings: list[dict[str, Any]], *, closing: bool = False) -> list[str]:
    entries = health.open_findings.entries(health, findings, closing)
    for entry in entries:
        entry.encode()
        entry.written()
    return [type(entry).__name__ for entry in entries]


def test_they_are_written_when_they_change_and_at_the_close() -> None:
    health = HealthLog("run", Faults())
    assert written(health, []) == ["OpenCount", "OpenCount"]
    assert written(health, []) == []
    assert written(health, [finding("a")]) == ["OpenCount", "OpenWords"]
    assert written(health, [finding("a", message="It is worse.", last_step=9)]) == []
    assert written(health, [finding("a"), finding("b", "info")]) == ["OpenWords"]
    assert written(health, [finding("a", active=False)]) == ["OpenCount", "OpenWords"]
    assert written(health, [], closing=True) == [], "nothing has been recorded since"


def test_the_words_are_bounded_and_inert() -> None:
    hostile = "<script>alert(1)</script> [x](javascript:alert(1)) `a` # b\n# c"
    told = words([finding(hostile, subject=hostile, message=hostile, advice=[hostile])])
    assert "<script" not in told
    assert "[x](" not in told
    assert "\n#" not in told
    assert "`a`" not in told.replace("\\`", "")
    many = words([finding(f"rule {i}", message="x" * 10_000) for i in range(100)])
    assert len(many) < TOLD_MOST * 1_000
    assert "and 80 more" in many
    assert "No finding is open" in words([])
