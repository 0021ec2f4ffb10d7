"""Cells to which a statistic's healthy band does not apply: they are drawn as healthy, whatever their value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.derive import Band, Statistic
from tb_nnhealth.history import History, Table
from tb_nnhealth.plugin.limits import options_of

UPDATE_RATIO = "update-ratio"
OF_MATRICES = (UPDATE_RATIO, "gradient-norm")
"""Statistics whose band is that of weight matrices: vectors start at 0 or 1, and their ratio to that means nothing."""
TOO_HIGH = "update-ratio-too-high"
EMBEDDINGS = ("Embedding", "EmbeddingBag")
"""Their rows are parameters, initialized at any scale; the bands of activations are those of computed outputs."""

Mask = NDArray[np.bool_]


def neutral(history: History, table: Table, statistic: Statistic, band: Band) -> Mask:
    """Where ``band`` says nothing about the values of ``table``, shape (records, subjects)."""
    result = np.zeros(table.values.shape, bool)
    if statistic.id in OF_MATRICES:
        vectors = {p.name for p in history.layout.parameters if len(p.shape) < 2}
        result |= _among(table.subjects, vectors)
    if statistic.id == "activation-std":
        result |= _among(table.subjects, {m.name for m in history.layout.modules if m.type in EMBEDDINGS})
    if statistic.id == UPDATE_RATIO:
        result |= _held_down(history, table, band) | _opening(history, table, band)
    return result


def _among(subjects: Sequence[str], names: set[str]) -> Mask:
    return np.array([subject in names for subject in subjects], bool)


def _opening(history: History, table: Table, band: Band) -> Mask:
    """The first steps, in which an adaptive optimizer goes further than later; the rule does not judge them either.

    Ratios beyond the rule's limit show even then.
    """
    options = options_of(history, TOO_HIGH)
    if options is None or not len(table.steps):
        return np.zeros(table.values.shape, bool)
    opening = table.steps < table.steps[0] + options["opening"]
    with np.errstate(invalid="ignore"):
        return np.asarray(opening[:, None] & (table.values > band[1]) & (table.values <= options["max"]))


def _held_down(history: History, table: Table, band: Band) -> Mask:
    """Update : weight ratios below the band of a parameter that is frozen, or whose learning rate is held down.

    The latter would reach the band at the greatest learning rate of its group: a warm-up or a schedule is at work,
    and at a learning rate of zero nothing moves.
    """
    parameters = {parameter.name: parameter for parameter in history.layout.parameters}
    known = [(i, parameters[subject]) for i, subject in enumerate(table.subjects) if subject in parameters]
    result = np.zeros(table.values.shape, bool)
    result[:, [i for i, parameter in known if not parameter.trainable]] = True
    rates = history.table(schema.LEARNING_RATE, schema.MEAN)
    for column, group in enumerate(rates.subjects):
        at = [i for i, p in known if p.trainable and f"{p.optimizer}.{p.group}" == group]
        rate = rates.values[:, [column]].astype(np.float64)
        peak = np.max(rate, initial=0.0, where=np.isfinite(rate))
        held = rate[:, 0] < peak
        if not at or not held.any():
            continue
        cells = np.ix_(held, np.array(at))
        ratio = table.values[cells].astype(np.float64)
        with np.errstate(invalid="ignore"):
            result[cells] = (ratio < band[0]) & ((rate[held] == 0) | (ratio * peak >= band[0] * rate[held]))
    return result
