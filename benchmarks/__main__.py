"""``python -m benchmarks [WHAT] [ARGUMENTS]``, or ``make bench``: what tb_nnhealth costs, beside what others cost.

    python -m benchmarks                  all of it, into benchmarks/results/, README.md and docs/performance.md
    python -m benchmarks --quick          the same in small, into artifacts/bench/: to see that everything runs
    python -m benchmarks overhead --help  one of them, with its arguments

Nothing else should run on the machine meanwhile. Ctrl-C ends what is being measured and prints what there is.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
WHAT = ("overhead", "rules", "elements", "writing", "reading", "fleet")
APART = ("fleet",)
"""Takes so long that it is measured by itself alone (and in small by ``--quick``)."""
RESULTS = {"overhead": "cpu.json"}
WHOLE = {"reading": ["--rounds=3", "--megabytes=16"]}
"""Less than it does alone, so that all of it takes forty minutes."""
QUICK = {
    "overhead": ["--quick"],
    "rules": ["--quick"],
    "writing": ["--rounds=2"],
    "reading": ["--rounds=2", "--megabytes=4"],
    "fleet": ["--runs=40", "--gigabytes=0.04", "--s3-runs=10", "--sample=6"],
}


def main(arguments: list[str]) -> None:
    there = [what for what in WHAT if importlib.util.find_spec(f"benchmarks.{what}") is not None]
    quick = "--quick" in arguments
    if arguments and arguments[0] in there:
        import_module(f"benchmarks.{arguments[0]}").main(arguments[1:])
        return
    if [argument for argument in arguments if argument != "--quick"]:
        print(f"{(__doc__ or '').strip()}\n\nWHAT is one of {', '.join(there)}.", file=sys.stderr)
        raise SystemExit(0 if arguments[0] in ("-h", "--help") else 2)
    results = ROOT / ("artifacts/bench" if quick else "benchmarks/results")
    results.mkdir(parents=True, exist_ok=True)
    for what in there:
        if what in APART and not quick:
            continue
        print(f"\n{what}\n", flush=True)
        given = [*(QUICK if quick else WHOLE).get(what, []), "--json", str(results / RESULTS.get(what, f"{what}.json"))]
        if what == "overhead":
            given += ["--chart", str(results / "overhead.svg" if quick else ROOT / "docs" / "images" / "overhead.svg")]
        import_module(f"benchmarks.{what}").main(given)
    if not quick:
        subprocess.run([sys.executable, ROOT / "tools" / "bench.py"], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
