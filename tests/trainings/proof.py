"""``python -m tests.trainings.proof``: runs every training and prints the table of docs/proof.md.

Each rule has a row: its ill run (place of the rule among the findings, its subject, the step at which the
fault is said to have begun and the step at which it was reported) and its healthy twin. Below it stand the
false alarms over all healthy runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from tb_nnhealth import Finding, SummaryWriter
from tests.trainings import (  # noqa: F401  (they register their trainings)
    attention,
    data_rules,
    healthy,
    healthy_odd,
    loss_rules,
    losses,
    rank_rules,
    tensor_rules,
    tensors,
)
from tests.trainings.registry import HEALTHY, PAIRS, Pair


@dataclass(frozen=True)
class Job:
    """One training to be run: the ill run or the healthy twin of a pair, or a healthy training, by its name."""

    kind: str
    name: str
    seed: int = 0


def jobs(seed: int = 0) -> list[Job]:
    of_pairs = [Job(kind, name, seed) for name in PAIRS for kind in ("ill", "twin")]
    return of_pairs + [Job("healthy", name, seed) for name in HEALTHY]


def run(job: Job, log_dir: Path) -> list[Finding]:
    """Trains into ``log_dir / kind / name`` and returns the live findings."""
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    with SummaryWriter(str(log_dir / job.kind / job.name)) as writer:
        _train(job)(writer)
    return writer.findings()


def _train(job: Job) -> Callable[[SummaryWriter], None]:
    if job.kind == "healthy":
        return HEALTHY[job.name]
    return lambda writer: PAIRS[job.name].train(writer, job.kind == "ill")


def telling(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity != "info"]


def diagnosis(pair: Pair, findings: list[Finding]) -> str | None:
    """What is wrong with the diagnosis of the rule's ill run, or None where it is right."""
    rules = [finding.rule for finding in findings]
    if pair.rule not in rules:
        return f"not found; found {rules or 'nothing'}"
    place = rules.index(pair.rule)
    finding = findings[place]
    if place > (0 if pair.first else 4):
        return f"in place {place + 1} behind {rules[:place]}"
    if not fnmatchcase(finding.subject, pair.subject):
        return f"subject {finding.subject!r}, expected {pair.subject!r}"
    if not pair.onset[0] <= finding.first_step <= pair.onset[1]:
        return f"begins at {finding.first_step}, expected {pair.onset[0]} to {pair.onset[1]}"
    return None


def table(results: dict[Job, list[Finding]]) -> tuple[str, int]:
    """The table as markdown, and the number of its cells that are not as they should be."""
    lines = [
        "| rule | ill run | place | subject | began | reported | healthy twin |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    faults = 0
    named = {(job.kind, job.name): findings for job, findings in results.items()}
    for name, pair in PAIRS.items():
        if ("ill", name) not in named:
            continue
        found, twin = named["ill", name], telling(named["twin", name])
        wrong = diagnosis(pair, found)
        faults += (wrong is not None) + bool(twin)
        finding = next((finding for finding in found if finding.rule == pair.rule), None)
        cells = (
            ["–", "–", "–", "–"]
            if finding is None
            else [
                str(found.index(finding) + 1),
                f"`{finding.subject}`" if finding.subject else "whole run",
                str(finding.first_step),
                str(finding.fired_step),
            ]
        )
        described = name.replace("_", " ") + (f" (**{wrong}**)" if wrong else "")
        silent = "silent" if not twin else f"**{', '.join(finding.rule for finding in twin)}**"
        lines.append(f"| {pair.rule} | {described} | {' | '.join(cells)} | {silent} |")
    well = {job: telling(findings) for job, findings in results.items() if job.kind != "ill"}
    alarmed = {job: findings for job, findings in well.items() if findings}
    faults += sum(job.kind == "healthy" for job in alarmed)
    lines += ["", f"False alarms: {len(alarmed)} of {len(well)} healthy runs."]
    lines += [f"- {job.name}: {', '.join(f'{f.rule} in {f.subject!r}' for f in f_)}" for job, f_ in alarmed.items()]
    return "\n".join(lines), faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--logdir", type=Path, help="keep the logs here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="*", help="glob of the trainings' names")
    arguments = parser.parse_args()
    chosen = [job for job in jobs(arguments.seed) if fnmatchcase(job.name, arguments.only)]
    with tempfile.TemporaryDirectory() as temporary, ProcessPoolExecutor(arguments.workers) as pool:
        log_dir = arguments.logdir or Path(temporary)
        futures = {job: pool.submit(run, job, log_dir) for job in chosen}
        results = {}
        for done, (job, future) in enumerate(futures.items(), 1):
            results[job] = future.result()
            print(f"\r{done}/{len(futures)} {job.kind} {job.name:<50}", end="", file=sys.stderr)
    print(file=sys.stderr)
    text, faults = table(results)
    print(text)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
