"""Thresholds tried: what a rule would say under another value of an option."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tb_nnhealth.history import Run
from tb_nnhealth.plugin.evidence import evidence
from tb_nnhealth.plugin.limits import trial
from tb_nnhealth.plugin.rejudge import options, rejudge
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.configuration import Tuning
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.registry import BY_ID
from tb_nnhealth.rules.synthetic import Network

RULE = BY_ID["dead-units"]
ILL = "three quarters die, the rest learns"
OPENING = "half of a layer in the opening: information"
JUST_BELOW = "just below"


def example(title: str) -> Run:
    return next(example.build() for example in RULE.examples if example.title == title)


def tried(title: str, value: float) -> dict[str, Any]:
    run = example(title)
    return rejudge(run, build(run, judge(run)), RULE, "share", value)


def test_a_higher_limit_lets_the_finding_go_and_says_what_the_run_would_be() -> None:
    found = tried(ILL, 0.9)
    assert [(change["kind"], change["subject"]) for change in found["changes"]] == [("gone", "layers.2")]
    assert found["verdict"] == "healthy"
    assert found["sentence"] == "1 finding would be gone; the run would be healthy."
    assert found["kept"] == 0


def test_the_lines_to_copy_give_the_same_judgement() -> None:
    tomllib = pytest.importorskip("tomllib")
    found = tried(ILL, 0.9)
    given = tomllib.loads(found["toml"])["rules"]
    assert given == {RULE.id: {"share": 0.9}}
    assert f'rules={{"{RULE.id}": {{"share": 0.9}}}}' in found["python"]
    run = example(ILL)
    again = build(run, judge(run, Tuning(given)))
    assert [f for f in again["findings"] if f["rule"] == RULE.id] == []
    assert again["verdict"] == found["verdict"]


def test_the_value_in_force_changes_nothing() -> None:
    found = tried(ILL, 0.3)
    assert found["changes"] == []
    assert found["kept"] == 1
    assert found["sentence"] == "Nothing would change."


def test_a_lower_limit_finds_more() -> None:
    found = tried(JUST_BELOW, 0.05)
    assert [change["kind"] for change in found["changes"]] == ["new"]


def test_a_later_onset_is_a_change_that_tells_what_was() -> None:
    (change,) = tried(OPENING, 0.4)["changes"]
    assert change["kind"] == "changed"
    assert change["first_step"] > change["was"]["first_step"]


def test_a_rule_that_does_not_judge_says_why() -> None:
    found = tried("batches of two samples", 0.9)
    assert found["sentence"].startswith("The rule does not judge: the batches are small")
    assert found["changes"] == []


def test_options_are_those_under_which_the_run_was_judged() -> None:
    network = Network(steps=3)
    network.layout.rules_json = json.dumps({RULE.id: {"share": 0.7}})
    found = {option["name"]: option for option in options(network.run(), RULE)}
    assert found["share"]["value"] == 0.7
    assert found["share"]["default"] == RULE.options[0].default
    assert set(found) == {option.name for option in RULE.options}


def test_the_option_that_draws_the_limit_is_named() -> None:
    run = example(ILL)
    report = build(run, judge(run))
    finding = next(f for f in report["findings"] if f["rule"] == RULE.id)
    chart = evidence(run, finding)
    assert chart is not None
    found = trial(finding, chart["limit"], options(run, RULE))
    assert found is not None
    assert found["value"] * found["scale"] == pytest.approx(chart["limit"])
    assert trial(finding, None, options(run, RULE)) is None, "no limit is drawn"
    assert trial(finding, chart["limit"], []) is None, "the limit is no option"


def test_every_rules_example_can_be_tried_anew_with_each_option() -> None:
    for rule in BY_ID.values():
        run = next(one.build() for one in rule.examples if one.ill)
        report = build(run, judge(run, rules=[rule]))
        for option in options(run, rule):
            found = rejudge(run, report, rule, option["name"], option["value"])
            assert found["changes"] == [], f"{rule.id}: its own value of {option['name']} changes something"
