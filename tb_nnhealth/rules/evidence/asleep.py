"""Layers that wait for one behind them, which was begun at zero by design, to let the gradient through."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.rules.evidence.weights import Mask, Weights

NEARLY_ZERO = 0.1
"""Share of a default initialization's scale below which a matrix that started at zero is on its way."""


def asleep(weights: Weights) -> Mask:
    """Which matrices wait, shape (records, n); ``weights`` in forward order.

    The one before a matrix that started at zero and still is nearly so, as in a residual branch; and all before it
    that got a gradient of exactly zero in the first record: they have no other way to the loss.
    """
    near = (weights.initial_rms == 0) & ~(weights.weight > NEARLY_ZERO * weights.natural_rms)
    later = np.zeros_like(near)
    later[:, :-1] = np.logical_or.accumulate(near[:, :0:-1], axis=1)[:, ::-1]
    waits = later & (weights.gradient[:1] == 0)
    waits[:, :-1] |= near[:, 1:]
    return np.asarray(waits, np.bool_)
