"""A validation accuracy that falls again, or is as good as ever, where the validation loss tells something else."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import curves, losses, tags
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.departure import departure, rises, training_at
from tb_nnhealth.rules.wording import percent, short

FEWEST_POINTS = 6
ADVICE = (
    "Add data or augmentation.",
    "Add weight decay, dropout or label smoothing, or make the network smaller.",
    "Check that training and validation data come from the same distribution.",
)


def accuracy_lost(run: Run, train: losses.LossCurve, limit: float) -> Hit | None:
    """The finding on a validation accuracy that falls while the training loss does; its own loss may hide that."""
    for tag, series in tags.series_of(run, "accuracy", "val"):
        seen = losses.LossCurve(tag, series.steps, series.walls, series.values).finite()
        if len(seen) < 2 * FEWEST_POINTS or not len(train):
            continue
        scale = 100.0 if seen.values.max() > 1 else 1.0
        error = losses.LossCurve(tag, seen.steps, seen.walls, 1 - seen.values / scale)
        gone = departure(error.values, 0.0)
        then, now = training_at(train, error, gone)
        if gone.end - gone.low <= limit or not gone.end > gone.limit or not rises(error.values, gone) or now >= then:
            continue
        best = int(error.steps[gone.low_at])
        return Hit(
            subject=tag,
            **lasting(error.steps, min(len(error) - 1, gone.crossing + gone.tail - 1), since=gone.crossing),
            severity="warning",
            statistic="validation accuracy lost",
            unit="share of samples",
            value=gone.end - gone.low,
            limit=limit,
            direction="above",
            message=(
                f"`{tag}` was best at step {best:,} ({percent(1 - gone.low)}) and has fallen to "
                f"{percent(1 - gone.end)} since, while the training loss went from {short(then)} to {short(now)}:"
                " samples are learned by heart."
            ),
            advice=(
                f"Keep the network of the best validation accuracy, of step {best:,} (early stopping).",
                "Look for wrong labels among the training samples of the highest loss.",
                *ADVICE,
            ),
            more={"best": 1 - gone.low, "best_step": best, "training_loss": now},
        )
    return None


def accuracy_still_best(run: Run) -> bool:
    """Whether some validation accuracy is at the end as good as it ever was, within its noise."""
    for _, series in tags.series_of(run, "accuracy", "val"):
        values = series.values[np.isfinite(series.values)]
        if len(values) >= FEWEST_POINTS:
            tail = max(2, len(values) // 6)
            level = curves.smooth(values, 3)
            best = float(level.max())
            return float(level[-tail:].max()) >= best - max(curves.noise(values), 0.005 * abs(best))
    return False
