"""Gradients as they are before clipping, where the user asks for them between backward pass and clipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_gather import Gathered
from tb_nnhealth.record.reduce_table import Record


class Unclipped:
    """Reads the gradients of what the optimizers hold, or without any of the whole model; once in a step."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._read = False

    def open(self) -> None:
        self._read = False

    def read(self, optimizers: Sequence[Any], record: Record, *, counted: bool) -> None:
        if self._read:
            return
        self._read = True
        held = [p for o in optimizers for group in o.param_groups for p in group["params"]]
        for parameter in held or [p for p, _ in self._catalog.parameters()]:
            entry = self._catalog.parameter(parameter)
            if entry is None or parameter.grad is None:
                continue
            gathered = Gathered()
            gathered.take(parameter.grad, counted=counted)
            gathered.write(record, self._catalog.row(schema.UNCLIPPED, entry.name, entry.shape, entry.dtype))
