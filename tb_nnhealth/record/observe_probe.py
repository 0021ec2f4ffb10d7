"""Predictions on a batch that the user keeps fixed: how far they move from one look to the next."""

from __future__ import annotations

import math
from typing import Any

import torch

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce import flatten
from tb_nnhealth.record.reduce_gather import tensors_in
from tb_nnhealth.record.reduce_readable import readable
from tb_nnhealth.record.reduce_table import Record

_ELEMENTS = 1 << 16
"""Predictions kept: at regular distances where there are more."""


class Probe:
    """Keeps the last predictions, at most 65,536 of them, and what they changed by until a record takes it."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._kept: Any = None
        self._changes: list[Any] = []

    def see(self, predictions: Any) -> None:
        """Compares with the last ones. Other shapes, devices and dtypes begin anew."""
        first = next(iter(tensors_in(predictions)), None)
        values = None if first is None else readable(first, integers=True)
        if values is None or values.implicit_zeros:
            return
        flat = flatten(values.tensor)
        now = flat[:: -(-flat.numel() // _ELEMENTS)].clone()
        old = self._kept
        if old is not None and (self._shape, old.device, old.dtype) == (values.shape, now.device, now.dtype):
            change = relative_change(old, now)
            if not now.is_cpu:
                self._changes.append(change)
            elif math.isfinite(change):
                self._changes.append(float(change))
        self._shape, self._kept = values.shape, now

    def write(self, record: Record, catalog: Catalog) -> None:
        changes, self._changes = self._changes, []
        for change in changes:
            record.share(catalog.row(schema.PROBE, ""), schema.MEAN, change)


def relative_change(old: Any, now: Any) -> Any:
    """Root mean square of ``now - old`` over the standard deviation of ``old``: a 0-d tensor, NaN where it has none."""
    wide = torch.float64 if now.is_cpu else torch.float32
    old, now = old.to(wide), now.to(wide)
    deviation = (old - old.mean()).square().mean().sqrt()
    return torch.where(deviation > 0, (now - old).square().mean().sqrt() / deviation, torch.nan)
