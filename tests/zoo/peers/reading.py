"""What the peers' criteria look at, read from a recorded run as the tools would read it from a training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.derive import norm
from tb_nnhealth.history import History, Run, Series, Table
from tb_nnhealth.phases import Phase
from tb_nnhealth.rules.evidence.tags import main_loss, series_of

Values = NDArray[np.float64]
SECTIONS = 20
"""Epochs into which a training is cut where no validation marks them: the tools look at the end of each."""


def histories(run: Run) -> Iterator[History]:
    for _, history in run.histories():
        if len(history):
            yield history


def loss(run: Run, phase: Phase) -> Series | None:
    found = main_loss(run, phase)
    return None if found is None else found[1]


def accuracy(run: Run, phase: Phase) -> Series | None:
    return next((series for _, series in series_of(run, "accuracy", phase)), None)


def epochs(run: Run) -> Values:
    """Steps at which epochs end: those of the validation loss, or ``SECTIONS`` even sections."""
    validated, trained = loss(run, "val"), loss(run, "train")
    if validated is not None and len(validated) >= 3:
        return validated.steps.astype(np.float64)
    if trained is None or len(trained) < SECTIONS:
        return np.empty(0)
    return np.linspace(trained.steps[0], trained.steps[-1], SECTIONS + 1)[1:]


def by_epoch(series: Series | None, ends: Values) -> Values:
    """Mean of the points of each epoch, as Keras tells it; NaN where an epoch has none."""
    if series is None or not len(ends):
        return np.empty(0)
    bounds = np.concatenate([[-np.inf], ends])
    sections = [series.values[(series.steps > a) & (series.steps <= b)] for a, b in pairwise(bounds)]
    return np.array([section.mean() if len(section) else np.nan for section in sections])


def non_finite(values: Values) -> bool:
    return bool((~np.isfinite(values)).any()) if len(values) else False


def matrices(history: History, kind: str, statistic: str) -> Table:
    """A statistic of the trained weight matrices and filters, in the order of the layers."""
    table = norm(history, kind) if statistic == "norm" else history.table(kind, statistic)
    trained = {parameter.name for parameter in history.layout.parameters if parameter.trainable}
    rows = history.rows(kind)
    shown = [
        place
        for place, name in enumerate(table.subjects)
        if name in trained and len(history.layout.rows[rows[place]].shape) > 1
    ]
    return Table(tuple(table.subjects[place] for place in shown), table.steps, table.values[:, shown])


def any_bad(history: History, *kinds: str) -> bool:
    """Whether NaN or infinity was counted in any tensor of these kinds."""
    return any(
        bool((history.table(kind, statistic).values > 0).any())
        for kind in kinds
        for statistic in (schema.NAN_COUNT, schema.INF_COUNT)
    )


def activations_before(history: History, *functions: str) -> Iterator[tuple[Any, int]]:
    """Modules whose outputs such a function consumes or makes, with their columns in the tables of activations."""
    place = {name: i for i, name in enumerate(history.subjects(schema.ACTIVATION))}
    for module in history.layout.modules:
        if module.name in place and module.nonlinearity in functions:
            yield module, place[module.name]


def modules_of(history: History, *types: str) -> Iterator[tuple[Any, int]]:
    """Modules of these classes, with their columns in the tables of activations."""
    place = {name: i for i, name in enumerate(history.subjects(schema.ACTIVATION))}
    for module in history.layout.modules:
        if module.name in place and module.type in types:
            yield module, place[module.name]


def absolute_mean(table_rms: Table) -> NDArray[np.float32]:
    """Mean of absolute values, from the root mean square: √(2/π) of it for a normal distribution, and never more."""
    return table_rms.values * np.float32(np.sqrt(2 / np.pi))


def looks(history: History, count: int = SECTIONS) -> NDArray[np.intp]:
    """Records at which a tool would look that looks once an epoch, the last among them."""
    return np.unique(np.linspace(0, len(history) - 1, min(count, len(history)) + 1).astype(np.intp)[1:])


def share_from_one(history: History, subject: str) -> Values:
    """Share of a module's outputs of at least 1 in magnitude, by histogram."""
    _, counts = history.histograms(schema.ACTIVATION, subject)
    counted = counts[counts.sum(axis=1) > 0]
    return counted[:, 1 - schema.EXPONENT_LOW : -1].sum(axis=1) / counted.sum(axis=1)
