"""A finding as a curve of a row that belongs to no layer's statistic: inputs, predictions, modes, copies, ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.derive import BY_ID, non_finite_share
from tb_nnhealth.history import History, Run, Steps, Table
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.curves import Curve, Others, of_layers, other_layers
from tb_nnhealth.plugin.layers import layered, prefix_of
from tb_nnhealth.plugin.recorded_rows import of_rows, total_gradient

Finding = Mapping[str, Any]
OF_THE_MODEL = (schema.INPUT, schema.PREDICTION, schema.TARGET, schema.LOSS)
"""Kinds whose name, with that of the row, is the subject."""


def of_record(run: Run, finding: Finding) -> Curve | None:
    """The curve of a finding whose rule measured something of ``CURVES`` or of ``ROWS``, else None."""
    curve = CURVES.get(finding["evidence"]["statistic"])
    return of_rows(run, finding) if curve is None else curve(run, finding)


def _input_scale(run: Run, finding: Finding) -> Curve | None:
    row = _row(run, finding, schema.INPUT, schema.RMS)
    return row and _judged(finding, "RMS of the input", "log", *row)


def _input_offset(run: Run, finding: Finding) -> Curve | None:
    mean = _row(run, finding, schema.INPUT, schema.MEAN)
    std = _row(run, finding, schema.INPUT, schema.STD)
    if mean is None or std is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.abs(mean[1]) / std[1]
    return _judged(finding, "|mean| : std of the input", "linear", mean[0], offset)


def _probabilities(run: Run, finding: Finding) -> Curve | None:
    """The share of predictions that are probabilities; for a sigmoid, whose share nobody counts, their range."""
    share = _row(run, finding, schema.PREDICTION, schema.PROBABILITY_SHARE)
    if share is not None and finding["evidence"]["unit"] == "share of samples":
        return _judged(finding, "Predictions that are probabilities", "share", *share)
    rows = [_row(run, finding, schema.PREDICTION, name) for name in (schema.MEAN, schema.MIN, schema.MAX)]
    if any(row is None for row in rows):
        return None
    (steps, mean), (_, low), (_, high) = (row for row in rows if row is not None)
    return Curve("Predictions, mean and range", "1", "linear", steps, mean, range=(low, high))


def _train_mode(run: Run, finding: Finding) -> Curve | None:
    for history in _watches(run, finding):
        modes = history.table(schema.MODE, schema.MEAN)
        seen = np.isfinite(modes.values)
        if seen.any():
            with np.errstate(invalid="ignore"):
                share = np.where(seen, modes.values, 0).sum(axis=1) / seen.sum(axis=1)
            return _judged(finding, "Modules in train mode", "share", modes.steps, share.astype(np.float64))
    return None


def _evaluations(run: Run, finding: Finding) -> Curve | None:
    for history in _watches(run, finding):
        counts = history.table(schema.EVALUATION, schema.MEAN)
        if {"train", "eval"} <= set(counts.subjects):
            in_train, in_eval = (_column(counts, name) for name in ("train", "eval"))
            others = Others("in evaluation mode", counts.steps, in_eval)
            title = "Forwards without gradients, in train mode"
            return _judged(finding, title, "linear", counts.steps, in_train, others)
    return None


def _copies(run: Run, finding: Finding) -> Curve | None:
    for prefix, history in run.histories():
        copied = history.table(schema.WEIGHT, schema.COPIED_SHARE)
        if finding["subject"] in {prefix + name for name in copied.subjects}:
            name = finding["subject"][len(prefix) :]
            rest = [i for i, other in enumerate(copied.subjects) if other != name]
            others = Others("other weights", copied.steps, copied.values[:, rest]) if rest else None
            return _judged(finding, "Units that are copies", "share", copied.steps, _column(copied, name), others)
    return None


def _rank_seconds(run: Run, finding: Finding) -> Curve | None:
    for prefix, history in run.histories():
        seconds = history.table(schema.RANK_SECONDS, schema.MEAN)
        rank = finding["subject"].removeprefix(prefix).removeprefix("rank ")
        if rank in seconds.subjects and len(seconds) > 1:
            rest = [i for i, other in enumerate(seconds.subjects) if other != rank]
            others = np.ma.masked_invalid(seconds.values[:, rest].astype(np.float64))
            usual = np.ma.median(others, axis=1).filled(np.nan)  # type: ignore[no-untyped-call]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = _column(seconds, rank) / usual
            return _judged(finding, "Seconds of the rank : of the others", "log", seconds.steps, ratio)
    return None


def _absent_gradient(run: Run, finding: Finding) -> Curve | None:
    """Norm of the gradient, 0 where the parameter is there and had none; of the model where all had none."""
    table = layered(run, BY_ID["gradient-norm"])
    for part, (watch, history) in zip(table.parts, run.watches.items(), strict=True):
        prefix = prefix_of(run, watch)
        weights = history.table(schema.WEIGHT, schema.RMS)
        if finding["subject"] in ("", prefix.rstrip(".")):
            whole = np.sqrt(np.nansum(np.square(table.statistic.table(history).values, dtype=np.float64), axis=1))
            return Curve(table.statistic.title, table.statistic.unit, table.statistic.scale, history.steps, whole)
        name = finding["subject"].removeprefix(prefix)
        if not finding["subject"].startswith(prefix) or name not in weights.subjects:
            continue
        norm = table.statistic.table(history)
        own = _column(norm, name) if name in norm.subjects else np.full(len(norm.steps), np.nan)
        own = np.where(np.isnan(own) & np.isfinite(_column(weights, name)), 0.0, own)
        layers = [i for i, layer in enumerate(part.layers) if layer.name in finding["layers"]]
        title, unit = table.statistic.title, table.statistic.unit
        return Curve(title, unit, table.statistic.scale, weights.steps, own, others=other_layers(part, layers))
    return None


def _weight_growth(run: Run, finding: Finding) -> Curve | None:
    return of_layers(run, finding, "weight-norm")


def _bad_share(run: Run, finding: Finding) -> Curve | None:
    """NaN and Inf in what goes into the model or comes out of it."""
    for kind in OF_THE_MODEL:
        for prefix, history in run.histories():
            shares = non_finite_share(history, kind)
            for name in shares.subjects:
                if finding["subject"] == _subject(prefix, kind, name):
                    statistic = BY_ID["non-finite"]
                    steps, values = shares.steps, _column(shares, name)
                    return Curve(statistic.title, statistic.unit, statistic.scale, steps, values, healthy=[0, 0])
    return None


CURVES: Mapping[str, Callable[[Run, Finding], Curve | None]] = {
    "RMS of the input": _input_scale,
    "|mean| : std": _input_offset,
    "predictions that are probabilities": _probabilities,
    "modules in train mode": _train_mode,
    "forwards without gradients in train mode": _evaluations,
    "copied_units": _copies,
    "total_gradient_norm": total_gradient,
    "seconds of the rank : of the others": _rank_seconds,
    "records_without_gradient": _absent_gradient,
    "weight_growth": _weight_growth,
    "non-finite elements": _bad_share,
}
"""By ``evidence.statistic``."""


def _judged(
    finding: Finding, title: str, scale: str, steps: Steps, values: reduce.Doubles, others: Others | None = None
) -> Curve:
    judged = finding["evidence"]
    return Curve(title, judged["unit"], scale, steps, values, judged["healthy"], judged["limit"], others)


def _watches(run: Run, finding: Finding) -> Iterator[History]:
    """The watch that a finding about a watch as a whole names, first the others' where it names none."""
    for prefix, history in run.histories():
        if finding["subject"] in ("", prefix.rstrip(".")):
            yield history


def _row(run: Run, finding: Finding, kind: str, statistic: str) -> tuple[Steps, reduce.Doubles] | None:
    """Steps and values of the row of ``kind`` that the finding is about, where any value was measured."""
    for prefix, history in run.histories():
        table = history.table(kind, statistic)
        for name in table.subjects:
            values = _column(table, name)
            if finding["subject"] == _subject(prefix, kind, name) and np.isfinite(values).any():
                return table.steps, values
    return None


def _subject(prefix: str, kind: str, name: str) -> str:
    return f"{prefix}{kind}.{name}" if name else prefix + kind


def _column(table: Table, subject: str) -> reduce.Doubles:
    return table.values[:, table.subjects.index(subject)].astype(np.float64)
