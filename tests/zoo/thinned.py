"""``python -m tests.zoo.thinned LOGDIR --by 4``: what is left of the diagnosis where only every fourth record is seen.

Judges kept logs of the tuned part (``make zoo ZOO="--logdir LOGDIR"``) whole and thinned, and tells which trainings
lose their first cause, and which healthy ones show an alarm. Scalars are left as they are, and what one record counts
since the last (forwards without gradients) is lost with the records left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tb_nnhealth.findings import Finding
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.engine import judge
from tests.zoo.catalogue import SPECIMENS, folder
from tests.zoo.registry import Specimen
from tests.zoo.runner.run import read


def thinned(run: Run, by: int) -> Run:
    """``run`` with every ``by``-th record of each watch, the first among them; without histograms and filters."""
    watches = {}
    for name, whole in run.watches.items():
        rows, columns = len(whole.layout.rows), len(whole.layout.columns)
        values = np.full((len(whole), rows, columns), np.nan, np.float32)
        for kind in dict.fromkeys(row.kind for row in whole.layout.rows):
            for column, statistic in enumerate(whole.layout.columns):
                values[:, whole.rows(kind), column] = whole.table(kind, statistic).values
        watches[name] = History(whole.layout)
        keep = slice(None, None, by)
        watches[name].extend(whole.steps[keep], whole.walls[keep], np.ascontiguousarray(values[keep]))
    return replace(run, watches=watches)


def found(specimen: Specimen, findings: Sequence[Finding]) -> bool:
    """Whether the first finding names the right cause; of a healthy training, whether there is no alarm."""
    if specimen.ill:
        return bool(findings) and findings[0].rule in specimen.rules
    return all(finding.severity == "info" for finding in findings)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.thinned", description=(__doc__ or "").split(": ", 1)[1])
    parser.add_argument("logs", type=Path, metavar="LOGDIR")
    parser.add_argument("--by", type=int, default=4)
    args = parser.parse_args()
    scores = {(ill, by): 0 for ill in (True, False) for by in (1, args.by)}
    told = {True: 0, False: 0}
    for name in sorted(name for name, specimen in SPECIMENS.items() if not specimen.held_out):
        specimen, log = SPECIMENS[name], args.logs / folder(SPECIMENS[name])
        if not log.is_dir():
            continue
        run = read(log)
        whole, few = judge(run).findings, judge(thinned(run, args.by)).findings
        told[specimen.ill] += 1
        scores[specimen.ill, 1] += found(specimen, whole)
        scores[specimen.ill, args.by] += found(specimen, few)
        if found(specimen, whole) and not found(specimen, few):
            print("cause lost" if specimen.ill else "alarm     ", name, *(f"{f.rule}:{f.severity}" for f in few[:3]))
    for ill, what in ((True, "right cause first"), (False, "without an alarm")):
        share = (f"{scores[ill, by]} of {told[ill]}" for by in (1, args.by))
        print(f"{what}: {next(share)} of all records, {next(share)} of every {args.by}th")
    return 0


if __name__ == "__main__":
    sys.exit(main())
