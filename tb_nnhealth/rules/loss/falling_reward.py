"""Rewards that fall from the start: the policy learns to do worse than one that knows nothing."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import curves
from tb_nnhealth.rules.evidence.rewards import rewards
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.wording import short

FEWEST = 40
NEAR_ITS_END = 0.2
"""Share of all that the smoothed reward has ever moved within which it must begin of its top, and end of its floor."""
SIGMAS = 6.0


def falling_reward(run: Run) -> Hit | None:
    """For information: a mean that begins at 0, or an environment that grows harder, falls too."""
    for tag, series in rewards(run):
        if len(series) >= FEWEST and (hit := _falls(tag, series)) is not None:
            return hit
    return None


def _falls(tag: str, series: Series) -> Hit | None:
    values = np.asarray(series.values, np.float64)
    if not np.isfinite(values).all():
        return None
    few = max(3, len(values) // 20)
    level = curves.smooth(values, few)
    first, last = float(np.median(values[:few])), float(np.median(values[-few:]))
    moved = float(np.ptp(level))
    error = SIGMAS * curves.noise(values) * math.sqrt(math.pi / few)  # of a difference of two medians of few points
    near = NEAR_ITS_END * moved
    if not (level.max() - first < near and last - level.min() < near and first - last > max(error, 1e-12)):
        return None
    middle = float(np.median(values[len(values) // 2 - few : len(values) // 2 + few]))
    if not middle > last:
        return None
    return Hit(
        subject=tag,
        **lasting(series.steps, -1),
        severity="info",
        statistic="reward at the end",
        unit="unit of the reward",
        value=last,
        limit=first,
        direction="below",
        message=f"`{tag}` has fallen from {short(first)} to {short(last)}, hardly ever above where it began: the "
        "policy does worse than one that knows nothing.",
        advice=(
            "Check the sign: the loss of a policy gradient is -(log_prob * advantage), so that descent raises rewards.",
            "Check that the advantage is return minus value, and not the other way round.",
            "Where a cost is logged under this name, all is well.",
        ),
    )
