"""Asking, folding, linking: on rules made for the purpose, so that no threshold of a real one matters here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tb_nnhealth.findings import Evidence, Finding, Severity
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import ASIDE, Case, Hit, Ill, NotApplicable, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.causes import link
from tb_nnhealth.rules.configuration import Tuning
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.registry import RULES
from tb_nnhealth.rules.synthetic import Network


def hit(subject: str, first: int, last: int | None = None, *, severity: str = "warning", rank: float = 0.0) -> Hit:
    return Hit(
        subject=subject,
        first_step=first,
        fired_step=first,
        last_step=first if last is None else last,
        count=1,
        active=last is None,
        severity=severity,  # type: ignore[arg-type]
        statistic="made up",
        unit="1",
        value=2.0,
        limit=1.0,
        direction="above",
        message=f"`{subject}` is ill.",
        advice=("Try something.",),
        rank=rank,
    )


def rule(
    rule_id: str,
    answer: Outcome | Sequence[Hit],
    *,
    causes: tuple[str, ...] = (),
    scope: str = "watch",
    group: str = "updates",
) -> Rule:
    outcome = answer if not isinstance(answer, (list, tuple)) else Ill(answer)
    return Rule(
        id=rule_id,
        healthy="Fine",
        ill="Not fine",
        group=group,  # type: ignore[arg-type]
        severity="warning",
        scope=scope,  # type: ignore[arg-type]
        check=lambda case: outcome,  # type: ignore[return-value,arg-type]
        options=(Option("max", 1.0, "1", "limit", "made up"),),
        examples=(),
        page="",
        causes=causes,
    )


@pytest.fixture
def run() -> Run:
    return Network(steps=20).run()


def test_hits_that_overlap_are_one_finding_told_by_the_first(run: Run):
    (finding,) = judge(run, rules=[rule("a", [hit("layers.2", 10), hit("layers.1", 5), hit("layers.3", 7)])]).findings
    assert (finding.subject, finding.first_step) == ("layers.1", 5)
    assert [entry["subject"] for entry in finding.evidence.more["subjects"]] == ["layers.1", "layers.3", "layers.2"]
    assert finding.message.endswith("Also in `layers.3`, `layers.2`.")


def test_hits_apart_in_time_are_two_findings(run: Run):
    findings = judge(run, rules=[rule("a", [hit("layers.1", 0, 4), hit("layers.2", 9)])]).findings
    assert [finding.subject for finding in findings] == ["layers.1", "layers.2"]


def test_hits_that_began_together_are_told_by_the_highest_rank(run: Run):
    (finding,) = judge(run, rules=[rule("a", [hit("layers.1", 5, rank=1), hit("layers.2", 5, rank=2)])]).findings
    assert finding.subject == "layers.2"


def test_the_severest_speaks_even_where_a_lesser_one_began_first(run: Run):
    (finding,) = judge(
        run, rules=[rule("a", [hit("bias", 0, severity="info"), hit("weight", 8, severity="critical")])]
    ).findings
    assert (finding.subject, finding.severity) == ("weight", "critical")


def test_symptoms_stand_beneath_their_root_cause(run: Run):
    rules = [
        rule("symptom", [hit("loss", 12, severity="critical")]),
        rule("middle", [hit("layers.4", 8)], causes=("symptom",)),
        rule("other", [hit("layers.0", 0)]),
        rule("root", [hit("layers.3", 6)], causes=("middle",)),
    ]
    findings = judge(run, rules=rules).findings
    assert [finding.rule for finding in findings] == ["root", "symptom", "middle", "other"]
    assert [finding.caused_by and finding.caused_by.rule for finding in findings] == [None, "root", "root", None]


def test_an_input_lost_midway_is_named_before_the_rate_that_its_curve_seems_to_tell_of() -> None:
    """The loss leaves its lowest level with the input, a few steps after it had reached it."""

    def found(rule_id: str, first: int, severity: Severity) -> Finding:
        evidence = Evidence("made up", "1", 2.0, 1.0, "above", None)
        return Finding(rule_id, severity, "x", first, 299, 299, 1, True, "Ill.", (), evidence, None)

    symptoms = [
        found("learning-rate-too-high", 92, "warning"), found("loss-diverging", 100, "critical"),
        found("no-gradient", 100, "critical"), found("over-regularized", 100, "warning"),
    ]  # fmt: skip
    linked = link([*symptoms, found("constant-input", 100, "critical")], RULES, range(300))
    assert linked[0].rule == "constant-input"
    assert {finding.caused_by and finding.caused_by.rule for finding in linked[1:]} == {"constant-input"}


def test_what_began_much_later_is_no_cause(run: Run):
    rules = [rule("symptom", [hit("loss", 0)]), rule("root", [hit("layers.3", 19)], causes=("symptom",))]
    assert all(finding.caused_by is None for finding in judge(run, rules=rules).findings)


def test_rules_that_can_cause_each_other_are_led_by_the_earlier(run: Run):
    rules = [rule("a", [hit("x", 9)], causes=("b",)), rule("b", [hit("y", 3)], causes=("a",))]
    findings = judge(run, rules=rules).findings
    assert [finding.rule for finding in findings] == ["b", "a"]
    assert findings[1].caused_by is not None


@pytest.mark.parametrize(("onset", "grown"), [(6, True), (0, False)])
def test_activations_that_were_well_came_of_steps_too_large_though_their_limit_was_nearer(
    run: Run, onset: int, grown: bool
):
    rules = [
        rule("exploding-activations", [hit("ff", onset)], causes=("update-ratio-too-high",), group="activations"),
        rule("update-ratio-too-high", [hit("w", 9)], causes=("exploding-activations",), group="updates"),
    ]
    findings = judge(run, rules=rules).findings
    assert (findings[0].rule == "update-ratio-too-high") is grown
    assert findings[1].caused_by is not None


@pytest.mark.parametrize(("onset", "leads"), [(5, True), (7, True), (8, False)])
def test_steps_that_grew_too_large_as_the_loss_leapt_lead_it(run: Run, onset: int, leads: bool):
    rules = [
        rule("loss-diverging", [hit("loss", 5)], causes=("update-ratio-too-high",), group="loss"),
        rule("update-ratio-too-high", [hit("w", onset)], causes=("loss-diverging",), group="updates"),
    ]
    findings = judge(run, rules=rules).findings
    assert (findings[0].rule == "update-ratio-too-high") is leads
    assert findings[1].caused_by is not None


@pytest.mark.parametrize(("onset", "left"), [(0, True), (8, False)])
def test_steps_too_small_leave_answers_alike_that_were_so_from_the_first_record_on(run: Run, onset: int, left: bool):
    rules = [
        rule("constant-output", [hit("", onset)], causes=("learning-rate-too-low",), group="activations"),
        rule("learning-rate-too-low", [hit("loss", onset)], causes=("constant-output",), group="loss"),
    ]
    findings = judge(run, rules=rules).findings
    assert (findings[0].rule == "learning-rate-too-low") is left
    assert findings[1].caused_by is not None


def test_of_what_began_together_comes_first_what_is_fed_before_what_is_computed(run: Run):
    rules = [
        rule("update", [hit("x", 3)], group="updates", causes=("activation",)),
        rule("activation", [hit("x", 3)], group="activations", causes=("update",)),
        rule("batch", [hit("x", 3)], group="data"),
    ]
    findings = judge(run, rules=rules).findings
    assert [finding.rule for finding in findings] == ["batch", "activation", "update"]
    assert [finding.caused_by and finding.caused_by.rule for finding in findings] == [None, None, "activation"]


def test_a_circle_of_causes_has_one_root(run: Run):
    rules = [
        rule("a", [hit("x", 3)], causes=("b",)),
        rule("b", [hit("y", 3)], causes=("c",)),
        rule("c", [hit("z", 3)], causes=("a",)),
    ]
    assert sum(finding.caused_by is None for finding in judge(run, rules=rules).findings) == 1


def test_weights_that_grow_by_the_steps_lead_no_circle(run: Run):
    rules = [
        rule("steps", [hit("x", 5)], causes=("growth",)),
        rule("growth", [hit("x", 0)], causes=("activations",), group="weights"),
        rule("activations", [hit("x", 3)], causes=("steps",), group="activations"),
    ]
    findings = judge(run, rules=rules).findings
    assert findings[0].rule == "steps"
    assert all(finding.caused_by and finding.caused_by.rule == "steps" for finding in findings[1:])


@pytest.mark.parametrize(("onset", "leads"), [(3, "unnormalized-input"), (5, "b")])
def test_an_input_that_went_off_after_its_symptom_is_no_cause(run: Run, onset: int, leads: str):
    fed = rule("unnormalized-input", [hit("x", onset)], causes=("b",), group="data")
    assert judge(run, rules=[fed, rule("b", [hit("y", 3)])]).findings[0].rule == leads


def test_a_mean_over_an_epoch_began_with_the_epoch() -> None:
    run = Network(steps=200).run()
    (history,) = run.watches.values()
    walls = np.interp(np.arange(1, 5) * 50 - 1, history.steps, history.walls)
    run.scalars["loss"] = Series([(i, float(wall), 2.3) for i, wall in enumerate(walls)])
    rules = [rule("held", [hit("loss", 0, 3)], causes=("still",), group="loss"), rule("still", [hit("x", 5)])]
    assert judge(run, rules=rules).findings[0].rule == "held"


def test_information_on_what_is_computed_causes_no_warning(run: Run):
    note = rule("note", [hit("x", 0, severity="info")], causes=("b",), group="gradients")
    findings = judge(run, rules=[note, rule("b", [hit("y", 3)])]).findings
    assert findings[0].rule == "b"
    assert findings[0].caused_by is None


@pytest.mark.parametrize(("onset", "leads"), [(0, "note"), (3, "note"), (4, "b")])
def test_information_on_what_is_fed_causes_a_warning_that_began_no_earlier(run: Run, onset: int, leads: str):
    note = rule("note", [hit("x", onset, severity="info")], causes=("b",), group="data")
    assert judge(run, rules=[note, rule("b", [hit("y", 3)])]).findings[0].rule == leads


def test_what_is_said_aside_causes_nothing_and_stands_last(run: Run):
    aside = rule("aside", [replace(hit("x", 0, severity="info"), more={ASIDE: True})], causes=("b",), group="data")
    findings = judge(run, rules=[aside, rule("b", [hit("y", 3, severity="info")])]).findings
    assert [finding.rule for finding in findings] == ["b", "aside"]
    assert findings[0].caused_by is None


def test_a_rule_that_raises_never_stops_the_others(run: Run):
    def broken(case: Case) -> Outcome:
        raise RuntimeError("boom")

    bad = rule("bad", Passed())
    object.__setattr__(bad, "check", broken)
    judgement = judge(run, rules=[bad, rule("good", [hit("x", 0)])])
    assert "boom" in judgement.outcomes["bad"].error  # type: ignore[union-attr]
    assert [finding.rule for finding in judgement.findings] == ["good"]


def test_verdicts(run: Run):
    assert judge(run, rules=[rule("a", Passed())]).verdict == "healthy"
    assert judge(run, rules=[rule("a", [hit("x", 0, severity="info")])]).verdict == "healthy"
    assert judge(run, rules=[rule("a", [hit("x", 0)])]).verdict == "warning"
    assert judge(run, rules=[rule("a", [hit("x", 0, severity="critical")])]).verdict == "critical"
    assert judge(run, rules=[rule("a", NotApplicable("none here"))]).verdict == "no-data"


def test_options_silence_retune_and_regrade():
    network = Network(steps=20)
    network.layout.rules_json = '{"dead-units": false, "no-gradient": {"severity": "info", "layers.1*": false}}'
    run = network.run()
    rules = [
        rule("dead-units", [hit("layers.1", 0)]),
        rule("no-gradient", [hit("layers.1", 0), hit("layers.2", 0), hit("layers.3", 50)]),
    ]
    judgement = judge(run, rules=rules)
    assert isinstance(judgement.outcomes["dead-units"], NotApplicable)
    assert {(finding.subject, finding.severity) for finding in judgement.findings} == {("layers.2", "info")}
    laid_over = judge(run, Tuning({"dead-units": True, "no-gradient": {"layers.2": {"severity": "critical"}}}), rules)
    assert [(finding.rule, finding.severity) for finding in laid_over.findings] == [
        ("no-gradient", "critical"),
        ("dead-units", "warning"),
    ]


def test_names_that_the_user_gives_to_scalars(run: Run):
    run.scalars["objective"] = Series([(0, 0.0, 1.0)])
    run.scalars["aux/loss"] = Series([(0, 0.0, 1.0)])
    judge(run, Tuning(scalars={"objective": "loss/train", "aux/*": False}), rules=[])
    assert tags.role_in(run, "objective") == tags.Role("loss", "train")
    assert tags.role_in(run, "aux/loss") == tags.Role(None, None)
    assert tags.main_loss(run, "train") == ("objective", run.scalars["objective"])


def test_a_named_watch_prefixes_its_subjects():
    run = Network(steps=20).run()
    run.watches = {"G": run.watches["model"]}
    (finding,) = judge(run, rules=[rule("a", [hit("layers.1", 0)])]).findings
    assert finding.subject == "G.layers.1"


def test_of_a_log_without_watches_only_rules_on_the_run_are_asked():
    asked: list[Case] = []
    of_run, of_watch = rule("a", Passed(), scope="run"), rule("b", Passed())
    for one in (of_run, of_watch):
        object.__setattr__(one, "check", lambda case: (asked.append(case), Passed())[1])
    judgement = judge(Run("plain"), rules=[of_run, of_watch])
    assert [case.history for case in asked] == [None]
    assert "writer.watch(model, optimizer)" in judgement.outcomes["b"].needs  # type: ignore[union-attr]
