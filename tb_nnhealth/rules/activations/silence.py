"""Which units of rectified layers were silent, record by record."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.evidence.weights import aligned

RECTIFIERS = ("ReLU", "ReLU6", "Threshold")
RECTIFYING = ("relu", "relu6", "threshold")
CHANNELS_FIRST = 4
"""Dimensions from which an output's units are its second dimension; below, its last."""
ALL = 0.999


def rectified(history: History) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Rectified modules in forward order, their units, and the samples seen per unit in ``SILENCE_WINDOW`` steps."""
    rows = {history.layout.rows[i].subject: history.layout.rows[i] for i in history.rows(schema.ACTIVATION)}
    subjects, units, samples = [], [], []
    for module in history.layout.modules:
        row = rows.get(module.name)
        if row is None or len(row.shape) < 2 or not (module.type in RECTIFIERS or module.nonlinearity in RECTIFYING):
            continue
        width = row.shape[1] if len(row.shape) >= CHANNELS_FIRST else row.shape[-1]
        subjects.append(module.name)
        units.append(width)
        samples.append(math.prod(row.shape) // max(1, width) * schema.SILENCE_WINDOW)
    return tuple(subjects), np.array(units, np.int64), np.array(samples, np.int64)


def silent_share(history: History, subjects: tuple[str, ...]) -> NDArray[np.float32]:
    """Share of units silent for the whole window, shape (records, subjects), NaN where it cannot be told.

    From the output of a rectifier; else from the gradient, unless a layer behind lets none through.
    """
    output, gradient = (history.table(kind, schema.SILENT_SHARE) for kind in schema.MODULE_KINDS)
    of_output = {subject: i for i, subject in enumerate(output.subjects)}
    of_gradient = {subject: i for i, subject in enumerate(gradient.subjects)}
    order = [module.name for module in history.layout.modules]
    types = {module.name: module.type for module in history.layout.modules}
    place = {subject: i for i, subject in enumerate(subjects)}
    share = np.full((len(history), len(subjects)), np.nan, np.float32)
    last = next((name for name in reversed(order) if name in of_gradient), None)
    arrives = np.zeros(len(history), bool)
    if last is not None:
        arrives = np.nan_to_num(gradient.values[:, of_gradient[last]], nan=1.0) < 0.5
    blocked = np.zeros(len(history), bool)
    for name in reversed(order):
        rectifier = types[name] in RECTIFIERS
        if rectifier:
            silent = output.values[:, of_output[name]] if name in of_output else None
        else:
            silent = gradient.values[:, of_gradient[name]] if name in of_gradient else None
        if silent is None:
            continue
        if name in place:
            told = silent
            if not rectifier:
                told = np.where(arrives & ~(blocked & (silent > ALL)), silent, np.nan)
            share[:, place[name]] = told
        blocked |= np.nan_to_num(silent) > ALL
    return share


def silent_altogether(history: History, subjects: tuple[str, ...]) -> NDArray[np.bool_]:
    """Records in which a ReLU lets nothing through, shape (records, subjects): all of what comes out of it is zero.

    Or, where it is applied as a function, nothing that goes into it is above zero.
    """
    types = {module.name: module.type for module in history.layout.modules}
    zeros = aligned(history.table(schema.ACTIVATION, schema.ZERO_SHARE), subjects)
    largest = aligned(history.table(schema.ACTIVATION, schema.MAX), subjects)
    broken = aligned(history.table(schema.ACTIVATION, schema.NAN_COUNT), subjects) > 0
    module = np.array([types[name] in RECTIFIERS for name in subjects], bool)
    return np.asarray(np.where(module, zeros == 1, largest <= 0) & ~broken, bool)


def samples_are_one(history: History) -> NDArray[np.bool_]:
    """Records in which every sample of the batch has exactly the same prediction, shape (records,)."""
    spread = aligned(history.table(schema.SPREAD, schema.MEAN), ("prediction",))
    return np.asarray(spread[:, 0] == 0)
