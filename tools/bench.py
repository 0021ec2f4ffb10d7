"""Writes what ``make bench`` measured into README.md (the goals) and docs/performance.md (all of it).

    make bench; python tools/bench.py [--overhead benchmarks/results/cpu.json] [--rules benchmarks/results/rules.json]

A figure that misses its goal stands as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pieces import write_piece  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
Told = Mapping[str, Any]
WAYS = {
    "watch, every=1": "every step",
    "watch, every=1, histograms": "every step, histograms in each",
    "watch, every=1, no native core": "every step, without the native core",
    "add_histogram": "`add_histogram` of weights and gradients",
    "add_scalar": "`add_scalar(….item())`, four of each",
    "wandb.watch": '`wandb.watch(log="all", log_freq=1)`, offline',
    "Lightning grad_norm": "Lightning's `grad_norm`, gradients alone",
    "Cockpit": "Cockpit, economy",
    "Composer OptimizerMonitor": "Composer's `OptimizerMonitor`",
    "A/A": "a second bare training (A/A)",
}
LIMITS = {("mlp", "watch, every=1"): 0.08, ("gpt", "watch, every=1"): 0.02}
LIMITS |= {("mlp", "watch, every=1, histograms"): 0.12, ("gpt", "watch, every=1, histograms"): 0.04}
CHART = "![What recording adds to a training step, ours and other tools', on four models](docs/images/overhead.svg)"
DEFAULTS, BUDGET = "watch, defaults", 0.02
TIMES_LESS = (
    ("watch, every=1, histograms", "add_histogram", 30),
    ("watch, every=1, histograms", "wandb.watch", 20),
    ("watch, every=1, no native core", "add_histogram", 10),
)


def costs(told: Told) -> str:
    """A row for each way, a column for each model; goals that are missed are marked."""
    models = told["models"]
    head = ["added to a step", *(model["title"] for model in models)]
    rows = [["bare step", *(f"{model['bare_ms']:.1f} ms" for model in models)]]
    seconds = round(min(model["run_seconds"] for model in models))
    rows.append([f"**by default**, a whole run of {seconds} s", *(_default(model) for model in models)])
    for way, name in WAYS.items():
        cells = [_cell(model, way) for model in models]
        if any(cells):
            rows.append([f"**{name}**" if way.startswith("watch") else name, *(cell or "–" for cell in cells)])
    return _table(head, rows)


def _default(model: Told) -> str:
    result = next((r for r in model["over_the_run"] if r["way"] == DEFAULTS), None)
    return "–" if result is None else _with_goal(result["processor"], BUDGET)


def _cell(model: Told, way: str) -> str:
    shares = _shares(model, way)
    if shares is None:
        return "left out" if way in model["absent"] else ""
    return _with_goal(shares, LIMITS.get((model["name"], way)))


def _with_goal(shares: Sequence[float], limit: float | None) -> str:
    low, middle, high = shares
    told = f"{_percent(middle)} ({_percent(low)} to {_percent(high)})"
    if limit is None:
        return told
    return f"{told}; goal ≤ {100 * limit:.0f} %: {_met(middle <= limit)}"


def _met(met: bool) -> str:
    return "met" if met else "**missed**"


def _shares(model: Told, way: str) -> Sequence[float] | None:
    return next((r["processor"] for r in model["results"] if r["way"] == way), None)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def times_less(told: Told) -> str:
    """How many times less than the usual recipes, by the medians of what is added."""
    models = told["models"]
    rows = []
    for ours, theirs, goal in TIMES_LESS:
        cells = [_times(model, ours, theirs, goal) for model in models]
        rows.append([f"{WAYS[ours]}, against {theirs}", f"≥ {goal} ×", *cells])
    return _table(["times less", "goal", *(model["title"] for model in models)], rows)


def _times(model: Told, ours: str, theirs: str, goal: int) -> str:
    own, other = _shares(model, ours), _shares(model, theirs)
    if own is None or other is None:
        return "–"
    if own[1] <= 0:
        return "ours not told apart from 0"
    times = other[1] / own[1]
    return f"{times:.0f} ×: {_met(times >= goal)}"


def circumstances(told: Told) -> str:
    machine, effort = told["machine"], told["effort"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"Processor time of all threads, as a share of the bare step: the median of {effort['rounds']} rounds and the "
        f"middle half of them; by default, over the whole run. {machine['processor']}, {machine['cores']} cores "
        f"({', '.join(machine['instruction_sets'])}), {told['threads']} thread of PyTorch; native core: "
        f"{machine['native_core'] or 'none'}; load of the machine at the end {machine['load_average']}. "
        f"Python {machine['python']}, {versions}. `{told['command']}`"
    )


def absent(told: Told) -> str:
    reasons: dict[str, str] = {}
    for model in told["models"]:
        for way, reason in model["absent"].items():
            reasons.setdefault(f"{way}: {reason}", model["name"])
    return "" if not reasons else "Left out: " + "; ".join(reasons) + "."


def chosen(told: Told) -> str:
    rows = [[model["title"], model["chosen"]] for model in told["models"] if model["chosen"]]
    return _table(["training", "what the default cadence said of itself at the end"], rows) if rows else ""


def rules(told: Told) -> str:
    rows = [
        [
            f"{r['layers']:,}",
            f"{r['judgement_ms']:,.0f} ms",
            str(r["judgements"]),
            f"{r['record_ms']:.2f} ms",
            f"{100 * r['share']:.1f} %",
        ]
        for r in told["results"]
    ]
    records, step = told["results"][0]["records"], told["step_seconds"]
    head = ["layers", "a judgement of all", "live judgements", "for each record (goal ≤ 1 ms)", "of the run's time"]
    return f"In a run of {records:,} records, one in {step:g} s.\n\n{_table(head, rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overhead", type=Path, default=RESULTS / "cpu.json")
    parser.add_argument("--rules", type=Path, default=RESULTS / "rules.json")
    options = parser.parse_args()
    told = json.loads(options.overhead.read_text("utf-8"))
    if told["command"].endswith("--quick"):
        raise SystemExit(f"{options.overhead}: expected a whole measurement, found one by --quick, which shows nothing")
    pieces = [costs(told), times_less(told), absent(told), circumstances(told)]
    write_piece(ROOT / "README.md", "measured", "\n\n".join(piece for piece in (CHART, *pieces) if piece))
    more = [*pieces, chosen(told)]
    if options.rules.exists():
        more += ["### The rules", "`python -m benchmarks rules`", rules(json.loads(options.rules.read_text("utf-8")))]
    write_piece(ROOT / "docs" / "performance.md", "measured", "\n\n".join(piece for piece in more if piece))


if __name__ == "__main__":
    main()
