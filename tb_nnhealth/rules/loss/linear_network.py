"""A network of several layers that is one linear map: no non-linearity stands between any two of its layers."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.evidence.losses import LossCurve
from tb_nnhealth.rules.evidence.progress import naive_of
from tb_nnhealth.rules.wording import percent, short

MAPS = ("Linear", "Conv1d", "Conv2d", "Conv3d")
AFFINE = ("BatchNorm", "Flatten", "Identity", "AvgPool")
"""Types, as parts of their names, that leave a linear network linear."""
SAME = ("Identity", "Flatten")
"""Types that may return what they are given, of which the graph tells nothing."""
POOR, BAD = 0.25, 0.5
"""Loss at the end over that of knowing nothing from which a linear map is too little, and from which it warns."""
FEWEST_POINTS = 6


def linear_network(run: Run, history: History | None, curve: LossCurve) -> Hit | None:
    """The finding, where the training ``curve`` ends poor; None where the network is not known to be linear.

    A layer narrower than those around it is there on purpose: a product of two matrices is of low rank.
    """
    layers = _layers(history)
    values = curve.finite().values
    if history is None or len(layers) < 2 or len(values) < FEWEST_POINTS:
        return None
    end = float(np.median(values[-max(3, len(values) // 5) :]))
    first, naive = float(np.median(values[:2])), naive_of(run, history)
    floor = first if math.isnan(naive) else min(first, naive)
    if not end > POOR * floor > 0:
        return None
    names = ", ".join(f"`{name}`" for name in layers[:4]) + (" …" if len(layers) > 4 else "")
    told = curve.finite()
    return Hit(
        subject=layers[0],
        first_step=0,
        fired_step=int(told.steps[-1]),
        last_step=int(told.steps[-1]),
        count=len(told),
        active=True,
        severity="warning" if end > BAD * floor else "info",
        statistic="loss that one linear map leaves, over the untrained level",
        unit="1",
        value=end / floor,
        limit=POOR,
        direction="above",
        message=f"Nothing but linear maps lies between {names} and the output: the {len(layers)} layers are together"
        f" one linear map, and the loss is at {short(end)}, {percent(end / floor)} of the untrained level.",
        advice=(
            "Put a non-linearity between the layers (nn.ReLU(), F.relu), and assign its result: x = F.relu(x).",
            "Where a linear model is meant, one layer is enough.",
        ),
        more={"loss": end, "untrained": floor, "layers": len(layers), GIVEN: True},
        rank=1e9,
    )


def _layers(history: History | None) -> list[str]:
    """The linear layers in the order of their calls, where only linear maps lie between them; else an empty list."""
    called = [m for m in history.layout.modules if m.called] if history is not None else []
    weights = {p.module: p for p in history.layout.parameters if len(p.shape) > 1} if history is not None else {}
    maps = [m for m in called if m.type in MAPS]
    others = [m for m in called if m.type not in MAPS]
    if len(maps) < 2 or any(all(part not in m.type for part in AFFINE) for m in others):
        return []
    told = [m for m in called[:-1] if m.type not in SAME]
    if not all(m.linear or (m.normalized and _batch_norm(others)) for m in told) or called[-1].type not in MAPS:
        return []
    owned = set(weights) - {m.name for m in maps}
    if owned or any(m.name not in weights for m in maps):
        return []
    widths = [int(weights[m.name].shape[0]) for m in maps]
    first = math.prod(weights[maps[0].name].shape[1:])
    narrow = min(widths[:-1]) < min(first, widths[-1])
    return [] if narrow else [m.name for m in maps]


def _batch_norm(others: list[object]) -> bool:
    return any("BatchNorm" in getattr(m, "type", "") for m in others)
