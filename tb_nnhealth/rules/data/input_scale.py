"""The scale of what a model is given: of its features, not of masks, states, counts or a time beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History

SPARSE = 0.9
SMALL_BESIDE = 0.1
"""An input with fewer elements than this share of the largest one, and one number a sample, is no set of features."""
MASK = -1e4


@dataclass(frozen=True)
class Scale:
    """Statistics of the inputs judged, each of shape (records, inputs)."""

    rows: list[int]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    rms: NDArray[np.float64]


def scale_of(history: History) -> Scale:
    """The statistics of those inputs that hold dense features."""
    rows = history.rows(schema.INPUT)
    tables = {name: history.table(schema.INPUT, name).values.astype(np.float64) for name in schema.STATISTICS}
    elements = [int(np.prod(history.layout.rows[row].shape, dtype=np.int64)) for row in rows]
    cells = any("LSTM" in module.type for module in history.layout.modules)
    kept = []
    for i, row in enumerate(rows):
        layout = history.layout.rows[row]
        zeros, low, high = (tables[name][:, i] for name in (schema.ZERO_SHARE, schema.MIN, schema.MAX))
        if not layout.dtype.startswith(("float", "bfloat", "complex")) or np.isnan(tables[schema.RMS][:, i]).all():
            continue
        one = np.prod(layout.shape[1:], dtype=np.int64) <= 1
        beside = one and (elements[i] < SMALL_BESIDE * max(elements) or (i > 0 and not _taken(history)))
        mask = (np.nan_to_num(high, nan=1.0) <= 0).all() and (np.nan_to_num(low) < MASK).any()
        sparse = (np.nan_to_num(zeros) > SPARSE).mean() > 0.5
        if not beside and not mask and not sparse and not (cells and _cell_state(i, history, tables)):
            kept.append(i)
    return Scale([rows[i] for i in kept], *(tables[name][:, kept] for name in (schema.MEAN, schema.STD, schema.RMS)))


def _cell_state(column: int, history: History, tables: dict[str, NDArray[np.float64]]) -> bool:
    """Whether this input stands behind one of its shape within ±1, in a tuple of their own: (h, c) of an LSTM.

    The hidden state is a product of a sigmoid and a tanh; the cell state is a sum that nothing bounds.
    """
    inputs = [history.layout.rows[row] for row in history.rows(schema.INPUT)]
    pair, _, place = inputs[column].subject.rpartition(".")
    hidden = next((i for i, row in enumerate(inputs) if pair and place == "1" and row.subject == f"{pair}.0"), None)
    if hidden is None or list(inputs[hidden].shape) != list(inputs[column].shape):
        return False
    low, high = (tables[name][:, hidden] for name in (schema.MIN, schema.MAX))
    return bool((np.nan_to_num(low) >= -1).all() and (np.nan_to_num(high) <= 1).all())


def _taken(history: History) -> bool:
    """Whether a weight matrix may take one number a sample as it is: alone, or beside the features of the first input.

    A time that goes through sines and cosines first is on no scale that a layer was initialized for.
    """
    rows = [history.layout.rows[row] for row in history.rows(schema.INPUT)]
    features = rows[0].shape[-1] if rows[0].shape else 1
    widths = {int(p.fan_in) for p in history.layout.parameters if len(p.shape) > 1}
    return bool(widths & {1, features + 1, features + len(rows) - 1})
