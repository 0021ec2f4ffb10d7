"""Layers whose initial weights are off every usual scheme, and whose signal is seen to grow or fade by it at the start.

Two limits, both as multiples of a scheme's scale: ``factor``, shape (layers,), for a layer alone, and ``together`` for
each of several layers in succession. What is found are places in forward order, each with the limit that it exceeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Direction, Severity
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import at_start
from tb_nnhealth.rules.weights.layers_at_start import Layer
from tb_nnhealth.rules.wording import short

FEWEST_TOGETHER = 3
IN_ALL = 100.0
"""How far layers in succession must be off as a product."""
REGRESSION = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")


def too_large(history: History, layers: Sequence[Layer], factor: Sequence[float], together: float) -> dict[int, float]:
    """Weights above the largest usual scale whose layer, or a later such layer, gives out large numbers."""
    found = {i: factor[i] for i, x in enumerate(layers) if x.scale.rms > factor[i] * x.high}
    succession = _in_succession([x.scale.rms / x.high for x in layers], together)
    found |= {i: together for i in succession if i not in found}
    size = _answer_size(history)
    return {i: f for i, f in found.items() if _shows_large(layers, [j for j in found if j >= i], factor[i], size)}


def too_small(layers: Sequence[Layer], factor: Sequence[float], together: float) -> dict[int, float]:
    """Weights below the least usual scale behind which all that flows into later layers is small."""
    found = {i: factor[i] for i, x in enumerate(layers) if x.scale.rms < x.low / factor[i]}
    succession = _in_succession([0.0 if _renewed(x) else x.low / x.scale.rms for x in layers], together)
    found |= {i: together for i in succession if i not in found}
    nothing_flows = len(layers) >= FEWEST_TOGETHER and all(
        x.scale.rms < x.low / f and not _renewed(x) for x, f in zip(layers, factor, strict=True)
    )  # but biases
    return {i: f for i, f in found.items() if nothing_flows or _shows_small(layers, i, factor[i])}


def outgrown(history: History, layer: Layer, factor: float) -> bool:
    """Whether a layer that began too small has come within the limit, and been there for half of the records.

    What the loss does from then on is no matter of how it began.
    """
    now = aligned(history.table(schema.WEIGHT, schema.RMS), [layer.scale.parameter])[len(history) // 2 :, 0]
    return bool(np.isfinite(now).any() and np.nanmin(now) > layer.low / factor)


def off_scale(
    history: History, layer: Layer, place: int, factor: float, direction: Direction, severity: Severity
) -> Hit:
    """The finding on the layer at ``place``, off by ``factor``; for information only, it ends with the first record."""
    above, scale = direction == "above", layer.scale
    step = int(history.steps[0])
    times = scale.rms / scale.expected if above else scale.expected / scale.rms
    shown = f"its outputs begin with a standard deviation of {short(layer.std)}"
    return Hit(
        subject=scale.parameter,
        **at_start(step, lasts_to=None if severity == "info" else int(history.steps[-1])),
        severity=severity,
        statistic="initial_rms",
        unit="1",
        value=scale.rms,
        limit=factor * layer.high if above else layer.low / factor,
        direction=direction,
        healthy=(layer.low, layer.high),
        message=f"`{scale.parameter}` starts with a root mean square of {short(scale.rms)}; {scale.scheme} expects"
        f" {short(scale.expected)} for fan-in {scale.fan_in}: {short(times)} times too {'large' if above else 'small'},"
        f" and {shown}.",
        advice=(
            f"Initialize `{scale.parameter}` with standard deviation {short(scale.expected)}: {scale.call}.",
            "Scale each layer to unit variance on a real batch: tb_nnhealth.init.lsuv_(model, batch).",
            "Add normalization layers, which make the scale of a layer's weights irrelevant.",
        ),
        more={
            "expected": scale.expected,
            "fan_in": scale.fan_in,
            "fan_out": scale.fan_out,
            "activation_std": layer.std,
        },
        rank=-float(place),
    )


def _in_succession(off: Sequence[float], together: float) -> list[int]:
    """Places of at least three layers in succession that are each ``together`` times off, and ``IN_ALL`` in all."""
    found: list[int] = []
    run: list[int] = []
    for i, value in enumerate([*off, 0.0]):
        if value >= together:
            run.append(i)
            continue
        if len(run) >= FEWEST_TOGETHER and math.prod(off[j] for j in run) >= IN_ALL:
            found += run
        run = []
    return found


def _answer_size(history: History) -> float:
    """How large the answers may well be: the targets' size for a regression, else 1."""
    targets = history.table(schema.TARGET, schema.RMS).values
    regression = history.layout.criterion.type in REGRESSION
    return max(1.0, float(np.nanmedian(targets))) if regression and np.isfinite(targets).any() else 1.0


def _shows_large(layers: Sequence[Layer], places: list[int], factor: float, answer_size: float) -> bool:
    """Whether one of the layers at ``places``, the first of which is judged, gives out large numbers."""
    limits = {i: factor * (answer_size if i == len(layers) - 1 else 1.0) for i in places}
    return not layers[places[0]].normalized and any(layers[i].std > limits[i] for i in places)


def _shows_small(layers: Sequence[Layer], i: int, factor: float) -> bool:
    """Whether every later layer whose inflow is known gets ``factor`` times less than this one; a branch does not."""
    later = [x.inflow for x in layers[i + 1 :] if math.isfinite(x.inflow)]
    return not _renewed(layers[i]) and bool(later) and max(later) < layers[i].inflow / factor


def _renewed(layer: Layer) -> bool:
    """Whether a normalization behind the layer sets the scale anew: what fades up to there is not carried on."""
    return layer.normalized or layer.renormalized
