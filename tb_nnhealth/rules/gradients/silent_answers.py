"""Answers of the last layer that no gradient ever comes back to: cut off behind the model, or not asked for."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.hits import lasting

RECORDS = 20
ALIKE = 0.5
"""Share of the records that must hold the same number of such answers: masked targets leave out ever other ones."""


def silent_answers(run: Run, history: History) -> Hit | None:
    """For information where the loss has been learned: outputs that nobody asks for do no harm.

    Told by the last layer's bias, whose gradient is exactly zero in as many elements. A hidden layer's silent units are
    another rule's.
    """
    owners = {parameter.module for parameter in history.layout.parameters}
    last = next((m for m in reversed(history.layout.modules) if m.called and m.name in owners), None)
    if last is None or last.nonlinearity or last.normalized or last.linear:
        return None
    biases = [p for p in history.layout.parameters if p.module == last.name and len(p.shape) == 1 and p.trainable]
    zeros, sizes = (history.table(schema.GRADIENT, name) for name in (schema.ZERO_SHARE, schema.RMS))
    if len(biases) != 1 or biases[0].shape[0] < 2 or biases[0].name not in zeros.subjects:
        return None
    at, answers = zeros.subjects.index(biases[0].name), int(biases[0].shape[0])
    share, some = zeros.values[:, at].astype(np.float64), np.nan_to_num(sizes.values[:, at]) > 0
    known = np.flatnonzero(np.isfinite(share) & some)
    if len(known) < RECORDS:
        return None
    silent = np.rint(share[known] * answers)
    least = int(silent.min())
    if not least or (silent == least).mean() < ALIKE:
        return None
    learns = progress(run, history)
    return Hit(
        subject=last.name,
        **lasting(history.steps[known], RECORDS - 1),
        severity="info" if learns is not None and learns.learned else "warning",
        statistic="answers without gradient",
        unit="answers",
        value=float(least),
        limit=0.0,
        direction="above",
        healthy=(0.0, 0.0),
        message=f"{least} of the {answers} answers of `{last.name}` had no gradient in any of {len(known)} records:"
        " they are cut off behind the model (a rectifier, a clamp), or the loss does not ask for them.",
        advice=(
            "Look at the answers one by one, output.min(0) and output.max(0): one that is 0 throughout is cut off.",
            "Take F.softplus or exp where an answer must be positive: a rectifier at 0 gives no gradient.",
        ),
        more={"answers": answers, "absent": False},
    )
