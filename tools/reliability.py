"""Writes docs/reliability.md's table from the results in tests/reliability/kept.

python tools/reliability.py [NAME ...]      runs these experiments first, in full, and keeps their results
python tools/reliability.py --check         writes nothing; exits with 1 where the page is stale
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.fuzz import native, reader  # noqa: E402
from tests.reliability import disks, faults, kills, readers, server  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"
KEPT = ROOT / "tests" / "reliability" / "kept"
PLACE = re.compile(r"(?<=<!-- measured: python tools/reliability.py -->\n).*?(?=<!-- /measured -->)", re.DOTALL)
NOT_RUN = "not yet run in full"


class Experiment(NamedTuple):
    """A row of the table: its command writes what it found into a file, ``said`` puts that into words."""

    what: str
    command: str
    goal: str
    said: Callable[[dict[str, Any]], str]


EXPERIMENTS = {
    "faults": Experiment(
        "a fault inside the shim: the n-th call of an internal function raises",
        "tests.reliability.faults",
        "every training ends with the same result; every entry is written or counted as dropped",
        faults.said,
    ),
    "disks": Experiment(
        "a disk that is full, gone, replaced by a file, failing now and then, standing still",
        "tests.reliability.disks",
        "the same, and records are written again within 10 s of the disk being well",
        disks.said,
    ),
    "kills": Experiment(
        "SIGKILL at a random moment",
        "tests.reliability.kills",
        "nothing flushed is lost, but for at most one health step",
        kills.said,
    ),
    "readers": Experiment(
        "damaged event files",
        "tests.reliability.readers",
        "no fault, none above 1 s, below 256 MB; all that stands before the damage is read",
        readers.said,
    ),
    "fuzz-events": Experiment(
        "the native core's scanner and decoder, inputs guided by coverage",
        "tests.fuzz.native events",
        "no crash, no read outside the memory given, none above 1 s",
        native.said,
    ),
    "fuzz-tensors": Experiment(
        "the native core's reductions, likewise",
        "tests.fuzz.native tensors",
        "the same, and the same counts by every instruction set",
        native.said,
    ),
    "fuzz-read": Experiment(
        "the reader, likewise",
        "tests.fuzz.reader read",
        "as for damaged files, and the same run without the native core",
        reader.said,
    ),
    "fuzz-judged": Experiment(
        "rules, formats and the tab's replies, on what was read of such files",
        "tests.fuzz.reader judged",
        "no rule fails, every report is written in every format",
        reader.said,
    ),
    "fuzz-examined": Experiment(
        "the doctor, likewise",
        "tests.fuzz.reader examined",
        "its spans are the file, its text is written",
        reader.said,
    ),
    "server": Experiment(
        "the tab under load while logs change, a fifth of the requests hostile",
        "tests.reliability.server",
        "no reply of the 500s, nothing let in, p99 below 100 ms",
        server.said,
    ),
}


def table() -> str:
    """A row for each experiment, with what its kept result says."""
    rows = ["| what | command | goal | measured |", "| --- | --- | --- | --- |"]
    for name, experiment in EXPERIMENTS.items():
        kept = KEPT / f"{name}.json"
        said = experiment.said(json.loads(kept.read_text())) if kept.exists() else NOT_RUN
        rows.append(f"| {experiment.what} | `python -m {experiment.command}` | {experiment.goal} | {said} |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """The page with its table as the kept results have it."""
    found = PAGE.read_text("utf-8")
    if PLACE.search(found) is None:
        raise SystemExit(f"{PAGE} has lost the place of its table")
    return PLACE.sub(lambda _: table(), found)


def main(wanted: list[str]) -> int:
    if wanted == ["--check"]:
        return int(page() != PAGE.read_text("utf-8"))
    unknown = sorted(set(wanted) - set(EXPERIMENTS))
    if unknown:
        raise SystemExit(f"expected some of {', '.join(EXPERIMENTS)}, found {', '.join(unknown)}")
    KEPT.mkdir(exist_ok=True)
    for name in wanted:
        kept = KEPT / f"{name}.json"
        command = [sys.executable, "-m", *EXPERIMENTS[name].command.split(), "--json", str(kept)]
        subprocess.run(command, cwd=ROOT, check=False)
    PAGE.write_text(page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
