"""What optimizers are set to, as layout and gradients tell: how long momentum lasts, what holds the steps down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tb_nnhealth.history import History
from tb_nnhealth.rules.evidence.weights import weights_of

LONG_MEMORY = 0.99
"""Momentum from which a gradient acts for a hundred steps, ten times as many as at the usual 0.9."""
USUAL_EPSILON = 1e-6
"""Up to which an epsilon above the gradients says that these are too small; defaults are 1e-10 to 1e-6."""
FEWEST_CLIPPED, CLIPPED, NEARLY_ALWAYS = 20, 1e-3, 0.95
"""Records, the relative distance between norms that are one and the same, and the share of the records that have it."""
ADAPTIVE = {"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta"}
"""Optimizers that divide a gradient by its own size plus epsilon."""


@dataclass(frozen=True)
class Momentum:
    """``value``: the share of the last step's direction that the next one keeps; ``told``: as the program wrote it."""

    optimizer: str
    value: float
    told: str
    usual: str


def long_memory(history: History | None) -> Momentum | None:
    """The longest momentum of the optimizers watched, where a gradient acts for a hundred steps and more, or longer
    than the size of the gradients is remembered.

    Adam's proofs of convergence ask for beta1 < √beta2 (Kingma and Ba 2015; Zhang et al. 2022).
    """
    found = [known for optimizer, group in _groups(history) if (known := _momentum(optimizer, group)) is not None]
    return max(found, key=lambda each: each.value, default=None)


def _groups(history: History | None) -> list[tuple[str, Any]]:
    layout = history.layout if history is not None else None
    return [] if layout is None else [(o.type, group) for o in layout.optimizers for group in o.groups]


def _momentum(optimizer: str, group: Any) -> Momentum | None:
    if len(group.betas) == 2:
        first, second = group.betas
        unstable = second > 0 and first > math.sqrt(second)
        if 0 <= first < 1 and (unstable or first >= LONG_MEMORY):
            return Momentum(optimizer, first, f"betas=({first:g}, {second:g})", "betas=(0.9, 0.999)")
    elif LONG_MEMORY <= group.momentum < 1:
        return Momentum(optimizer, group.momentum, f"momentum={group.momentum:g}", "momentum=0.9")
    return None


@dataclass(frozen=True)
class Epsilon:
    """``value``: what is added to the gradients' size; ``times``: over that size, the median of the weight matrices."""

    optimizer: str
    value: float
    times: float


def ruling_epsilon(history: History | None, times: float = 10.0) -> Epsilon | None:
    """The epsilon of an adaptive optimizer that exceeds the gradients ``times``, so that it sets the steps' size."""
    if history is None or not len(history):
        return None
    weights = weights_of(history)
    optimizers, found = history.layout.optimizers, []
    for i, parameter in enumerate(weights.parameters):
        if not (weights.matrix[i] and weights.trained[i] and 0 <= parameter.optimizer < len(optimizers)):
            continue
        optimizer = optimizers[parameter.optimizer]
        if optimizer.type not in ADAPTIVE or parameter.group >= len(optimizer.groups):
            continue
        epsilon = float(optimizer.groups[parameter.group].epsilon)
        gradient = weights.gradient[:, i]
        gradient = gradient[np.isfinite(gradient) & (gradient > 0)]
        if epsilon > USUAL_EPSILON and gradient.size:
            found.append(Epsilon(optimizer.type, epsilon, epsilon / float(np.median(gradient))))
    found.sort(key=lambda each: each.times)
    middle = found[len(found) // 2] if found else None
    return middle if middle is not None and middle.times > times else None


@np.errstate(all="ignore")
def binding_clip(history: History | None) -> float:
    """The norm to which all gradients together were clipped in nearly every record; NaN where they were not.

    The norm of gradients that nobody cut varies from batch to batch. Not of an optimizer that divides it out again.
    """
    if history is None or len(history) < FEWEST_CLIPPED:
        return math.nan
    if any(optimizer.type in ADAPTIVE for optimizer in history.layout.optimizers):
        return math.nan
    weights = weights_of(history)
    squares = np.where(weights.trained, weights.numel * weights.gradient.astype(np.float64) ** 2, 0.0)
    norm = np.sqrt(np.nansum(squares, axis=1))
    norm = norm[np.isfinite(norm) & (norm > 0)]
    if len(norm) < FEWEST_CLIPPED:
        return math.nan
    middle = float(np.median(norm))
    return middle if (np.abs(norm / middle - 1) < CLIPPED).mean() >= NEARLY_ALWAYS else math.nan
