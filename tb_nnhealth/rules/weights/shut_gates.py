"""Recurrent layers of which a gate is shut by its bias from the start."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.hits import at_start
from tb_nnhealth.rules.wording import short

GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}
"""Parts of a bias, one for each gate and one for the candidate."""
SHUT = 5.0
"""Size of a gate's bias beyond which its sigmoid lets less than a hundredth through."""
WHOLE = 0.8
"""Of the root mean square that one whole gate at the extreme gives the bias; single units at it give far less."""
BOTH_WAYS = 0.5
"""A bias that reaches as far the other way, in this proportion, spreads its units over time scales on purpose."""


def shut_gates(history: History, severity: Severity) -> list[Hit]:
    """One finding for each bias that began with a whole gate far below zero; of a GRU also far above."""
    types = {module.name: module.type for module in history.layout.modules}
    table = history.table(schema.WEIGHT, schema.MIN)
    low, high = (
        dict(zip(table.subjects, history.table(schema.WEIGHT, name).values[0], strict=True))
        for name in (schema.MIN, schema.MAX)
    )
    hits = []
    for parameter in history.layout.parameters:
        kind = types.get(parameter.module, "")
        if not parameter.trainable or kind not in GATES or "bias" not in parameter.name or parameter.name not in low:
            continue
        least, most = float(low[parameter.name]), float(high[parameter.name])
        open_for_good = kind.startswith("GRU") and most > -least
        extreme, other = (most, -least) if open_for_good else (-least, most)
        whole = WHOLE * extreme / math.sqrt(GATES[kind])
        if np.isfinite(extreme) and extreme >= SHUT and other < BOTH_WAYS * extreme and parameter.initial_rms >= whole:
            hits.append(_hit(history, parameter.name, kind, extreme if open_for_good else least, severity))
    return hits


def _hit(history: History, name: str, kind: str, bias: float, severity: Severity) -> Hit:
    step = int(history.steps[0])
    passed = 1 / (1 + math.exp(abs(bias)))
    closed = "keeps all of the old state" if bias > 0 else "lets next to nothing through"
    return Hit(
        subject=name,
        **at_start(step),
        severity=severity,
        statistic="initial bias of a gate",
        unit="1",
        value=abs(bias),
        limit=SHUT,
        direction="above",
        healthy=(0.0, 3.0),
        message=f"A whole gate of the {kind} began with a bias of {short(bias)} in `{name}`: its sigmoid {closed} "
        f"({short(passed)} of the rest), and its gradient is as small.",
        advice=(
            "Start the gates' biases between 0 and 2: a forget gate of an LSTM at 1, all others at 0.",
            "The two biases bias_ih and bias_hh add up: set one of them and leave the other at 0.",
        ),
        more={"bias": bias, "passed": passed},
        rank=abs(bias),
    )
