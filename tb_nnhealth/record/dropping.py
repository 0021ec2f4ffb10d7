"""Dropouts at work where no gradient is wanted, within the model's own training forward: those of a teacher."""

from __future__ import annotations

from typing import Any

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.reduce import scalar
from tb_nnhealth.record.reduce_table import Record


class Dropping:
    """Of one step: calls with gradients off count where the model then returns with gradients, in train mode."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._called: dict[str, None] = {}
        self._found: dict[str, None] = {}

    def open(self) -> None:
        self._called, self._found = {}, {}

    def without_gradients(self, entry: WatchedModule, module: Any, *, root: bool) -> None:
        """Notes a call; one of the model itself is an evaluation or a sample, and so was all within it."""
        if root:
            self._called.clear()
        elif entry.drops and module.training:
            self._called[entry.name] = None

    def model_returned(self, *, training: bool) -> None:
        if training:
            self._found.update(self._called)
        self._called.clear()

    def write(self, record: Record) -> None:
        for name in self._found:
            record.add(self._catalog.row(schema.DROPPING, name), scalar(True))
