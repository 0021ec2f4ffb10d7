"""The report as OpenMetrics text, for Prometheus: scraped over HTTP, or from a file by the node exporter.

All are gauges, so that the text is valid in Prometheus' own format as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.history import Problem
from tb_nnhealth.report.printable import printable
from tb_nnhealth.report.tally import VERDICTS

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
Samples = Iterable[tuple[dict[str, str], float]]


def render(reports: Sequence[dict[str, Any]], problems: Iterable[Problem]) -> str:
    """Verdict, step, time of the newest data and findings of each run; no more series than runs and findings."""
    reports = list(reports)
    families = [
        ("nnhealth_run_verdict", "1 for the run's verdict, 0 for the others.", _verdicts(reports)),
        ("nnhealth_run_step", "Last step of the run.", [(_run(r), r["steps"]) for r in reports]),
        (
            "nnhealth_run_last_write_timestamp_seconds",
            "Wall time of the run's newest data.",
            [(_run(r), r["last_wall"]) for r in reports if r["last_wall"] is not None],
        ),
        ("nnhealth_run_findings", "Findings of the run that hold at its last step.", _counts(reports)),
        ("nnhealth_finding", "1 for each finding that holds at its run's last step.", _findings(reports)),
        ("nnhealth_problems", "What could not be read.", [({}, sum(1 for _ in problems))]),
    ]
    lines = [line for name, help_, samples in families for line in _family(name, help_, samples)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _family(name: str, help_: str, samples: Samples) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    yield f"# HELP {name} {help_}"
    for labels, value in samples:
        written = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{written}}} {float(value):.17g}" if written else f"{name} {float(value):.17g}"


def _run(report: dict[str, Any]) -> dict[str, str]:
    return {"run": report["run"]}


def _verdicts(reports: Sequence[dict[str, Any]]) -> Samples:
    for report in reports:
        for verdict in VERDICTS:
            yield {**_run(report), "verdict": verdict}, report["verdict"] == verdict


def _counts(reports: Sequence[dict[str, Any]]) -> Samples:
    for report in reports:
        held = Counter(finding["severity"] for finding in report["findings"] if finding["active"])
        for severity in SEVERITIES:
            yield {**_run(report), "severity": severity}, held[severity]


def _findings(reports: Sequence[dict[str, Any]]) -> Samples:
    for report in reports:
        held = {(f["rule"], f["subject"], f["severity"]) for f in report["findings"] if f["active"]}
        for rule, subject, severity in sorted(held):
            yield {**_run(report), "rule": rule, "subject": subject, "severity": severity}, 1


def _escaped(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
