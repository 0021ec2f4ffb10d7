"""Statistics of many small tensors at once: laid end to end, reduced by segments.

A small tensor costs what the calls cost, not what its elements do. Reduced together, a hundred cost little more than
one. All is computed in float64, where the squares of any float32 numbers neither overflow nor vanish.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tb_nnhealth.record.reduce import FIELDS
from tb_nnhealth.record.reduce_native import is_functorch_wrapped

LARGEST = 4096
"""Elements up to which copying a tensor costs less than reducing it by calls of its own."""
_ORDINARY = (torch.Tensor, torch.nn.Parameter)


def as_segment(tensor: Any) -> NDArray[np.float32] | None:
    """The elements of a small float32 tensor on the CPU, not copied where they lie in order; None for any other."""
    if (
        type(tensor) not in _ORDINARY
        or not tensor.is_cpu
        or tensor.dtype is not torch.float32
        or not 0 < tensor.numel() <= LARGEST
        or tensor.layout is not torch.strided
        or tensor.is_nested
        or tensor.is_neg()
        or is_functorch_wrapped(tensor)
    ):
        return None
    return tensor.detach().numpy().reshape(-1)  # type: ignore[no-any-return]


def segment_statistics(elements: NDArray[np.float32], lengths: Sequence[int]) -> NDArray[np.float64]:
    """float64 of shape (segments, FIELDS): the statistics of ``elements`` cut into pieces of ``lengths`` (all > 0)."""
    numel = np.array(lengths)
    starts = np.cumsum(numel) - numel
    result = np.zeros((len(numel), len(FIELDS)))
    values = elements.astype(np.float64)
    finite: Any = numel
    low = high = elements
    with np.errstate(over="ignore", invalid="ignore"):
        surely_finite = np.isfinite(np.add.reduce(elements))
    if not surely_finite:
        regular = np.isfinite(elements)
        finite = np.add.reduceat(regular, starts, dtype=np.int64)
        nan = np.add.reduceat(np.isnan(elements), starts, dtype=np.int64)
        result[:, 6], result[:, 7] = nan, numel - finite - nan
        values = np.where(regular, values, 0.0)
        low, high = np.where(regular, elements, np.inf), np.where(regular, elements, -np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.add.reduceat(values, starts) / finite
        values -= np.repeat(mean, numel)
        if finite is not numel:
            values[~regular] = 0.0
        np.square(values, out=values)
        variance = np.add.reduceat(values, starts) / finite
    result[:, 0], result[:, 1], result[:, 2] = mean, np.sqrt(variance), np.sqrt(variance + mean * mean)
    result[:, 3], result[:, 4] = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    zeros = elements == 0
    if zeros.any():
        result[:, 5] = np.add.reduceat(zeros, starts, dtype=np.int64)
    result[finite == 0, :5] = np.nan
    return result
