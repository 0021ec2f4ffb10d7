"""An even part of a batch tensor, small enough to be looked at closely in every measured step."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from tb_nnhealth import native
from tb_nnhealth.record.reduce import squares_of_few
from tb_nnhealth.record.reduce_native import batch_address, even_part
from tb_nnhealth.record.reduce_readable import plain

SAMPLES, POSITIONS, ELEMENTS = 256, 4096, 1 << 16
"""Of a larger tensor as many are read, at regular distances and always at the same places: samples, positions
(elements of a sample), and elements in all."""
_MODERATE = 1e-30
"""Sums of squares between this and its inverse have lost nothing to float32's range."""


def block_of(tensor: Any) -> Any:
    """(samples, positions) in the tensor's own dtype; None where it holds no dense samples.

    Contiguous, but where the native core reads it, which needs no copy.

    Samples lie along the first dimension. Positions are in the order of memory, which needs no copy.
    """
    data = plain(tensor)
    if data is None or data.layout is not torch.strided or data.is_complex() or not data.dim() or not data.numel():
        return None
    if data.is_neg():
        data = data.resolve_neg()
    if data.numel() <= POSITIONS and len(data) <= SAMPLES and data.is_contiguous():
        return data.view(len(data), -1)
    data = data[:: -(-data.shape[0] // SAMPLES)]
    if data.dim() > 2 and not data.is_contiguous():
        data = data.permute(0, *sorted(range(1, data.dim()), key=lambda d: -data.stride(d)))
    data = data.reshape(data.shape[0], -1)
    samples, positions = data.shape
    part = data[:, :: _distance(positions, min(POSITIONS, ELEMENTS // samples))]
    return part if batch_address(part) else part.contiguous()


def address_of_block(tensor: Any) -> tuple[int, ...]:
    """Where the core reads the block of a contiguous tensor, without one being made; else empty."""
    return even_part(tensor, _form) if tensor.dim() and tensor.numel() else ()


@lru_cache(256)
def _form(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Samples and how far they lie apart, positions and the step between them, in elements."""
    whole = shape[0]
    width = math.prod(shape[1:])
    if whole * width <= POSITIONS and whole <= SAMPLES:
        return whole, width, width, 1
    skipped = -(-whole // SAMPLES)
    samples = -(-whole // skipped)
    step = _distance(width, min(POSITIONS, ELEMENTS // samples))
    return samples, width * skipped, -(-width // step), step


def _distance(positions: int, most: int) -> int:
    """Between positions read; free of common factors, so that rows, columns and channels are all met."""
    distance = -(-positions // most)
    while 1 < distance < positions and math.gcd(distance, positions) > 1:
        distance += 1
    return distance


def spread_there(where: tuple[int, ...]) -> float | None:
    """``spread`` of the block at an address; None where it takes a closer look, or there are fewer than two samples."""
    if where[2] < 2:
        return None
    found: float = native.core.spread(*where)
    return found if 0 < found < math.inf else None


def spread(block: Any) -> Any:
    """Standard deviation over samples at each position, root mean square over the positions.

    Of finite elements, at positions that have two; exactly 0 where all samples are the same. A number, or a 0-d tensor
    where the block is on a device; None for fewer than two samples.
    """
    samples, positions = block.shape
    if samples < 2:
        return None
    where = batch_address(block)
    if where:
        found: float = native.core.spread(*where)
        if 0 < found < math.inf:
            return found
        block = block.contiguous()
    if not block.is_cpu:
        return careful_spread(block if block.is_floating_point() and block.element_size() > 2 else block.float())
    values = block if block.dtype is torch.float32 else block.double()
    array = values.numpy()
    with np.errstate(all="ignore"):
        centered = array - array[0]  # before the mean, whose rounding would tell equal samples apart
        centered -= np.add.reduce(centered, 0) / samples
        flat = centered.reshape(-1)
        total = squares_of_few(torch.from_numpy(flat), flat)
    if _MODERATE < total < 1 / _MODERATE:
        return math.sqrt(total / (samples * positions))
    if total == 0 and not flat.any():
        return 0.0
    return float(careful_spread(values.double()))


def careful_spread(values: Any) -> Any:
    """The same for any range and any non-finite values, without a branch: a 0-d tensor, NaN where nothing counts."""
    finite = torch.isfinite(values)
    count = finite.sum(0)
    top = torch.where(finite, values.abs(), 0).amax()
    top = torch.where(top > 0, top, torch.ones_like(top))
    unit = torch.where(finite, values, 0) / top
    unit = torch.where(finite, unit - unit[0], 0)
    mean = unit.sum(0) / count
    variance = torch.where(finite, unit - mean, 0).square().sum(0) / count
    counted = count >= 2
    return (torch.where(counted, variance, 0).sum() / counted.sum()).sqrt() * top
