"""The scale of a gradient scaler."""

from __future__ import annotations

import weakref
from typing import Any

from torch.amp import GradScaler

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_table import Record


class LossScale:
    """Reads the scale that the gradients of a step were computed with; without a scaler, where a fused step has it."""

    def __init__(self, catalog: Catalog, scaler: GradScaler | None) -> None:
        self._catalog = catalog
        self._scaler = (lambda: None) if scaler is None else weakref.ref(scaler)
        self._scale: Any = None

    def open(self) -> None:
        self._scale = None

    def about_to_step(self, optimizer: Any) -> None:
        """Before the optimizer's step: the scaler changes its scale after it, in place."""
        scaler = self._scaler()
        if scaler is None:
            scale = getattr(optimizer, "grad_scale", None)
        elif scaler.is_enabled():
            scale = scaler._scale  # None before its first use; get_scale() would wait for the device
        else:
            scale = None
        if scale is not None:
            self._scale = scale.item() if scale.is_cpu else scale.clone()

    def write(self, record: Record) -> None:
        if self._scale is not None:
            record.share(self._catalog.row(schema.LOSS_SCALE, ""), schema.MEAN, self._scale)
