"""A finding as the curve of one kind of row: what was captured of the batch, of numbers and of ranks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.derive import BY_ID
from tb_nnhealth.history import History, Run, Table
from tb_nnhealth.plugin.curves import OTHER_LAYERS, Curve, Others

Finding = Mapping[str, Any]
Values = NDArray[np.float64]
_BATCH = tuple(f"{kind}." for kind in (schema.INPUT, schema.PREDICTION, schema.TARGET))
_ABSOLUTE, _RANGE = "largest absolute value", "range"


@dataclass(frozen=True)
class Rows:
    """A column of the rows of one kind. ``column`` is of the schema, or made of minimum and maximum."""

    kind: str
    column: str
    title: str
    unit: str
    scale: str = "linear"
    row: str = ""
    """The row where the finding's subject names none; where there is no such row either, all rows count."""
    judged: bool = False
    """Whether the rule compared these very numbers with its limit."""
    over_rows: Callable[..., Any] = np.nanmedian


def of_rows(run: Run, finding: Finding) -> Curve | None:
    """The curve of a finding whose rule measured something of ``ROWS``: of the first rows that hold a value."""
    for rows in ROWS.get(finding["evidence"]["statistic"], ()):
        for prefix, history in run.histories():
            if finding["subject"].startswith(prefix) or finding["subject"] in ("", prefix.rstrip(".")):
                curve = _curve(history, rows, finding, finding["subject"].removeprefix(prefix))
                if curve is not None:
                    return curve
    return None


def _curve(history: History, rows: Rows, finding: Finding, subject: str) -> Curve | None:
    table = _table(history, rows)
    values = table.values.astype(np.float64)
    if not np.isfinite(values).any():
        return None
    own = _own(table, rows, subject)
    rest = [i for i in range(len(table.subjects)) if i != own]
    shown = _over_rows(values, rows.over_rows) if own is None else values[:, own]
    if not np.isfinite(shown).any():
        return None
    judged = finding["evidence"]
    others = Others("others", table.steps, values[:, rest]) if rest else None
    if others and rows.kind in (*schema.PARAMETER_KINDS, *schema.MODULE_KINDS):
        others = Others(OTHER_LAYERS, others.steps, others.values)
    if not rows.judged:
        return Curve(rows.title, rows.unit, rows.scale, table.steps, shown, others=others)
    return Curve(
        rows.title, judged["unit"], rows.scale, table.steps, shown, judged["healthy"], judged["limit"], others
    )  # fmt: skip


def _table(history: History, rows: Rows) -> Table:
    if rows.column not in (_ABSOLUTE, _RANGE):
        return history.table(rows.kind, rows.column)
    least, most = (history.table(rows.kind, name) for name in (schema.MIN, schema.MAX))
    together = np.maximum(-least.values, most.values) if rows.column == _ABSOLUTE else most.values - least.values
    return Table(least.subjects, least.steps, together)


def _own(table: Table, rows: Rows, subject: str) -> int | None:
    """Place of the row that the subject names, by itself or as ``input.NAME`` or ``rank NUMBER``."""
    named = next((subject.removeprefix(kind) for kind in _BATCH if subject.startswith(kind)), subject)
    for name in (subject, named, subject.removeprefix("rank "), rows.row):
        if name in table.subjects:
            return table.subjects.index(name)
    return 0 if len(table.subjects) == 1 else None


def _over_rows(values: Values, function: Callable[..., Any]) -> Values:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # records in which no row was measured
        return np.asarray(function(values, axis=1), np.float64)


def total_gradient(run: Run, finding: Finding) -> Curve | None:
    """The norm of all gradients of the watch together."""
    for prefix, history in run.histories():
        if finding["subject"].startswith(prefix):
            norms = BY_ID["gradient-norm"].table(history)
            with np.errstate(over="ignore"):
                total = np.sqrt(np.nansum(norms.values.astype(np.float64) ** 2, axis=1))
            judged = finding["evidence"]
            return Curve(
                "Norm of all gradients", judged["unit"], "log", norms.steps, total, judged["healthy"], judged["limit"]
            )  # fmt: skip
    return None


