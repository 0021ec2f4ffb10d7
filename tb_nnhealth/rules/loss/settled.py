"""Where training and validation have come to rest at the end of a run, beside what knowing nothing would cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.evidence import curves, losses, tags
from tb_nnhealth.rules.loss.judged_loss import chance
from tb_nnhealth.rules.loss.stretches import line

STILL_FALLING = 0.25
"""Share of what was gained; a loss that may still have fallen by this over its last half is not at rest."""
STILL_FALLING_OF_LEVEL = 0.05
FEWEST_VALIDATIONS = 4


@dataclass(frozen=True)
class Rest:
    """Of the last third: the training loss, its robust noise, the validation loss (NaN where none is logged).

    ``untrained``: cost of a constant answer, or where that is not known (``known``) the first loss. ``rests``: the
    training loss surely falls no more, by a line through its last half; ``falls``: it surely still does.
    """

    training: float
    noise: float
    validation: float
    validation_noise: float
    untrained: float
    known: bool
    rests: bool
    falls: bool

    @property
    def share(self) -> float:
        """Of the untrained level that is left, 1 where nothing was learned; NaN for losses that are not positive."""
        return self.training / self.untrained if self.untrained > 0 and self.training > 0 else math.nan


def rest(run: Run, values: curves.Values) -> Rest:
    """``values``: the training loss, float64 of shape (n,), n at least a dozen."""
    third, trend, naive = values[-(len(values) // 3) :], line(values[len(values) // 2 :]), chance(run)
    first = float(np.median(values[: max(1, min(5, len(values) // 8))]))
    level = float(np.median(third))
    validation = losses.comparable_validation(run)
    seen = validation.finite().values if validation is not None else np.zeros(0)
    tail = seen[-max(2, len(seen) // 3) :] if len(seen) >= FEWEST_VALIDATIONS else np.zeros(0)
    return Rest(
        training=level,
        noise=curves.noise(third),
        validation=float(np.median(tail)) if len(tail) else math.nan,
        validation_noise=curves.noise(tail) if len(tail) > 2 else 0.0,
        untrained=first if math.isnan(naive) else naive,
        known=not math.isnan(naive),
        falls=trend.surely_falls and trend.fall > STILL_FALLING_OF_LEVEL * abs(level),
        rests=trend.fall + 2 * trend.error < STILL_FALLING * max((first if math.isnan(naive) else naive) - level, 0.0),
    )


def accuracies(run: Run) -> tuple[float, float]:
    """Training and validation accuracy at the end as shares (percentages are taken for such), NaN where not logged."""
    found = []
    for phase in ("train", "val"):
        ends = [
            float(np.median(values[-max(2, len(values) // 5) :]))
            for _, series in tags.series_of(run, "accuracy", "train" if phase == "train" else "val")
            if len(values := series.values[np.isfinite(series.values)]) >= FEWEST_VALIDATIONS
        ]
        end = max(ends, default=math.nan)
        found.append(end / 100 if end > 1.0 else end)
    return found[0], found[1]
