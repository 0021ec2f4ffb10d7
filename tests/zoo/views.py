"""``python -m tests.zoo.views LOGDIR``: what is left of the diagnosis where others log otherwise, or look earlier.

Judges kept logs of the tuned part (``make zoo ZOO="--logdir LOGDIR"``) as they are and as they would be if fewer
records had been taken, if losses had been logged once in an epoch, or smoothed, and as they stood at earlier moments,
when nothing that ends well should be alarmed. Prints how many trainings keep the right cause first, and how many
healthy ones are without an alarm; ``--names`` tells which do not. Nothing is trained.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.findings import Finding
from tb_nnhealth.history import History, Run, Series
from tb_nnhealth.rules.engine import judge
from tests.zoo.catalogue import SPECIMENS, folder
from tests.zoo.registry import Specimen
from tests.zoo.runner.run import read

EPOCHS = 12
"""Points that are left of a scalar which has at least three times as many."""
SMOOTHED = 0.95
"""Weight of what came before in a running mean."""
FEWEST = 40
"""Points of a scalar that are smoothed, or of which one in ten is enough."""


def of_records(run: Run, keep: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> dict[str, History]:
    """The watches of ``run`` with the records that ``keep`` chooses by their steps; without histograms and filters."""
    watches = {}
    for name, whole in run.watches.items():
        rows, columns = len(whole.layout.rows), len(whole.layout.columns)
        values = np.full((len(whole), rows, columns), np.nan, np.float32)
        for kind in dict.fromkeys(row.kind for row in whole.layout.rows):
            for column, statistic in enumerate(whole.layout.columns):
                values[:, whole.rows(kind), column] = whole.table(kind, statistic).values
        watches[name], kept = History(whole.layout), keep(whole.steps)
        watches[name].extend(whole.steps[kept], whole.walls[kept], np.ascontiguousarray(values[kept]))
    return watches


def every_fourth_record(run: Run) -> Run:
    """What one record counts since the last, such as forwards without gradients, is lost with those left out."""
    return replace(run, watches=of_records(run, lambda steps: np.arange(len(steps)) % 4 == 0))


def every_tenth_point(run: Run) -> Run:
    return _scalars(run, lambda series: _series(series, slice(None, None, 10)) if len(series) >= FEWEST else series)


def a_mean_in_an_epoch(run: Run) -> Run:
    return _scalars(run, lambda series: _means(series) if len(series) >= 3 * EPOCHS else series)


def a_running_mean(run: Run) -> Run:
    losses = {tag: _smoothed(s) for tag, s in run.scalars.items() if "loss" in tag.lower() and len(s) >= FEWEST}
    return replace(run, scalars=run.scalars | losses)


def until(share: float, run: Run) -> Run:
    """``run`` as it stood after this share of its steps."""
    last = int(share * (run.last_step or 0))
    scalars = {tag: _series(series, series.steps <= last) for tag, series in run.scalars.items()}
    return replace(
        run,
        watches=of_records(run, lambda steps: steps <= last),
        scalars={tag: series for tag, series in scalars.items() if len(series)},
    )


MOMENTS = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
VIEWS: dict[str, Callable[[Run], Run]] = {
    "as it is": lambda run: run,
    "every fourth record": every_fourth_record,
    "every tenth point": every_tenth_point,
    "a mean in an epoch": a_mean_in_an_epoch,
    "a running mean": a_running_mean,
    **{f"after {share:.0%} of the run": partial(until, share) for share in MOMENTS},
}


def _scalars(run: Run, change: Callable[[Series], Series]) -> Run:
    return replace(run, scalars={tag: change(series) for tag, series in run.scalars.items()})


def _series(of: Series, kept: slice | NDArray[np.bool_]) -> Series:
    result = Series()
    result.extend(of.steps[kept], of.walls[kept], of.values[kept])
    return result


def _means(of: Series) -> Series:
    parts = np.array_split(np.arange(len(of)), EPOCHS)
    return Series([(int(of.steps[p[-1]]), float(of.walls[p[-1]]), float(np.mean(of.values[p]))) for p in parts])


def _smoothed(of: Series) -> Series:
    values = np.array(of.values, np.float64)
    for i in range(1, len(values)):
        values[i] = SMOOTHED * values[i - 1] + (1 - SMOOTHED) * values[i]
    result = Series()
    result.extend(of.steps, of.walls, values)
    return result


def right(specimen: Specimen, findings: Sequence[Finding]) -> bool:
    """Whether the first finding names the right cause; of a healthy training, whether there is no alarm."""
    if specimen.ill:
        return bool(findings) and findings[0].rule in specimen.rules
    return all(finding.severity == "info" for finding in findings)


def judged(name: str, logs: Path) -> dict[str, tuple[bool, str]]:
    """By view: whether the diagnosis of this specimen is right, and its first findings."""
    run = read(logs / folder(SPECIMENS[name]))
    told = {}
    for view, seen in VIEWS.items():
        findings = judge(seen(run)).findings
        first = ", ".join(f"{finding.rule} ({finding.severity})" for finding in findings[:3])
        told[view] = right(SPECIMENS[name], findings), first or "nothing"
    return told


def table(found: dict[str, dict[str, tuple[bool, str]]]) -> Iterator[str]:
    yield "| seen | right cause first | without an alarm |"
    yield "| --- | ---: | ---: |"
    of = {kind: [told for name, told in found.items() if SPECIMENS[name].ill == kind] for kind in (True, False)}
    for view in VIEWS:
        shares = (f"{sum(told[view][0] for told in of[kind]):,} of {len(of[kind]):,}" for kind in (True, False))
        yield f"| {view} | {' | '.join(shares)} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.views", description=(__doc__ or "").split(": ", 1)[1])
    parser.add_argument("logs", type=Path, metavar="LOGDIR")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--names", action="store_true", help="tell which are no longer right")
    args = parser.parse_args()
    names = [name for name, specimen in sorted(SPECIMENS.items()) if not specimen.held_out]
    names = [name for name in names if (args.logs / folder(SPECIMENS[name])).is_dir()]
    if not names:
        parser.error(f"expected logs of the zoo below {args.logs}, found none: make zoo ZOO='--logdir {args.logs}'")
    with ProcessPoolExecutor(args.jobs) as pool:
        found = dict(zip(names, pool.map(judged, names, repeat(args.logs), chunksize=8), strict=True))
    for name, told in found.items() if args.names else ():
        for view, (is_right, first) in told.items():
            if told["as it is"][0] and not is_right:
                print(f"{name}, {view}: {first}")
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
