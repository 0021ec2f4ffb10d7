from __future__ import annotations

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


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_option_of_every_rule_is_known(rule):
    configuration.validate({rule.id: {option.name: option.default for option in rule.options}})


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"dead-unit": False}, ValueError, "did you mean 'dead-units'"),
        ({"update-ratio-too-high": {"maxx": 1}}, ValueError, "did you mean 'max'"),
        ({"update-ratio-too-high": {"max": "high"}}, TypeError, "expected a number"),
        ({"update-ratio-too-high": {"max": True}}, TypeError, "expected a number"),
        ({"update-ratio-too-high": {"severity": "fatal"}}, ValueError, "info, warning, critical"),
        ({"update-ratio-too-high": 3}, TypeError, "expected False or a mapping"),
        ({"update-ratio-too-high": {"head*": {"min": 3}}}, ValueError, "unknown option 'min'"),
        ([("dead-units", False)], TypeError, "expected a mapping"),
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
