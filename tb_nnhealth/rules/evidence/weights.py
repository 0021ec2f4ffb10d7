"""The parameters of a watch over time: weight, gradient, update and learning rate side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, History, Steps, Table
from tb_nnhealth.rules.evidence.depth import forward_positions
from tb_nnhealth.rules.evidence.once import once

Mask = NDArray[np.bool_]

SMALLEST_MATRIX = 8
"""Elements below which a weight matrix is a handful of scalars, whose ratios jump about."""
SPARSE_TYPES = ("Embedding", "EmbeddingBag")
"""Modules of which a batch touches only some rows."""
CHOOSE_OWN_STEPS = {"LBFGS", "Rprop"}
"""Optimizers whose steps are as long as a line search or the gradients' signs say, whatever the learning rate."""
AT_BOUNDS = 0.8
"""Root mean square : greatest element; 0.58 of an even distribution."""


@dataclass(frozen=True)
class Weights:
    """Parameters in the layout's order (n of them), and their root mean squares over the records (t).

    ``weight``, ``gradient``, ``update``: float32 of shape (t, n), NaN where not measured; ``lr`` likewise
    (of the parameter's group, its initial one where no record tells its optimizer's, NaN where nothing does, or
    before the optimizer was given the group).
    ``matrix``: at least two dimensions and ``SMALLEST_MATRIX`` elements; ``trained``: requires a
    gradient and is held by an optimizer that is watched; ``sparse``: rows of an embedding.
    ``position`` orders the parameters as the forward pass meets them.
    """

    parameters: tuple[Any, ...]
    names: tuple[str, ...]
    steps: Steps
    weight: Floats
    gradient: Floats
    update: Floats
    lr: Floats
    numel: NDArray[np.float64]
    matrix: Mask
    trained: Mask
    sparse: Mask
    position: NDArray[np.int64]

    def only(self, chosen: Mask | NDArray[np.int64]) -> Weights:
        """The parameters chosen by a mask of shape (n,) or by indices, in that order."""
        at = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return Weights(
            tuple(self.parameters[i] for i in at),
            tuple(self.names[i] for i in at),
            self.steps,
            self.weight[:, at],
            self.gradient[:, at],
            self.update[:, at],
            self.lr[:, at],
            self.numel[at],
            self.matrix[at],
            self.trained[at],
            self.sparse[at],
            self.position[at],
        )

    def matrices_in_depth(self) -> Weights:
        """The trained weight matrices in forward order, without embeddings."""
        at = np.flatnonzero(self.matrix & self.trained & ~self.sparse)
        return self.only(at[np.argsort(self.position[at], kind="stable")])

    @property
    def ratio(self) -> Floats:
        """‖Δw‖ / ‖w‖ per optimizer step, shape (t, n); NaN where the weights are zero."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where(self.weight > 0, self.update / self.weight, np.nan).astype(np.float32)

    @property
    def natural_rms(self) -> NDArray[np.float64]:
        """The scale that default initialization gives a tensor of this fan-in: 1 / √(3 fan_in), shape (n,)."""
        fan_in = np.array([p.fan_in or 1 for p in self.parameters], np.float64)
        return np.asarray(1 / np.sqrt(3 * fan_in))

    @property
    def initial_rms(self) -> NDArray[np.float64]:
        return np.array([p.initial_rms for p in self.parameters], np.float64)

    def optimizer_types(self, layout: Any) -> set[str]:
        return {
            layout.optimizers[p.optimizer].type for p in self.parameters if 0 <= p.optimizer < len(layout.optimizers)
        }

    def choose_own_steps(self, layout: Any) -> bool:
        types = self.optimizer_types(layout)
        return bool(types) and types <= CHOOSE_OWN_STEPS


@once
def weights_of(history: History) -> Weights:
    """Every parameter that the watch has a weight row for."""
    layout = history.layout
    known = {p.name: p for p in layout.parameters}
    weight = history.table(schema.WEIGHT, schema.RMS)
    kept = np.array([name in known for name in weight.subjects], bool)
    names = tuple(name for name in weight.subjects if name in known)
    parameters = tuple(known[name] for name in names)
    types = {m.name: m.type for m in layout.modules}
    numel = np.array([math.prod(p.shape) for p in parameters], np.float64)
    return Weights(
        parameters=parameters,
        names=names,
        steps=weight.steps,
        weight=weight.values[:, kept],
        gradient=aligned(history.table(schema.GRADIENT, schema.RMS), names),
        update=aligned(history.table(schema.UPDATE, schema.RMS), names),
        lr=_learning_rates(history, parameters),
        numel=numel,
        matrix=np.array([len(p.shape) > 1 for p in parameters], bool) & (numel >= SMALLEST_MATRIX),
        trained=np.array([p.trainable and p.optimizer >= 0 for p in parameters], bool),
        sparse=np.array([types.get(p.module, "") in SPARSE_TYPES for p in parameters], bool),
        position=forward_positions(layout, names),
    )


def awake(weights: Weights) -> Mask:
    """Parameters that had a gradient in the newest record, whatever the layout last said of them; shape (n,)."""
    return np.isfinite(weights.gradient[-1]) if len(weights.gradient) else np.zeros(len(weights.names), bool)


def at_bounds(history: History, names: Sequence[str]) -> Mask:
    """Where most of a weight lies at the ends of a range that it is clipped to, shape (records, n).

    Its least and greatest element are exactly opposite. It stays there while its gradient pushes it outwards.
    """
    low, high, rms = (
        aligned(history.table(schema.WEIGHT, name), names) for name in (schema.MIN, schema.MAX, schema.RMS)
    )
    return np.asarray((high > 0) & (low == -high) & (rms > AT_BOUNDS * high))


def aligned(table: Table, subjects: Sequence[str]) -> Floats:
    """The columns of ``table`` in the order of ``subjects``, NaN for those it lacks."""
    if table.subjects == tuple(subjects):
        return table.values
    place = {subject: i for i, subject in enumerate(table.subjects)}
    at = np.array([place.get(subject, -1) for subject in subjects], np.int64)
    if not len(table.subjects):
        return np.full((len(table.steps), len(subjects)), np.nan, np.float32)
    values = table.values.take(at, axis=1)
    values[:, at < 0] = np.nan
    return values


def _learning_rates(history: History, parameters: Sequence[Any]) -> Floats:
    optimizers = history.layout.optimizers
    groups = [f"{p.optimizer}.{p.group}" for p in parameters]
    recorded = aligned(history.table(schema.LEARNING_RATE, schema.MEAN), groups)
    initial = np.full(len(parameters), np.nan, np.float32)
    for i, p in enumerate(parameters):
        if 0 <= p.optimizer < len(optimizers) and 0 <= p.group < len(optimizers[p.optimizer].groups):
            initial[i] = optimizers[p.optimizer].groups[p.group].initial_lr
    optimizer, told = np.array([p.optimizer for p in parameters]), np.isfinite(recorded).any(axis=0)
    return np.where(np.isin(optimizer, optimizer[told]), recorded, initial).astype(np.float32)
