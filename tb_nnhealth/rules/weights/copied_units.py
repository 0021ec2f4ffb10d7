"""Units of a weight matrix that are copies of others: since the start, until they part, throughout the network."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, History
from tb_nnhealth.rules.evidence.progress import ENOUGH
from tb_nnhealth.rules.evidence.weights import Mask, Weights, aligned, at_bounds, weights_of
from tb_nnhealth.rules.persistence import Episode

MOVES = 2
"""Updates after which units that merely started equal have parted."""
REST = 5
"""Records without any movement after which equal units count all the same."""


def several_units(weights: Weights) -> Mask:
    """Weights with more than one unit, of more than one element each; shape (n,)."""
    return np.array([p.shape[0] > 1 and math.prod(p.shape[1:]) > 1 for p in weights.parameters], bool)


def since_the_start(copies: Mask, copied: Floats) -> Mask:
    """Records up to which units have been copies whenever they were compared, shape (records, n).

    Weights that are clipped to a range or rounded become equal in the end, without having started so.
    """
    apart = np.isfinite(copied) & ~copies
    return np.asarray(copies & ~np.logical_or.accumulate(apart, axis=0))


def in_succession(weights: Weights, copies: Mask) -> list[Episode]:
    """Hidden layers that start as copies and whose next layer does too, which leaves both without a useful gradient."""
    start = copies[0]
    return [at_the_start(weights, copies, int(i)) for i in np.flatnonzero(start[:-1] & start[1:])]


def throughout(history: History, copies: Mask) -> bool:
    """Whether every weight matrix of the network, two and more, is trained and starts as copies."""
    everything = weights_of(history)
    matrices = everything.only(everything.matrix & ~everything.sparse)
    several = int(several_units(matrices).sum())
    return several >= 2 and several == copies.shape[1] and bool(copies[0].all())


def at_the_start(weights: Weights, copies: Mask, i: int) -> Episode:
    """Copies as of the first record, which count although they may part later."""
    steps, last = weights.steps, len(weights.steps) - 1
    fired = min(ENOUGH, len(steps)) - 1
    seen = int(np.flatnonzero(copies[:, i])[-1])
    count = int(copies[:, i].sum())
    return Episode(i, int(steps[0]), int(steps[fired]), int(steps[last]), count, True, 0, fired, seen)


def copied_share(history: History, weights: Weights) -> Floats:
    """Share of copied units, shape (records, n).

    NaN where nobody looked, in weights with NaN, in those clipped to a range at the start, and in pruned rows.
    """
    measured = aligned(history.table(schema.WEIGHT, schema.COPIED_SHARE), weights.names)
    low, high, zeros = (
        aligned(history.table(schema.WEIGHT, name), weights.names)
        for name in (schema.MIN, schema.MAX, schema.ZERO_SHARE)
    )
    units = np.array([p.shape[0] for p in weights.parameters], np.float64)
    constant = np.isfinite(low) & (low == high)
    share = np.where(constant, 1 - 1 / units, measured)
    broken = aligned(history.table(schema.WEIGHT, schema.NAN_COUNT), weights.names) > 0
    pruned = ~constant & (zeros > 0) & (share > 0) & (zeros >= share)
    clipped = ~constant & at_bounds(history, weights.names)[:1]  # before the first step
    return np.asarray(np.where(pruned | broken | clipped, np.nan, share), np.float32)


def parted(weights: Weights) -> Mask:
    """Records by which units that started equal but differ in their gradients would have parted, shape (records, n)."""
    moved = (np.nan_to_num(weights.update) > 0).cumsum(axis=0) - (np.nan_to_num(weights.update) > 0)
    asked = np.isfinite(weights.gradient) & ~(weights.lr == 0)
    return np.asarray((moved >= MOVES) | (asked.cumsum(axis=0) > REST))
