"""A gradient scaler at work where nothing is computed in low precision: autocast is not applied."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.numerics.format_range import FORMATS
from tb_nnhealth.rules.persistence import Episode

RECORDS = 3
"""Records with a loss scale that suffice."""


def missing_autocast(history: History, scaled: NDArray[np.bool_]) -> list[Hit]:
    """At most one hit, on the model: not one module's output has a low precision.

    ``scaled``: records in which a scaler's loss scale was read, shape (records,).
    """
    activations = [history.layout.rows[i].dtype for i in history.rows(schema.ACTIVATION)]
    if not activations or any(dtype in FORMATS for dtype in activations) or scaled.sum() < RECORDS:
        return []
    at = np.flatnonzero(scaled)
    first, fired, last = int(at[0]), int(at[RECORDS - 1]), int(at[-1])
    steps = [int(history.steps[i]) for i in (first, fired, last)]
    episode = Episode(0, steps[0], steps[1], steps[2], len(at), last >= len(history) - 2, first, fired, last)
    return [
        hit(
            episode,
            "",
            severity="warning",
            statistic="modules_in_low_precision",
            unit="modules",
            value=0.0,
            limit=0.0,
            direction="below",
            message=f"A gradient scaler is in use, and none of {len(activations)} modules' outputs has a low precision:"
            " autocast is not applied.",
            advice=(
                'Run forward and loss under autocast: with torch.autocast("cuda"): loss = criterion(model(x), y).',
                "Check that the context covers the model's call, and that enabled= is not False.",
                "Without low precision leave the scaler out: it costs time and skips steps.",
            ),
            rank=1e9,
        )
    ]
