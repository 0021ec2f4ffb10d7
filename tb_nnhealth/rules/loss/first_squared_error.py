"""A first squared error: outputs that dwarf the targets, and targets far from anything an untrained network answers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import GIVEN, Ill, NotApplicable, Outcome, Passed, TooLittleData
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.evidence.targets import targets_of
from tb_nnhealth.rules.loss.first_loss import first_loss_hit, stays_above
from tb_nnhealth.rules.wording import short

SQUARES_ABOVE = 100.0
OUTPUT_RMS = 10.0
FAR_TARGETS, BEYOND_CONSTANT = 20.0, 3.0
"""Size of the targets, absolute and over the first outputs', and first loss over that of their mean, which are far."""
HALF, LARGE_STEPS = 0.5, 100
"""Share of the targets' variance above which the loss stays for so many steps, where they are large about zero."""
DWARFED, SLOW_STEPS = 2.0, 150
"""Times the targets' mean square above which the loss stays for so many steps, where the targets are too small."""
FAR_ABOVE = 1e4
"""Outputs of a hundred times the targets' size; from less, a network comes down in some hundred steps."""


def squared_error(run: Run, history: History, first: float, step: int) -> Outcome:
    target = history.table(schema.TARGET, schema.RMS).values
    prediction = history.table(schema.PREDICTION, schema.RMS).values
    if not target.size or not prediction.size or np.isnan(target[0, 0]) or np.isnan(prediction[0, 0]):
        return TooLittleData("the target or the prediction was not measured in the first record")
    square, output = float(target[0, 0]) ** 2, float(prediction[0, 0])
    if square == 0:
        return NotApplicable("the targets are zeros: the loss is the size of something that is to vanish")
    limit = SQUARES_ABOVE * square
    if not first > limit:
        return _far_targets(run, history, first, step, output) or Passed()
    curve = losses.criterion_loss(history)
    stays = curve is not None and first > FAR_ABOVE * square and stays_above(curve, DWARFED * square, SLOW_STEPS)
    dwarfed = output > OUTPUT_RMS or stays
    message = (
        f"The first squared error is {short(first)}, {short(first / square)} times what an output "
        f"of 0 would cost: the untrained network's outputs (RMS {short(output)}) dwarf the targets."
    )
    return Ill(
        [first_loss_hit(first, step, limit, "above", "warning" if dwarfed else "info", message, {"output_rms": output})]
    )


def _far_targets(run: Run, history: History, first: float, step: int, output: float) -> Outcome | None:
    """Ill where targets in units of their own lie far beyond what an untrained network answers."""
    mean, std = (float(history.table(schema.TARGET, name).values[0, 0]) for name in (schema.MEAN, schema.STD))
    size = math.hypot(mean, std)
    variance = targets.variance if (targets := targets_of(history)) is not None else math.nan
    if not (size > FAR_TARGETS and size > FAR_TARGETS * output and variance > 0):
        return None
    curve, off = losses.criterion_loss(history), first > BEYOND_CONSTANT * variance
    level, steps = (variance, SLOW_STEPS) if off else (HALF * variance, LARGE_STEPS)
    slow = curve is not None and stays_above(curve, level, steps)
    if not (off or slow):
        return None
    logged = losses.training_loss(run) or curve
    burst = logged is not None and not np.isfinite(logged.values[-1])
    message = (
        f"The first squared error is {short(first)}, where the mean of the targets would cost {short(variance)}: they "
        f"lie about {short(mean)} with a spread of {short(std)}, and the network's outputs begin at {short(output)}."
    )
    if not off:
        message += f" In {LARGE_STEPS} steps half of that has not been gained."
    severity: Severity = "critical" if burst else "warning" if slow and off else "info"
    more: dict[str, Any] = {"target_mean": mean} | ({GIVEN: True} if burst else {})
    limit = (BEYOND_CONSTANT if off else HALF) * variance
    hit = first_loss_hit(first, step, limit, "above", severity, message, more)
    return Ill(
        [
            replace(
                hit,
                advice=(
                    "Scale the targets to mean 0 and standard deviation 1.",
                    "Or set the bias of the last layer to the targets' mean.",
                ),
            )
        ]
    )
