"""Modules that are called and whose result is not used: no gradient of the loss ever comes back to it."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.evidence.progress import progress

RECORDS = 10
PASSED_ON = (
    "ReLU",
    "GELU",
    "SiLU",
    "ELU",
    "SELU",
    "CELU",
    "Mish",
    "Hardswish",
    "Softplus",
    "Tanh",
    "Dropout",
    "MaxPool",
    "AvgPool",
)
"""Types, as parts of their names, that only pass on what they are given: there is no reason to call one for nothing."""


def unused_outputs(run: Run, history: History) -> list[Hit]:
    """Those between two layers that do get gradients: their input could have brought theirs back.

    Critical where the loss does not move.
    """
    learns = progress(run, history)
    severity: Severity = "critical" if learns is not None and learns.stuck else "warning"
    table = history.table(schema.ACTIVATION_GRADIENT, schema.RMS)
    often = (np.nan_to_num(table.values) > 0).sum(axis=0) >= RECORDS
    reached = {name for name, enough in zip(table.subjects, often, strict=True) if enough}
    told = history.table(schema.ACTIVATION, schema.RMS)
    columns = {name: i for i, name in enumerate(told.subjects)}
    owners = {p.module for p in history.layout.parameters}
    called = [m for m in history.layout.modules if m.called]
    trained = [m.name in reached and m.name in owners for m in called]
    last = max(np.flatnonzero(trained), default=-1)
    hits = []
    for place, module in enumerate(called):
        if not 0 < place < last or not trained[place - 1] or module.name in table.subjects:
            continue
        if module.name not in columns or not any(part in module.type for part in PASSED_ON):
            continue
        records = np.flatnonzero(np.isfinite(told.values[:, columns[module.name]]))
        if len(records) >= RECORDS:
            hits.append(_hit(history, module.name, module.type, records, severity))
    return hits


def _hit(
    history: History, name: str, kind: str, at: np.ndarray[tuple[int], np.dtype[np.int64]], severity: Severity
) -> Hit:  # fmt: skip
    steps = history.steps
    return Hit(
        subject=name,
        first_step=int(steps[at[0]]),
        fired_step=int(steps[at[RECORDS - 1]]),
        last_step=int(steps[at[-1]]),
        count=len(at),
        active=True,
        severity=severity,
        statistic="records of a result that is not used",
        unit="records",
        value=float(len(at)),
        limit=float(RECORDS),
        direction="above",
        healthy=(0.0, 0.0),
        message=f"`{name}` ({kind}) is called, and in {len(at)} records no gradient comes back to its output, while the"
        " layers before and behind it get theirs: its result is not used.",
        advice=(f"Assign the result: x = self.{name}(x). A call alone changes nothing.",),
        more={"absent": True, GIVEN: True},
    )
