"""Training on one batch, for as long as it takes to decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tb_nnhealth.sanity.batch import Batch
from tb_nnhealth.sanity.bench import Bench

STEPS = 400
PATIENCE = 150
"""Steps without progress after which a training is given up; recurrent and attention models may start slowly."""
PROGRESS = 0.01
EVALUATE_EVERY = 50


@dataclass
class Curve:
    """Losses before each step, in the criterion's unit."""

    losses: list[float]
    best: float = math.inf
    """The lowest loss, in train or eval mode."""
    out_of_time: bool = False
    failed: str = ""

    @property
    def diverged(self) -> bool:
        last = self.losses[-1] if self.losses else math.nan
        return not math.isfinite(last) or last > 2 * abs(self.losses[0]) + 1


def fit(
    bench: Bench,
    model: nn.Module,
    optimizer: Any,
    batch: Batch,
    *,
    steps: int = STEPS,
    enough: float = -math.inf,
    hopeless: float = math.inf,
    patience: int = PATIENCE,
    after: Callable[[int], None] = lambda step: None,
) -> Curve:
    """Trains on ``batch`` until the loss is at most ``enough``, or nothing improves, or the time is spent.

    It is given up where after a third of the steps the loss is still above ``hopeless``.
    """
    curve = Curve([])
    marked, marked_at = math.inf, 0
    for step in range(steps):
        if bench.clock.spent:
            curve.out_of_time = True
            break
        loss = _step(bench, model, optimizer, batch)
        curve.losses.append(loss)
        if not math.isfinite(loss):
            break
        curve.best = min(curve.best, loss)
        after(step)
        if curve.best > enough and step % EVALUATE_EVERY == EVALUATE_EVERY - 1:
            curve.best = min(curve.best, evaluated(bench, model, batch))
        if curve.best <= enough or (step == steps // 3 and curve.best > hopeless):
            break
        if curve.best < marked - PROGRESS * abs(marked) or not math.isfinite(marked):
            marked, marked_at = curve.best, step
        elif step - marked_at >= patience:
            break
    return curve


def evaluated(bench: Bench, model: nn.Module, batch: Batch) -> float:
    """The loss in eval mode, infinite where the model gives none there; leaves the modes as they were."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            loss = float(bench.run(model, batch)[1])
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError):  # a model that gives no loss in eval mode
        return math.inf
    finally:
        for module, training in modes:
            module.training = training
    return loss if math.isfinite(loss) else math.inf


def _step(bench: Bench, model: nn.Module, optimizer: Any, batch: Batch) -> float:
    """One step of the optimizer; returns the loss before it."""

    def closure() -> Any:
        optimizer.zero_grad()
        loss = bench.run(model, batch)[1]
        loss.backward()
        return loss

    if isinstance(optimizer, torch.optim.LBFGS):
        return float(optimizer.step(closure))
    loss = closure()
    optimizer.step()
    return float(loss)
