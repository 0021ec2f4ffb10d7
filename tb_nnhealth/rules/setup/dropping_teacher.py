"""A part of the model that does not learn drops at random in the training forward: a teacher in train mode."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.hits import lasting

FEWEST_RECORDS = 10
NEARLY_ALL = 0.9


def dropping_teacher(history: History) -> list[Hit]:
    """For information, one finding: a mean teacher may drop on purpose."""
    table = history.table(schema.DROPPING, schema.MEAN)
    learning = set(history.subjects(schema.MODE))
    names = [
        name
        for i, name in enumerate(table.subjects)
        if name not in learning and np.isfinite(table.values[:, i]).sum() >= NEARLY_ALL * len(history)
    ]
    names = [name for name in names if _rests(history, name)]
    if not names or len(history) < FEWEST_RECORDS:
        return []
    steps = history.steps
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return [
        Hit(
            subject=names[0],
            **lasting(steps, FEWEST_RECORDS - 1),
            severity="info",
            statistic="dropouts at work without gradients",
            unit="modules",
            value=float(len(names)),
            limit=0.0,
            direction="above",
            message=f"`{names[0]}`{more} drops at random in each of {len(steps)} training forwards, with gradients off "
            "and among weights that do not learn: a teacher in train mode, whose answers are noisy.",
            advice=(
                "Put it into evaluation mode after each model.train(), best in an overridden train().",
                "Where the teacher's noise is wanted, as in a mean teacher's, all is well.",
            ),
            more={"modules": names[:10], GIVEN: True},
        )
    ]


def _rests(history: History, name: str) -> bool:
    """Whether nothing learns in the smallest part of the model around the module that has parameters."""
    while "." in name:
        name = name.rpartition(".")[0]
        own = [p for p in history.layout.parameters if p.name.startswith(f"{name}.")]
        if own:
            return not any(p.trainable and p.optimizer >= 0 for p in own)
    return False
