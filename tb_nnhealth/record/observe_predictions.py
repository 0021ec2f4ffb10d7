"""Whether predictions are probabilities, or their logarithms."""

from __future__ import annotations

from typing import Any

import torch

from tb_nnhealth.record.reduce_readable import plain

_SUM_TOLERANCE = 1e-3
_LARGEST_LOGARITHM = 1e-4
"""A logarithm of a probability is at most 0; float16 and rounding may leave it a little above."""
_ELEMENTS = 1 << 18
"""Predictions looked at in one call: at regular distances where there are more."""


def class_dimension(prediction: Any) -> int:
    return 1 if prediction.dim() > 1 else 0


def probability_share(prediction: Any, dimension: int) -> Any:
    """Share of vectors along ``dimension`` that have no negative element and sum to one: a 0-d tensor."""
    probable = (prediction >= 0).all(dimension) & ((prediction.sum(dimension) - 1).abs() < _SUM_TOLERANCE)
    return probable.sum() / probable.numel()


def log_probability_share(prediction: Any, dimension: int) -> Any:
    """Share of vectors along ``dimension`` that are logarithms of probabilities: a 0-d tensor.

    None where there are not two classes. A probability of 0, whose logarithm is minus infinity, is one.
    """
    data = plain(prediction)
    if data is None or data.layout is not torch.strided or not data.is_floating_point() or not data.numel():
        return None
    if data.shape[dimension] < 2:
        return None
    for other in range(data.dim()):
        if other != dimension and data.numel() > _ELEMENTS:
            data = data[(slice(None),) * other + (slice(None, None, -(-data.numel() // _ELEMENTS)),)]
    data = data if data.dtype is torch.float64 else data.float()
    logarithms = (data.amax(dimension) <= _LARGEST_LOGARITHM) & (data.logsumexp(dimension).abs() < _SUM_TOLERANCE)
    return logarithms.sum() / logarithms.numel()
