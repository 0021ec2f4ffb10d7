"""Parameters that two optimizers step on one and the same gradient."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.hits import lasting

RECORDS = 5
"""In which it was so before it is reported."""


def held_twice(history: History) -> list[Hit]:
    """One finding, at the first of them."""
    table = history.table(schema.STEPPED_TWICE, schema.MEAN)
    if not len(table):
        return []
    twice = np.nan_to_num(table.values) == 1
    told = twice.sum(axis=0) >= RECORDS
    if not told.any():
        return []
    first = int(np.argmax(told))
    steps = history.steps[twice[:, first]]
    names = [name for name, each in zip(table.subjects, told, strict=True) if each]
    return [
        Hit(
            subject=names[0],
            **lasting(steps, RECORDS - 1),
            severity="warning",
            statistic="optimizers that step it on one gradient",
            unit="optimizers",
            value=2.0,
            limit=1.0,
            direction="above",
            healthy=(1.0, 1.0),
            message=f"`{names[0]}` is held by two optimizers, and both step it on the same gradient, "
            f"{len(names)} parameters in all: it moves twice, at the sum of two rates.",
            advice=(
                "Give each parameter to one optimizer; use parameter groups for different rates.",
                "Where two losses are to train it in turn, clear the gradient and run backward() before each step.",
            ),
            more={"parameters": names[:10], GIVEN: True},
        )
    ]
