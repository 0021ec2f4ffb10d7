"""The command line that the fuzzers share."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any


def run(
    doc: str | None,
    targets: Iterable[str],
    fuzz: Callable[[str, int, Path], dict[str, Any]],
    said: Callable[[dict[str, Any]], str],
    arguments: Sequence[str] | None,
) -> int:
    """Fuzzes what ``arguments`` ask for and tells what was found; 1 where anything was."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(targets))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help="kept and gone on with; by default a new one each time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="corpus-") as base:
        result = fuzz(options.target, options.seconds, options.corpus or Path(base))
    for failure in result["failures"]:
        print(failure)
    print(said(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return int(bool(result["failures"]))
