"""When findings began, on one axis: a scalar may count epochs where records count the optimizer's steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tb_nnhealth.findings import Finding
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Rule
from tb_nnhealth.rules.causes import link
from tb_nnhealth.rules.evidence.axes import Steps, optimizer_steps


def link_on_one_axis(
    run: Run, findings: Sequence[Finding], rules: Sequence[Rule], record_steps: Sequence[int]
) -> list[Finding]:
    """``causes.link`` with the steps of all findings counted as the records count them; each keeps its own steps."""
    counted = [_on_records(run, finding) for finding in findings]
    own = {(c.rule, c.subject, c.first_step): finding for c, finding in zip(counted, findings, strict=True)}
    linked = link(counted, rules, record_steps)
    return [replace(own[f.rule, f.subject, f.first_step], caused_by=f.caused_by) for f in linked]


def _on_records(run: Run, finding: Finding) -> Finding:
    series = run.scalars.get(finding.subject)
    if series is None or len(series) < 2 or finding.last_step > series.steps[-1]:
        return finding
    counted = series.steps
    taken = optimizer_steps(run, counted, series.walls)
    if taken is counted:
        return finding
    fired, last = (int(step) for step in np.interp((finding.fired_step, finding.last_step), counted, taken))
    return replace(
        finding, first_step=_told_since(finding.first_step, counted, taken), fired_step=fired, last_step=last
    )


def _told_since(step: int, counted: Steps, taken: Steps) -> int:
    """Where a finding that begins with the point at ``step`` began: the point is a mean over what lies before it."""
    at = int(np.searchsorted(counted, step, side="right")) - 1
    return int(taken[at - 1]) + 1 if at > 0 else 0
