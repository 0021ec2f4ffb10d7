"""How ``nnhealth inspect`` is to judge: settings file, ``--rule``, baseline."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tb_nnhealth.report import baseline
from tb_nnhealth.rules.configuration import Tuning, overlaid
from tb_nnhealth.settings import Settings, discover, read


class TuningError(ValueError):
    """Something the user asked for that cannot be; the message says what."""


@dataclass(frozen=True)
class Judging:
    """``tuning`` is laid over what the logs recorded; findings in ``known`` are not shown."""

    settings: Settings
    tuning: Tuning
    known: tuple[baseline.Known, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("judging", "how to judge, laid over what watch() was given (docs/tuning.md)")
    group.add_argument(
        "--config",
        metavar="FILE",
        help="settings; default: the nearest nnhealth.toml, or pyproject.toml with [tool.nnhealth], from here upwards",
    )
    group.add_argument("--no-config", action="store_true", help="read no settings")
    group.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="TUNING",
        help="dead-units=off, or update-ratio-too-high.max=0.2, or no-gradient.severity=info; may be repeated",
    )
    group.add_argument("--baseline", metavar="FILE", help="show only findings that do not stand in this file")
    group.add_argument("--write-baseline", metavar="FILE", help="write all findings there, as known from now on")


def judging(args: argparse.Namespace) -> Judging:
    """What the arguments ask for. Raises ValueError naming file, rule or option that cannot be meant."""
    settings = Settings() if args.no_config else read(Path(args.config)) if args.config else discover(Path.cwd())
    tuning = Tuning(_rules(args.rule)).over(settings.tuning)
    file = Path(args.baseline) if args.baseline else settings.baseline
    if file is None or args.write_baseline:
        return Judging(settings, tuning, ())
    try:
        return Judging(settings, tuning, baseline.parse(file.read_text("utf-8")))
    except OSError as error:
        raise TuningError(f"{file}: cannot read the baseline: {error.strerror or error}") from error
    except ValueError as error:
        raise TuningError(f"{file}: {error}") from error


def _rules(given: Sequence[str]) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    for text in given:
        rules = overlaid(_rule(text), rules)
    return rules


def _rule(text: str) -> Mapping[str, Any]:
    name, equals, value = text.partition("=")
    rule_id, dot, option = name.partition(".")
    if equals and not dot and value in ("on", "off"):
        return {rule_id: value == "on"}
    if not (equals and dot and value):
        raise TuningError(f"--rule: expected RULE=off, RULE=on or RULE.OPTION=VALUE, found {text!r}")
    if option == "severity":
        return {rule_id: {option: value}}
    try:
        return {rule_id: {option: float(value)}}
    except ValueError:
        raise TuningError(f"--rule: expected a number for {name}, found {value!r}") from None
