"""A view within the model that makes one row of elements of several samples, as the autograd graph told."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.hits import lasting

BEFORE, AFTER = schema.MIXED_SUBJECTS
FEWEST = 2
"""Graphs that must have told it."""


def mixed_samples(history: History) -> list[Hit]:
    """One finding; a warning, for what each sample is answered depends on which others are in its batch."""
    table = history.table(schema.MIXED, schema.MEAN)
    shapes = {row.subject: tuple(row.shape) for row in history.layout.rows if row.kind == schema.MIXED}
    if BEFORE not in shapes or np.isfinite(table.values[:, table.subjects.index(BEFORE)]).sum() < FEWEST:
        return []
    before, after = shapes[BEFORE], shapes[AFTER]
    samples = int(history.layout.batch_size)
    here, there = (shape.index(samples) if samples in shape else -1 for shape in (before, after))
    return [
        Hit(
            subject="",
            **lasting(history.steps, FEWEST - 1),
            severity="warning",
            statistic="dimension of the samples after a view",
            unit="dimension",
            value=float(there),
            limit=float(here),
            direction="above" if there > here else "below",
            message=f"A view of {before} as {after} in the model mixes the samples: the {samples} samples lie along "
            f"dimension {here}, and each of the {samples} indices along dimension {there} afterwards takes elements of "
            "several of them. What a sample is answered depends on the others in its batch.",
            advice=(
                f"Bring the dimension of the samples to its place before the view: x.transpose({there}, {here}) or "
                "x.permute(...), then reshape.",
                "The last states of a recurrent network are (layers * directions, batch, features): "
                "h.transpose(0, 1).reshape(batch, -1), or torch.cat((h[-2], h[-1]), 1).",
                "Prove it: preflight(...) checks that no sample's answer depends on another (batch-leak).",
            ),
            more={"before": list(before), "after": list(after), GIVEN: True},
        )
    ]
