"""How many of their inputs the dropout modules of a network take away: as set, or by zeros before and behind them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.evidence.weights import aligned

RECORDS = 20
"""First records that are looked at; later on units may be silent for other reasons."""
RECTIFYING = ("relu", "relu6", "threshold")
ALREADY = 0.95
"""Share of zeros that come in beyond which nothing is told by those that go out."""


def dropped(history: History) -> dict[str, float]:
    """For each dropout module in use, by name, the share of its inputs that it sets to zero.

    Zeros that come in count for what they are; behind a rectifier that is no module they are taken for half. The
    module's own probability is told where what comes in was not measured, and is the most in any case: other zeros may
    have come from between.
    """
    called = [module for module in history.layout.modules if module.called]
    pairs = [(before, m) for before, m in pairwise(called) if "Dropout" in m.type]
    found = {m.name: float(m.drops) for m in called if m.drops > 0}
    shapes = {row.subject: tuple(row.shape) for row in history.layout.rows if row.kind == schema.ACTIVATION}
    # a dropout on what lies between modules, such as the weights of attention, has other zeros before it
    pairs = [(before, m) for before, m in pairs if shapes.get(before.name) == shapes.get(m.name)]
    if not pairs or not len(history):
        return found
    table = history.table(schema.ACTIVATION, schema.ZERO_SHARE)
    comes = aligned(table, [before.name for before, _ in pairs])[:RECORDS]
    goes = aligned(table, [module.name for _, module in pairs])[:RECORDS]
    functional = np.array([before.nonlinearity in RECTIFYING for before, _ in pairs])
    comes = np.where(functional, np.fmax(comes, 0.5), comes)
    for i, (_, module) in enumerate(pairs):
        seen = np.isfinite(comes[:, i]) & np.isfinite(goes[:, i]) & (comes[:, i] < ALREADY)
        if seen.any():
            share = float(np.median((goes[seen, i] - comes[seen, i]) / (1 - comes[seen, i])))
            found[module.name] = min(max(share, 0.0), found.get(module.name, 1.0))
    return found
