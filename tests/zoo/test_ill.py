"""The ill specimens name rules that exist, come in enough kinds, and each has a twin without its fault."""

from __future__ import annotations

import inspect

from tb_nnhealth.rules.registry import RULES
from tests.zoo.catalogue import SPECIMENS

ILL = [specimen for specimen in SPECIMENS.values() if specimen.ill]
NO_ILLNESS = {"shim-error", "non-gaussian-weights", "noisy-first-layer"}
"""Rules that only inform."""


def test_rules_exist():
    known = {rule.id for rule in RULES}
    assert {rule for specimen in ILL for rule in specimen.rules} <= known


def test_every_rule_is_the_right_answer_somewhere():
    answers = {rule for specimen in ILL for rule in specimen.rules}
    assert {rule.id for rule in RULES} - NO_ILLNESS <= answers


def test_kinds():
    tuned = {specimen.kind for specimen in ILL if not specimen.held_out}
    assert len(ILL) >= 70
    assert len({specimen.kind for specimen in ILL}) >= 35
    assert not tuned & {specimen.kind for specimen in ILL if specimen.held_out}


def test_every_specimen_has_a_source_and_a_twin():
    for specimen in ILL:
        assert specimen.source
        assert inspect.signature(specimen.train).parameters["fault"].default is True
