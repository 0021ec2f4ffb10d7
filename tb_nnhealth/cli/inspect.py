"""``nnhealth inspect LOGDIR...``: each run's verdict and findings."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from tb_nnhealth.cli import errors, following, following_arguments, output, reading, tuning
from tb_nnhealth.cli.errors import failed
from tb_nnhealth.fleet.cluster import ClusterError
from tb_nnhealth.fleet.inspection import Inspected
from tb_nnhealth.history import Problem
from tb_nnhealth.plugin import page
from tb_nnhealth.plugin.replies import saved_run
from tb_nnhealth.report import baseline
from tb_nnhealth.source.base import LogDirError
from tb_nnhealth.source.files import FileSource

HTML = "html"
"""The one format that is made of the runs themselves, not of their reports alone."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "inspect",
        help="judge the runs below a log directory",
        description="Judges every run below the given log directories, whichever TensorBoard writer wrote them, "
        "and prints verdicts and findings, root causes first.",
        epilog="Exit status: 1 where --fail-on asks for it, 2 where nothing could be inspected, otherwise 0.",
    )
    parser.add_argument(
        "logdirs", nargs="+", metavar="LOGDIR", help="a log directory or event file; s3://, gs:// and the like too"
    )
    output.add_arguments(parser, HTML)
    reading.add_arguments(parser)
    following_arguments.add_arguments(parser)
    tuning.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    misused = following_arguments.misused(args)
    if misused:
        return failed(misused)
    source = FileSource(args.logdirs)
    try:
        judging = tuning.judging(args)
        if args.follow:
            return following.follow(args, judging)
        source.refresh()
    except (LogDirError, ValueError) as error:
        return failed(str(error))
    names = source.runs()
    if not names:
        told = "".join(f"\n  {problem.path}: {problem.message}" for problem in source.problems)
        return failed(f"no event files found below {', '.join(args.logdirs)}{told}{errors.WHERE_LOGS_ARE}")
    chosen = reading.choice(args).of(source.directories)
    if not chosen:
        print(f"nnhealth: none of {len(names)} run(s) matches --only, --since or --shard", file=sys.stderr)
    saved = None
    if args.format == HTML:
        try:
            page.check_built()
        except page.NotBuiltError as error:
            return failed(str(error))
        saved = partial(saved_run, limit=page.share(max(1, len(chosen))))
    try:
        inspected = reading.read(args, chosen, judging, saved)
    except ClusterError as error:
        return failed(str(error))
    problems = [*source.problems, *inspected.problems]
    if chosen and not inspected.any_read:
        told = "".join(f"\n  {problem.path}: {problem.message}" for problem in problems)
        return failed(f"nothing could be read of the {len(chosen)} run(s) below {', '.join(args.logdirs)}{told}")
    try:
        output.write(_rendered(args, inspected, problems), args.output)
        if args.write_baseline:
            output.write(baseline.render(inspected.reports), args.write_baseline)
    except OSError as error:
        return failed(output.cannot_write(error))
    return output.status(inspected.reports, args.fail_on or judging.settings.fail_on)


def _rendered(args: argparse.Namespace, inspected: Inspected, problems: Sequence[Problem]) -> str:
    reports = inspected.reports
    if args.format == HTML:
        logdir = os.path.basename(os.path.abspath(args.logdirs[0]))
        saved = [inspected.also[summary.run] for summary in reports.summaries]
        return page.page(saved, logdir=logdir, problems=problems)
    return output.rendered(args, reports, problems, args.shard)
