"""What the records tell of batches: single numbers over the records, and the class labels of each batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run, Steps
from tb_nnhealth.rules.base import CouldNotCheck, NotApplicable, Outcome, TooLittleData
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.persistence import window_of

Curve = NDArray[np.float64]

INPUTS_LINE = "call writer.watch(model, optimizer), or writer.observe(inputs=x)"
TARGETS_LINE = "pass criterion= to watch(), or call writer.observe(inputs=x, targets=y) before optimizer.step()"


def number(history: History, kind: str, subject: str = "", statistic: str = schema.MEAN) -> Curve:
    """One statistic of one row over the records, shape (records,); NaN where it was not measured, or has no row."""
    table = history.table(kind, statistic)
    if subject not in table.subjects:
        return np.full(len(history), np.nan)
    return table.values[:, table.subjects.index(subject)].astype(np.float64)


def shape_of(history: History, kind: str) -> tuple[int, ...] | None:
    """Shape of the tensor of the first row of ``kind``, None where there is no such row."""
    rows = history.rows(kind)
    return tuple(history.layout.rows[rows[0]].shape) if rows else None


def is_integer(history: History, kind: str) -> bool:
    """Whether the first row of ``kind`` holds integers: class indices, token numbers."""
    rows = history.rows(kind)
    return bool(rows) and history.layout.rows[rows[0]].dtype.startswith(("int", "uint"))


LEAST = 6
"""Batches of which the labels must be known, where records lie apart."""


@dataclass(frozen=True)
class Labels:
    """Class labels of the batches (t of them) in which they were seen.

    ``samples`` and ``distinct``: how many labels, and how many different ones, shape (t,). ``shares``: of each of the
    ``classes`` among the labels, shape (t, c); c is 0 where there are more classes than have rows.
    """

    steps: Steps
    samples: Curve
    distinct: Curve
    classes: tuple[int, ...]
    shares: Curve
    records: NDArray[np.int64]
    """Index of each batch's record in the history."""

    @property
    def pooled(self) -> Curve:
        """Share of each class over all batches, shape (c,)."""
        return np.asarray((self.samples[:, None] * self.shares).sum(axis=0) / self.samples.sum())

    def only(self, chosen: NDArray[np.bool_]) -> Labels:
        return Labels(
            self.steps[chosen],
            self.samples[chosen],
            self.distinct[chosen],
            self.classes,
            self.shares[chosen],
            self.records[chosen],
        )


def labels_of(run: Run, history: History | None, fewest: int) -> Labels | Outcome:
    """The labels of ``fewest`` batches (``LEAST`` where they lie apart), or what a rule about them must answer."""
    if history is None or not history.rows(schema.TARGET):
        return CouldNotCheck(TARGETS_LINE)
    if why := tags.moving_target(run):
        return NotApplicable(why)
    if not history.rows(schema.LABELS):
        return NotApplicable("the targets are no class indices")
    if not _one_label_a_sample(history):
        return NotApplicable("a sample has several labels, which depend on each other")
    samples, distinct = (number(history, schema.LABELS, name) for name in ("samples", "distinct"))
    seen = (samples >= 1) & np.isfinite(distinct)
    fewest = window_of(history.steps, fewest, LEAST)
    if seen.sum() < fewest:
        return TooLittleData(f"labels of {int(seen.sum())} batches, {fewest} are needed")
    table = history.table(schema.CLASS, schema.MEAN)
    known = [i for i, subject in enumerate(table.subjects) if subject.isdigit()]
    shares = np.nan_to_num(table.values[seen][:, known].astype(np.float64))
    classes = tuple(int(table.subjects[i]) for i in known)
    return Labels(history.steps[seen], samples[seen], distinct[seen], classes, shares, np.flatnonzero(seen))


def _one_label_a_sample(history: History) -> bool:
    """Whether the targets have one label for each sample, rather than one for each token or pixel."""
    target = shape_of(history, schema.TARGET) or ()
    inputs = shape_of(history, schema.INPUT)
    elements = int(np.prod(target, dtype=np.int64))
    if not target or elements != target[0]:
        return False
    return inputs is None or elements in inputs[:2]
