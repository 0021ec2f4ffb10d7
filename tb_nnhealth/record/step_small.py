"""Small parameters of one optimizer in one step: weights, gradients and updates, copied and then reduced together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.record.reduce_segments import as_segment, segment_statistics
from tb_nnhealth.record.reduce_table import Record

Segment = NDArray[np.float32]


class _Small(NamedTuple):
    parameter: Any
    weight: Segment
    gradient: Segment
    rows: tuple[int, int, int]


class SmallParameters:
    """Filled by ``add``; ``before`` and ``after`` stand around the optimizer's step, ``write`` at the record's end."""

    def __init__(self) -> None:
        self._all: list[_Small] = []
        self._rows: list[int] = []
        self._lengths: list[int] = []
        self._elements: list[Segment] = []

    def add(self, parameter: Any, weight: Segment, gradient: Segment, rows: tuple[int, int, int]) -> None:
        """``weight`` and ``gradient`` as ``as_segment`` gives them; ``rows`` of weight, gradient and update."""
        self._all.append(_Small(parameter, weight, gradient, rows))

    def before(self) -> None:
        """Copies what the optimizer is about to change."""
        self._take([small.weight for small in self._all], [small.rows[0] for small in self._all])
        self._take([small.gradient for small in self._all], [small.rows[1] for small in self._all])

    @np.errstate(all="ignore")
    def after(self) -> list[int]:
        """Takes what the optimizer has changed; returns the rows of the updates."""
        updates, rows, end = [], [], 0
        for small in self._all:
            start, end = end, end + len(small.weight)
            now = None if small.parameter.grad is None else as_segment(small.parameter)
            if now is not None and len(now) == end - start:
                updates.append(now - self._elements[0][start:end])
                rows.append(small.rows[2])
        self._take(updates, rows)
        return rows

    def _take(self, segments: list[Segment], rows: list[int]) -> None:
        if segments:
            self._elements.append(np.concatenate(segments))
            self._lengths += map(len, segments)
            self._rows += rows

    def write(self, record: Record) -> None:
        if self._elements:
            statistics = segment_statistics(np.concatenate(self._elements), self._lengths)
            record.add_many(self._rows, self._lengths, statistics)
