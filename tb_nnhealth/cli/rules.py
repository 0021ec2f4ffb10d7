"""``nnhealth rules [RULE]``: the catalogue of rules, or the page of one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from tb_nnhealth.cli.errors import failed
from tb_nnhealth.rules.base import Rule
from tb_nnhealth.rules.registry import BY_ID, RULES


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "rules", help="what is checked, and how", description="Lists the rules, or prints the page of one."
    )
    parser.add_argument("rule", nargs="?", metavar="RULE", help="the id of a rule")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.rule is None:
        print(catalogue(RULES))
        return 0
    if args.rule not in BY_ID:
        near = get_close_matches(args.rule.lower().replace("_", "-"), list(BY_ID), n=1, cutoff=0.4)
        meant = f" did you mean {near[0]!r}?" if near else ""
        return failed(f"there is no rule {args.rule!r};{meant} `nnhealth rules` lists all {len(BY_ID)}")
    print(page(BY_ID[args.rule]))
    return 0


def catalogue(rules: Sequence[Rule]) -> str:
    """A table of the rules under their groups: id, severity, what it finds."""
    lines: list[str] = []
    width = max((len(rule.id) for rule in rules), default=0)
    for group in dict.fromkeys(rule.group for rule in rules):
        lines += ["", group.upper()]
        lines += [f"  {r.id:<{width}}  {r.severity:<8}  {r.ill}" for r in rules if r.group == group]
    lines += ["", f"{len(rules)} rules. `nnhealth rules RULE` prints the page of one."]
    return "\n".join(lines).lstrip("\n")


def page(rule: Rule) -> str:
    """The rule's page with its options."""
    lines = [f"{rule.id}: {rule.ill}", f"{rule.group}, {rule.severity}", "", rule.page.strip(), "", "## Options", ""]
    if not rule.options:
        lines.append("None.")
    for option in rule.options:
        unit = "" if option.unit in ("", "1") else f" {option.unit}"
        lines += [
            f"{option.name} = {option.default:g}{unit}",
            f"    {option.help}",
            f"    Default from: {option.source}",
        ]
    lines += ["", "## Tune or silence", ""]
    tuned = "".join(f'"{option.name}": {option.default:g}' for option in rule.options[:1])
    if tuned:
        lines.append(f'writer.watch(model, optimizer, rules={{"{rule.id}": {{{tuned}}}}})')
    lines.append(f'writer.watch(model, optimizer, rules={{"{rule.id}": False}})')
    if rule.causes:
        lines += ["", f"May cause: {', '.join(rule.causes)}"]
    return "\n".join(lines)
