"""The table's arithmetic, on findings made up for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.zoo.catalogue import folder
from tests.zoo.peers.peer import Peer
from tests.zoo.registry import Specimen
from tests.zoo.runner import table as tables
from tests.zoo.runner.run import Result
from tests.zoo.runner.score import diagnosis, false_alarms, score
from tests.zoo.runner.score_peers import our_score, peer_score
from tests.zoo.runner.totals import totals


def nothing(writer: object) -> None:
    return None


def finding(rule: str, subject: str = "", *, severity: str = "warning", fired: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "rule": rule, "severity": severity, "subject": subject, "fired_step": fired,
        "caused_by": more.pop("caused_by", None), "evidence": more,
    }  # fmt: skip


DEAD = Specimen("dying", "dying-one", nothing, ("dead-units", "update-ratio-too-high"), "layers.[23]", onset=40)
WELL = Specimen("mlp", "well", nothing)
ASIDE = Specimen("set-aside", "aside-one", nothing, ("dead-units",), held_out=True)


def test_the_first_finding_with_one_of_the_rules_counts() -> None:
    found = [
        finding("no-gradient", "layers.2"),
        finding("update-ratio-too-high", "layers.3", fired=55),
        finding("dead-units", "x", fired=60),
    ]
    told = diagnosis(DEAD, found)
    assert (told.place, told.first, told.among_first, told.on_subject, told.delay) == (2, False, True, True, 15)


def test_further_subjects_count_and_case_matters() -> None:
    further = [{"subject": "layers.0", "first_step": 1}, {"subject": "layers.2", "first_step": 2}]
    assert diagnosis(DEAD, [finding("dead-units", "layers.0", subjects=further)]).on_subject
    assert not diagnosis(DEAD, [finding("dead-units", "layers.0")]).on_subject
    assert not diagnosis(DEAD, [finding("dead-units", "Layers.2")]).on_subject


def test_a_cause_that_is_not_told_counts_as_missed() -> None:
    told = diagnosis(DEAD, [finding("non-finite", severity="info")])
    assert (told.place, told.first, told.on_subject, told.delay, told.alarmed) == (None, False, False, None, False)
    fourth = diagnosis(DEAD, [finding(f"rule-{i}") for i in range(3)] + [finding("dead-units", "layers.2")])
    assert fourth.place == 4
    assert not fourth.among_first


def test_headlines_are_unexplained_and_not_mere_information() -> None:
    cause = {"rule": "a", "subject": ""}
    found = [
        finding("a"),
        finding("b", caused_by=cause),
        finding("c", severity="info"),
        finding("d", severity="critical"),
    ]
    assert diagnosis(DEAD, found).headlines == 2


def test_shares_over_several() -> None:
    right = diagnosis(DEAD, [finding("dead-units", "layers.2", fired=50)])
    second = diagnosis(DEAD, [finding("a"), finding("dead-units", "x", fired=70)])
    missed = diagnosis(DEAD, [])
    told = score([right, second, missed, missed])
    assert (told.first, told.among_first, told.on_subject, told.alarmed) == (0.25, 0.5, 0.25, 0.5)
    assert (told.delay, told.headlines, told.headlines_most) == (20, 0.75, 2)
    assert score([]).first is None
    assert score([]).delay is None


def test_false_alarms_count_runs_and_not_findings() -> None:
    found = false_alarms([[finding("a", "x"), finding("a", "y"), finding("b")], [finding("a", severity="info")], []])
    assert (found.runs, found.alarmed, dict(found.rules), found.rate) == (3, 1, {"a": 1, "b": 1}, 1 / 3)
    assert false_alarms([]).rate is None


PEER = Peer("peer", "made up", lambda run: set(), {"relu": frozenset({"dead-units"})})


def test_peers_are_counted_as_ours_are() -> None:
    specimens = {s.name: s for s in (DEAD, WELL, ASIDE)}
    results = [
        Result("dying-one", [finding("dead-units")], {"peer": ("other",)}),
        Result("aside-one", [], {"peer": ("other", "relu")}),
        Result("well", [finding("a", severity="info")], {"peer": ("other",)}),
    ]
    theirs = peer_score(PEER, specimens, results)
    assert (theirs.kinds_covered, theirs.named, theirs.named_of_all, theirs.alarmed) == (2, 0.5, 0.5, 1.0)
    assert theirs.false_alarm_rate == 1.0
    ours = our_score(specimens, results)
    assert (ours.kinds_covered, ours.named, ours.alarmed, ours.false_alarms) == (2, 0.5, 0.5, 0)


def test_kinds_weigh_the_same_whatever_their_runs() -> None:
    again = Specimen("dying", "dying-two", nothing, ("dead-units",))
    specimens = {s.name: s for s in (DEAD, again, ASIDE)}
    results = [Result("dying-one"), Result("dying-two"), Result("aside-one", peers={"peer": ("relu",)})]
    theirs = peer_score(PEER, specimens, results)
    assert (theirs.named, theirs.named_of_all) == (0.5, 1 / 3)
    blind = peer_score(Peer("blind", "made up", lambda run: set()), specimens, results)
    assert (blind.kinds_covered, blind.named) == (0, None)


def test_the_part_set_aside_shows_totals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PEERS", (PEER,))
    fine_aside = Specimen("odd", "aside-fine", nothing, held_out=True)
    specimens = {s.name: s for s in (DEAD, WELL, ASIDE, fine_aside)}
    results = [
        Result("aside-fine", [finding("secret-alarm", "secret")]),
        Result("dying-one", [finding("dead-units", "layers.2", fired=44)]),
        Result("aside-one", [finding("secret-rule", "secret.layer")]),
        Result("well", [finding("a-rule", "head")]),
    ]
    text = tables.table(specimens, results)
    assert "| dying | 1 | 100 % | 100 % | 100 % | 4 | 1, 1 | 100 % |" in text
    assert "| **all, held-out** | 1 | 0 % | 0 % | 0 % | – | 1, 1 | 100 % |" in text
    assert "| **healthy runs with any** | **1 of 1 (100.0 %)** | **1 of 1 (100.0 %)** |" in text
    assert "| a-rule | 1 | not shown |" in text
    assert "a-rule in head" in text
    assert "secret" not in text
    assert "aside" not in text
    shown = tables.table(specimens, results, show_held_out=True)
    assert "secret-rule in secret.layer" in shown
    assert "| set-aside | 1 |" in shown
    assert "| secret-alarm | 0 | 1 |" in shown


def test_totals_keep_the_parts_apart_and_the_rules_of_the_one_set_aside_to_themselves() -> None:
    fine_aside = Specimen("odd", "aside-fine", nothing, held_out=True)
    specimens = {s.name: s for s in (DEAD, WELL, ASIDE, fine_aside)}
    results = [
        Result("aside-fine", [finding("secret-alarm")]),
        Result("dying-one", [finding("dead-units", "layers.2", fired=44)]),
        Result("aside-one", error="Traceback\nValueError: no data"),
        Result("well"),
    ]
    tuned, aside = totals(specimens, results)
    assert (tuned.part, tuned.ill_kinds, tuned.score.runs, tuned.score.first, tuned.broken) == ("tuned", 1, 1, 1.0, 0)
    assert (tuned.healthy_kinds, tuned.false_alarms.runs, tuned.false_alarms.alarmed) == (1, 1, 0)
    assert (aside.part, aside.ill_kinds, aside.score.runs, aside.score.first, aside.broken) == (
        "held-out",
        0,
        0,
        None,
        1,
    )
    assert (aside.false_alarms.alarmed, aside.false_alarms.rules) == (1, {})
    assert [criteria.false_alarms for criteria in (tuned.criteria[0], aside.criteria[0])] == [0, 1]
    assert totals(specimens, results, show_held_out=True)[1].false_alarms.rules == {"secret-alarm": 1}


def test_a_broken_specimen_is_told_and_not_scored() -> None:
    text = tables.table({"well": WELL}, [Result("well", error="Traceback\nValueError: no data")])
    assert text == "- **broken: well**: ValueError: no data"


def test_what_could_not_be_recorded_is_told_but_not_of_what_is_set_aside() -> None:
    told = [finding("shim-error", severity="info") | {"message": "calls of modules: TypeError"}]
    text = tables.table({"well": WELL, "aside-one": ASIDE}, [Result("well", told), Result("aside-one", told)])
    assert "- **recording error: well**: calls of modules: TypeError" in text
    assert "- **recording error: one set aside**: not shown" in text


def test_logs_of_the_parts_lie_apart() -> None:
    assert Path(folder(DEAD)).parts[:2] == ("tuned", "ill")
    assert Path(folder(ASIDE)).parts == ("held-out", "ill", "set-aside", "aside-one")
