"""The limits that rules draw on a statistic, under the options recorded with the run."""

from __future__ import annotations

import json
from typing import Any

from tb_nnhealth.derive import Statistic
from tb_nnhealth.findings import Direction
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Options
from tb_nnhealth.rules.registry import RULES


def limits(run: Run, statistic: Statistic) -> list[dict[str, Any]]:
    """Rule, value and direction of each limit on ``statistic``.

    A rule's limit is its first option that is called "max" or "min" or has the statistic's unit ("1" says nothing).
    """
    given = _recorded(run)
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


def _recorded(run: Run) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for history in run.watches.values():
        try:
            given |= json.loads(history.layout.rules_json or "{}")
        except (ValueError, TypeError):  # a log of strangers: its limits are then the defaults
            continue
    return given
