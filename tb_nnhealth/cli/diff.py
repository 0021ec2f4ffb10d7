"""``nnhealth diff RUN RUN``: what is new, gone and common in the second run, with the key scalars of both."""

from __future__ import annotations

import argparse
import json
import sys
from difflib import get_close_matches
from typing import Any

from tb_nnhealth.cli import tuning
from tb_nnhealth.cli.errors import failed
from tb_nnhealth.cli.tuning import Judging
from tb_nnhealth.events.storage_url import displayed
from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.history import Run
from tb_nnhealth.report import diff_text
from tb_nnhealth.report.baseline import without
from tb_nnhealth.report.build import build
from tb_nnhealth.report.diff import Side, diff, worse
from tb_nnhealth.report.printable import printable
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.base import LogDirError
from tb_nnhealth.source.files import FileSource

FOUND = 1
"""Exit status where --fail-on finds what it asks for."""
NAMES_TOLD = 5


class _NoRunError(Exception):
    """A run that cannot be found; the message is for the user."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "diff",
        help="compare the findings and key scalars of two runs",
        usage="nnhealth diff [options] RUN RUN\n       nnhealth diff [options] LOGDIR NAME NAME",
        description="Compares two runs, each named by its directory or event file, or both by their names below one "
        "log directory: findings that the second has anew, no longer, or as well, and the key scalars of both.",
        epilog="Exit status: 1 where the second run has a finding as severe as --fail-on says that the first has not, "
        "or less severely; 2 where a run could not be read; otherwise 0.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two runs, or a log directory and two names in it")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument(
        "--fail-on",
        choices=SEVERITIES,
        metavar="SEVERITY",
        help="exit with 1 on something new this severe: %(choices)s",
    )
    tuning.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if len(args.runs) not in (2, 3):
        return failed(f"expected two runs, or a log directory and the names of two runs, found {len(args.runs)}")
    try:
        judging = tuning.judging(args)
        first, second = _pair(args.runs)
    except (LogDirError, ValueError, _NoRunError) as error:
        return failed(str(error))
    found = diff(_judged(first, judging), _judged(second, judging))
    sys.stdout.write(json.dumps(found, indent=1, allow_nan=False) + "\n" if args.format == "json" else
                     diff_text.render(found))  # fmt: skip
    for problem in (*first.problems, *second.problems):
        print(f"nnhealth: {printable(problem.path)}: {printable(problem.message)}", file=sys.stderr)
    fail_on = args.fail_on or judging.settings.fail_on
    return FOUND if fail_on and worse(found, fail_on) else 0


def _pair(named: list[str]) -> tuple[Run, Run]:
    if len(named) == 2:
        return _alone(named[0]), _alone(named[1])
    source = FileSource(named[:1])
    source.refresh()
    return _named(source, named[0], named[1]), _named(source, named[0], named[2])


def _alone(path: str) -> Run:
    """The run in the directory ``path``, or the only one below it, named by its path."""
    source = FileSource([path])
    source.refresh()
    names = source.runs()
    name = "." if "." in names else names[0] if len(names) == 1 else None
    if name is None:
        if not names:
            raise _NoRunError(f"no event files found below {path}")
        raise _NoRunError(
            f"{path} holds {len(names)} runs; name one of them, or all: nnhealth diff {path} {names[0]} {names[1]}"
        )
    found = source.run(name)
    path = displayed(path)
    found.name = path if name == "." else f"{path.rstrip('/')}/{name}"
    return found


def _named(source: FileSource, logdir: str, name: str) -> Run:
    if name not in source.runs():
        near = get_close_matches(name, source.runs(), n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(source.runs()[:NAMES_TOLD])}"
        raise _NoRunError(f"there is no run {name!r} below {logdir}; {meant}")
    return source.run(name)


def _judged(found: Run, judging: Judging) -> Side:
    judgement, known = without(judge(found, judging.tuning), found.name, judging.known)
    return Side(found, build(found, judgement, known))
