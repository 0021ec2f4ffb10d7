"""``nnhealth merge PART...``: one report of the partial ones that many machines have made."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tb_nnhealth.cli import output, reading
from tb_nnhealth.cli.errors import failed
from tb_nnhealth.fleet.merge import PartError, merged


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "merge",
        help="join the reports of several machines",
        description="Joins reports that `nnhealth inspect --shard N/OF --format json --output PART` has written, and "
        "shows them as `inspect` would have shown all runs at once.",
        epilog="Exit status: 1 where --fail-on asks for it, 2 where a part cannot be read, otherwise 0. A shard that "
        "is missing is told as a problem.",
    )
    parser.add_argument("parts", nargs="+", metavar="PART", help="a JSON report")
    output.add_arguments(parser)
    reading.add_choice_of_reports(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        reports, problems = merged((part, _read(part)) for part in args.parts)
    except PartError as error:
        return failed(str(error))
    reading.choose_reports(args, reports)
    try:
        output.write(output.rendered(args, reports, problems), args.output)
    except OSError as error:
        return failed(output.cannot_write(error))
    return output.status(reports, args.fail_on)


def _read(part: str) -> Any:
    try:
        return json.loads(Path(part).read_text("utf-8"))
    except OSError as error:
        raise PartError(f"{part}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise PartError(f"{part}: expected a report of `nnhealth inspect --format json`: {error}") from error
