"""The user's tuning: of rules, ``{"rule-id": False | {option: number, "severity": …, glob: …}}``, and of scalars.

``{tag or glob: name}`` in the tuning of scalars says to read a tag as if it had that name: ``{"objective":
"loss/train"}``; False instead of a name says that it means nothing to the rules.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.rules.base import Rule
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.registry import BY_ID

_GLOB_CHARACTERS = set("*?[].")


@dataclass(frozen=True)
class Tuning:
    """How a run is to be judged other than by the defaults. Raises as ``validate`` and ``validate_scalars`` do."""

    rules: Mapping[str, Any] = field(default_factory=dict)
    scalars: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validate(self.rules)
        validate_scalars(self.scalars)
        object.__setattr__(self, "rules", _plain(self.rules))
        object.__setattr__(self, "scalars", dict(self.scalars))

    def over(self, other: Tuning) -> Tuning:
        """Both, this one where they differ: an option beats the same option, False a whole rule, a mapping False."""
        return Tuning(overlaid(self.rules, other.rules), {**other.scalars, **self.scalars})


def _plain(given: Any) -> Any:
    """As JSON takes it: mappings of any kind as dictionaries, numbers of NumPy and others as Python's own."""
    if isinstance(given, Mapping):
        return {key: _plain(value) for key, value in given.items()}
    if isinstance(given, Real) and not isinstance(given, bool):
        return int(given) if isinstance(given, Integral) else float(given)
    return given


def overlaid(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """``lower`` with what ``upper`` says in its place; mappings are joined, in any depth."""
    joined = dict(lower)
    for key, value in upper.items():
        below = joined.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        joined[key] = overlaid(value, below) if both else value  # type: ignore[arg-type]
    return joined


def validate(given: Mapping[str, Any]) -> None:
    """Raises ValueError or TypeError naming the first thing in ``given`` that no rule understands."""
    if not isinstance(given, Mapping):
        raise TypeError(f"rules: expected a mapping from rule ids to options, found {type(given).__name__}")
    for rule_id, options in given.items():
        if not isinstance(rule_id, str):
            raise TypeError(f"rules: expected the id of a rule such as 'dead-units', found {rule_id!r}")
        if rule_id not in BY_ID:
            raise ValueError(f"rules: there is no rule {rule_id!r}{_nearest(rule_id, BY_ID)} (all: `nnhealth rules`)")
        if not isinstance(options, bool):
            _validate_options(f"rules[{rule_id!r}]", BY_ID[rule_id], options, globs=True)


def _validate_options(where: str, rule: Rule, options: Any, *, globs: bool) -> None:
    if not isinstance(options, Mapping):
        raise TypeError(f"{where}: expected False or a mapping of options, found {options!r}")
    names = [option.name for option in rule.options]
    for key, value in options.items():
        if not isinstance(key, str):
            raise TypeError(f"{where}: expected the name of an option or a glob on layers, found {key!r}")
        if key == "severity":
            if value not in SEVERITIES:
                raise ValueError(f"{where}['severity']: expected one of {', '.join(SEVERITIES)}, found {value!r}")
        elif key in names:
            if isinstance(value, bool) or not isinstance(value, Real) or not _finite(value):
                raise TypeError(f"{where}[{key!r}]: expected a finite number, found {value!r}")
        elif globs and (value is False or _GLOB_CHARACTERS & set(key) or isinstance(value, Mapping)):
            if value is not False:
                _validate_options(f"{where}[{key!r}]", rule, value, globs=False)
        else:
            known = ", ".join([*names, "severity"])
            raise ValueError(f"{where}: unknown option {key!r}{_nearest(key, [*names, 'severity'])}; known are {known}")


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def validate_scalars(given: Mapping[str, Any]) -> None:
    """Raises ValueError or TypeError naming the first tag whose new name means nothing to the rules."""
    if not isinstance(given, Mapping):
        raise TypeError(f"scalars: expected a mapping from tags to names, found {type(given).__name__}")
    for tag, name in given.items():
        if not isinstance(tag, str):
            raise TypeError(f"scalars: expected tags or globs on them, found {tag!r}")
        if name is False:
            continue
        if not isinstance(name, str):
            raise TypeError(f"scalars[{tag!r}]: expected a name such as 'loss/train', or False, found {name!r}")
        if tags.role(name).metric is None:
            raise ValueError(
                f"scalars[{tag!r}]: expected a name that says what the tag holds, such as 'loss/train', 'val/accuracy' "
                f"or 'lr', found {name!r}"
            )


def recorded_rules(text: str) -> dict[str, Any]:
    """The tuning of rules that stands in a log, as far as it can be understood: a log may be any stranger's."""
    given = _object(text)
    known = {rule_id: options for rule_id, options in given.items() if rule_id in BY_ID}
    return {rule_id: _understood(BY_ID[rule_id], options) for rule_id, options in known.items()}


def _understood(rule: Rule, options: Any) -> Any:
    if not isinstance(options, Mapping):
        return options if isinstance(options, bool) else {}
    return {key: value for key, value in options.items() if _accepted(_validate_one, rule, {key: value})}


def _validate_one(rule: Rule, option: Mapping[str, Any]) -> None:
    _validate_options(rule.id, rule, option, globs=True)


def recorded_scalars(text: str) -> dict[str, Any]:
    """The names of scalars that stand in a log, as far as they can be understood."""
    return {tag: name for tag, name in _object(text).items() if _accepted(validate_scalars, {tag: name})}


def _accepted(check: Callable[..., None], *given: Any) -> bool:
    try:
        check(*given)
    except (TypeError, ValueError):
        return False
    return True


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _nearest(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name.lower().replace("_", "-"), known, n=1) or get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
