"""Masks drawn at random in evaluation mode: dropout that no module knows of."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.wording import percent

EVALUATIONS = 2
"""Records that tell of it before it is reported."""


def masked_evaluation(history: History) -> list[Hit]:
    """One finding, at the layer whose input is masked the most."""
    table = history.table(schema.EVALUATION_MASK, schema.MEAN)
    seen = np.isfinite(table.values)
    told = np.flatnonzero(seen.any(axis=1)) if len(table) else np.zeros(0, np.int64)
    if len(told) < EVALUATIONS:
        return []
    shares = {name: float(np.median(table.values[seen[:, i], i])) for i, name in enumerate(table.subjects)}
    most = max(shares, key=shares.__getitem__)
    return [
        Hit(
            subject=most,
            first_step=int(history.steps[told[0]]),
            fired_step=int(history.steps[told[EVALUATIONS - 1]]),
            last_step=int(history.steps[told[-1]]),
            count=len(told),
            active=True,
            severity="warning",
            statistic="inputs masked at random in evaluation",
            unit="share of elements",
            value=shares[most],
            limit=0.0,
            direction="above",
            healthy=(0.0, 0.0),
            message=(
                f"{percent(shares[most])} of what `{most}` is given are set to zero at random although the model is in "
                "evaluation mode: a dropout that is no module, and does not ask for the mode."
            ),
            advice=(
                "Pass the mode: F.dropout(x, p, training=self.training). Its default is training=True.",
                "Better, make it a module: self.dropout = nn.Dropout(p); model.eval() then turns it off.",
                "A mask written by hand belongs under `if self.training:`.",
            ),
            more={"modules": sorted(shares)},
        )
    ]
