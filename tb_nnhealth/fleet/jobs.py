"""Which runs are the ranks of one job, by their names: ``exp1/rank_0``, ``exp1-rank1``, ``exp1/node0/rank3/tb``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_RANK = re.compile(r"^(?:(?P<stem>.*?)[-_.])?rank[-_.=]?(?P<rank>\d{1,6})(?:[-_.]?of[-_.]?\d+)?$", re.IGNORECASE)
_NODE = re.compile(r"^(?:(?P<stem>.*?)[-_.])?(?:node|host)[-_.=]?\d+$", re.IGNORECASE)
_NOT_A_PROCESS = re.compile(r"lora|adapter|tensor|matrix|low", re.IGNORECASE)
"""What else has a rank."""
SPREAD = 2
"""Of the ranks up to the greatest, one in so many must be there."""


class Member(NamedTuple):
    """A run that may be a rank."""

    job: str
    rank: int
    run: str


def member(run: str) -> Member | None:
    """The rank that the name of a run tells, None where it tells none."""
    parts = run.split("/")
    for place, part in enumerate(parts):
        found = _RANK.match(part)
        if found is not None and not _NOT_A_PROCESS.search(found["stem"] or ""):
            parts[place] = found["stem"] or ""
            kept = [_NODE.sub(lambda node: node["stem"] or "", part) for part in parts]
            return Member("/".join(filter(None, kept)) or ".", int(found["rank"]), run)
    return None


def jobs(runs: Iterable[str]) -> dict[str, list[Member]]:
    """The jobs of two ranks or more among ``runs``, each with its members in the order of ranks.

    Numbers in names mean other things as well, such as the ranks of matrices: taken for a job are runs that begin
    with rank 0 and lack no more than half of the ranks up to the greatest. Where no run is called rank 0, the run
    that has the job's own name is it, if no other rank is missing.
    """
    runs = list(runs)
    every, found = set(runs), dict[str, list[Member]]()
    for one in filter(None, map(member, runs)):
        found.setdefault(one.job, []).append(one)
    together = {}
    for job, members in found.items():
        own = job in every and job not in {one.run for one in members}
        if own:
            members.append(Member(job, 0, job))
        members.sort(key=lambda one: (one.rank, one.run))
        ranks = {one.rank for one in members}
        named_0 = any(one.rank == 0 and one.run != job for one in members)
        whole = max(ranks) < SPREAD * len(ranks) if named_0 else ranks == set(range(len(members)))
        if 0 in ranks and len(ranks) > 1 and whole:
            together[job] = members
    return together


def names(runs: Iterable[str]) -> dict[str, str]:
    """For each run the name under which it is shown: its job's, or its own."""
    runs = list(runs)
    shown = {run: run for run in runs}
    shown.update((one.run, job) for job, members in jobs(runs).items() for one in members)
    return shown
