from __future__ import annotations

import json
from types import MappingProxyType

import numpy as np
import pytest

from tb_nnhealth.rules import configuration
from tb_nnhealth.rules.registry import RULES


def test_what_the_documentation_shows_is_valid():
    configuration.validate(
        {
            "update-ratio-too-high": {"max": 0.2, "severity": "info", "blocks.0.*": False, "head*": {"max": 0.5}},
            "dead-units": False,
        }
    )


def test_numbers_and_mappings_of_other_libraries_are_pythons_own_in_the_log():
    given = MappingProxyType({"max": np.float32(0.25), "blocks.*": MappingProxyType({"window": np.int64(20)})})
    tuning = configuration.Tuning({"update-ratio-too-high": given})
    assert json.loads(json.dumps(tuning.rules)) == {"update-ratio-too-high": {"max": 0.25, "blocks.*": {"window": 20}}}


def test_a_tag_that_is_no_string_is_refused():
    with pytest.raises(TypeError, match="expected tags or globs on them, found 3"):
        configuration.Tuning(scalars={3: "loss/train"})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_option_of_every_rule_is_known(rule):
    configuration.validate({rule.id: {option.name: option.default for option in rule.options}})


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"dead-unit": False}, ValueError, "did you mean 'dead-units'"),
        ({"update-ratio-too-high": {"maxx": 1}}, ValueError, "did you mean 'max'"),
        ({"update-ratio-too-high": {"max": "high"}}, TypeError, "expected a finite number"),
        ({"update-ratio-too-high": {"max": True}}, TypeError, "expected a finite number"),
        ({"update-ratio-too-high": {"severity": "fatal"}}, ValueError, "info, warning, critical"),
        ({"update-ratio-too-high": 3}, TypeError, "expected False or a mapping"),
        ({"update-ratio-too-high": {"head*": {"min": 3}}}, ValueError, "unknown option 'min'"),
        ([("dead-units", False)], TypeError, "expected a mapping"),
        ({"update-ratio-too-high": {"max": float("nan")}}, TypeError, "expected a finite number, found nan"),
        ({"update-ratio-too-high": {"max": 10**400}}, TypeError, "expected a finite number"),
        ({"update-ratio-too-high": {"sevrity": "info"}}, ValueError, "did you mean 'severity'"),
        ({"Update_Ratio_Too_High": False}, ValueError, "did you mean 'update-ratio-too-high'"),
        ({1: False}, TypeError, "expected the id of a rule such as 'dead-units', found 1"),
        ({"dead-units": {3: 0.5}}, TypeError, "expected the name of an option or a glob on layers, found 3"),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(given, error, told):
    with pytest.raises(error, match=told):
        configuration.validate(given)


DEEP = '{"dead-units": ' + "[" * 100_000


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("", {}),
        ("[]", {}),
        ("{", {}),
        (DEEP, {}),
        ('{"no-such-rule": false, "dead-units": false}', {"dead-units": False}),
        ('{"update-ratio-too-high": {"max": "high", "min": 0, "severity": ["info"]}}', {"update-ratio-too-high": {}}),
        ('{"update-ratio-too-high": {"max": 1e999}}', {"update-ratio-too-high": {}}),
        ('{"update-ratio-too-high": {"max": 1' + "0" * 400 + "}}", {"update-ratio-too-high": {}}),
        ('{"update-ratio-too-high": {"max": 3, "x*": {"max": {}}, "y*": false}}',
         {"update-ratio-too-high": {"max": 3, "y*": False}}),
        ('{"update-ratio-too-high": 5}', {"update-ratio-too-high": {}}),
    ],
)  # fmt: skip
def test_of_a_strangers_log_what_can_be_understood_counts(text, understood):
    assert configuration.recorded_rules(text) == understood


def test_names_of_scalars_in_a_strangers_log():
    text = '{"a": "loss/train", "b": false, "c": 5, "d": "nothing", "e": {}}'
    assert configuration.recorded_scalars(text) == {"a": "loss/train", "b": False}
    assert configuration.recorded_scalars("[1, 2]") == {}
