"""Writes what the zoo measured into README.md (totals) and docs/zoo.md (all that is told).

    make zoo; python tools/zoo.py artifacts/zoo.json

Of the part set aside only totals are in the file, and in the documents.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pieces import write_piece  # noqa: E402

from tests.zoo.catalogue import SPECIMENS  # noqa: E402
from tests.zoo.peers import PEERS  # noqa: E402
from tests.zoo.runner.score import FIRST_FEW  # noqa: E402
from tests.zoo.runner.table import number, percent  # noqa: E402

PAGE = ROOT / "docs" / "zoo.md"
CALLED = {"tuned": "tuned part", "held-out": "part set aside"}
GOALS = {
    "ill trainings (kinds)": "",
    "right cause first": "≥ 85 %",
    f"right cause among the first {FIRST_FEW}": "≥ 95 %",
    "on the right subject": "≥ 85 %",
    "steps from onset to report, median": "",
    "headlines per illness: mean, most": "at most 3",
    "healthy trainings (families)": "",
    "of them with a false alarm": "≤ 2 %",
    "trainings that broke, and are not scored": "0",
}
Told = Mapping[str, Any]


def summary(told: Told) -> str:
    """The tables of the README."""
    return f"{ours(told['totals'])}\n\n{criteria(told['totals'])}"


def ours(parts: Sequence[Told]) -> str:
    columns = [_column(part["score"], part["false_alarms"], part) for part in parts]
    rows = [[name, *(column[name] for column in columns), goal] for name, goal in GOALS.items()]
    if not any(part["broken"] for part in parts):
        rows.pop()
    return _table(["", *(CALLED[part["part"]] for part in parts), "goal"], rows)


def _column(score: Told, healthy: Told, part: Told) -> dict[str, str]:
    cells = (
        f"{score['runs']} ({part['ill_kinds']})",
        percent(score["first"]),
        percent(score["among_first"]),
        percent(score["on_subject"]),
        number(score["delay"]),
        f"{number(score['headlines'])}, {score['headlines_most']}",
        f"{healthy['runs']} ({part['healthy_kinds']})",
        f"{healthy['alarmed']} ({percent(_rate(healthy['alarmed'], healthy['runs']), 1)})",
        str(part["broken"]),
    )
    return dict(zip(GOALS, cells, strict=True))


def criteria(parts: Sequence[Told]) -> str:
    """Ours beside the peers'; a cell holds the value of each part."""
    apart = " · ".join(CALLED[part["part"]] for part in parts)
    named = [[each["name"] for each in part["criteria"]] for part in parts]
    if any(names != named[0] for names in named):
        raise SystemExit("the parts were not judged by the same criteria")
    rows = [
        [_our_name(scores[0]["name"]), *_cells(scores)] for scores in zip(*(p["criteria"] for p in parts), strict=True)
    ]
    heads = [
        "cause named, of the kinds covered",
        "cause named, of all ill",
        "any alarm on ill",
        "false alarms on healthy",
    ]
    return _table([apart, *heads], rows)


def _our_name(name: str) -> str:
    return "**tb_nnhealth**" if name == "nnhealth" else name


def _cells(scores: Sequence[Told]) -> Iterator[str]:
    for key in ("named", "named_of_all", "alarmed"):
        yield " · ".join(percent(score[key]) for score in scores)
    yield " · ".join(percent(_rate(score["false_alarms"], score["healthy"]), 1) for score in scores)


def _rate(count: int, of: int) -> float | None:
    return count / of if of else None


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measured(told: Told) -> str:
    """The totals, and all tables as they were printed."""
    pieces = [summary(told), _times(told["results"])]
    for title, text in told["tables"].items():
        pieces += [f"### {title}", text]
    return "\n\n".join(piece for piece in pieces if piece)


def _times(results: Sequence[Told]) -> str:
    seconds = [result["seconds"] for result in results if result["error"] is None]
    if not seconds:
        return ""
    return (
        f"Processor time of a training of the tuned part: median {median(seconds):.1f} s, at most {max(seconds):.0f} s."
    )


def other_tools() -> str:
    """How their criteria were applied: the docstrings of ``tests/zoo/peers``."""
    pages: dict[str, str] = {}
    for peer in PEERS:
        said = (sys.modules[peer.alarms.__module__].__doc__ or "").strip().replace("``", "`")
        left_out = f"\n\nLeft out:\n\n{_list(peer.left_out)}" if peer.left_out else ""
        pages.setdefault(said, f"### {peer.name}\n\n{said}{left_out}")
    return "\n\n".join(pages.values())


def _list(entries: Sequence[str]) -> str:
    return "\n".join(f"- {entry}" for entry in entries)


def kinds() -> str:
    """Of the tuned part: each kind with the causes that are right and where the fault is described."""
    tuned: dict[str, list[Any]] = {}
    for specimen in SPECIMENS.values():
        if specimen.ill and not specimen.held_out:
            tuned.setdefault(specimen.kind, []).append(specimen)
    rows = [
        [kind, ", ".join(_unique(rule for s in of for rule in s.rules)), "; ".join(_unique(s.source for s in of))]
        for kind, of in sorted(tuned.items())
    ]
    return _table(["ill kind", "right causes", "described in"], rows)


def _unique(texts: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what the zoo wrote with --json")
    told = json.loads(parser.parse_args().results.read_text("utf-8"))
    write_piece(ROOT / "README.md", "zoo", summary(told))
    for name, piece in (("measured", measured(told)), ("tools", other_tools()), ("kinds", kinds())):
        write_piece(PAGE, name, piece)


if __name__ == "__main__":
    main()
