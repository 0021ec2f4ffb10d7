from __future__ import annotations

import pytest

from tb_nnhealth.cli.main import main
from tb_nnhealth.cli.rules import catalogue, page
from tb_nnhealth.rules.base import Option, Passed, Rule
from tb_nnhealth.rules.registry import RULES

RULE = Rule(
    id="too-loud", healthy="Quiet", ill="Too loud", group="weights", severity="warning", scope="watch",
    check=lambda case: Passed(), options=(Option("max", 0.5, "decibel", "loudness", "a measurement"),), examples=(),
    page="It is loud.\n\n## Why it matters\nEars.", causes=("dead-units",),
)  # fmt: skip


def test_the_catalogue_lists_every_rule_under_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    told = capsys.readouterr().out
    assert all(rule.id in told and rule.ill in told for rule in RULES)
    assert f"{len(RULES)} rules." in told


def test_rules_of_one_group_stand_together() -> None:
    other = Rule(**{**RULE.__dict__, "id": "other", "group": "loss"})
    third = Rule(**{**RULE.__dict__, "id": "third"})
    lines = catalogue([RULE, other, third]).splitlines()
    assert [line.split()[0] for line in lines if line] == ["WEIGHTS", "too-loud", "third", "LOSS", "other", "3"]


def test_a_page_tells_options_and_how_to_silence() -> None:
    told = page(RULE)
    for part in ("Too loud", "It is loud.", "max = 0.5 decibel", "a measurement", '{"too-loud": False}', "dead-units"):
        assert part in told


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_every_rule_has_a_page(rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", rule]) == 0
    assert "Why it matters" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["nonfinite", "NON_FINITE"])
def test_a_misspelt_rule_is_answered_with_the_nearest(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", given]) == 2
    told = capsys.readouterr().err
    assert f"there is no rule '{given}'" in told
    assert "did you mean 'non-finite'?" in told
