"""Statistics of one tensor, reduced where the tensor lies.

On the CPU each reduction ends in a Python number, so that the common case (all finite, of ordinary size) costs
four passes and whatever is uncommon takes the careful way. On an accelerator nothing may wait for the
device, so the careful way is always taken and its results stay there until the record is complete.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tb_nnhealth.record import device_reduce, reduce_native
from tb_nnhealth.record.device_reduce import Later
from tb_nnhealth.record.reduce_readable import Values, widened

FIELDS = ("mean", "std", "rms", "min", "max", "zeros", "nan", "inf")
"""Of the finite elements, except for the last two; ``zeros``, ``nan`` and ``inf`` are counts."""
ZEROS = FIELDS.index("zeros")
LOW, HIGH = FIELDS.index("min"), FIELDS.index("max")

SMALL = 1 << 16
"""Elements up to which numpy is quicker than torch, whose calls cost more and whose threads do not help yet."""
SMALL_PRODUCT = 1 << 13
"""The same for inner products: of more elements than 10,000 NumPy's BLAS starts threads, which spin on behind it."""
_BLOCK = 2048
_FLOAT32_MAX = torch.finfo(torch.float32).max


class Reading(NamedTuple):
    """Statistics of ``numel`` elements in the order of FIELDS.

    ``values``: a tuple of floats; or of a tensor on a device, a float32 tensor (8,) there, or what will give one.
    """

    numel: int
    values: Any
    counts: Any = None
    """A histogram taken in the same pass on a device, int64."""

    @property
    def on_host(self) -> bool:
        return isinstance(self.values, tuple)


def read(values: Values, counts: NDArray[np.int64] | None = None) -> list[Reading]:
    """The statistics of a tensor; a sparse one gives its stored and its implicit elements separately.

    Where the native core reads it, ``counts`` (a histogram) is filled in the same pass; elsewhere it stays as it is.
    """
    tensor = values.tensor
    readings = []
    if tensor.numel():
        readings.append(_reading(tensor, counts))
    if values.implicit_zeros:
        readings.append(
            Reading(values.implicit_zeros, (0.0, 0.0, 0.0, 0.0, 0.0, float(values.implicit_zeros), 0.0, 0.0))
        )
    return readings


def scalar(value: float) -> Reading:
    """A number as a tensor of one element."""
    value = float(value)
    if math.isfinite(value):
        return Reading(1, (value, 0.0, abs(value), value, value, float(value == 0), 0.0, 0.0))
    return Reading(1, (*(math.nan,) * 5, 0.0, float(math.isnan(value)), float(math.isinf(value))))


def scaled(reading: Reading, divisor: Any) -> Reading:
    """The reading of the same elements divided by ``divisor`` > 0, a number or a 0-d tensor."""
    if reading.on_host:
        divisor = float(divisor)
        return Reading(reading.numel, (*(v / divisor for v in reading.values[:ZEROS]), *reading.values[ZEROS:]))
    values = reading.values.tensor() if isinstance(reading.values, Later) else reading.values
    divided = values[:ZEROS] / torch.as_tensor(divisor, dtype=torch.float32, device=values.device)
    return Reading(reading.numel, torch.cat([divided, values[ZEROS:]]))


