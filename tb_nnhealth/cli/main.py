"""The console command ``nnhealth``.

Exit status: 0, or 1 where ``--fail-on`` says so, or 2 where the command could not be carried out.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from tb_nnhealth import __version__
from tb_nnhealth.cli.parser import Parser, parse

COMMANDS = ("inspect", "merge", "diff", "doctor", "rules", "demo")
"""Each is a module of this package, by its name."""
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else list(argv)
    _bear_closed_streams()
    args = parse(_parser(words[:1]), words, COMMANDS)
    _print_whatever_the_terminal_can()
    try:
        status = int(args.run(args))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("nnhealth: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def _parser(first: Sequence[str] = ()) -> Parser:
    """``first``: the command line's first word. Where it is a command, the others need not be imported."""
    parser = Parser(
        prog="nnhealth", description="Is my network training well, and if not: what is wrong, where, since when?"
    )
    parser.add_argument("--version", action="version", version=f"nnhealth {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in first if first and first[0] in COMMANDS else COMMANDS:
        import_module(f"tb_nnhealth.cli.{command}").add_parser(commands)
    return parser


def _bear_closed_streams() -> None:
    """``>&-``, or a window without a console: there is nobody to tell, and the exit status still counts."""
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8")


def _print_whatever_the_terminal_can() -> None:
    """Characters that the terminal's encoding lacks are replaced, not fatal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
