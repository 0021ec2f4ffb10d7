"""Every way of training, registered."""

from __future__ import annotations

from tests.ways.cases import (  # noqa: F401  (they register their ways)
    checkpointing,
    compiled,
    copies,
    formats,
    gradients,
    loops,
    modes,
    optimizers,
    precision,
    structure,
    weights,
)
from tests.ways.registry import WAYS

__all__ = ["WAYS"]
