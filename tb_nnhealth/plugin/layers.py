"""The layers of a run in forward order, and a statistic of each of them over the records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.derive import Band, Statistic
from tb_nnhealth.history import Floats, History, Run, Steps, Table
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.neutral import neutral
from tb_nnhealth.report.layers import attention_modules


@dataclass(frozen=True)
class Layer:
    """A leaf module, or one that owns parameters or computes attention itself. ``name`` carries the watch's prefix."""

    name: str
    module: str
    type: str
    watch: str
    parameters: tuple[Any, ...]

    @property
    def judged_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that speak for the layer: its matrices, or its vectors where it has none."""
        matrices = tuple(p.name for p in self.parameters if len(p.shape) > 1)
        return matrices or tuple(p.name for p in self.parameters)


def layers_of(run: Run) -> list[Layer]:
    """Every layer of every watch, in forward order."""
    return [layer for watch, history in run.watches.items() for layer in _of_history(run, watch, history)]


def _of_history(run: Run, watch: str, history: History) -> list[Layer]:
    prefix = prefix_of(run, watch)
    types = {module.name: module.type for module in history.layout.modules}
    owned: dict[str, list[Any]] = {}
    for parameter in history.layout.parameters:
        owned.setdefault(parameter.module, []).append(parameter)
    attending = attention_modules(history.layout)
    types |= {name: "attention" for name in attending if not types.get(name)}
    names = forward_order([module.name for module in history.layout.modules], dict.fromkeys([*attending, *owned]))
    return [Layer(prefix + name, name, types.get(name, ""), watch, tuple(owned.get(name, ()))) for name in names]


def prefix_of(run: Run, watch: str) -> str:
    return next(prefix for name, (prefix, _) in zip(run.watches, run.histories(), strict=True) if name == watch)


def forward_order(modules: Sequence[str], owners: Iterable[str]) -> list[str]:
    """``modules`` in their own order, each further owner of parameters before the first module inside it.

    An owner without modules inside follows the owner before it.
    """
    order = list(dict.fromkeys(modules))
    known = set(order)
    previous = -1
    for owner in owners:
        if owner not in known:
            known.add(owner)
            inside = (i for i, name in enumerate(order) if owner == "" or name.startswith(f"{owner}."))
            order.insert(next(inside, previous + 1), owner)
        after = previous + 1  # owners mostly come in the order of the modules
        previous = after if after < len(order) and order[after] == owner else order.index(owner)
    return order


@dataclass(frozen=True)
class Part:
    """What one watch has of a layered statistic: ``values[t, i]`` belongs to ``layers[i]`` at ``steps[t]``.

    ``far`` holds each value's distance from the healthy band (``reduce.distance``); ``settled``
    marks values to which the band does not apply.
    """

    layers: tuple[Layer, ...]
    steps: Steps
    values: Floats
    far: reduce.Doubles
    settled: NDArray[np.bool_]


@dataclass(frozen=True)
class Layered:
    """A statistic of the layers of a run, with its healthy band over all of them."""

    statistic: Statistic
    band: Band
    parts: tuple[Part, ...]

    @property
    def layers(self) -> list[Layer]:
        return [layer for part in self.parts for layer in part.layers]


def layered(run: Run, statistic: Statistic, layers: Sequence[Layer] | None = None) -> Layered:
    """``statistic`` of every layer that has data for it; of several parameters the worst counts."""
    layers = layers_of(run) if layers is None else layers
    gathered = []
    for watch, history in run.watches.items():
        own = [layer for layer in layers if layer.watch == watch]
        table = statistic.table(history)
        gathered.append((history, table, *_sources(table, own, statistic)))
    shown = [table.values[:, sorted({i for at in sources for i in at})] for _, table, _, sources in gathered]
    flat = np.concatenate([values.ravel() for values in shown]) if shown else np.zeros(0, np.float32)
    band = statistic.healthy(Table(("",), np.zeros(len(flat), np.int64), flat.reshape(-1, 1)))
    parts = tuple(_part(history, table, own, sources, statistic, band) for history, table, own, sources in gathered)
    return Layered(statistic, band, parts)


def _sources(table: Table, layers: Sequence[Layer], statistic: Statistic) -> tuple[list[Layer], list[list[int]]]:
    """The layers with data, and the table's columns that speak for each."""
    place = {subject: i for i, subject in enumerate(table.subjects)}
    measured: NDArray[np.bool_] = np.any(~np.isnan(table.values), axis=0)
    kept, sources = [], []
    for layer in layers:
        subjects = (layer.module,) if statistic.of == "module" else layer.judged_parameters
        at = [place[subject] for subject in subjects if subject in place and measured[place[subject]]]
        if at:
            kept.append(layer)
            sources.append(at)
    return kept, sources


def _part(
    history: History,
    table: Table,
    layers: Sequence[Layer],
    sources: Sequence[Sequence[int]],
    statistic: Statistic,
    band: Band,
) -> Part:
    far = reduce.distance(statistic.scale, table.values, band)
    settled = neutral(history, table, statistic, band)
    far[settled & (far > reduce.MISSING)] = reduce.SETTLED
    chosen = np.array([at[0] for at in sources], np.intp)
    rows = np.arange(len(table.steps))
    picked = np.broadcast_to(chosen, (len(rows), len(chosen))).copy()
    for i, at in enumerate(sources):
        if len(at) > 1:
            picked[:, i] = np.asarray(at)[np.argmax(far[:, at], axis=1)]
    take = (rows[:, None], picked)
    return Part(tuple(layers), table.steps, table.values[take], far[take], settled[take])
