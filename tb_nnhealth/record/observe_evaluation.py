"""The model's input in evaluation: one reading for each record, of the first forward pass since the last one."""

from __future__ import annotations

from typing import Any

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_gather import Gathered, named_tensors
from tb_nnhealth.record.reduce_table import Record


class EvaluationInput:
    """Holds readings of the evaluation's input until a record takes them."""

    def __init__(self) -> None:
        self._rows: dict[str, Gathered] = {}
        self.wanted = True

    def see(self, inputs: Any) -> None:
        self.wanted = False
        for i, (path, tensor) in enumerate(named_tensors(inputs)):
            gathered = self._rows[path if i else ""] = Gathered()
            gathered.take(tensor, integers=True)

    def write(self, record: Record, catalog: Catalog) -> None:
        rows, self._rows, self.wanted = self._rows, {}, True
        for subject, gathered in rows.items():
            if gathered.readings:
                gathered.write(record, catalog.row(schema.EVALUATION_INPUT, subject, gathered.shape, gathered.dtype))