_LABELS = (
    Rows(schema.LABELS, schema.MEAN, "Share of the most frequent class in the batch", "share", "share", "majority"),
    Rows(schema.CLASS, schema.MEAN, "Share of a class in the batch", "share", "share"),
)
_BIAS = (Rows(schema.WEIGHT, schema.RMS, "RMS of the bias", "1", "log"),)
ROWS: Mapping[str, tuple[Rows, ...]] = {
    "records of a parameter that is not registered": (
        Rows(schema.STRAY, schema.MEAN, "Unregistered and unchanged since it was first seen", "1 where unchanged"),
    ),
    "records_with_carried_gradients": (
        Rows(schema.CARRIED, schema.MEAN, "Gradients carried over from the step before", "1 where carried"),
    ),
    "prediction_spread_over_samples": (
        Rows(schema.SPREAD, schema.MEAN, "Spread of the predictions over samples", "1", "log", schema.PREDICTION),
        Rows(schema.PREDICTION, schema.STD, "Standard deviation of the predictions", "1", "log"),
    ),
    "share_of_weights_without_requires_grad": (Rows(schema.WEIGHT, schema.RMS, "RMS of the weight", "1", "log"),),
    "initial_rms": (Rows(schema.WEIGHT, schema.RMS, "RMS of the weight", "1", "log", judged=True),),
    "bias_relative_to_usual": _BIAS,
    "targets_mean_over_std": _BIAS,
    "smoothness": (Rows(schema.SMOOTHNESS, schema.MEAN, "Smoothness of the filters", "1", judged=True),),
    "largest_absolute_value": (
        Rows(schema.ACTIVATION, _ABSOLUTE, "Largest absolute value", "1", "log", judged=True),
        Rows(schema.GRADIENT, _ABSOLUTE, "Largest absolute value", "1", "log", judged=True),
    ),
    "share_of_zeros": (
        Rows(schema.ACTIVATION_GRADIENT, schema.ZERO_SHARE, "Zeros in the gradient", "share", "share", judged=True),
        Rows(schema.GRADIENT, schema.ZERO_SHARE, "Zeros in the gradient", "share", "share", judged=True),
    ),
    "share_without_change": (
        Rows(schema.UPDATE, schema.ZERO_SHARE, "Elements without change", "share", "share", judged=True),
    ),
    "loss_scale": (Rows(schema.LOSS_SCALE, schema.MEAN, "Loss scale", "1", "log", judged=True),),
    "skipped_steps": (Rows(schema.LOSS_SCALE, schema.MEAN, "Loss scale", "1", "log"),),
    "change of the predictions on a fixed batch": (
        Rows(schema.PROBE, schema.MEAN, "Change of the predictions on a fixed batch", "1", judged=True),
    ),
    "range of the input": (Rows(schema.INPUT, _RANGE, "Range of the input", "1", judged=True),),
    "spread over the batch : std of the input": (
        Rows(schema.SPREAD, schema.MEAN, "Spread of the input over the batch", "1", row=schema.INPUT),
    ),
    "batches equal to the one before": (
        Rows(schema.REPEATED, schema.MEAN, "Batches that came before", "1 where repeated"),
    ),
    "batches equal to rank 0's": (Rows(schema.RANK_BATCH, schema.MEAN, "Batches equal to rank 0's", "1 where equal"),),
    "distance of the means : standard deviation": (
        Rows(schema.EVALUATION_INPUT, schema.MEAN, "Mean of the input in evaluation", "input's unit"),
    ),
    "ratio of the standard deviations": (
        Rows(schema.EVALUATION_INPUT, schema.STD, "Standard deviation of the input in evaluation", "input's unit"),
    ),
    "batches of one class": _LABELS,
    "correlation of the classes of two samples of a batch": _LABELS,
    "correlation of the classes of neighbouring batches": _LABELS,
    "share of the most frequent class": _LABELS,
    "most frequent : rarest class": _LABELS,
    "samples for each class": (
        Rows(schema.SEEN, schema.MEAN, "Samples of the batch that came before", "share of samples", "share"),
    ),
    "batch : noise scale": (Rows(schema.NOISE_SCALE, schema.MEAN, "Noise scale, median of layers", "samples", "log"),),
    "predictions that are log-probabilities": (
        Rows(schema.LOG_PROBABILITY, schema.MEAN, "Predictions that are log-probabilities", "share", "share",
             judged=True),
        Rows(schema.PREDICTION, schema.MAX, "Greatest prediction", "1"),
    ),
    "greatest prediction": (Rows(schema.PREDICTION, schema.MAX, "Greatest prediction", "1", judged=True),),
    "parameters unlike rank 0's": (
        Rows(schema.RANK_WEIGHTS, schema.MEAN, "Parameters unlike rank 0's", "share", "share", judged=True,
             over_rows=np.nanmax),
    ),
}  # fmt: skip
"""By ``evidence.statistic``; of several the first that was recorded."""
