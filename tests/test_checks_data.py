"""The report of the checks before training as plain data, also from hostile hands."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tb_nnhealth.checks import CHECKS_READ, CheckResult, PreflightReport, decode, lines, tally


def report() -> PreflightReport:
    return PreflightReport(
        (
            CheckResult("chance-loss", "pass", "Größe", {"loss": 2.3, "names": ["a"]}),
            CheckResult("causality", "fail", "It sees the future.", {"worst": math.inf}, ("Mask.", "Pad.")),
            CheckResult("batch-leak", "skip", "no axis"),
        )
    )


def test_a_report_comes_back() -> None:
    assert decode(report().encode()) == report().to_json()
    assert report().to_json()["checks"][1]["evidence"] == {"worst": "Infinity"}


def test_it_is_ok_unless_a_check_failed() -> None:
    assert not report().ok
    assert PreflightReport(report().checks[::2]).ok
    assert PreflightReport((CheckResult("a", "warn", ""),)).ok


def test_checks_are_found_by_id() -> None:
    assert report()["causality"].status == "fail"
    with pytest.raises(KeyError, match="there are chance-loss, causality"):
        report()["nothing"]


def test_text() -> None:
    told = lines(report().to_json())
    assert told[1:4] == ["fail  causality: It sees the future.", "      1. Mask.", "      2. Pad."]
    assert str(report()).splitlines() == told
    assert tally(report().to_json()) == "1 failed, 1 passed, 1 skipped"
    assert tally({"checks": []}) == "no checks"


CHECK = {"id": "a", "status": "pass", "message": "m"}


@pytest.mark.parametrize(
    "found",
    [
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps({"checks": [1]}).encode(),
        json.dumps({"checks": [CHECK] * (CHECKS_READ + 1)}).encode(),
        *(
            json.dumps({"checks": [{**CHECK, name: value}]}).encode()
            for name, value in {"id": 1, "status": "great", "message": [], "evidence": 3, "advice": [1]}.items()
        ),
    ],
)
def test_what_is_no_report_is_refused(found: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own and ours
        decode(found)


def test_what_a_later_version_adds_is_left_out() -> None:
    evidence: dict[str, Any] = {"x": 1, "nested": {"y": math.nan}, "deep": [[1]]}
    found = decode(json.dumps({"ok": True, "new": 1, "checks": [{**CHECK, "evidence": evidence, "more": 2}]}).encode())
    assert found == {"ok": True, "checks": [{**CHECK, "evidence": {"x": 1}, "advice": []}]}
    json.dumps(found, allow_nan=False)
