"""A momentum that lasts too long, where steps are large and the loss is not learned: what was set is named first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tb_nnhealth.findings import Severity
from tb_nnhealth.rules.base import GIVEN, Case, Hit
from tb_nnhealth.rules.evidence import losses, tags
from tb_nnhealth.rules.evidence.pace import pace
from tb_nnhealth.rules.evidence.settings import LONG_MEMORY, Momentum, long_memory
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.judged_loss import chance, opening_level
from tb_nnhealth.rules.loss.rate_signs import fastest_pace
from tb_nnhealth.rules.wording import percent, round_rate, short

FAST = 0.2
"""Share of the pace that counts as too fast elsewhere from where such a momentum does harm."""
GROWN = 5.0
UNLEARNED = 0.5
FEWEST_POINTS = 5


@dataclass(frozen=True)
class End:
    """Where the loss is at the end (NaN where no longer finite), and what knowing nothing would cost."""

    level: float
    untrained: float
    known: bool

    @property
    def lost(self) -> bool:
        return not self.level < 2 * self.untrained


def long_momentum(case: Case) -> Hit | None:
    """Where the loss at the end is above ``poor`` of the untrained level, and the weights have moved fast or far."""
    heavy, found = long_memory(case.history), losses.training_loss(case.run)
    if case.history is None or heavy is None or found is None or tags.moving_target(case.run):
        return None
    if len(found) < FEWEST_POINTS or not np.isfinite(found.values[:1]).all():
        return None
    end, moved = _end(case, found), pace(case.history)
    if end.level < case.options["poor"] * end.untrained or moved is None:
        return None
    fastest, grown = fastest_pace(moved), moved.grown[np.isfinite(moved.grown)]
    fast = fastest >= FAST * case.options["ratio"] or bool(len(grown) and np.median(grown) > GROWN)
    if not (fast or math.isnan(end.level)):
        return None
    sure = end.lost or (end.known and end.level > UNLEARNED * end.untrained)
    return _hit(case, found, heavy, end, fastest, "warning" if sure else "info")


def _end(case: Case, found: losses.LossCurve) -> End:
    tail = found.values[-max(3, len(found) // 5) :]
    level = float(np.median(tail)) if np.isfinite(tail).mean() > 0.5 else math.nan
    naive, first = chance(case.run), opening_level(found.finite().values)
    return End(level, first if math.isnan(naive) else min(first, naive), not math.isnan(naive))


def _hit(case: Case, found: losses.LossCurve, heavy: Momentum, end: End, fastest: float, severity: Severity) -> Hit:
    assert case.history is not None
    rate = losses.learning_rate(case.run)
    high = float(np.nanmax(rate[1])) if rate is not None and len(rate[1]) else math.nan
    effective = f", so that lr={short(high)} acts like {round_rate(high / (1 - heavy.value))}" if high > 0 else ""
    steps = case.history.steps
    stands = "is no longer finite" if math.isnan(end.level) else (
        f"stands at {short(end.level)}, {percent(end.level / end.untrained)} of the untrained level"
    )  # fmt: skip
    return Hit(
        subject=found.subject,
        **lasting(steps, -1),
        severity=severity,
        statistic="momentum",
        unit="1",
        value=heavy.value,
        limit=min(LONG_MEMORY, heavy.value),
        direction="above",
        message=(
            f"{heavy.optimizer} keeps a gradient's push for {round(1 / (1 - heavy.value)):,} steps "
            f"({heavy.told}){effective}; its steps are up to {short(fastest)} of the weights' norm, and "
            f"`{found.subject}` {stands}."
        ),
        advice=(
            f"Set {heavy.usual}.",
            "Or lower the learning rate by as much as the momentum is longer than at 0.9.",
        ),
        more={"momentum": heavy.value, "loss": end.level, "untrained": end.untrained, GIVEN: True},
    )
