"""What weight decay, or something else that holds them down, has left of the weight matrices' initial scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.losses import LossCurve
from tb_nnhealth.rules.evidence.weights import Weights, weights_of
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.settled import Rest
from tb_nnhealth.rules.wording import percent, round_rate, short

SHRINKING = 0.8
"""Share of its initial scale below which a matrix is reckoned to shrink on after the last record."""
TYPICAL_DECAY = {"AdamW": 0.01, "NAdam": 0.01, "Lion": 0.1}
"""Usual weight decay by optimizer; 5e-4 for the others."""


@dataclass(frozen=True)
class Decay:
    """The weight decay in force (``value``; 0 for none), and what is left of the weights.

    ``left``: root mean square of the matrix ``subject`` over its initial one, the median over the matrices.
    ``balance``: the decay's part of a step, learning rate × weight decay × ‖w‖ / ‖Δw‖; NaN where it is not known.
    """

    value: float
    optimizer: str
    left: float
    subject: str
    balance: float
    most: float = math.inf
    """The same of the matrix of which most is left."""
    pulled: float = 0.0
    """How often the decay alone would have divided the weights by e by now: learning rate × weight decay × steps."""
    normalized: bool = False
    """Whether a module of the network normalizes: the scale of what lies before it then means nothing."""


def decay_in_force(history: History | None, last_step: int) -> Decay | None:
    """Of the matrices under weight decay, as at ``last_step``; None where no optimizer decays one.

    Where a matrix is shrinking, the decay is reckoned on from the last record to there: e^(-rate × decay × steps).
    """
    if history is None or not len(history):
        return None
    weights = _matrices(history)
    decays = _decays(history, weights)
    judged = decays > 0
    if not judged.any():
        return None
    left = _left(weights)[judged]
    rates = np.nan_to_num(weights.lr[-1])[judged] * decays[judged]
    ahead = np.exp(-rates * max(0, last_step - int(weights.steps[-1])))
    left = np.where(left < SHRINKING, left * ahead, left)
    order = np.argsort(left)
    middle = int(order[len(order) // 2])
    at = int(np.flatnonzero(judged)[middle])
    kind = history.layout.optimizers[weights.parameters[at].optimizer].type
    late = len(weights.steps) // 2
    with np.errstate(all="ignore"):
        part = weights.lr * decays * weights.weight / weights.update
        # Decay is all that moves a weight without gradient: that says why the gradient is missing, not that decay wins.
        part = np.where(weights.gradient > 0, part, np.nan)[late:, judged]
    part = np.where(np.isfinite(part), part, np.nan)
    part = part[:, ~np.isnan(part).all(axis=0)]
    balance = float(np.median(np.nanmedian(part, axis=0))) if part.size else math.nan
    taken = int(weights.steps[-1] - weights.steps[0])
    pulled = float(np.nan_to_num(weights.lr[:, at]).mean(dtype=np.float64)) * float(decays[at]) * taken
    return Decay(float(decays[at]), kind, float(left[middle]), weights.names[at], balance, pulled=pulled)


def shrunk(history: History | None) -> Decay | None:
    """What is left of all trained matrices, whatever made them small; None where there are fewer than two."""
    if history is None or not len(history):
        return None
    weights = _matrices(history)
    left = _left(weights)
    if len(left) < 2:
        return None
    middle = int(np.argsort(left)[len(left) // 2])
    normalized = any("Norm" in module.type for module in history.layout.modules)
    most = float(left.max())
    return Decay(0.0, "", float(left[middle]), weights.names[middle], math.nan, most, normalized=normalized)


def decayed(curve: LossCurve, end: Rest, decay: Decay, limit: float, since: int = 0) -> Hit:
    """The finding where ``decay`` left less than ``limit`` of the weights, and the loss rests at ``end``.

    ``since``: the first step of which it tells; what was ill before is no consequence.
    """
    when = lasting(curve.steps, -1)
    when["first_step"] = min(max(since, when["first_step"]), when["last_step"])
    typical = TYPICAL_DECAY.get(decay.optimizer, 5e-4)
    better = min(typical, decay.value / 10)
    return Hit(
        subject=curve.subject,
        **when,
        severity="warning",
        statistic="weights over their initial scale",
        unit="1",
        value=decay.left,
        limit=limit,
        direction="below",
        message=(
            f"Weight decay {short(decay.value)} ({decay.optimizer}) holds `{decay.subject}` at {short(decay.left)} of "
            f"its initial scale, and `{curve.subject}` rests at {short(end.training)}, {percent(end.share)} of the "
            "untrained level."
        ),
        advice=(
            f"Lower the weight decay from {short(decay.value)} to about {round_rate(better)}.",
            "Exempt biases and normalization layers from it.",
        ),
        more={
            "weight_decay": decay.value,
            "loss": end.training,
            "untrained": end.untrained,
            "parameter": decay.subject,
        },
    )


def shrinks_from(history: History | None) -> int:
    """The first step at which half of the matrices have shrunk: what was ill before is no consequence."""
    if history is None:
        return 0
    weights = _matrices(history)
    with np.errstate(all="ignore"):
        small = np.nanmedian(weights.weight / weights.initial_rms, axis=1) < SHRINKING
    return int(weights.steps[np.argmax(small)]) if small.any() else 0


def held_down(curve: LossCurve, end: Rest, left: Decay, limit: float, since: int) -> Hit:
    """The finding where less than ``limit`` of the weights is left, from ``since`` on, and no weight decay did it."""
    return replace(
        decayed(curve, end, left, limit, since),
        message=(
            f"`{left.subject}` and half of the other weight matrices have shrunk to {short(left.left)} of their "
            f"initial scale or less, and `{curve.subject}` rests at {short(end.training)}, {percent(end.share)} of the "
            "untrained level."
        ),
        advice=(
            "Weaken what holds the weights down: a penalty in the loss, a bound that they are clamped to.",
            "A penalty is the sum over all weights: divide it by their number, or take a factor of 1e-4.",
        ),
    )


def in_balance(curve: LossCurve, end: Rest, decay: Decay, limit: float, *, poor: bool) -> Hit:
    """The finding where the decay's part of a step exceeds ``limit``; ``poor``: the loss rests at a poor level."""
    return replace(
        decayed(curve, end, decay, limit),
        severity="warning" if end.known and poor else "info",
        statistic="decay's part of a step",
        value=decay.balance,
        direction="above",
        message=(
            f"Weight decay {short(decay.value)} ({decay.optimizer}) makes {percent(decay.balance)} of a step: what the "
            f"gradient gives, it takes. `{curve.subject}` rests at {short(end.training)}, {percent(end.share)} of the "
            "untrained level."
        ),
    )


def _matrices(history: History) -> Weights:
    everything = weights_of(history)
    return everything.only(everything.matrix & everything.trained)


def _decays(history: History, weights: Weights) -> NDArray[np.float64]:
    """The weight decay of each parameter's group, shape (n,), 0 where its optimizer is not known."""
    optimizers = history.layout.optimizers
    decays = []
    for parameter in weights.parameters:
        known = 0 <= parameter.optimizer < len(optimizers)
        groups = optimizers[parameter.optimizer].groups if known else []
        decays.append(groups[parameter.group].weight_decay if 0 <= parameter.group < len(groups) else 0.0)
    return np.array(decays, np.float64)


def _left(weights: Weights) -> NDArray[np.float64]:
    """Root mean square in the newest record over the initial one, shape (n,); infinite where it is not known."""
    with np.errstate(all="ignore"):
        left = weights.weight[-1] / weights.initial_rms
    return np.asarray(np.nan_to_num(left, nan=np.inf, posinf=np.inf))
