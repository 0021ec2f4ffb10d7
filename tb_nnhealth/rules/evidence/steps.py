"""How far an optimizer's steps carry the weights from where they were."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, History
from tb_nnhealth.rules.evidence.weights import Mask, Weights, aligned
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.wording import round_rate, short

TARGET = 3e-3
"""The update : weight ratio that a suggested learning rate aims at: the middle of 1e-3 and 1e-2."""
AT_ONCE = 5
"""Records in which a change shows that is too large to wait for more."""
LOOK_BACK = 20
LEAVING = 3.0
"""Growth from which weights that end up many times larger have left their scale: healthy ones of ours stay below."""


def relative_to_before(weights: Weights, scale: NDArray[np.float64]) -> Floats:
    """‖Δw‖ over the least ‖w‖ of the last ``LOOK_BACK`` records, but no less than ``scale`` (root mean squares)."""
    least = weights.weight.astype(np.float64)
    for back in range(1, min(LOOK_BACK, len(weights.steps) - 1) + 1):
        least[back:] = np.fmin(least[back:], weights.weight[:-back])
    reference = np.fmax(least, scale)
    with np.errstate(over="ignore"):
        return np.asarray(weights.update / reference, np.float32)


def leap_into_nothing(history: History, weights: Weights, leap: Mask) -> Mask:
    """Records of weights that are no longer finite, right after steps that are too large; shape (records, n)."""
    counts = [
        aligned(history.table(kind, statistic), weights.names)
        for kind in (schema.WEIGHT, schema.UPDATE)
        for statistic in (schema.NAN_COUNT, schema.INF_COUNT)
    ]
    broken = np.asarray(np.sum(np.nan_to_num(counts), axis=0) > 0)
    before = np.zeros_like(leap)
    for back in range(1, min(AT_ONCE, len(leap) - 1) + 1):
        before[back:] |= leap[:-back]
    return np.asarray(broken & before)


def carried_away(weights: Weights, growth: Floats, limit: float, quick_from: float) -> list[Episode]:
    """Weights that steps above ``quick_from`` made ``limit`` times larger, from where they left their scale."""
    quick = (growth > limit) & (weights.ratio > quick_from)
    found = []
    for episode in episodes(quick, np.isfinite(growth), weights.steps, window=AT_ONCE, share=0.6):
        small = np.flatnonzero(~(growth[: episode.first, episode.column] > LEAVING))
        first = min(int(small[-1]) + 1, episode.first) if len(small) else 0
        found.append(replace(episode, first=first, first_step=int(weights.steps[first])))
    return found


def better_rate(weights: Weights, episode: Episode, ratio: float) -> tuple[float, str, dict[str, float]]:
    """The learning rate at the onset (NaN where unknown), the advice that names a better one, and both as evidence."""
    lr = float(weights.lr[episode.first, episode.column])
    if not lr > 0:
        return math.nan, f"Lower the learning rate about {short(ratio / TARGET)}-fold.", {"onset": ratio}
    better = lr * TARGET / ratio
    advice = f"Lower the learning rate from {short(lr)} to about {round_rate(better)}."
    return lr, advice, {"onset": ratio, "learning_rate": lr, "learning_rate_to_try": better}
