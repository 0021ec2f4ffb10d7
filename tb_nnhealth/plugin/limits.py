"""The limits that rules draw on a statistic: a finding's own, or those of the options recorded with the run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.derive import Statistic
from tb_nnhealth.findings import Direction
from tb_nnhealth.history import History, Run, Steps
from tb_nnhealth.rules.base import Options
from tb_nnhealth.rules.configuration import recorded_rules as recorded
from tb_nnhealth.rules.registry import BY_ID, RULES


def limits(run: Run, statistic: Statistic) -> list[dict[str, Any]]:
    """Rule, value and direction of each limit on ``statistic``.

    A rule's limit is its first option that is called "max" or "min" or has the statistic's unit ("1" says nothing).
    """
    given = recorded_rules(run)
    found = []
    for rule in RULES:
        if rule.statistic != statistic.id or given.get(rule.id) is False:
            continue
        options = Options(rule.options, given.get(rule.id))
        for option in rule.options:
            if option.name in ("max", "min") or option.unit == statistic.unit != "1":
                direction: Direction = "below" if option.name == "min" else "above"
                found.append({"rule": rule.id, "value": options[option.name], "direction": direction})
                break
    return found


def own_limit(
    finding: Mapping[str, Any], statistic: Statistic, steps: Steps, values: NDArray[np.floating[Any]]
) -> float | None:
    """The finding's limit in the unit of ``statistic``, whose ``values`` of shape (n,) the finding is about.

    None where the rule judged something that the statistic does not show. A rule may compare the statistic with
    another number ("30 times that of its start"); the limit then stands as far beneath the finding's worst
    record as it stands beneath the rule's.
    """
    judged = finding["evidence"]
    limit, worst = judged["limit"], judged["value"]
    same_unit = judged["unit"] == statistic.unit != "1"
    if not same_unit and judged["statistic"].replace("_", "-").replace(" ", "-") != statistic.id:
        return None
    if "compared_with" not in judged:
        return float(limit)
    if not isinstance(worst, (int, float)) or not math.isfinite(worst) or worst <= 0:
        return None
    held = values[(steps >= finding["first_step"]) & (steps <= finding["last_step"]) & np.isfinite(values)]
    if not held.size:
        return None
    reached = held.max() if judged["direction"] == "above" else held.min()
    return float(limit * reached / worst)


def options_of(history: History, rule_id: str) -> Options | None:
    """The options of a rule under which this watch is judged, or None where the user switched it off."""
    given = _recorded([history]).get(rule_id)
    return None if given is False else Options(BY_ID[rule_id].options, given)


def recorded_rules(run: Run) -> dict[str, Any]:
    """The tuning of rules that was given in training, all watches taken together."""
    return _recorded(run.watches.values())


def trial(
    finding: Mapping[str, Any], limit: float | None, options: Iterable[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The option that draws a finding's limit, and how far the limit moves when it grows by one; None where none does.

    ``limit``: where the limit stands in the chart, in the unit of the series shown.
    """
    judged = finding["evidence"]["limit"]
    if limit is None or not isinstance(judged, (int, float)) or not math.isfinite(judged) or judged == 0:
        return None
    drawing = [option for option in options if option["value"] == judged]
    drawing.sort(key=lambda option: option["unit"] != finding["evidence"]["unit"])  # of two alike, the one in its unit
    name = drawing[0]["name"] if drawing else None
    return None if name is None else {"option": name, "value": judged, "scale": limit / judged}


def _recorded(histories: Iterable[History]) -> dict[str, Any]:
    return {rule: given for history in histories for rule, given in recorded(history.layout.rules_json).items()}
