"""BatchNorms whose statistics for evaluation are still those that they were made with: their momentum is too small."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.wording import names, percent, short

LEFT = 0.5
"""Share of the first statistics, 0 and 1, in those that evaluation works with."""
FEWEST_STEPS, BEGINNING = 100, 5
"""Steps taken, and the step by which the log must have begun: those of an earlier run are not counted."""
WORSE, LATEST = 2.0, 3
"""Validation loss over training loss from which it does harm, medians over the last values."""
FROM_SCRATCH = 1e-3
"""Difference from 1 of the first weights of a BatchNorm that was not trained before."""
ADVICE = (
    "Leave the momentum at 0.1: in PyTorch it is the weight of the new batch, where others have 0.99 for what is kept.",
    "Or set the statistics anew before validation: torch.optim.swa_utils.update_bn(loader, model).",
)


def lagging_statistics(run: Run, history: History) -> list[Hit]:
    """The finding on a network that is evaluated by them; a warning where validation is far behind training.

    After t steps (1 - momentum)^t of the first values is left.
    """
    steps = history.steps
    if not len(steps) or int(steps[0]) > BEGINNING or int(steps[-1]) < FEWEST_STEPS or not _evaluated(history):
        return []
    first = {p.module: p.initial_rms for p in history.layout.parameters if p.name == f"{p.module}.weight"}
    left = {
        module.name: (1 - module.momentum) ** (int(steps[-1]) + 1)
        for module in history.layout.modules
        if module.called and 0 < module.momentum < 1 and abs(first.get(module.name, 1.0) - 1) < FROM_SCRATCH
    }
    lagging = [name for name, share in left.items() if share > LEFT]
    if not lagging:
        return []
    worst = max(lagging, key=lambda name: left[name])
    momentum = next(module.momentum for module in history.layout.modules if module.name == worst)
    validation, training = (_latest(curve) for curve in (losses.comparable_validation(run), losses.training_loss(run)))
    behind = validation > WORSE * training > 0
    told = (
        f"After {int(steps[-1]) + 1:,} steps the statistics by which {names(lagging)} work"
        f"{'s' if len(lagging) == 1 else ''} in evaluation are still {percent(left[worst])} those that they began with,"
        f" at momentum {short(momentum)}: the network that is evaluated is not the one that is trained."
    )
    if behind:
        told += f" The validation loss is {short(validation)}, the training loss {short(training)}."
    return [
        Hit(
            subject=worst,
            **lasting(steps, int(np.searchsorted(steps, FEWEST_STEPS))),
            severity="warning" if behind else "info",
            statistic="share of the first running statistics",
            unit="1",
            value=left[worst],
            limit=LEFT,
            direction="above",
            message=told,
            advice=ADVICE,
            more={"modules": lagging[:10], "momentum": momentum} | ({GIVEN: True} if behind else {}),
        )
    ]


def _evaluated(history: History) -> bool:
    table = history.table(schema.EVALUATION, schema.MEAN)
    told = [table.values[:, i] for i, subject in enumerate(table.subjects) if subject.startswith("eval")]
    return any(bool((values > 0).any()) for values in told)


def _latest(curve: losses.LossCurve | None) -> float:
    values = np.zeros(0) if curve is None else curve.finite().values
    return float(np.median(values[-max(LATEST, len(values) // 10) :])) if len(values) else math.nan
