from __future__ import annotations

import json
from typing import Any

import pytest

from tb_nnhealth import derive
from tb_nnhealth.history import Run
from tb_nnhealth.plugin.limits import limits
from tb_nnhealth.rules.synthetic import Network


def of(run: Run, statistic: str) -> dict[str, tuple[float, str]]:
    return {found["rule"]: (found["value"], found["direction"]) for found in limits(run, derive.BY_ID[statistic])}


def tuned(rules: Any) -> Run:
    network = Network(steps=3)
    network.layout.rules_json = rules if isinstance(rules, str) else json.dumps(rules)
    return network.run()


def test_the_limits_of_the_rules_that_judge_a_statistic() -> None:
    found = of(Network(steps=3).run(), "update-ratio")
    assert found["update-ratio-too-high"] == (0.1, "above")
    assert found["update-ratio-too-low"][1] == "below"
    assert "vanishing-gradients" not in of(Network(steps=3).run(), "gradient-norm"), "its limit is on a ratio of layers"


def test_a_limit_in_the_statistics_unit_needs_no_special_name() -> None:
    assert of(Network(steps=3).run(), "saturated-units") == {"saturated-units": (0.5, "above")}


def test_the_users_options_move_and_remove_limits() -> None:
    assert of(tuned({"update-ratio-too-high": {"max": 0.2}}), "update-ratio")["update-ratio-too-high"][0] == 0.2
    assert "update-ratio-too-high" not in of(tuned({"update-ratio-too-high": False}), "update-ratio")


@pytest.mark.parametrize("nonsense", ["{", "[1]", "3"])
def test_options_that_cannot_be_read_leave_the_defaults(nonsense: str) -> None:
    assert of(tuned(nonsense), "update-ratio")["update-ratio-too-high"] == (0.1, "above")
