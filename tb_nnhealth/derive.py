"""The statistics that panel and rules speak of, derived from the columns of the record.

Each is one pure function from a History to a Table, with its unit, the kind of scale it is drawn
on, and the band in which it usually lies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, History, Table

Scale = Literal["log", "share", "symlog", "relative"]
Band = tuple[float, float]

UPDATE_RATIO_HEALTHY: Band = (2e-4, 2e-2)
"""About 1e-3 (CS231n), and up to an order of magnitude more under Adam in a small network."""

ACTIVATION_STD_HEALTHY: Band = (0.03, 30)
"""A layer's output keeps the scale of its input; residual branches of a healthy transformer start at 0.03."""


ATTENTION_LOGIT_HEALTHY: Band = (0.1, 100)
"""Beyond 100 softmax is a maximum; Kimi K2's QK-clip begins there (arXiv:2507.20534)."""

ATTENTION_ENTROPY_HEALTHY: Band = (0.05, 1)
"""Of the logarithm of the keys. Single heads of a trained model are sharper; half of a module's are not."""

_LEAST_ENTROPY = 1e-4


@dataclass(frozen=True)
class Statistic:
    """One statistic of the layers × steps view.

    ``scale``: "log" two-sided, "share" one-sided from 0 to 1, "symlog" signed, "relative" to its own start.
    ``healthy`` gives the band in the statistic's own unit for the tables of one history.
    """

    id: str
    title: str
    unit: str
    scale: Scale
    of: Literal["parameter", "module"]
    table: Callable[[History], Table]
    healthy: Callable[[Table], Band]


def numel(history: History, kind: str) -> Floats:
    """Elements of each row's tensor, shape (rows of the kind,)."""
    return np.array([math.prod(map(float, history.layout.rows[i].shape)) for i in history.rows(kind)], np.float32)


@np.errstate(over="ignore")  # near the end of float32 a norm is infinite
def norm(history: History, kind: str) -> Table:
    """L2 norm: rms × √numel."""
    rms = history.table(kind, schema.RMS)
    return Table(rms.subjects, rms.steps, rms.values * np.sqrt(numel(history, kind)))


def update_ratio(history: History) -> Table:
    """‖Δw‖ / ‖w‖ per optimizer step, NaN where the weights are all zero."""
    weight, update = history.table(schema.WEIGHT, schema.RMS), history.table(schema.UPDATE, schema.RMS)
    place = {subject: i for i, subject in enumerate(update.subjects)}
    aligned = np.full_like(weight.values, np.nan)
    for i, subject in enumerate(weight.subjects):
        if subject in place:
            aligned[:, i] = update.values[:, place[subject]]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(weight.values > 0, aligned / weight.values, np.nan).astype(np.float32)
    return Table(weight.subjects, weight.steps, ratio)


def relative_to_start(table: Table) -> Table:
    """Each column divided by its first measured value, NaN where that is zero."""
    measured = ~np.isnan(table.values)
    if not len(table.steps):
        return table
    first = table.values[np.argmax(measured, axis=0), np.arange(table.values.shape[1])]
    with np.errstate(divide="ignore", invalid="ignore"):
        return Table(table.subjects, table.steps, np.where(first > 0, table.values / first, np.nan).astype(np.float32))


def non_finite_share(history: History, kind: str) -> Table:
    """Share of elements that are NaN or infinite."""
    nan, inf = history.table(kind, schema.NAN_COUNT), history.table(kind, schema.INF_COUNT)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (nan.values + inf.values) / np.maximum(numel(history, kind), 1)
    return Table(nan.subjects, nan.steps, np.minimum(share, 1))


def _fixed(low: float, high: float) -> Callable[[Table], Band]:
    return lambda table: (low, high)


def _around_median(factor: float) -> Callable[[Table], Band]:
    """A band around the network's own median, for statistics that mean nothing in absolute terms."""

    def band(table: Table) -> Band:
        positive = table.values[np.isfinite(table.values) & (table.values > 0)]
        middle = float(np.median(positive)) if positive.size else 1.0
        return middle / factor, middle * factor

    return band


STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        "update-ratio", "Update : weight ratio", "per step", "log", "parameter",
        update_ratio, _fixed(*UPDATE_RATIO_HEALTHY),
    ),
    Statistic(
        "gradient-norm", "Gradient norm", "L2", "log", "parameter",
        lambda history: norm(history, schema.GRADIENT), _around_median(100),
    ),
    Statistic(
        "activation-std", "Activation std", "1", "log", "module",
        lambda history: history.table(schema.ACTIVATION, schema.STD), _fixed(*ACTIVATION_STD_HEALTHY),
    ),
    Statistic(
        "activation-mean", "Activation mean", "1", "symlog", "module",
        lambda history: history.table(schema.ACTIVATION, schema.MEAN), _fixed(-5, 5),
    ),
    Statistic(
        "dead-units", "Dead units", "share of units", "share", "module",
        lambda history: dead_units(history), _fixed(0, 0.3),
    ),
    Statistic(
        "saturated-units", "Saturated units", "share of elements", "share", "module",
        lambda history: history.table(schema.ACTIVATION, schema.SATURATED_SHARE), _fixed(0, 0.5),
    ),
    Statistic(
        "attention-logit", "Attention logit", "largest of the heads", "log", "module",
        lambda history: attention_logit(history), _fixed(*ATTENTION_LOGIT_HEALTHY),
    ),
    Statistic(
        "attention-entropy", "Attention entropy", "share of log keys, median of heads", "log", "module",
        lambda history: attention_entropy(history), _fixed(*ATTENTION_ENTROPY_HEALTHY),
    ),
    Statistic(
        "weight-norm", "Weight norm", "relative to start", "relative", "parameter",
        lambda history: relative_to_start(history.table(schema.WEIGHT, schema.RMS)), _fixed(0.5, 2),
    ),
    Statistic(
        "non-finite", "Non-finite values", "share of elements", "share", "module",
        lambda history: non_finite_share(history, schema.ACTIVATION), _fixed(0, 0),
    ),
)  # fmt: skip

BY_ID = {statistic.id: statistic for statistic in STATISTICS}


def dead_units(history: History) -> Table:
    """Share of a module's units that were silent in every one of the last measured steps.

    Silent is a unit whose output is zero (or, before a rectifier applied as a function, whose
    gradient is) for every sample; the greater of the two shares. Where no gradient at all comes back to a module
    that has positive outputs, it is a later layer that is dead.
    """
    activation = history.table(schema.ACTIVATION, schema.SILENT_SHARE)
    highest = history.table(schema.ACTIVATION, schema.MAX)
    gradient = history.table(schema.ACTIVATION_GRADIENT, schema.SILENT_SHARE)
    place = {subject: i for i, subject in enumerate(gradient.subjects)}
    values = activation.values.copy()
    for i, subject in enumerate(activation.subjects):
        if subject in place:
            silent = gradient.values[:, place[subject]]
            cut_off_later = (silent == 1) & (highest.values[:, i] > 0)
            values[:, i] = np.fmax(values[:, i], np.where(cut_off_later, np.nan, silent))
    return Table(activation.subjects, activation.steps, values)


def attention_heads(history: History, column: str) -> dict[str, Table]:
    """One column of the attention rows by module, in order; the subjects of each table are numbers of heads.

    Only the records in which attention was read.
    """
    table = history.table(schema.ATTENTION, column)
    read = np.isfinite(table.values).any(axis=1)
    at: dict[str, list[tuple[int, int]]] = {}
    for i, subject in enumerate(table.subjects):
        module, _, head = subject.rpartition(schema.HEAD_SEPARATOR)
        if head.isdigit():
            at.setdefault(module, []).append((int(head), i))
    found = {}
    for module, places in at.items():
        heads = sorted(places)
        values = table.values[read][:, [i for _, i in heads]]
        found[module] = Table(tuple(str(head) for head, _ in heads), table.steps[read], values)
    return found


def attention_logit(history: History) -> Table:
    """The largest logit of each module's heads; at least the lower edge of its band, beneath which it tells nothing."""
    return _of_heads(history, schema.MAX, np.fmax.reduce, ATTENTION_LOGIT_HEALTHY[0], np.inf)


def attention_entropy(history: History) -> Table:
    """The median over each module's heads."""
    return _of_heads(history, schema.MEAN, np.nanmedian, _LEAST_ENTROPY, ATTENTION_ENTROPY_HEALTHY[1])


def _of_heads(history: History, column: str, over: Callable[..., Floats], least: float, most: float) -> Table:
    modules = attention_heads(history, column)
    steps = next(iter(modules.values())).steps if modules else history.steps
    values = np.full((len(steps), len(modules)), np.nan, np.float32)
    for i, table in enumerate(modules.values()):
        known = np.isfinite(table.values).any(axis=1)
        place = np.searchsorted(steps, table.steps[known])
        values[place, i] = np.clip(over(table.values[known], axis=1), least, most)
    return Table(tuple(modules), steps, values)
