"""The statistics of a run by layer, each made once for one state of the run: every picture is cut from them."""

from __future__ import annotations

import threading
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.derive import STATISTICS, Statistic
from tb_nnhealth.history import History, Run
from tb_nnhealth.plugin.layers import Layer, Layered, layered, layers_of


class LayerTables:
    """Tables of ``run``, true as long as it does not grow. Thread-safe.

    A statistic takes 13 bytes for each layer and record: all of them together at most half of what the history takes.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._making = threading.RLock()
        self._layered: dict[str, Layered] = {}

    @cached_property
    def layers(self) -> list[Layer]:
        """Every layer of every watch, in forward order."""
        return layers_of(self.run)

    def of(self, statistic: Statistic) -> Layered:
        found = self._layered.get(statistic.id)
        if found is None:
            with self._making:  # two who ask at once wait for one
                if statistic.id not in self._layered:
                    self._layered[statistic.id] = layered(self.run, statistic, self.layers)
                found = self._layered[statistic.id]
        return found

    def every(self) -> list[Layered]:
        return [self.of(statistic) for statistic in STATISTICS]

    @cached_property
    def non_finite(self) -> dict[str, NDArray[np.bool_]]:
        """By layer, whether anything of it held NaN or Inf, shape (records,); layers that never did are left out."""
        found = {}
        for watch, history in self.run.watches.items():
            layers = [layer for layer in self.layers if layer.watch == watch]
            bad = _non_finite_records(history, layers)
            found.update({layers[i].name: bad[:, i].copy() for i in np.flatnonzero(bad.any(axis=0))})
        return found


def _non_finite_records(history: History, layers: list[Layer]) -> NDArray[np.bool_]:
    """Whether anything of a layer held NaN or Inf, shape (records, layers)."""
    owner = {layer.module: i for i, layer in enumerate(layers)}
    parameters = {p.name: owner[layer.module] for layer in layers for p in layer.parameters}
    bad = np.zeros((len(history), len(layers)), bool)
    for kinds, place in ((schema.MODULE_KINDS, owner), (schema.PARAMETER_KINDS, parameters)):
        for kind in kinds:
            nan, inf = (history.table(kind, column) for column in (schema.NAN_COUNT, schema.INF_COUNT))
            ill = (nan.values > 0) | (inf.values > 0)
            for i in np.flatnonzero(ill.any(axis=0)):
                if nan.subjects[i] in place:
                    bad[:, place[nan.subjects[i]]] |= ill[:, i]
    return bad
