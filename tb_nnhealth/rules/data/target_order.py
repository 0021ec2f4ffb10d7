"""Whether the numbers that a regression is to learn come in the order of their size."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.rules.base import Case, Hit, Ill
from tb_nnhealth.rules.data.batch_rows import number, shape_of
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.evidence.constant_answer import ABSOLUTE
from tb_nnhealth.rules.evidence.targets import Targets, targets_of
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.wording import short

RECORDS = 20
SMALL_BATCH = 8
ALIKE = 0.6
"""Correlation of two targets of a batch from which batches hold one stretch of the targets' range."""
ORDER = 0.3
"""Correlation of neighbouring records' means from which stretches follow each other: sparse records blur it."""
VARIED = 0.8
"""Share of the batches whose targets must differ: those of an opponent's two answers do not."""
FEWEST_PAIRS = 5
ADJACENT = 3
"""Steps up to which two records are neighbours."""


@np.errstate(all="ignore")
def in_their_order(case: Case) -> Ill | None:
    """A regression whose batches each hold a small stretch of the targets' range, neighbours next to each other.

    None where that is not so, or cannot be told: of single samples, and of targets that move with the training.
    """
    history = case.history
    if history is None or history.layout.criterion.type not in ("MSELoss", *ABSOLUTE):
        return None
    shape, targets = shape_of(history, schema.TARGET), targets_of(history)
    if not shape or targets is None or tags.moving_target(case.run) or history.resolution > 1:
        return None
    again = number(history, schema.REPEATED, "input")[targets.records] == 1
    targets = Targets(targets.mean[~again], targets.std[~again], targets.records[~again])
    if shape[0] < SMALL_BATCH or len(targets.mean) < RECORDS or (targets.std > 0).mean() < VARIED:
        return None
    within, between = targets.within, max(0.0, targets.between - targets.within / shape[0])
    alike = between / (between + within) if within > 0 else 0.0
    steps = history.steps[targets.records]
    near = np.diff(steps) <= ADJACENT
    away = targets.mean - float(np.median(targets.mean))
    before, after = away[:-1][near], away[1:][near]
    order = float((after * before).sum() / np.square(before).sum()) if len(before) >= FEWEST_PAIRS else 0.0
    if not (alike >= ALIKE and order >= ORDER):
        return None
    return Ill([_hit(steps, alike, order, math.sqrt(within), math.sqrt(within + between))])


def _hit(steps: NDArray[np.int64], alike: float, order: float, within: float, whole: float) -> Hit:
    return Hit(
        subject="target",
        **lasting(steps, RECORDS - 1),
        severity="warning",
        statistic="correlation of the targets of two samples of a batch",
        unit="1",
        value=alike,
        limit=ALIKE,
        direction="above",
        healthy=(-1.0, 0.05),
        message=(
            f"The targets of a batch differ by {short(within)} (standard deviation), those of different batches by "
            f"{short(whole)}: the data come in the order of what is to be learned, and the last layer follows it."
        ),
        advice=(
            "Shuffle: DataLoader(dataset, batch_size=…, shuffle=True), in a new order for each epoch.",
            "Where the data are a stream, shuffle its shards and keep a shuffle buffer of many batches.",
        ),
        more={"order": order, "spread_within": within, "spread": whole},
    )
