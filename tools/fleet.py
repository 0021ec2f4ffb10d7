"""Writes what ``make bench-fleet`` measured into README.md (a sentence and the goals) and docs/fleet.md (all of it).

    make bench-fleet; python tools/fleet.py [benchmarks/results/fleet.json]

A figure that misses its goal stands as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pieces import write_piece  # noqa: E402

RUNS = 1000
"""Fewer show nothing."""
PROCESSOR_SECONDS, SECOND_LOOK_SECONDS = 60.0, 2.0
"""Goals."""
FIRST, SECOND = "first look, from disk", "second look"
Told = Mapping[str, Any]


def table(told: Told) -> str:
    lines = ["| | runs | seconds | processor seconds | peak memory | ill found | false alarms |", "|" + " --- |" * 7]
    for r in told["results"]:
        found = ["–", "–"]
        if r["ill_found"] is not None:
            found = [f"{r['ill_found']} of {r['ill']}", f"{r['false_alarms']} of {r['runs'] - r['ill']:,}"]
        what = r["what"] if r["reckoned_from"] is None else f"{r['what']}; reckoned from {r['reckoned_from']} runs"
        cells = [what, f"{r['runs']:,}", f"{r['seconds']:,.1f}", f"{r['processor_seconds']:,.1f}"]
        lines.append("| " + " | ".join([*cells, f"{r['peak_megabytes']:,.0f} MB", *found]) + " |")
    return "\n".join(lines)


def circumstances(told: Told) -> str:
    machine = told["machine"]
    kinds = ", ".join(f"{count} of {kind}" for kind, count in told["kinds"].items())
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{told['runs']:,} runs, {told['bytes'] / 1e9:.1f} GB ({kinds}), {told['ill']} of them ill. "
        f"{machine['processor']}, {machine['cores']} cores, native core: {machine['native_core'] or 'none'}; load of "
        f"the machine at the end {machine['load_average']}. Python {machine['python']}, {versions}. `{told['command']}`"
    )


def goals(told: Told) -> str:
    by = {result["what"]: result for result in told["results"]}
    first, second = by[FIRST], by[SECOND]
    rows = [
        ("first look, processor time", f"≤ {PROCESSOR_SECONDS:.0f} s", first["processor_seconds"], PROCESSOR_SECONDS),
        ("second look, on the clock", f"≤ {SECOND_LOOK_SECONDS:.0f} s", second["seconds"], SECOND_LOOK_SECONDS),
    ]
    lines = ["| 1,000 runs | goal | measured |", "| --- | --- | --- |"]
    for what, goal, value, limit in rows:
        lines.append(f"| {what} | {goal} | {value:.1f} s: {'met' if value <= limit else '**missed**'} |")
    return "\n".join(lines)


def sentence(told: Told) -> str:
    by = {result["what"]: result for result in told["results"]}
    first, second = by[FIRST], by[SECOND]
    others = [
        f"{r['what'].partition(';')[0]} takes {r['seconds'] / first['seconds']:,.0f} times as long to read them"
        for r in told["results"]
        if r["reckoned_from"] is not None
    ]
    return (
        f"`nnhealth inspect` reads and judges {told['runs']:,} runs ({told['bytes'] / 1e9:.1f} GB, five kinds of "
        f"writers) in {first['seconds']:.0f} s on {told['machine']['cores']} cores, and looks again in "
        f"{second['seconds']:.1f} s; it finds {first['ill_found']} of the {first['ill']} ill ones and alarms on "
        f"{first['false_alarms']} of the others. In one process, and without judging, {'; '.join(others)} (reckoned "
        f"from a sample). [Many runs](docs/fleet.md)."
    )


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "benchmarks" / "results" / "fleet.json"
    told = json.loads(file.read_text("utf-8"))
    if told["runs"] < RUNS:
        raise SystemExit(f"{file}: expected {RUNS:,} runs or more, found {told['runs']:,}, which show nothing")
    write_piece(ROOT / "README.md", "fleet", sentence(told))
    write_piece(ROOT / "docs" / "fleet.md", "measured", "\n\n".join((table(told), goals(told), circumstances(told))))


if __name__ == "__main__":
    main()
