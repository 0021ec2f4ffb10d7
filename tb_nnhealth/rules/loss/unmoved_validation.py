"""A validation that tells the same number at every evaluation, while the network learns: it is not of its answers."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import losses, tags
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.departure import aligned
from tb_nnhealth.rules.wording import percent, short

FEWEST_LOSSES, FEWEST_ACCURACIES = 6, 8
"""Evaluations; a small validation set may give one share of right answers several times."""
METRICS: tuple[tuple[tags.Metric, int], ...] = (("loss", FEWEST_LOSSES), ("accuracy", FEWEST_ACCURACIES))
CHANGED, LEARNED = 0.8, 0.25
"""Training loss at the last evaluation over that at the first, below which validation must have changed."""
WRONG = 0.25
"""Share of wrong answers from which it is no accuracy of a network that has learned."""
ADVICE = (
    "Check what the accuracy compares: torch.max(output, 1) of a single output is 0 for every sample.",
    "Check that the evaluation is given the network that is trained, not a copy or a checkpoint of before.",
    "Check that both parts hold the same classes: data in an order must be shuffled before they are split.",
)


def unmoved_validation(run: Run) -> Hit | None:
    """The finding; None where every validation moves, or training itself has not come far enough to move one."""
    training = losses.training_loss(run)
    train = training.finite() if training is not None else None
    if train is None or not len(train):
        return None
    for metric, fewest in METRICS:
        for tag, series in tags.series_of(run, metric, "val"):
            seen = losses.LossCurve(tag, series.steps, series.walls, series.values).finite()
            if len(seen) < fewest or np.ptp(seen.values) != 0:
                continue
            value, at = float(seen.values[0]), aligned(train, seen)
            then, now = _around(train.values, int(at[0])), _around(train.values, int(at[-1]))
            wrong = 1 - value / (100.0 if value > 1 else 1.0)
            if metric == "loss" and abs(now) < CHANGED * abs(then):
                return _hit(seen, f"`{tag}` is {short(value)}", then, now)
            if metric == "accuracy" and wrong >= WRONG and 0 <= now < min(LEARNED, wrong) * then:
                return _hit(seen, f"`{tag}` is {percent(1 - wrong)}", then, now)
    return None


def _around(values: np.ndarray[tuple[int], np.dtype[np.float64]], at: int) -> float:
    width = max(1, len(values) // 40)
    return float(np.median(values[max(0, at - width) : at + width + 1]))


def _hit(seen: losses.LossCurve, told: str, then: float, now: float) -> Hit:
    return Hit(
        subject=seen.subject,
        **lasting(seen.steps, FEWEST_LOSSES - 1),
        severity="warning",
        statistic="range of the validation",
        unit="1",
        value=0.0,
        limit=0.0,
        direction="below",
        message=f"{told} to the last digit at each of {len(seen)} evaluations, while the training loss went from"
        f" {short(then)} to {short(now)}: what it is computed from are not this network's answers.",
        advice=ADVICE,
        more={"validation": float(seen.values[0]), "training_loss": now},
    )
