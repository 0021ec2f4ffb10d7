"""The report: the JSON that others rely on, the sentence, and the text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tb_nnhealth.findings import SEVERITIES, Cause, Evidence, Finding
from tb_nnhealth.history import Problem, Run, Series
from tb_nnhealth.report import json as json_report
from tb_nnhealth.report import text as text_report
from tb_nnhealth.report.build import build
from tb_nnhealth.report.page import HEADINGS, references, section, why_it_matters
from tb_nnhealth.report.sentence import plain, sentence
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.registry import BY_ID, RULES
from tb_nnhealth.rules.synthetic import Network

ILL = [(rule.id, example) for rule in RULES for example in rule.examples if example.ill]


_EVIDENCE = Evidence("made up", "1", 2.0, 1.0, "above", None)


def report_of(run: Run) -> dict:
    return build(run, judge(run))


@pytest.mark.parametrize(("rule_id", "example"), ILL, ids=lambda value: getattr(value, "title", value))
def test_every_ill_example_gives_the_object_of_the_interface(rule_id, example):
    report = json.loads(json_report.render([report_of(example.build())], []))["runs"][0]
    assert {"run", "verdict", "steps", "checks", "findings"} <= report.keys()
    assert {"passed", "not_applicable", "could_not_check"} <= report["checks"].keys()
    assert rule_id in [finding["rule"] for finding in report["findings"]]
    roots = set()
    for finding in report["findings"]:
        assert finding["severity"] in SEVERITIES
        assert finding["first_step"] <= finding["fired_step"] <= report["steps"]
        assert finding["first_step"] <= finding["last_step"] <= report["steps"]
        assert finding["message"].strip()
        assert all(advice.strip() for advice in finding["advice"])
        evidence = finding["evidence"]
        assert {"statistic", "unit", "value", "limit", "direction", "healthy"} <= evidence.keys()
        assert evidence["direction"] in ("above", "below")
        if finding["caused_by"] is None:
            roots.add((finding["rule"], finding["subject"]))
        else:
            root = (finding["caused_by"]["rule"], finding["caused_by"]["subject"])
            assert root in roots, "roots stand before their symptoms"


def test_healthy_run_says_how_much_was_checked():
    report = report_of(Network().run())
    assert report["verdict"] == "healthy"
    assert report["summary"].startswith("Healthy: ")
    assert "6 layers and 200 steps" in report["summary"]
    assert report["findings"] == []
    assert report["try_first"] is None


def test_empty_run_is_no_data_and_not_healthy():
    report = report_of(Run("empty"))
    assert (report["verdict"], report["steps"], report["has_records"]) == ("no-data", 0, False)
    assert "No data" in report["summary"]


def test_few_points_are_no_data():
    run = Run("short", scalars={"loss": Series([(step, float(step), 1.0) for step in range(3)])})
    assert report_of(run)["verdict"] == "no-data"


def test_no_data_says_why_where_nothing_applies():
    rewards = Series([(step, float(step), 1.0 + step) for step in range(100)])
    losses = Series([(step, float(step), 1.0) for step in range(100)])
    report = report_of(Run("agent", scalars={"rollout/ep_rew_mean": rewards, "train/loss": losses}))
    assert report["verdict"] == "no-data"
    assert "reinforcement learning" in report["summary"]
    assert "writer.watch(" in report["summary"]


@pytest.mark.parametrize(
    ("onset", "joint"), [(6, "; with it activations exploding"), (12, "; then activations exploding")]
)
def test_a_symptom_that_was_seen_first_did_not_come_then(onset, joint):
    root = Finding("update-ratio-too-high", "warning", "w", 9, 20, 29, 20, True, "", (), _EVIDENCE, None)
    cause = Cause(root.rule, root.subject)
    symptom = replace(root, rule="exploding-activations", subject="ff", first_step=onset, caused_by=cause)
    judgement = replace(judge(Network().run()), findings=(root, symptom))
    assert joint in plain(sentence(judgement, layers=2, steps=30))


def test_counts_of_checks_are_those_of_the_outcomes():
    report = report_of(Network().run())
    outcomes = [row["status"] for row in report["checks"]["outcomes"]]
    assert len(outcomes) == len(RULES)
    assert report["checks"]["passed"] == outcomes.count("passed")
    assert report["checks"]["not_applicable"] == outcomes.count("not-applicable")


def test_numbers_that_json_lacks_are_strings():
    run = Network(steps=60).run()
    run.scalars["loss"] = Series([(step, float(step), float("nan") if step > 30 else 1.0) for step in range(60)])
    text = json_report.render([report_of(run)], [Problem("a", "b")])
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_text_names_verdict_findings_advice_and_problems():
    reports = [report_of(example.build()) for rule_id, example in ILL if rule_id == "dead-units"]
    text = text_report.render(reports, [Problem("some/file", "cut off")], color=False)
    assert "dead-units" in text
    assert "  1. " in text
    assert "some/file: cut off" in text
    assert "\x1b" not in text
    assert "\x1b[3" in text_report.render(reports, [], color=True)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_page_of_every_rule_can_be_taken_apart(rule):
    assert all(section(rule.page, heading) for heading in HEADINGS)
    assert why_it_matters(rule.page)
    assert all(link["url"].startswith("http") for link in references(rule.page))
    assert BY_ID[rule.id] is rule
