"""The arguments of ``nnhealth inspect --follow``, and which of them go together."""

from __future__ import annotations

import argparse
from pathlib import Path

from tb_nnhealth.cli.parsed import parsed
from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.follow.command import Command
from tb_nnhealth.follow.hold import Hold
from tb_nnhealth.follow.webhook import Webhook

FORMATS = ("text", "jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("following", "runs watched while they train (docs/following.md)")
    group.add_argument(
        "--follow", action="store_true", help="go on and tell findings as they appear and clear; Ctrl-C ends"
    )
    group.add_argument("--interval", type=_seconds, default=2.0, metavar="S", help="seconds between looks; default: 2")
    group.add_argument("--plain", action="store_true", help="lines and not a full-screen table on a terminal too")
    group.add_argument(
        "--exec",
        metavar="CMD",
        type=parsed(Command.parsed),
        dest="command",
        help="run CMD for each finding, which is JSON on its standard input and in variables NNHEALTH_…",
    )
    group.add_argument("--webhook", metavar="URL", type=parsed(Webhook.checked), help="POST each finding as JSON")
    group.add_argument(
        "--alert-on",
        choices=SEVERITIES,
        default="warning",
        metavar="SEVERITY",
        help="the least that --exec and --webhook are told; default: %(default)s",
    )
    group.add_argument(
        "--hold",
        metavar="HOLD",
        type=parsed(Hold.parsed),
        help="alert when a finding has stood for so many records or so long, whichever is first; default: 100,10m",
    )
    group.add_argument("--state", metavar="FILE", type=Path, help="remember there what was told, for the next start")
    group.add_argument("--metrics", metavar="FILE", type=Path, help="write OpenMetrics there after each look")
    group.add_argument(
        "--metrics-port", type=_port, metavar="N", help="serve /metrics for Prometheus; 0: any free port"
    )
    group.add_argument("--metrics-address", default="127.0.0.1", metavar="ADDR", help="default: %(default)s")


def misused(args: argparse.Namespace) -> str:
    """What the arguments ask for that does not go together, "" if nothing."""
    given = {"--exec": args.command, "--webhook": args.webhook, "--state": args.state, "--metrics": args.metrics,
             "--metrics-port": args.metrics_port, "--hold": args.hold, "--plain": args.plain or None}  # fmt: skip
    alone = [option for option, value in given.items() if value is not None]
    if not args.follow:
        return f"{alone[0]} needs --follow" if alone else ""
    if args.format not in FORMATS:
        return f"--follow writes {' or '.join(FORMATS)}, not {args.format}"
    if args.scheduler or args.verdict:
        return "--scheduler and --verdict do not go with --follow"
    if args.write_baseline:
        return "--write-baseline does not go with --follow; write it once, then follow with --baseline"
    for option, value in (("--state", args.state), ("--hold", args.hold)):
        if value is not None and not (args.command or args.webhook):
            return f"{option} needs --exec or --webhook"
    return ""


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds, from 0.1 to 86400, found {text!r}")
    return seconds


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, found {text!r}")
    return int(text)
