"""Recurrent matrices whose scale at the start multiplies their state in every step."""

from __future__ import annotations

import math

from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.hits import at_start
from tb_nnhealth.rules.wording import short

GAIN = 3.0
"""Root mean square times the root of the state's width: 1 for an orthogonal matrix, 0.58 by PyTorch's default."""


def recurrent_gains(history: History, severity: Severity) -> list[Hit]:
    """One finding for each matrix of state to state (``weight_hh`` of torch.nn.RNNBase and its cells) beyond it."""
    hits = []
    trained = [p for p in history.layout.parameters if p.trainable and "weight_hh" in p.name and len(p.shape) == 2]
    for parameter in trained:
        width = int(parameter.shape[1])
        gain = float(parameter.initial_rms) * math.sqrt(width)
        if gain > GAIN:
            hits.append(_hit(history, parameter.name, gain, 1 / math.sqrt(width), severity))
    return hits


def _hit(history: History, name: str, gain: float, scale: float, severity: Severity) -> Hit:
    step = int(history.steps[0])
    return Hit(
        subject=name,
        **at_start(step),
        severity=severity,
        statistic="initial rms over that of an orthogonal matrix",
        unit="1",
        value=gain,
        limit=GAIN,
        direction="above",
        healthy=(0.5, 1.5),
        message=f"`{name}` began {short(gain)} times as large as an orthogonal matrix: each step in time multiplies the"
        " state by that, until its function is saturated or it overflows.",
        advice=(f"Draw it by torch.nn.init.orthogonal_(weight), gate by gate: root mean square {short(scale)}.",),
        more={"scale": gain * scale, "expected": scale},
        rank=gain,
    )
