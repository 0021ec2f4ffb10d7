"""Layers × steps: one statistic of every layer, a column for a few or for many records."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.derive import Statistic
from tb_nnhealth.findings import json_number
from tb_nnhealth.history import Run, Steps
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import f32
from tb_nnhealth.plugin.layers import Layered, Part
from tb_nnhealth.plugin.tables import LayerTables

CELLS = 150_000
"""Cells of one reply, 800 kB: more layers get fewer columns."""
COLUMNS_LEAST = 16
LAYERS_MOST = CELLS // COLUMNS_LEAST
SPANS_MOST = 20_000
"""Stretches of neutral or non-finite cells in one reply."""


def heatmap(
    run: Run | LayerTables, statistic: Statistic, *, start: int | None = None, end: int | None = None, limit: int = 400
) -> dict[str, Any]:
    """The worst values of ``statistic`` in at most ``limit`` columns over the steps from ``start`` to ``end``."""
    tables = run if isinstance(run, LayerTables) else LayerTables(run)
    table = tables.of(statistic)
    layers = table.layers
    shown = layers[:LAYERS_MOST]
    parts = [_within(part, start, end) for part in table.parts]
    limit = min(limit, max(COLUMNS_LEAST, CELLS // max(1, len(shown))))
    columns = reduce.columns([part.steps for part in parts if part.layers], limit)
    values = np.full((len(layers), len(columns)), np.nan, np.float32)
    settled = np.zeros(values.shape, bool)
    worst: list[dict[str, Any] | None] = []
    row = 0
    for part in parts:
        rows = slice(row, row + len(part.layers))
        values[rows], settled[rows] = _cells(part, columns)
        worst += _worst(part)
        row += len(part.layers)
    return {
        "statistic": statistic.id,
        "layers": [layer.name for layer in shown],
        "layers_left_out": len(layers) - len(shown),
        "healthy": [json_number(edge) for edge in table.band],
        "steps": columns.spans(),
        "records": max((len(part.steps) for part in parts if part.layers), default=0),
        "values_f32": f32(values[: len(shown)]),
        "worst": worst[: len(shown)],
        "neutral": _neutral(settled[: len(shown)], columns),
        "non_finite": _non_finite(tables, table, columns, start, end, len(shown)),
    }


def _within(part: Part, start: int | None, end: int | None) -> Part:
    kept = within(part.steps, start, end)
    if kept.all():
        return part
    return Part(part.layers, part.steps[kept], part.values[kept], part.far[kept], part.settled[kept])


def within(steps: Steps, start: int | None, end: int | None) -> NDArray[np.bool_]:
    """Which of ``steps`` lie from ``start`` to ``end``, both included; None is open."""
    kept = np.ones(len(steps), bool)
    if start is not None:
        kept &= steps >= start
    if end is not None:
        kept &= steps <= end
    return kept


def _cells(part: Part, columns: reduce.Columns) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values and neutral cells of one watch, shape (layers, columns)."""
    at = reduce.worst(part.far, columns.of(part.steps), len(columns))
    filled = at >= 0
    take = (np.where(filled, at, 0), np.arange(len(part.layers)))
    if not len(part.steps):
        return np.full(at.T.shape, np.nan, np.float32), np.zeros(at.T.shape, bool)
    values = np.where(filled, part.values[take], np.nan).astype(np.float32)
    return values.T, (filled & part.settled[take]).T


def _worst(part: Part) -> list[dict[str, Any] | None]:
    """Each layer's worst record, neutral ones aside."""
    if not len(part.steps):
        return [None] * len(part.layers)
    at = np.argmax(part.far, axis=0)
    of = np.arange(len(at))
    values = part.values[at, of]
    numbers = values.tolist() if np.isfinite(values).all() else [json_number(value) for value in values.tolist()]
    found = zip(numbers, part.steps[at].tolist(), (part.far[at, of] > reduce.SETTLED).tolist(), strict=True)
    return [{"value": value, "step": step} if counts else None for value, step, counts in found]


def _neutral(settled: NDArray[np.bool_], columns: reduce.Columns) -> list[list[int]]:
    """[layer index, first step, last step] of each stretch of columns that mean nothing."""
    edges = columns.spans()
    bordered = np.zeros((settled.shape[0], settled.shape[1] + 2), np.int8)
    bordered[:, 1:-1] = settled
    layers, turns = np.nonzero(np.diff(bordered, axis=1))  # each stretch turns up, then down, in the row of its layer
    stretches = zip(layers[::2].tolist(), turns[::2].tolist(), turns[1::2].tolist(), strict=True)
    return [[i, edges[first][0], edges[end - 1][1]] for i, first, end in itertools.islice(stretches, SPANS_MOST)]


def _non_finite(
    tables: LayerTables, table: Layered, columns: reduce.Columns, start: int | None, end: int | None, rows: int
) -> list[list[int]]:
    """[layer index, first step, last step] of non-finite values in a layer's output, gradients or parameters.

    Stretches that share a column or lie in neighbouring ones are one.
    """
    found: list[list[int]] = []
    row = 0
    for part, history in zip(table.parts, tables.run.watches.values(), strict=True):
        steps = history.steps
        kept = within(steps, start, end)
        for i, layer in enumerate(part.layers):
            bad = tables.non_finite.get(layer.name)
            if bad is not None and row + i < rows and len(ill := steps[kept & bad]):
                found += [[row + i, *stretch] for stretch in _stretches(ill, columns)]
        row += len(part.layers)
    return found[:SPANS_MOST]


def _stretches(ill: Steps, columns: reduce.Columns) -> list[tuple[int, int]]:
    breaks = np.flatnonzero(np.diff(columns.of(ill)) > 1)
    firsts = ill[np.concatenate(([0], breaks + 1))]
    lasts = ill[np.concatenate((breaks, [len(ill) - 1]))]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]
