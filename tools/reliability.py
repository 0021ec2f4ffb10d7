"""Runs the experiments of docs/reliability.md and puts what they print into it.

python tools/reliability.py [faults disks kills readers server]
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
EXPERIMENTS = ("faults", "disks", "kills", "readers", "server")
RESULT = re.compile(r"(?<=<!-- measured: python tools/reliability.py -->\n).*?(?=<!-- /measured -->)", re.DOTALL)


def last_line(experiment: str) -> str:
    """What the experiment says at its end."""
    command = [sys.executable, "-m", f"tests.reliability.{experiment}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    print(done.stdout)
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise SystemExit(f"{experiment} printed nothing (status {done.returncode})")
    return lines[-1]


def main(wanted: list[str]) -> None:
    unknown = sorted(set(wanted) - set(EXPERIMENTS))
    if unknown:
        raise SystemExit(f"expected some of {', '.join(EXPERIMENTS)}, found {', '.join(unknown)}")
    page = PAGE.read_text()
    before = RESULT.search(page)
    if before is None:
        raise SystemExit(f"{PAGE} has lost the place of its figures")
    told = dict(re.findall(r"^- \*\*(\w+)\*\*: (.*)$", before[0], re.MULTILINE))
    for experiment in wanted or EXPERIMENTS:
        told[experiment] = last_line(experiment)
    lines = [f"- **{experiment}**: {told[experiment]}\n" for experiment in EXPERIMENTS if experiment in told]
    PAGE.write_text(page[: before.start()] + "".join(lines) + page[before.end() :])


if __name__ == "__main__":
    main(sys.argv[1:])
