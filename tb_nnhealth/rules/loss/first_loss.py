"""The finding on a first loss, and whether the loss stays up there."""

from __future__ import annotations

from typing import Any

from tb_nnhealth.findings import Direction, Severity
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.hits import at_start


def stays_above(curve: losses.LossCurve, guess: float, steps: float) -> bool:
    """Whether the loss, seen for that many steps, has not been below ``guess`` within them."""
    finite = curve.finite()
    opening = finite.steps <= finite.steps[0] + steps
    return bool(finite.steps[-1] > finite.steps[0] + steps and curves.smooth(finite.values[opening], 3).min() > guess)


def first_loss_hit(
    first: float,
    step: int,
    limit: float,
    direction: Direction,
    severity: Severity,
    message: str,
    more: dict[str, Any],
) -> Hit:
    advice = (
        (
            "Normalize the inputs to mean 0 and standard deviation 1.",
            "Scale down the last layer: standard deviation 0.01, bias 0.",
            "Initialize by the layer's fan: Kaiming for ReLU, Xavier for tanh.",
        )
        if direction == "above"
        else (
            "If the network was trained before, all is well.",
            "If not, look for the label among the inputs, and for test samples in the training data.",
        )
    )
    return Hit(
        subject=losses.CRITERION,
        **at_start(step),
        severity=severity,
        statistic="first loss",
        unit="unit of the loss",
        value=first,
        limit=limit,
        direction=direction,
        message=message,
        advice=tuple(advice),
        more=more,
    )
