"""The series that fired a finding, reduced to few points, beside what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import Run, Steps
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import f32, ints
from tb_nnhealth.plugin.curves import Curve, Others, of_layers, of_scalar
from tb_nnhealth.plugin.recorded import of_record
from tb_nnhealth.plugin.tables import LayerTables

_OF_HISTOGRAMS = "It is computed from histograms, which are taken at few steps."
NO_SERIES: Mapping[str, str] = {
    "share_of_trainable_weights_in_no_optimizer": "It follows from the parameters that the optimizer was given, which "
    "are the same at every step.",
    "targets_out_of_reach": "It follows from the targets and from the last nonlinearity, which hardly change from step "
    "to step.",
    "modules_in_low_precision": "It follows from the types of numbers, which are the same at every step.",
    "elements compared : elements given": "It follows from the shapes of predictions and targets, which are the same "
    "at every step.",
    "values that a channel is normalized by": "It follows from the shapes of the batches.",
    "frozen BatchNorms in train mode": "It follows from the modes and from what is frozen, the same at every step.",
    "dropouts at work without gradients": "It follows from the modes of all records together.",
    "learning rate": "It is 0 at every step.",
    "steps for each pass over the data": "Every batch holds all samples, at every step.",
    "dimension of the samples": "It follows from the shapes of inputs and targets, the same at every step.",
    "dimension of the samples after a view": "It follows from the shapes before and after, the same at every step.",
    "numbers of a frozen embedding drawn at random": "It follows from weights that are the same at every step.",
    "sequences asked for that come next in another one": "It follows from how the program pairs tokens, the same at "
    "every step.",
    "classes seen": "It follows from the labels of all batches together; each batch for itself says little.",
    "correlation of the targets of two samples of a batch": "It follows from the targets of all batches together; each "
    "batch for itself says little.",
    "share of the most frequent answer": "It follows from the targets of all batches together.",
    "sum of a sample's targets": "It follows from the targets of all batches together.",
    "share of the first running statistics": "It follows from the momentum and the number of steps.",
    "targets of zero": "It follows from the targets of all batches together.",
    "initial rms over that of an orthogonal matrix": "It is about the weights before the first step.",
    "records of a result that is not used": "A result that is not used has no gradient, at any step.",
    "kurtosis": _OF_HISTOGRAMS,
    "share_below_smallest_normal": _OF_HISTOGRAMS,
    "records of a parameter that is not registered": "What is no parameter of the model is not recorded: it was found "
    "in the graph of the outputs.",
    "loss that one linear map leaves, over the untrained level": "It follows from the graph of the outputs; the charts "
    "of scalars show the loss.",
    "optimizers that step it on one gradient": "It follows from the steps of the optimizers, the same each time.",
    "initial bias of a gate": "It is about the weights before the first step.",
    "forwards with gradients in train mode": "It follows from the modes of all records together.",
    "inputs masked at random in evaluation": "It was found between two layers, at a few evaluations.",
    "modules ever in train mode": "It follows from the modes of all records together.",
    "spread of the output over samples": "It is told over its size or its start, of which no record has the ratio.",
    "rows of the embedding in a batch": "It follows from the rows that get a gradient, of all records together.",
    "spread of the targets over the batch": "It is 0 in each batch that was looked at.",
    "predictions that are no log-probabilities": "It follows from the graph of the loss, the same at every step.",
    "logits that are cosines": "It follows from the graph of the loss, the same at every step.",
    "distinct errors": "It is about what the capture said of itself; the foot of the page has its words.",
    "dropped records": "It is about what the capture said of itself; the foot of the page has its numbers.",
}
"""Why there is no series, by what the rule measured."""


def evidence(
    run: Run, finding: Mapping[str, Any], *, limit: int = 400, made: LayerTables | None = None
) -> dict[str, Any] | None:
    """The chart of one finding of the report, or None where it speaks of nothing that has a series."""
    if finding["evidence"]["statistic"] in NO_SERIES:
        return None
    curve = of_record(run, finding) or of_layers(run, finding, made=made) or of_scalar(run, finding)
    return None if curve is None else _reduced(curve, finding["evidence"]["direction"], limit)


def why_none(finding: Mapping[str, Any]) -> str:
    """A sentence for a finding without a series."""
    return NO_SERIES.get(
        finding["evidence"]["statistic"], "No record of this run holds a series of what this rule measured."
    )


def _reduced(curve: Curve, direction: str, limit: int) -> dict[str, Any]:
    columns = reduce.columns([curve.steps], limit)
    column = columns.of(curve.steps)
    shown = _shown(curve.values, direction, column, len(columns))
    kept = shown >= 0
    below, above = curve.range or (curve.values, curve.values)
    low, _ = reduce.extremes(below, column, len(columns))
    _, high = reduce.extremes(above, column, len(columns))
    others = None if curve.others is None else _others(curve.others, columns)
    return {
        "title": curve.title,
        "unit": curve.unit,
        "scale": curve.scale,
        "steps": ints(curve.steps[shown[kept]]),
        "values_f32": f32(curve.values[shown[kept]]),
        "low_f32": f32(low[kept]),
        "high_f32": f32(high[kept]),
        "healthy": curve.healthy,
        "limit": curve.limit,
        "direction": None if curve.limit is None else direction,
        "others": others and {"title": others[0], **{name: f32(band[kept]) for name, band in others[1].items()}},
    }


def _shown(values: reduce.Doubles, direction: str, column: Any, count: int) -> Any:
    """The record that each point shows: the greatest where the limit lies above, else the least."""
    far = values if direction == "above" else -values
    far = np.where(np.isnan(values), reduce.MISSING, np.maximum(far, reduce.SETTLED))
    return reduce.worst(far[:, None], column, count)[:, 0]


def _others(others: Others, columns: reduce.Columns) -> tuple[str, dict[str, reduce.Doubles]] | None:
    """Median, 5 % and 95 % within each column, or None where there is no finite value at all."""
    found = np.full((3, len(columns)), np.nan)
    for i, values in enumerate(_by_column(others.steps, others.values, columns)):
        if values.size:
            found[:, i] = np.percentile(values, (50, 5, 95))
    if np.isnan(found).all():
        return None
    return others.title, {"median_f32": found[0], "low_f32": found[1], "high_f32": found[2]}


def _by_column(steps: Steps, values: NDArray[np.floating[Any]], columns: reduce.Columns) -> list[NDArray[Any]]:
    edges = np.searchsorted(columns.of(steps), np.arange(len(columns) + 1))
    parts = (values[edges[i] : edges[i + 1]] for i in range(len(columns)))
    return [part[np.isfinite(part)] for part in parts]
