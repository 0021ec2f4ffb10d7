"""A finding as a curve: of a statistic of the layers, or of a scalar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.derive import BY_ID
from tb_nnhealth.findings import json_number
from tb_nnhealth.history import Run, Steps
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.layers import Layered, Part, prefix_of
from tb_nnhealth.plugin.limits import own_limit
from tb_nnhealth.plugin.scalars import Drawn, drawn_scale, losses
from tb_nnhealth.plugin.tables import LayerTables
from tb_nnhealth.rules.evidence.losses import criterion_loss, training_loss

LOSS_UNIT = "unit of the loss"
"""The unit in which rules judge a loss as it was logged."""
OTHER_LAYERS = "other layers"


@dataclass(frozen=True)
class Others:
    """What a curve is drawn beside: ``values`` of shape (n, …) at ``steps``, drawn as median and 5–95 %."""

    title: str
    steps: Steps
    values: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Curve:
    """``values`` float64 at ``steps``, with the limit (None where the rule's number is not of this series)."""

    title: str
    unit: str
    scale: str
    steps: Steps
    values: reduce.Doubles
    healthy: list[Any] | None = None
    limit: float | None = None
    others: Others | None = None
    range: tuple[reduce.Doubles, reduce.Doubles] | None = None
    """Least and greatest of what each value is the mean of; None where each stands for itself."""


def of_layers(
    run: Run, finding: Mapping[str, Any], statistic_id: str | None = None, made: LayerTables | None = None
) -> Curve | None:
    """The statistic of the heatmap that the finding belongs to, or the one given."""
    statistic = BY_ID.get(statistic_id or finding["statistic_id"] or "")
    if statistic is None:
        return None
    table = (made or LayerTables(run)).of(statistic)
    series = own_series(run, table, finding)
    if series is None:
        return None
    part, values, own = series
    limit = own_limit(finding, statistic, part.steps, values)
    band = [json_number(edge) for edge in table.band]
    return Curve(
        title=statistic.title,
        unit=statistic.unit,
        scale=statistic.scale,
        steps=part.steps,
        values=values,
        healthy=(finding["evidence"]["healthy"] if limit is not None else None) or band,
        limit=limit,
        others=other_layers(part, own),
    )


def own_series(run: Run, table: Layered, finding: Mapping[str, Any]) -> tuple[Part, reduce.Doubles, list[int]] | None:
    """The part of the finding's watch, the finding's own series, and the part's layers it belongs to.

    A subject that is a parameter or a layer has its own series; a group of layers has that of its worst.
    """
    subject = finding["subject"]
    for part, (watch, history) in zip(table.parts, run.watches.items(), strict=True):
        prefix = prefix_of(run, watch)
        names = [layer.name for layer in part.layers]
        own = [i for i, name in enumerate(names) if name in finding["layers"] or name == subject]
        if not own:
            continue
        exact = table.statistic.table(history)
        subjects = [prefix + name for name in exact.subjects]
        if subject in subjects:
            return part, exact.values[:, subjects.index(subject)].astype(np.float64), own
        speaking = [names.index(finding["layer"])] if finding["layer"] in names else own
        if len(part.steps):
            worst = np.asarray(speaking)[np.argmax(part.far[:, speaking], axis=1)]
            return part, part.values[np.arange(len(part.steps)), worst].astype(np.float64), own
    return None


def other_layers(part: Part, own: list[int]) -> Others | None:
    others = [i for i in range(len(part.layers)) if i not in own]
    return Others(OTHER_LAYERS, part.steps, part.values[:, others]) if others else None


def of_scalar(run: Run, finding: Mapping[str, Any]) -> Curve | None:
    """The scalar, or the criterion's loss, that the finding is about."""
    judged = finding["evidence"]
    drawn = next((s for name in (finding["subject"], judged["statistic"]) for s in _named(run, name)), None)
    if drawn is None:
        return None
    same = judged["unit"] == LOSS_UNIT or judged["statistic"] == drawn.tag
    return Curve(
        title=drawn.tag,
        unit=judged["unit"] if same else "",
        scale=drawn_scale(drawn.values),
        steps=drawn.steps,
        values=drawn.values,
        healthy=judged["healthy"] if same else None,
        limit=judged["limit"] if same else None,
        others=_training(run, drawn) if judged["statistic"] == "validation loss" else None,
    )


def _named(run: Run, name: str) -> list[Drawn]:
    series = run.scalars.get(name)
    if series is not None and len(series):
        return [Drawn(name, "value", series.steps, series.values)]
    found = [drawn for drawn in losses(run) if drawn.tag == name]
    if found:
        return found
    curves = [(prefix, criterion_loss(history)) for prefix, history in run.histories()]
    return [
        Drawn(name, "train", curve.steps, curve.values)
        for prefix, curve in curves
        if curve is not None and prefix + curve.subject == name
    ]


def _training(run: Run, val: Drawn) -> Others | None:
    """The training loss beside the validation's, where both count the same steps."""
    train = training_loss(run)
    if train is None or not len(train) or not 0.5 * train.steps[-1] <= val.steps[-1] <= 1.1 * train.steps[-1] + 1:
        return None
    return Others("training loss", train.steps, train.values)
