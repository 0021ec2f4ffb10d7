"""An embedding that is only ever asked for one of its rows: the index that it is given is always the same."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.progress import Progress

RECORDS, NEARLY_ALL = 10, 0.95
FEWEST_ROWS, FEWEST_SAMPLES = 4, 8
"""An embedding of two or three rows may be of kinds of which one is all there is."""
PADDING = 1
"""Between the index of padding, 0, whose row gets no gradient, and the only other one."""
LITTLE = 0.8
"""Share of its start above which a loss has come to little."""


def one_row(history: History, seen: Progress | None) -> list[Hit]:
    """A warning where little was learned; a training on one user, or of one language, may mean it so."""
    if 0 < history.layout.batch_size < FEWEST_SAMPLES or not _an_index_stays(history):
        return []
    tables = {m.name for m in history.layout.modules if m.type == "Embedding" and m.called}
    rows = {p.name: int(p.shape[0]) for p in history.layout.parameters if p.module in tables and len(p.shape) == 2}
    zeros = history.table(schema.GRADIENT, schema.ZERO_SHARE)
    severity: Severity = "warning" if seen is not None and seen.enough and not seen.fell_below(LITTLE) else "info"
    hits = []
    for i, name in enumerate(zeros.subjects):
        count = rows.get(name, 0)
        share = zeros.values[:, i].astype(np.float64)
        known = np.flatnonzero(np.isfinite(share))
        if count < FEWEST_ROWS or len(known) < RECORDS:
            continue
        used = (1 - share[known]) * count
        if not ((used > 0) & (used < 1 + 0.5 / count)).mean() >= NEARLY_ALL:
            continue
        steps = history.steps[known]
        hits.append(
            Hit(
                subject=name,
                first_step=int(steps[0]),
                fired_step=int(steps[RECORDS - 1]),
                last_step=int(steps[-1]),
                count=len(known),
                active=True,
                severity=severity,
                statistic="rows of the embedding in a batch",
                unit="rows",
                value=1.0,
                limit=2.0,
                direction="below",
                healthy=(2.0, float(count)),
                message=f"Each of {len(known)} batches asks `{name}` for 1 of its {count:,} rows: the index that it is "
                "given does not tell samples apart.",
                advice=(
                    "Look at the indices of a batch right before the model: torch.unique(index, return_counts=True).",
                    "Look for a lookup that finds nothing and gives its default, and for an index taken modulo 1.",
                ),
            )
        )
    return hits


def _an_index_stays(history: History) -> bool:
    """Whether one of the inputs is of integers that are all one, but for padding: others may leave rows unasked for."""
    low, high = (history.table(schema.INPUT, name).values for name in (schema.MIN, schema.MAX))
    rows = [history.layout.rows[row] for row in history.rows(schema.INPUT)]
    whole = np.array([row.dtype.startswith(("int", "uint")) for row in rows], bool)
    if not whole.any():
        return False
    seen = np.isfinite(low) & np.isfinite(high)
    stays = (seen & (high - low <= PADDING)).sum(axis=0) >= NEARLY_ALL * np.maximum(seen.sum(axis=0), 1)
    return bool((stays & whole & (seen.sum(axis=0) >= RECORDS)).any())
