"""The limits that rules draw on a statistic, under the options recorded with the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tb_nnhealth.findings import Direction
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Options
from tb_nnhealth.rules.registry import RULES

DIRECTIONS: Mapping[str, Direction] = {"max": "above", "min": "below"}
"""A rule's option of this name is the limit that fires it in this direction."""


def limits(run: Run, statistic: str) -> list[dict[str, Any]]:
    """Rule, value and direction of each limit on ``statistic`` (an id of ``derive.STATISTICS``)."""
    given = _recorded(run)
    found = []
    for rule in RULES:
        if rule.statistic != statistic or given.get(rule.id) is False:
            continue
        options = Options(rule.options, given.get(rule.id))
        found += [
            {"rule": rule.id, "value": options[option.name], "direction": DIRECTIONS[option.name]}
            for option in rule.options
            if option.name in DIRECTIONS
        ]
    return found


def _recorded(run: Run) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for history in run.watches.values():
        try:
            given |= json.loads(history.layout.rules_json or "{}")
        except (ValueError, TypeError):  # a log of strangers: its limits are then the defaults
            continue
    return given
