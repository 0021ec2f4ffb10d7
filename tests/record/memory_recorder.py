"""A recorder that keeps what a watch hands over, in place of one that writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import messages, schema
from tb_nnhealth.record.health_log import CaptureState


class MemoryStream:
    def __init__(self) -> None:
        self.capture = CaptureState()
        self.active = True
        self.background_seconds = 0.0
        self.layouts: list[Any] = []
        self.records: list[tuple[int, NDArray[np.float32]]] = []
        self.counts: list[tuple[int, NDArray[np.int32]]] = []
        self.pictures: list[tuple[int, bytes]] = []
        self.errors: list[str] = []
        self.closed = False

    def layout(self, layout: Any) -> None:
        kept = messages.Layout()
        kept.CopyFrom(layout)
        self.layouts.append(kept)

    def stats(self, step: int, values: Any, *, size: int = 0) -> None:
        table = values() if callable(values) else values
        assert table.shape == (len(self.layouts[-1].rows), len(schema.STATISTICS))
        assert table.dtype == np.float32
        self.records.append((step, table))

    def histograms(self, step: int, counts: Any, *, size: int = 0) -> None:
        table = counts() if callable(counts) else counts
        assert table.shape == (len(self.layouts[-1].rows), schema.HISTOGRAM_BINS)
        assert table.dtype == np.int32
        self.counts.append((step, table))

    def filters(self, step: int, make: Any, *, size: int = 0) -> None:
        self.pictures.append((step, make()))

    def error(self, error: BaseException | str) -> None:
        self.errors.append(str(error))

    def close(self) -> None:
        self.closed = True

    # --- what tests ask -----------------------------------------------------------------------------------------

    def row(self, kind: str, subject: str) -> int:
        rows = [(row.kind, row.subject) for row in self.layouts[-1].rows]
        return rows.index((kind, subject))

    def has(self, kind: str, subject: str) -> bool:
        return any((row.kind, row.subject) == (kind, subject) for row in self.layouts[-1].rows)

    def subjects(self, kind: str) -> list[str]:
        return [row.subject for row in self.layouts[-1].rows if row.kind == kind]

    def value(self, kind: str, subject: str, statistic: str, record: int = -1) -> float:
        """One cell of a record; NaN where the record is older than the row."""
        table = self.records[record][1]
        row = self.row(kind, subject)
        return float(table[row, schema.STATISTICS.index(statistic)]) if row < len(table) else float("nan")

    def histogram(self, kind: str, subject: str, record: int = -1) -> NDArray[np.int32]:
        return self.counts[record][1][self.row(kind, subject)]

    def module(self, name: str) -> Any:
        return next(module for module in self.layouts[-1].modules if module.name == name)

    def parameter(self, name: str) -> Any:
        return next(parameter for parameter in self.layouts[-1].parameters if parameter.name == name)

    @property
    def steps(self) -> list[int]:
        return [step for step, _ in self.records]


class MemoryRecorder:
    first_step = 0

    def __init__(self) -> None:
        self.streams: dict[str, MemoryStream] = {}

    def open_watch(self, name: str | None = None, rules: Any = None, scalars: Any = None) -> MemoryStream:
        stream = self.streams[name or schema.DEFAULT_WATCH] = MemoryStream()
        return stream

    @property
    def stream(self) -> MemoryStream:
        (stream,) = self.streams.values()
        return stream


def train(steps: int, step: Callable[[int], Any]) -> list[Any]:
    return [step(i) for i in range(steps)]
