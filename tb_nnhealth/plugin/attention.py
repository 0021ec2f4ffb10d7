"""The attention heads of a module over the steps: largest logit and entropy, a row for each head."""

from __future__ import annotations

from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.derive import BY_ID, attention_heads
from tb_nnhealth.findings import json_number
from tb_nnhealth.history import Run, Table
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import f32
from tb_nnhealth.plugin.layers import prefix_of

HEADS_SHOWN = 64
COLUMNS = 240
STRIPS = (("attention-logit", schema.MAX, "Largest logit"), ("attention-entropy", schema.MEAN, "Entropy"))


def attention(run: Run, layer: str, limit: int) -> dict[str, Any] | None:
    """The heads of ``layer``, or of the module around it that computes attention; None where none does."""
    for watch, history in run.watches.items():
        prefix = prefix_of(run, watch)
        tables = {statistic: attention_heads(history, column) for statistic, column, _ in STRIPS}
        module = _around(layer, [prefix + name for name in tables[STRIPS[0][0]]])
        if module is not None:
            return _reply(module, {name: of[module.removeprefix(prefix)] for name, of in tables.items()}, limit)
    return None


def _around(layer: str, modules: list[str]) -> str | None:
    found = [module for module in modules if layer == module or layer.startswith(f"{module}.")]
    return max(found, key=len, default=None)


def _reply(module: str, tables: dict[str, Table], limit: int) -> dict[str, Any] | None:
    first = next(iter(tables.values()))
    if not len(first.steps):
        return None
    columns = reduce.columns([first.steps], min(limit, COLUMNS))
    return {
        "layer": module,
        "heads": [int(head) for head in first.subjects[:HEADS_SHOWN]],
        "heads_left_out": max(0, len(first.subjects) - HEADS_SHOWN),
        "steps": columns.spans(),
        "strips": [_strip(statistic, title, tables[statistic], columns) for statistic, _, title in STRIPS],
    }


def _strip(statistic_id: str, title: str, table: Table, columns: reduce.Columns) -> dict[str, Any]:
    """Each column shows its worst value, in either direction from the healthy band."""
    statistic = BY_ID[statistic_id]
    band = statistic.healthy(table)
    values = table.values[:, :HEADS_SHOWN]
    at = reduce.worst(reduce.distance(statistic.scale, values, band), columns.of(table.steps), len(columns))
    shown = np.where(at >= 0, values[np.maximum(at, 0), np.arange(values.shape[1])], np.nan)
    return {
        "statistic": statistic_id,
        "title": title,
        "scale": statistic.scale,
        "healthy": [json_number(edge) for edge in band],
        "values_f32": f32(shown.T),
    }
