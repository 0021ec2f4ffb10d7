"""Units of a module's output (channels, features): which were silent, and how much of it lies where a gradient dies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from tb_nnhealth import native, schema
from tb_nnhealth.record import reduce_native
from tb_nnhealth.record.reduce import HIGH, LOW, SMALL, ZEROS, Reading
from tb_nnhealth.record.reduce_readable import widened

_CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_FEATURES_LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)

TANH_LIMIT = 0.97
SIGMOID_LIMITS = 0.03, 0.97
SOFTMAX_LIMIT = 0.97
_BEFORE_TANH = math.atanh(TANH_LIMIT)
_BEFORE_SIGMOID = math.log(SIGMOID_LIMITS[1] / SIGMOID_LIMITS[0])
_BATCHED_DIMENSIONS = {
    "Conv1d": 3, "Conv2d": 4, "Conv3d": 5, "ConvTranspose1d": 3, "ConvTranspose2d": 4, "ConvTranspose3d": 5,
    "LazyConv1d": 3, "LazyConv2d": 4, "LazyConv3d": 5, "InstanceNorm1d": 3, "InstanceNorm2d": 4, "InstanceNorm3d": 5,
}  # fmt: skip


class UnitDimensions:
    """Finds the dimension of an output that counts its units.

    Where the module's type does not say (an activation, dropout, pooling), it is that of the module called just before,
    if that one's output had as many dimensions: a ReLU after a Linear is counted as the Linear is.
    """

    def __init__(self) -> None:
        self.previous: tuple[int, int] | None = None
        """Of the last output: its dimensions, and which of them counts the units."""

    def of(self, module: Any, output: Any) -> int | None:
        """The dimension; None for outputs of fewer than two."""
        dimensions = output.dim()
        if dimensions < 2:
            return None
        if isinstance(module, _CHANNELS_FIRST):
            batched = _BATCHED_DIMENSIONS.get(type(module).__name__)
            found = 0 if batched is not None and dimensions == batched - 1 else 1
        elif isinstance(module, _FEATURES_LAST):
            found = dimensions - 1
        elif self.previous is not None and self.previous[0] == dimensions:
            found = self.previous[1]
        else:
            found = 1 if dimensions >= 4 else dimensions - 1
        self.previous = dimensions, found
        return found


def alive_units(tensor: Any, dimension: int, reading: Reading) -> Any:
    """bool (units,): whether any element of the unit is not exactly zero; None where that is known to hold for all.

    A numpy array where the tensor is on the CPU.
    """
    units = tensor.shape[dimension]
    if reading.on_host and reading.values[ZEROS] < tensor.numel() // units:
        return None
    told, alive = reduce_native.alive(tensor, dimension)
    if told:
        return alive
    tensor = widened(tensor) if tensor.is_cpu else tensor
    others = [d for d in range(tensor.dim()) if d != dimension]
    if tensor.is_cpu and tensor.numel() < SMALL:
        return (tensor.numpy() != 0).any(tuple(others))
    alive = tensor.amax(others) != 0
    if not (reading.on_host and reading.values[LOW] >= 0):
        alive |= tensor.amin(others) != 0
    return alive.numpy() if tensor.is_cpu else alive


class Silence:
    """For how many measured steps each unit of one output has been silent without a break."""

    def __init__(self) -> None:
        self._silent_for: Any = None
        self._seen = 0
        self._addressed: Any = None
        self._address = 0

    def update(self, alive: Any) -> Any:
        """Share of units silent in each of the last ``schema.SILENCE_WINDOW`` measured steps; NaN before so many.

        ``alive`` is what ``alive_units`` gave for the step, over all calls.
        """
        self._seen += 1
        if alive is None:
            self._silent_for = None
            return 0.0 if self._seen >= schema.SILENCE_WINDOW else math.nan
        counts = self._counts_like(alive)
        if isinstance(counts, np.ndarray):
            counts += 1
            counts[alive] = 0
        else:
            counts = (counts + 1) * ~alive
        self._silent_for = counts
        if self._seen < schema.SILENCE_WINDOW:
            return math.nan
        if isinstance(counts, np.ndarray):
            return np.count_nonzero(counts >= schema.SILENCE_WINDOW) / len(alive)
        return (counts >= schema.SILENCE_WINDOW).sum() / len(alive)

    def update_from(self, flags: int, units: int) -> float:
        """The same by the native core, of the flags at an address."""
        counts = self._silent_for
        if not isinstance(counts, np.ndarray) or counts.shape != (units,):
            counts = self._silent_for = np.zeros(units, np.int32)
        if counts is not self._addressed:
            self._addressed, self._address = counts, counts.ctypes.data
        self._seen += 1
        silent: int = native.core.silent(flags, self._address, units, schema.SILENCE_WINDOW)
        return silent / units if self._seen >= schema.SILENCE_WINDOW else math.nan

    def _counts_like(self, alive: Any) -> Any:
        counts = self._silent_for
        if isinstance(alive, np.ndarray):
            fits = isinstance(counts, np.ndarray) and counts.shape == alive.shape
            return counts if fits else np.zeros(alive.shape, np.int32)
        fits = isinstance(counts, torch.Tensor) and counts.shape == alive.shape and counts.device == alive.device
        return counts if fits else torch.zeros(alive.shape, dtype=torch.int32, device=alive.device)


def saturation(module: Any, feeds: str, tensor: Any, reading: Reading) -> tuple[Any, float] | None:
    """Share of elements in the flat part of the nonlinearity, and of how many; None where there is no such part.

    ``feeds`` names a nonlinearity applied as a function to this output ("tanh", "sigmoid"), or is empty. For
    softmax the share is of its vectors: those whose greatest element exceeds 0.97.
    """
    if isinstance(module, nn.Softmax) and tensor.dim():
        dimension = module.dim if module.dim is not None else (0 if tensor.dim() in (0, 1, 3) else 1)
        if tensor.shape[dimension] < 2:
            return None
        greatest = tensor.amax(dimension)
        return (greatest > SOFTMAX_LIMIT).sum() / greatest.numel(), greatest.numel()
    bounds = saturation_bounds(module, feeds)
    if bounds is None:
        return None
    numel = tensor.numel()
    if reading.on_host and reading.values[LOW] >= bounds[0] and reading.values[HIGH] <= bounds[1]:
        return 0.0, numel
    beyond = reduce_native.outside(tensor, *bounds)
    if beyond is not None:
        return beyond / numel, numel
    tensor = widened(tensor)
    middle, reach = (bounds[0] + bounds[1]) / 2, (bounds[1] - bounds[0]) / 2
    outside = (tensor - middle).abs_() if middle else tensor.abs()
    far = outside > reach
    return (np.count_nonzero(far.numpy()) if tensor.is_cpu else far.sum()) / numel, numel


def saturation_bounds(module: Any, feeds: str) -> tuple[float, float] | None:
    """Beyond which elements lie in the flat part; None where there is no such part, and for softmax."""
    if isinstance(module, nn.Tanh):
        return -TANH_LIMIT, TANH_LIMIT
    if isinstance(module, nn.Sigmoid):
        return SIGMOID_LIMITS
    if feeds == "tanh":
        return -_BEFORE_TANH, _BEFORE_TANH
    return (-_BEFORE_SIGMOID, _BEFORE_SIGMOID) if feeds == "sigmoid" else None
