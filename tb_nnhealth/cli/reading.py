"""How ``nnhealth inspect`` reads many runs: which of them, on how many processes or machines, with which index."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tb_nnhealth.cli.parsed import parsed
from tb_nnhealth.cli.tuning import Judging
from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet import choose
from tb_nnhealth.fleet.choose import Choice
from tb_nnhealth.fleet.cluster import Cluster
from tb_nnhealth.fleet.executors import workers
from tb_nnhealth.fleet.index import Index, default_path
from tb_nnhealth.fleet.inspection import Inspected, inspect_runs
from tb_nnhealth.fleet.reports import Reports
from tb_nnhealth.fleet.scan import Also, How, Scanned, Summary

VERDICTS = ("critical", "warning", "healthy", "no-data")
_ORDERS: Mapping[str, Callable[[Summary], Any]] = {
    "name": lambda summary: summary.run,
    "severity": lambda summary: (VERDICTS.index(summary.verdict), -summary.severest, summary.run),
    "recent": lambda summary: (-summary.last_wall, summary.run),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("many runs", "which of them are read, and how (docs/fleet.md)")
    group.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        type=parsed(choose.checked),
        help="runs whose name matches a glob, or /a regular expression/; may be repeated",
    )
    group.add_argument(
        "--since",
        metavar="WHEN",
        type=parsed(lambda text: choose.since(text, time.time())),
        help="runs written to since: an age (90m, 24h, 7d) or a date (2026-03-01)",
    )
    group.add_argument(
        "--shard",
        metavar="N/OF",
        type=parsed(choose.shard),
        help="read the N-th of OF shares of the runs, for an array of jobs; join the JSON reports by `nnhealth merge`",
    )
    add_choice_of_reports(group)
    group.add_argument(
        "--ranks",
        choices=("together", "apart"),
        default="together",
        help="runs that are the ranks of one job (exp/rank0, exp/rank1) are one run, or each one; default: together",
    )
    group.add_argument(
        "--scheduler", metavar="ADDRESS", help="read and judge on the workers of this Dask scheduler, tcp://HOST:PORT"
    )
    group.add_argument(
        "--jobs", type=_positive, metavar="N", help="processes that read and judge; default: by cores and runs"
    )
    group.add_argument(
        "--index",
        metavar="FILE",
        type=Path,
        help="where to remember what was found in files that have not changed since; default: in your cache directory",
    )
    group.add_argument("--no-index", action="store_true", help="remember nothing, read everything")


def add_choice_of_reports(parser: Any) -> None:
    """``parser``: or a group of one."""
    parser.add_argument(
        "--verdict",
        action="append",
        choices=VERDICTS,
        metavar="VERDICT",
        help="show only runs of this verdict: %(choices)s; may be repeated",
    )
    parser.add_argument("--sort", choices=tuple(_ORDERS), default="name", help="default: name")


def choice(args: argparse.Namespace) -> Choice:
    return Choice(tuple(args.only), args.since, args.shard)


def read(
    args: argparse.Namespace, directories: list[RunDirectory], judging: Judging, also: Also | None = None
) -> Inspected:
    """The reports that the arguments ask for, in their order; with ``also``, what that makes of each run as well."""
    how = How(judging.tuning, judging.known, also)
    cluster = Cluster(args.scheduler) if args.scheduler else None
    index = None if args.no_index or also is not None else Index(args.index or default_path(), how)
    try:
        who = partial(workers, jobs=args.jobs) if cluster is None else lambda _: cluster.workers()
        together = args.ranks == "together" and also is None
        inspected = inspect_runs(directories, how, who, index=index, ranks_together=together, progress=with_progress)
    finally:
        if cluster is not None:
            cluster.close()
        if index is not None:
            index.close()
            for note in index.notes:
                print(f"nnhealth: {note}", file=sys.stderr)
    choose_reports(args, inspected.reports)
    return inspected


def choose_reports(args: argparse.Namespace, reports: Reports) -> None:
    """Leaves the reports that the arguments ask for, in their order."""
    if args.verdict:
        reports.keep(lambda summary: summary.verdict in args.verdict)
    reports.arrange(_ORDERS[args.sort])


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of processes, 1 or more, found {text!r}")
    return int(text)


def with_progress(results: Iterable[Scanned], total: int) -> Iterable[Scanned]:
    """``results`` with a progress bar on a terminal, where rich is installed."""
    if total < 2 or not sys.stderr.isatty():
        return results
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        return results
    shown: Iterable[Scanned] = track(results, "Inspecting", total=total, console=Console(stderr=True), transient=True)
    return shown
