"""``python -m tests.zoo``, or ``make zoo``: trains every specimen, judges it, and prints one table."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from tests.zoo.catalogue import KINDS, PARTS, SPECIMENS, folder, part
from tests.zoo.runner.processes import results
from tests.zoo.runner.run import Result
from tests.zoo.runner.table import tables, times
from tests.zoo.runner.totals import totals


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    names = [name for name in sorted(SPECIMENS) if _chosen(name, args)]
    if not names:
        print("zoo: no specimen is meant by these arguments", file=sys.stderr)
        return 2
    trained = args.judge_only is not None
    if trained:
        there = [name for name in names if (args.judge_only / folder(SPECIMENS[name])).is_dir()]
        print(f"{len(there)} of {len(names)} specimens have logs in {args.judge_only}", file=sys.stderr)
        names = there
    with tempfile.TemporaryDirectory(prefix="zoo-") as temporary:
        logs = args.judge_only or args.logdir or Path(temporary)
        found = _run(names, logs, args.jobs, trained=trained, agreement=args.agreement, named=args.show_held_out)
    shown = tables(SPECIMENS, found, show_held_out=args.show_held_out)
    print("\n\n".join(shown.values()))
    if args.times:
        print("\n" + times(SPECIMENS, found))
    if args.json:
        told = {
            "totals": [asdict(each) for each in totals(SPECIMENS, found, show_held_out=args.show_held_out)],
            "tables": shown,
            "results": [asdict(r) for r in found if args.show_held_out or not SPECIMENS[r.name].held_out],
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(told, indent=1))
    if args.agreement:
        agreeing = sum(r.error is None and r.disagreement is None for r in found)
        print(
            f"\n{'Command line' if trained else 'Live, command line'} and tab agree on {agreeing} of {len(found)} runs."
        )
    return int(any(result.error or result.recording_error or result.disagreement for result in found))


def _run(names: Sequence[str], logs: Path, jobs: int, *, trained: bool, agreement: bool, named: bool) -> list[Result]:
    """``named``: progress and errors may tell which specimens of the part set aside they are of."""
    begun = time.monotonic()
    found: dict[str, Result] = {}
    for result in results(names, logs, jobs=jobs, trained=trained, agreement=agreement):
        found[result.name] = result
        broken = sum(result.error is not None for result in found.values())
        open_to_see = named or not SPECIMENS[result.name].held_out
        name = result.name if open_to_see else "one set aside"
        told = f"{len(found)}/{len(names)} {time.monotonic() - begun:.0f} s, {broken} broken: {name}"
        print(f"\r{told[:110]:<110}" if sys.stderr.isatty() else told, end="", file=sys.stderr)
        print(end="" if sys.stderr.isatty() else "\n", file=sys.stderr)
        if result.error is not None:
            print(f"\n{result.error if open_to_see else 'its error is told with --show-held-out'}", file=sys.stderr)
    print(file=sys.stderr)
    return [found[name] for name in names]


def _chosen(name: str, args: argparse.Namespace) -> bool:
    specimen = SPECIMENS[name]
    return (
        (fnmatchcase(name, args.only) or fnmatchcase(specimen.kind, args.only))
        and args.part in ("all", part(specimen))
        and args.kinds in ("all", KINDS[not specimen.ill])
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__.split(": ", 1)[1])
    parser.add_argument("--only", metavar="GLOB", default="*", help="names or kinds of specimens")
    parser.add_argument("--kinds", choices=("all", *KINDS), default="all")
    parser.add_argument("--part", choices=("all", *PARTS), default="all")
    parser.add_argument(
        "--show-held-out", action="store_true", help="also tell each kind and run of the part set aside"
    )
    parser.add_argument("--jobs", type=int, metavar="N", default=os.cpu_count() or 1, help="trainings at the same time")
    parser.add_argument("--logdir", type=Path, help="keep the logs here")
    parser.add_argument("--judge-only", type=Path, metavar="LOGDIR", help="judge kept logs anew, without training")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write totals, tables and every result there, for tools/zoo.py"
    )
    parser.add_argument("--times", action="store_true", help="list steps and processor time of every training")
    parser.add_argument("--agreement", action="store_true", help="compare live findings, command line and tab")
    return parser


if __name__ == "__main__":
    sys.exit(main())
