"""Reports of several runs, in the format and the place that the user asks for; the exit status that they mean."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.fleet.choose import Shard
from tb_nnhealth.fleet.reports import Reports
from tb_nnhealth.history import Problem
from tb_nnhealth.report import json as json_report
from tb_nnhealth.report import text as text_report
from tb_nnhealth.report.formats import FORMATS

FOUND = 1
"""Exit status where --fail-on finds what it asks for."""


def add_arguments(parser: argparse.ArgumentParser, *further: str) -> None:
    """``further``: formats that are not made of reports alone."""
    parser.add_argument("--format", choices=[*FORMATS, *further], default="text", help="default: text")
    parser.add_argument("--output", metavar="FILE", help="write there and not to standard output")
    parser.add_argument(
        "--fail-on",
        choices=SEVERITIES,
        metavar="SEVERITY",
        help="exit with 1 on a finding at least this severe: %(choices)s",
    )


def rendered(
    args: argparse.Namespace,
    reports: Sequence[dict[str, Any]],
    problems: Sequence[Problem],
    shard: Shard | None = None,
) -> str:
    """The text; JSON tells of which ``shard`` of all runs it is, so that ``nnhealth merge`` sees what is missing."""
    if args.format == "text":
        return text_report.render(reports, problems, color=args.output is None and in_colour())
    if args.format == "json" and shard is not None:
        return json_report.render(reports, problems, shard={"number": shard.number, "of": shard.of})
    return FORMATS[args.format](reports, problems)


def status(reports: Reports, fail_on: str | None) -> int:
    return FOUND if fail_on and reports.severest >= SEVERITIES.index(fail_on) else 0


def in_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write(text: str, output: str | None) -> None:
    """Raises OSError; not where the reader, `head` perhaps, has seen enough: the exit status still counts."""
    if output is None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            leave_unread()
    else:
        Path(output).write_text(text, encoding="utf-8")


def leave_unread() -> None:
    """What is still to be printed goes nowhere, without a further error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def cannot_write(error: OSError) -> str:
    return f"cannot write {error.filename or 'standard output'}: {error.strerror or error}"