def flatten(tensor: Any) -> Any:
    """The elements end to end in memory order, without a copy wherever they lie densely."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    ordered = tensor.permute(sorted(range(tensor.dim()), key=lambda d: -tensor.stride(d)))
    return ordered.contiguous().view(-1)


def _reading(tensor: Any, counts: NDArray[np.int64] | None) -> Reading:
    found = reduce_native.statistics(tensor, counts)
    if found is None:
        flat = flatten(tensor)
        later = device_reduce.statistics(flat, counted=counts is not None)
        if later is not None:
            return Reading(tensor.numel(), later, later.counts)
        found = reduce_native.statistics(flat, counts)
        if found is None:
            found = _on_host(widened(flat)) if tensor.is_cpu else careful(widened(flat))
    return Reading(tensor.numel(), found)


def _on_host(flat: Any) -> tuple[float, ...]:
    array = flat.numpy()
    n = len(array)
    if n < SMALL:
        array = array.astype(np.float64)
        flat = torch.from_numpy(array)
    low, high = _bounds(flat, array)
    if low == high and math.isfinite(low):
        return low, 0.0, abs(low), low, high, float(n * (low == 0)), 0.0, 0.0
    moderate = 1e-15 if array.dtype == np.float32 else 1e-140
    if not moderate < max(-low, high) < 1 / moderate:  # NaN, Inf, or squares that would leave the format's range
        return tuple(careful(flat).tolist())
    mean = _sum(flat, array) / n
    square = _sum_of_squares(flat, array) / n
    if mean * mean <= 0.5 * square:
        variance = square - mean * mean  # at most one bit is lost to cancellation
    else:
        centered = flat - mean
        centered_array = centered.numpy()
        rest = _sum(centered, centered_array) / n
        variance = max(0.0, _sum_of_squares(centered, centered_array) / n - rest * rest)
        mean = float(array.dtype.type(mean)) + rest  # the mean as it was subtracted, and what it missed
    zeros = np.count_nonzero(array == 0) if low <= 0 <= high else 0
    return mean, math.sqrt(variance), math.sqrt(square), low, high, float(zeros), 0.0, 0.0


def _bounds(flat: Any, array: Any) -> tuple[float, float]:
    """Least and greatest element; NaN if there is one."""
    if len(array) < SMALL:
        return float(np.minimum.reduce(array)), float(np.maximum.reduce(array))
    low, high = torch.aminmax(flat)
    return low.item(), high.item()


def _sum(flat: Any, array: Any) -> float:
    return float(np.add.reduce(array)) if len(array) < SMALL else float(flat.sum().item())


def _sum_of_squares(flat: Any, array: Any) -> float:
    """Σx²; in float32 by blocks, since torch's norm alone is off by 1e-4 at 10⁷ elements."""
    if len(array) < SMALL:
        return squares_of_few(flat, array)
    whole = len(array) // _BLOCK * _BLOCK
    norms = torch.linalg.vector_norm(flat[:whole].view(-1, _BLOCK), dim=1).double()
    return float(norms.dot(norms).item() + np.dot(array[whole:], array[whole:]))


def squares_of_few(flat: Any, array: Any) -> float:
    """Σx² of a few elements, given as a tensor and as an array."""
    return float(np.dot(array, array)) if len(array) < SMALL_PRODUCT else float(flat.dot(flat).item())


def careful(flat: Any) -> Any:
    """The statistics without a branch: any range, any non-finite values; float32, shape (8,), on ``flat``'s device.

    Elements are divided by the greatest magnitude, so that squares neither overflow nor vanish. Without finite elements
    mean to max are NaN. What float32 cannot hold is clamped to its range.
    """
    dtype = torch.float64 if flat.is_cpu else flat.dtype
    finite = torch.isfinite(flat)
    count = finite.sum()
    low = torch.where(finite, flat, math.inf).amin().to(dtype)
    high = torch.where(finite, flat, -math.inf).amax().to(dtype)
    top = torch.maximum(-low, high)
    scale = torch.where((top > 0) & torch.isfinite(top), top, torch.ones_like(top))
    unit = torch.where(finite, flat, 0).to(dtype) / scale
    mean = unit.sum() / count
    square = unit.square().sum() / count
    variance = torch.where(finite, unit - mean, 0).square().sum() / count
    moments = torch.stack([mean * scale, variance.sqrt() * scale, square.sqrt() * scale, low, high])
    moments = torch.where(count > 0, moments.clamp(-_FLOAT32_MAX, _FLOAT32_MAX), math.nan)
    nan = torch.isnan(flat).sum()
    counts = torch.stack([flat.numel() - torch.count_nonzero(flat), nan, flat.numel() - count - nan])
    result = torch.cat([moments, counts.to(dtype)])
    return result if flat.is_cpu else result.to(torch.float32)
