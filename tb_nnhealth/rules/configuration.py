"""The user's tuning of rules: ``{"rule-id": False | {option: number, "severity": …, glob: …}}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.rules.base import Rule
from tb_nnhealth.rules.registry import BY_ID

_GLOB_CHARACTERS = set("*?[].")


def validate(given: Mapping[str, Any]) -> None:
    """Raises ValueError or TypeError naming the first thing in ``given`` that no rule understands."""
    if not isinstance(given, Mapping):
        raise TypeError(f"rules: expected a mapping from rule ids to options, found {type(given).__name__}")
    for rule_id, options in given.items():
        if rule_id not in BY_ID:
            raise ValueError(f"rules: there is no rule {rule_id!r}{_nearest(rule_id, BY_ID)} (all: `nnhealth rules`)")
        if options is not False:
            _validate_options(f"rules[{rule_id!r}]", BY_ID[rule_id], options, globs=True)


def _validate_options(where: str, rule: Rule, options: Any, *, globs: bool) -> None:
    if not isinstance(options, Mapping):
        raise TypeError(f"{where}: expected False or a mapping of options, found {options!r}")
    names = [option.name for option in rule.options]
    for key, value in options.items():
        if key == "severity":
            if value not in SEVERITIES:
                raise ValueError(f"{where}['severity']: expected one of {', '.join(SEVERITIES)}, found {value!r}")
        elif key in names:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{where}[{key!r}]: expected a number, found {value!r}")
        elif globs and (value is False or _GLOB_CHARACTERS & set(key) or isinstance(value, Mapping)):
            if value is not False:
                _validate_options(f"{where}[{key!r}]", rule, value, globs=False)
        else:
            known = ", ".join([*names, "severity"])
            raise ValueError(f"{where}: unknown option {key!r}{_nearest(key, names)}; known are {known}")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
