"""BatchNorms in train mode whose batches cannot be normalized by: of two values, or of a network that is frozen."""

from __future__ import annotations

from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.data.batch_rows import number
from tb_nnhealth.rules.hits import lasting

FEWEST_RECORDS = 10
PAIR, ENOUGH = 2, 16
"""Values for each channel of which nothing but an order is left, and from which their mean and deviation tell."""
ROUNDING = 1e-3
"""Beyond 1 that the larger of two normalized values may lie."""


def norms_in_train(history: History) -> list[Hit]:
    """Of each kind one finding, at the first BatchNorm that it holds of."""
    modes = history.table(schema.MODE, schema.MEAN)
    types = {module.name: module.type for module in history.layout.modules}
    trains = [
        name
        for i, name in enumerate(modes.subjects)
        if "BatchNorm" in types.get(name, "")
        and np.isfinite(modes.values[:, i]).sum() >= FEWEST_RECORDS
        and np.nanmin(modes.values[:, i]) == 1
    ]
    return [*_of_pairs(history, trains), *_among_frozen(history, trains)]


def _of_pairs(history: History, names: list[str]) -> list[Hit]:
    """Two values normalized by their own mean and deviation are 1 and -1, whatever they were."""
    shapes = {row.subject: tuple(row.shape) for row in history.layout.rows if row.kind == schema.ACTIVATION}
    gains = {p.module: p for p in history.layout.parameters if p.name == f"{p.module}.weight"}
    pairs = []
    for name in names:
        shape = shapes.get(name, ())
        if len(shape) < 2 or shape[0] * int(np.prod(shape[2:])) != PAIR:
            continue
        least, most = (number(history, schema.ACTIVATION, name, s) for s in (schema.MIN, schema.MAX))
        untrained = name in gains and abs(gains[name].initial_rms - 1) < ROUNDING
        first = np.flatnonzero(np.isfinite(most))[:1]
        if untrained and (np.fmax(np.abs(least[first]), np.abs(most[first])) > 1 + ROUNDING).any():
            continue  # the first batch was of another size than those told of
        pairs.append(name)
    if not pairs:
        return []
    return [
        _hit(
            history, pairs, "warning", "values that a channel is normalized by", float(PAIR), ENOUGH,
            f"{_names(pairs)} normalizes two values by their own mean and deviation: what comes out is 1 and -1, "
            "whatever the samples are, and each answer depends on the other sample.",
            (
                "Give it more samples in a step: BatchNorm wants 16 values and more for each channel.",
                "Or take GroupNorm or LayerNorm, which do not look at other samples; across devices SyncBatchNorm.",
                "Fine-tuning: leave the statistics of the pre-training as they are, by eval() on the BatchNorms.",
            ),
        )
    ]  # fmt: skip


def _among_frozen(history: History, names: list[str]) -> list[Hit]:
    """Statistics go on moving in layers whose weights are not trained any more, and were before."""
    parameters = history.layout.parameters
    own = {p.module: p for p in parameters if p.name == f"{p.module}.weight"}
    trained = [i for i, p in enumerate(parameters) if p.trainable and p.optimizer >= 0]
    if not trained:
        return []
    before = [p for p in parameters[: trained[0]] if len(p.shape) >= 2]
    owners = {p.module for p in parameters[: trained[0]]}
    frozen = [name for name in names if name in owners and name in own and not own[name].trainable]
    frozen = [name for name in frozen if abs(own[name].initial_rms - 1) > ROUNDING]
    if not before or not frozen:
        return []
    return [
        _hit(
            history, frozen, "info", "frozen BatchNorms in train mode", float(len(frozen)), 0,
            f"{_names(frozen)} and the layers before, {len(before)} weight matrices, are frozen (requires_grad=False), "
            "but in train mode: it goes on normalizing by each batch, and its statistics leave those of its training.",
            (
                "Put frozen BatchNorms into evaluation mode after model.train(): in an overridden train().",
                "If the new data are to set the statistics, all is well.",
            ),
        )
    ]  # fmt: skip


def _names(names: list[str]) -> str:
    return f"`{names[0]}`" + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def _hit(
    history: History, names: list[str], severity: Severity, statistic: str, value: float, limit: float, message: str,
    advice: Any,
) -> Hit:  # fmt: skip
    steps = history.steps
    return Hit(
        subject=names[0],
        **lasting(steps, min(FEWEST_RECORDS, len(steps)) - 1),
        severity=severity,
        statistic=statistic,
        unit="1",
        value=value,
        limit=limit,
        direction="above" if value > limit else "below",
        message=message,
        advice=advice,
        more={"modules": names[:10], GIVEN: True},
    )
