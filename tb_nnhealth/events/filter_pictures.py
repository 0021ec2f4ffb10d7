"""Filters of a convolution as a string tensor holds them: JSON, the pixels in it base64 of bytes."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import Filters

FILTERS_MOST = 64
PIXELS_MOST = 1 << 15


def encode(parameter: str, total: int, values: NDArray[np.float32]) -> bytes:
    """``values``: float32 (filters, planes, height, width), the first of ``total`` filters of ``parameter``.

    Each filter is stretched over the bytes from 0 to 255, from its own least finite element to its greatest.
    """
    flat = np.nan_to_num(values.reshape(len(values), -1), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = flat.min(axis=1), flat.max(axis=1)
    span = np.where(high > low, high - low, 1.0)[:, None]
    pixels = np.rint(255 * ((flat - low[:, None]) / span)).astype(np.uint8)
    said = {
        "parameter": parameter,
        "total": total,
        "shape": list(values.shape),
        "low": [float(value) for value in low],
        "high": [float(value) for value in high],
        "pixels": base64.b64encode(pixels.tobytes()).decode("ascii"),
    }
    return json.dumps(said).encode("utf-8")


def decode(step: int, data: bytes) -> Filters:
    """Raises ValueError where ``data`` is not what ``encode`` makes."""
    try:
        said: Any = json.loads(data)
        shape = tuple(int(size) for size in said["shape"])
        pixels = np.frombuffer(base64.b64decode(said["pixels"], validate=True), np.uint8)
        edges = np.array([said["low"], said["high"]], np.float32)
        parameter, total = str(said["parameter"]), int(said["total"])
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"expected filters, found {type(error).__name__}: {error}") from error
    fits = len(shape) == 4 and min(shape) > 0 and shape[0] <= FILTERS_MOST and np.prod(shape) == pixels.size
    if not fits or pixels.size > PIXELS_MOST or edges.shape != (2, shape[0]):
        raise ValueError(f"expected filters of four sizes with their pixels, found {shape} and {pixels.size} bytes")
    return Filters(step, parameter, total, pixels.reshape(shape), edges[0], edges[1])
