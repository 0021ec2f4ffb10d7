"""Arrays of numbers in JSON: base64 of little-endian float32, as fields named ``…_f32`` hold them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tb_nnhealth.history import Floats


def f32(values: ArrayLike) -> str:
    """``values`` in row-major order; float64 beyond float32's range becomes infinite."""
    with np.errstate(over="ignore"):
        return base64.b64encode(np.asarray(values).astype("<f4").tobytes()).decode("ascii")


def decode(text: str, *shape: int) -> Floats:
    """The inverse of ``f32``, in ``shape`` where one is given."""
    values = np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
    return values.reshape(shape) if shape else values


def ints(values: Any) -> list[int]:
    """``values``, an array of integers, as a list that JSON takes."""
    return [int(value) for value in values]
