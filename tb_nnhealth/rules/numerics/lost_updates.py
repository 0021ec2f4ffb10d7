"""Weight matrices in half precision that an optimizer steps and rounding leaves as they were."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Floats, History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.weights import Weights, aligned, weights_of
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.wording import percent, short

HALF = ("bfloat16", "float16")


def lost_updates(history: History, limit: float, severity: Severity) -> list[Hit]:
    """Matrices of whose elements with a gradient other than zero more than ``limit`` do not change in a step.

    In half of ten records, and in half of all. Rows of a table that the batch does not hold have no gradient.
    """
    everything = weights_of(history)
    low = np.array([p.dtype in HALF for p in everything.parameters], bool)
    weights = everything.only(everything.trained & everything.matrix & low)
    if not weights.names or not len(history):
        return []
    still, silent = (
        aligned(history.table(kind, schema.ZERO_SHARE), weights.names) for kind in (schema.UPDATE, schema.GRADIENT)
    )
    judged = np.isfinite(still) & np.isfinite(silent) & (weights.gradient > 0) & ~(weights.lr == 0)
    with np.errstate(all="ignore"):
        lost = (still - silent) / (1 - silent)
    ill = lost > limit
    enough = ill.sum(axis=0) > 0.5 * judged.sum(axis=0)
    found = [e for e in episodes(ill, judged, history.steps, window=10) if enough[e.column]]
    return [_hit(weights, e, lost, limit, severity) for e in found]


def _hit(weights: Weights, episode: Episode, lost: Floats, limit: float, severity: Severity) -> Hit:
    """``lost``: share of a matrix's elements with a gradient that did not change, shape (records, matrices)."""
    column = episode.column
    stretch = lost[episode.first : episode.last + 1, column]
    name, dtype = weights.names[column], weights.parameters[column].dtype
    value = float(np.nanmax(stretch))
    rate = float(weights.lr[episode.first, column])
    at_rate = f" at learning rate {short(rate)}" if rate > 0 else ""
    return hit(
        episode,
        name,
        severity=severity,
        statistic="share_without_change",
        unit="share of elements",
        value=value,
        limit=limit,
        direction="above",
        message=f"The weights of `{name}` do not change in a step{at_rate} in {percent(float(np.nanmedian(stretch)))}"
        f" of the elements that have a gradient: the update is below the resolution of {dtype}.",
        advice=(
            "Keep the weights in float32 and use torch.autocast for the arithmetic, instead of model.bfloat16().",
            "Or keep float32 master weights in the optimizer, or round stochastically.",
        ),
        more={"kind": schema.WEIGHT},
        rank=value / limit,
    )
