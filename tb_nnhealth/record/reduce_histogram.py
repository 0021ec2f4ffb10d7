"""Counts of a tensor's elements by floor(log2 |x|), read from the exponent bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.record.reduce import SMALL

_FORMATS = {  # of the bits: integer type, place of the exponent, its width's mask, its bias
    torch.float32: (torch.int32, 23, 0xFF, 127),
    torch.float64: (torch.int64, 52, 0x7FF, 1023),
}


def histogram(flat: Any, zeros: Any) -> Any:
    """int64 counts of shape (``schema.HISTOGRAM_BINS``,) on ``flat``'s device.

    ``flat`` is float32 or float64, contiguous, of one dimension; ``zeros`` its number of exact zeros, a number or
    a 0-d tensor (an exponent of all zero bits is shared with the denormal numbers).
    """
    integer, place, mask, bias = _FORMATS[flat.dtype]
    lowest, highest = schema.EXPONENT_LOW + bias, schema.EXPONENT_HIGH + bias
    if flat.is_cpu and flat.numel() < SMALL:
        bits = flat.view(integer).numpy()
        return _small_histogram((bits >> place) & mask, mask, int(zeros), lowest, highest)
    exponents = (flat.view(integer) >> place).bitwise_and_(mask)
    if flat.is_cpu:
        counts = torch.bincount(exponents, minlength=mask + 1)
    else:  # bincount would wait for the device to learn the greatest exponent
        counts = torch.histc(exponents.to(torch.int32), bins=mask + 1, min=0, max=mask).to(torch.int64)
    zeros = torch.as_tensor(zeros, device=flat.device).to(torch.int64)
    return torch.cat(
        [
            zeros.reshape(1),
            (counts[: lowest + 1].sum() - zeros).clamp(min=0).reshape(1),
            counts[lowest + 1 : highest],
            counts[highest:mask].sum().reshape(1),
            counts[mask:],
        ]
    )


def _small_histogram(exponents: NDArray[Any], mask: int, zeros: int, lowest: int, highest: int) -> Any:
    """The same without torch, whose calls would cost more than the counting."""
    counts = np.bincount(exponents, minlength=mask + 1)
    result = np.empty(schema.HISTOGRAM_BINS, np.int64)
    result[0] = zeros
    result[1] = max(0, int(counts[: lowest + 1].sum()) - zeros)
    result[2:-2] = counts[lowest + 1 : highest]
    result[-2] = counts[highest:mask].sum()
    result[-1] = counts[mask]
    return torch.from_numpy(result)
