"""The model of a run: its layers with their parameters, and the statistics there are of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.derive import Statistic
from tb_nnhealth.findings import json_number
from tb_nnhealth.history import Run
from tb_nnhealth.plugin.layers import Layer
from tb_nnhealth.plugin.limits import limits
from tb_nnhealth.plugin.ranks import has_ranks
from tb_nnhealth.plugin.tables import LayerTables

PARAMETERS_MOST = 600
"""Parameters described in one reply; of a larger model only the names of the layers come with it."""


def model(run: Run, made: LayerTables | None = None) -> dict[str, Any]:
    """Layers in forward order, the statistics with their band and limits, and the steps recorded."""
    made = made or LayerTables(run)
    layers, tables = made.layers, made.every()
    having: dict[str, list[str]] = {}
    for table in tables:
        for layer in table.layers:
            having.setdefault(layer.name, []).append(table.statistic.id)
    recorded = [history.steps for history in run.watches.values() if len(history)]
    described = sum(len(layer.parameters) for layer in layers) <= PARAMETERS_MOST
    shown = [layer for layer in layers if layer.parameters or layer.name in having]
    return {
        "first_step": min((int(steps[0]) for steps in recorded), default=None),
        "last_step": max((int(steps[-1]) for steps in recorded), default=None),
        "statistics": [statistic_facts(run, table.statistic, table.band) for table in tables if table.layers],
        "layers": [layer_facts(run, layer, having.get(layer.name, ()), described=described) for layer in shown],
        "parameters_left_out": not described,
        "ranks": has_ranks(run),
    }


def statistic_facts(run: Run, statistic: Statistic, band: tuple[float, float]) -> dict[str, Any]:
    return {
        "id": statistic.id,
        "title": statistic.title,
        "unit": statistic.unit,
        "scale": statistic.scale,
        "healthy": [json_number(edge) for edge in band],
        "limits": limits(run, statistic),
    }


def layer_facts(run: Run, layer: Layer, statistics: Sequence[str], *, described: bool = True) -> dict[str, Any]:
    """One layer as the panel's header of a layer shows it."""
    layout = run.watches[layer.watch].layout
    return {
        "name": layer.name,
        "type": layer.type,
        "watch": layer.watch,
        "parameters": [_parameter(p, layout) for p in layer.parameters] if described else [],
        "statistics": list(statistics),
    }


def _parameter(parameter: Any, layout: Any) -> dict[str, Any]:
    owned = 0 <= parameter.optimizer < len(layout.optimizers)
    optimizer: Any = layout.optimizers[parameter.optimizer] if owned else None
    grouped = owned and 0 <= parameter.group < len(optimizer.groups)
    return {
        "name": parameter.name,
        "shape": list(parameter.shape),
        "dtype": parameter.dtype,
        "numel": math.prod(parameter.shape),
        "trainable": parameter.trainable,
        "optimizer": optimizer.type if owned else None,
        "group": parameter.group if grouped else None,
        "weight_decay": json_number(optimizer.groups[parameter.group].weight_decay) if grouped else None,
        "initial_rms": json_number(parameter.initial_rms),
        "expected_rms": expected_rms(parameter.fan_in, parameter.fan_out),
    }


def expected_rms(fan_in: int, fan_out: int) -> list[float] | None:
    """The range of initial RMS that the usual schemes give a weight of these fans, or None without fans.

    From PyTorch's default, 1/√(3 fan_in), to He et al. 2015, √(2/fan_in), widened where that of Glorot and
    Bengio 2010, √(2/(fan_in + fan_out)), lies outside, and by a tenth for the sampling error of small tensors.
    """
    if fan_in <= 0 or fan_out <= 0:
        return None
    schemes = (math.sqrt(1 / (3 * fan_in)), math.sqrt(2 / fan_in), math.sqrt(2 / (fan_in + fan_out)))
    return [0.9 * min(schemes), 1.1 * max(schemes)]


def learning_rates(run: Run, layer: Layer) -> tuple[list[int], Any]:
    """Steps and learning rate of the optimizer group that holds the layer's first trained parameter."""
    history = run.watches[layer.watch]
    rates = history.table(schema.LEARNING_RATE, schema.MEAN)
    place: Mapping[str, int] = {subject: i for i, subject in enumerate(rates.subjects)}
    for parameter in layer.parameters:
        column = place.get(f"{parameter.optimizer}.{parameter.group}")
        if column is not None:
            measured = ~np.isnan(rates.values[:, column])
            return [int(s) for s in rates.steps[measured]], rates.values[measured, column]
    return [], np.zeros(0, np.float32)
