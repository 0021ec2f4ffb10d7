"""The ranks of a job in its report: which went wrong first, and which have stopped writing.

They are known from the log of rank 0, where a watch on every rank compares them, or from the reports of runs that are
one rank each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.history import History, Run
from tb_nnhealth.report.sentence import plain

BEHIND = 0.05
"""Of the job's steps and of its duration: a rank whose data ends so long before the others' has stopped."""
BEHIND_STEPS, BEHIND_SECONDS = 10, 30.0
"""And at least so much."""
RECORDS_SILENT, GAPS_SILENT = 8, 3
"""Records of rank 0 without a word from a rank that has stopped; and so many times its longest silence before."""
VERDICTS = ("no-data", "healthy", "warning", "critical")

Report = dict[str, Any]


def compared(run: Run) -> dict[str, Any] | None:
    """Of the log of rank 0: when it heard last of each rank. None where no ranks were compared."""
    for _, history in run.histories():
        if history.layout.ranks > 1 and history.layout.rank == 0 and len(history):
            heard, steps = _heard(history), history.steps
            silent = {rank for rank, at in heard.items() if _silent(at, len(steps))}
            ranks = [
                {"rank": rank, "run": run.name, "steps": int(steps[at[-1]]), "stopped": rank in silent}
                for rank, at in sorted(heard.items())
            ]
            return {"count": int(history.layout.ranks), "first": None, "stopped": sorted(silent), "ranks": ranks}
    return None


def _heard(history: History) -> dict[int, NDArray[np.intp]]:
    """The records that hold anything of a rank, for each that was ever heard of."""
    heard: dict[int, NDArray[np.intp]] = {0: np.arange(len(history))}
    for kind in (schema.RANK_LOSS, schema.RANK_SECONDS, schema.RANK_BATCH, schema.RANK_WEIGHTS):
        table = history.table(kind, schema.MEAN)
        for column, subject in enumerate(table.subjects):
            at = np.flatnonzero(~np.isnan(table.values[:, column]))
            if len(at) and subject.isdecimal() and subject != "0":
                heard[int(subject)] = np.union1d(heard.get(int(subject), at), at)
    return heard


def _silent(at: NDArray[np.intp], records: int) -> bool:
    """A rank may measure more seldom than rank 0: it is silent for longer then, and has not stopped."""
    longest = int(np.diff(at, prepend=-1).max())
    return records - 1 - int(at[-1]) >= max(RECORDS_SILENT, GAPS_SILENT * longest)


def joined(job: str, members: Sequence[tuple[int, Report]]) -> Report:
    """One report of the job ``job`` from those of its ranks; what is not said by rank is of the rank ill first.

    Each finding has further fields: ``rank``, on which it began first, and ``ranks``, all on which it is.
    """
    first = _first_ill(members)
    base = members[0][1] if first is None else next(report for _, report in members if report["run"] == first["run"])
    stopped = {report["run"] for _, report in members if _stopped(report, [r for _, r in members])}
    ranks: dict[str, Any] = {
        "count": len(members),
        "first": first,
        "stopped": [rank for rank, report in members if report["run"] in stopped],
        "ranks": [
            {
                "rank": rank,
                "run": report["run"],
                "verdict": report["verdict"],
                "steps": report["steps"],
                "last_wall": report["last_wall"],
                "stopped": report["run"] in stopped,
            }
            for rank, report in members
        ],
    }
    told = told_of(ranks)
    sentence = [*([{"text": f"{told} "}] if told else []), *base["sentence"]]
    return {
        **base,
        "run": job,
        "verdict": max((report["verdict"] for _, report in members), key=VERDICTS.index),
        "steps": max(report["steps"] for _, report in members),
        "last_wall": max((r["last_wall"] for _, r in members if r["last_wall"] is not None), default=None),
        "sentence": sentence,
        "summary": plain(sentence),
        "findings": _findings(base, members),
        "known": sum(report["known"] for _, report in members),
        "ranks": ranks,
    }


def told_of(ranks: Mapping[str, Any]) -> str:
    """What a user should hear of the ranks, "" where that is nothing."""
    told = []
    first = ranks["first"]
    if first is not None:
        told.append(f"Rank {first['rank']} of {ranks['count']} went wrong first, at step {first['step']:,}.")
    stopped = [entry for entry in ranks["ranks"] if entry["stopped"]]
    if len(stopped) == 1:
        told.append(f"Rank {stopped[0]['rank']} stopped writing at step {stopped[0]['steps']:,}; the others go on.")
    elif stopped:
        named = ", ".join(str(entry["rank"]) for entry in stopped[:8]) + (", …" if len(stopped) > 8 else "")
        earliest = min(entry["steps"] for entry in stopped)
        told.append(f"Ranks {named} stopped writing, the first at step {earliest:,}; the others go on.")
    return " ".join(told)


def _first_ill(members: Sequence[tuple[int, Report]]) -> dict[str, Any] | None:
    """Where and when the first finding began that is no mere information."""
    found = [
        (finding["first_step"], -SEVERITIES.index(finding["severity"]), rank, report["run"], finding["rule"])
        for rank, report in members
        for finding in report["findings"]
        if finding["severity"] != "info" and finding["caused_by"] is None
    ]
    if not found:
        return None
    step, _, rank, run, rule = min(found)
    return {"rank": rank, "run": run, "rule": rule, "step": step}


def _findings(base: Report, members: Sequence[tuple[int, Report]]) -> list[dict[str, Any]]:
    """Those of the rank ill first in their order, then what only others have."""
    where: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for rank, report in members:
        for finding in report["findings"]:
            where.setdefault(_what(finding), []).append((finding["first_step"], rank))
    told = list(base["findings"])
    known = {_what(finding) for finding in told}
    for _, report in members:
        new = [finding for finding in report["findings"] if _what(finding) not in known]
        told += new
        known |= {_what(finding) for finding in new}
    return [
        {**f, "rank": min(where[_what(f)])[1], "ranks": sorted({rank for _, rank in where[_what(f)]})} for f in told
    ]


def _what(finding: Mapping[str, Any]) -> tuple[str, str]:
    return finding["rule"], finding["subject"]


def _stopped(report: Report, every: Sequence[Report]) -> bool:
    """Whether the data of a rank ends long before that of the others, in steps and in time."""
    walls = [other["last_wall"] for other in every if other["last_wall"] is not None]
    begun = [other["first_wall"] for other in every if other.get("first_wall") is not None]
    if report["last_wall"] is None or not begun:
        return False
    steps = max(other["steps"] for other in every)
    if steps - report["steps"] < max(BEHIND_STEPS, BEHIND * steps):
        return False
    late, lasted = max(walls) - report["last_wall"], max(walls) - min(begun)
    return bool(late >= max(BEHIND_SECONDS, BEHIND * lasted))
