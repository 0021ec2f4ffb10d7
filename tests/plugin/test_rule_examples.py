"""Whatever a rule finds, the panel can show it: every rule's ill examples through every route's function."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tb_nnhealth import derive
from tb_nnhealth.plugin.evidence import NO_SERIES, evidence
from tb_nnhealth.plugin.heatmap import heatmap
from tb_nnhealth.plugin.layer import layer
from tb_nnhealth.plugin.model import model
from tb_nnhealth.plugin.runs import summary
from tb_nnhealth.plugin.scalars import scalars
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.base import Example, Rule
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.registry import RULES

ILL = [pytest.param(rule, e, id=f"{rule.id}: {e.title}") for rule in RULES for e in rule.examples if e.ill]
REPLY_BYTES = 1_000_000


def plain(content: Any) -> None:
    """Asserts that ``content`` is JSON without NaN, small enough for one reply."""
    assert len(json.dumps(content, allow_nan=False)) < REPLY_BYTES


@pytest.mark.parametrize(("rule", "example"), ILL)
def test_an_ill_example_can_be_shown(rule: Rule, example: Example) -> None:
    run = example.build()
    report = build(run, judge(run, rules=[rule]))
    plain(report)
    row = summary(run, report)
    plain(row)
    assert row["worst"]["rule"] == rule.id
    plain(model(run))
    plain(scalars(run))
    for finding in report["findings"]:
        chart = evidence(run, finding)
        plain(chart)
        assert (chart is None) == (finding["evidence"]["statistic"] in NO_SERIES)
        for name in finding["layers"]:
            plain(layer(run, name))
    if rule.statistic:
        plain(heatmap(run, derive.BY_ID[rule.statistic]))
