"""``nnhealth doctor LOGDIR``: what is wrong with the log itself, and a clean copy of it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

from tb_nnhealth.cli.errors import WHERE_LOGS_ARE, failed
from tb_nnhealth.doctor import text
from tb_nnhealth.doctor.examine import examine
from tb_nnhealth.doctor.repair import Repaired, RepairError, check_destination, repair
from tb_nnhealth.doctor.trouble import Examined
from tb_nnhealth.events.walk import Found
from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.report.printable import printable
from tb_nnhealth.source.base import LogDirError
from tb_nnhealth.source.files import FileSource

FOUND = 1
"""Exit status where something is wrong that --fail-on asks for."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="what is wrong with a log itself: damage, writers, steps, clocks",
        description="Reads every record of every event file below LOGDIR, whichever TensorBoard writer wrote it, and "
        "says what is wrong with the log itself: damage, two writers in a directory, steps that go back, clocks, what "
        "TensorBoard leaves out. Never writes to LOGDIR.",
        epilog="Exit status: 1 where something is wrong that is as severe as --fail-on says, 2 where nothing could be "
        "examined or the copy not be written, otherwise 0.",
    )
    parser.add_argument("logdir", metavar="LOGDIR", help="a log directory or event file; s3://, gs:// and the like too")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument(
        "--fail-on", choices=SEVERITIES, default="warning", metavar="SEVERITY", help="%(choices)s; default: %(default)s"
    )
    parser.add_argument(
        "--repair",
        metavar="DEST",
        help="write a clean copy of the event files there, a new or empty directory outside LOGDIR: every whole record "
        "byte for byte, without what is torn or corrupt",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        if args.repair:
            check_destination(args.logdir, args.repair)
        found = _find(args.logdir)
    except (RepairError, LogDirError) as error:
        return failed(str(error))
    if not found.runs:
        told = "".join(f"\n  {problem.path}: {problem.message}" for problem in found.problems)
        return failed(f"no event files found below {args.logdir}{told}{WHERE_LOGS_ARE}")
    examined = examine(found)
    copied = None
    if args.repair:
        try:
            copied = repair(found.runs, args.repair)
        except OSError as error:
            return failed(f"cannot write the copy to {args.repair}: {error.strerror or error}")
    sys.stdout.write(_json(examined, copied) if args.format == "json" else _text(examined, copied, args.repair))
    return FOUND if examined.at_least(args.fail_on) else 0


def _find(path: str) -> Found:
    source = FileSource([path])
    source.refresh()
    return Found(list(source.directories.values()), source.problems)


def _json(examined: Examined, copied: Repaired | None) -> str:
    told = examined.to_json()
    if copied is not None:
        told["repair"] = {
            "files": copied.files,
            "records": copied.records,
            "dropped": copied.dropped,
            "dropped_bytes": copied.dropped_bytes,
            "empty": copied.empty,
            "problems": [{"path": problem.path, "message": problem.message} for problem in copied.problems],
        }
    return json.dumps(told, indent=1, allow_nan=False) + "\n"


def _text(examined: Examined, copied: Repaired | None, destination: str | None) -> str:
    troubles = tuple(
        replace(trouble, path=printable(trouble.path), message=printable(trouble.message))
        for trouble in examined.troubles
    )
    told = text.render(replace(examined, troubles=troubles))
    if copied is not None:
        told += (
            f"copied to {destination}: {copied.files:,} file(s) with {copied.records:,} records; left out: "
            f"{copied.dropped:,} damaged place(s) of {copied.dropped_bytes:,} bytes, {copied.empty:,} file(s) without "
            "a record\n"
        )
        told += "".join(f"  {printable(p.path)}: {printable(p.message)}\n" for p in copied.problems)
    return told
