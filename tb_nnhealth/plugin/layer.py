"""One layer in full: activations, gradients, weights and updates over the steps, with their distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.derive import BY_ID, Statistic
from tb_nnhealth.findings import json_number
from tb_nnhealth.history import Run
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import f32, ints
from tb_nnhealth.plugin.attention import attention
from tb_nnhealth.plugin.distribution import distribution
from tb_nnhealth.plugin.filters import filters
from tb_nnhealth.plugin.layers import Layer, Layered, Part
from tb_nnhealth.plugin.limits import limits, own_limit
from tb_nnhealth.plugin.model import layer_facts, learning_rates
from tb_nnhealth.plugin.tables import LayerTables


@dataclass(frozen=True)
class Panel:
    """One column of the view: a statistic over the steps, and the tensor whose magnitudes are shown beneath."""

    id: str
    title: str
    subtitle: str
    statistic: str
    kind: str


PANELS = (
    Panel("activations", "Activations", "standard deviation of the output", "activation-std", schema.ACTIVATION),
    Panel("gradients", "Gradients", "norm of the gradient", "gradient-norm", schema.GRADIENT),
    Panel("weights", "Weights", "RMS of the weight, relative to its start", "weight-norm", schema.WEIGHT),
    Panel("updates", "Updates", "norm of the update, relative to the weight's", "update-ratio", schema.UPDATE),
)


def layer(
    run: Run,
    name: str,
    findings: Sequence[Mapping[str, Any]] = (),
    *,
    limit: int = 400,
    made: LayerTables | None = None,
) -> dict[str, Any] | None:
    """Facts, learning rate and panels of the layer called ``name``, or None where the run has no such layer.

    Each panel draws the limit of the first of the ``findings`` of the report about this layer and its statistic.
    """
    made = made or LayerTables(run)
    chosen = next((candidate for candidate in made.layers if candidate.name == name), None)
    if chosen is None:
        return None
    tables = {table.statistic.id: table for table in made.every()}
    having = [statistic for statistic, table in tables.items() if chosen in table.layers]
    steps, rates = learning_rates(run, chosen)
    columns = reduce.columns([np.asarray(steps, np.int64)], limit)
    panels = (_panel(run, panel, tables[panel.statistic], chosen, findings, limit) for panel in PANELS)
    thinned = np.searchsorted(np.asarray(steps, np.int64), columns.starts)
    return {
        "layer": layer_facts(run, chosen, having),
        "learning_rate": {"steps": ints(columns.starts), "values_f32": f32(rates[thinned])},
        "panels": [panel for panel in panels if panel is not None],
        "filters": filters(run, name),
        "attention": attention(run, name, limit),
    }


def _panel(
    run: Run, panel: Panel, table: Layered, chosen: Layer, findings: Sequence[Mapping[str, Any]], limit: int
) -> dict[str, Any] | None:
    part = next((part for part in table.parts if chosen in part.layers), None)
    if part is None or not len(part.steps):
        return None
    statistic = BY_ID[panel.statistic]
    drawn = _limits(run, part, chosen, statistic, findings)
    return {
        "id": panel.id,
        "title": panel.title,
        "subtitle": panel.subtitle,
        "statistic": panel.statistic,
        "scale": statistic.scale,
        "unit": statistic.unit,
        **_line(part, part.layers.index(chosen), limit),
        "healthy": [json_number(edge) for edge in table.band],
        "limit": drawn[0]["value"] if drawn else None,
        "direction": drawn[0]["direction"] if drawn else None,
        "limits": drawn,
        "distribution": distribution(run.watches[chosen.watch], panel.kind, _shown_tensor(panel, chosen), limit),
    }


def _limits(
    run: Run, part: Part, chosen: Layer, statistic: Statistic, findings: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The limits that findings about the layer crossed, then those of the other rules."""
    values = part.values[:, part.layers.index(chosen)]
    crossed = []
    for finding in findings:
        if finding["statistic_id"] == statistic.id and chosen.name in finding["layers"]:
            value = own_limit(finding, statistic, part.steps, values)
            if value is not None:
                crossed.append({"rule": finding["rule"], "value": value, "direction": finding["evidence"]["direction"]})
    found = {limit["rule"] for limit in crossed}
    return crossed + [limit for limit in limits(run, statistic) if limit["rule"] not in found]


def _line(part: Part, i: int, limit: int) -> dict[str, Any]:
    columns = reduce.columns([part.steps], limit)
    column = columns.of(part.steps)
    at = reduce.worst(part.far[:, [i]], column, len(columns))[:, 0]
    kept = at >= 0
    low, high = reduce.extremes(part.values[:, i], column, len(columns))
    return {
        "steps": ints(part.steps[at[kept]]),
        "values_f32": f32(part.values[at[kept], i]),
        "low_f32": f32(low[kept]),
        "high_f32": f32(high[kept]),
    }


def _shown_tensor(panel: Panel, chosen: Layer) -> str:
    """The module's output, or the largest of the parameters that speak for the layer."""
    if panel.kind == schema.ACTIVATION:
        return chosen.module
    speaking: Sequence[Any] = [p for p in chosen.parameters if p.name in chosen.judged_parameters]
    return max(speaking, key=lambda p: np.prod(p.shape, dtype=np.float64)).name if speaking else ""
