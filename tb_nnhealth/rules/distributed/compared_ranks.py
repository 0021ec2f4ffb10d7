"""Which logs tell how the ranks of a job compare: that of rank 0 alone."""

from __future__ import annotations

from tb_nnhealth.history import History
from tb_nnhealth.rules.base import NotApplicable

EVERY_RANK = "call SummaryWriter(...).watch(model, optimizer) on every rank"


def comparing(history: History | None) -> History | NotApplicable:
    """``history`` where it is that of rank 0 in a job of several processes, or why there is nothing to compare."""
    if history is None or history.layout.ranks <= 1:
        return NotApplicable("the job has one process")
    if history.layout.rank:
        return NotApplicable("the log of rank 0 compares the ranks")
    return history
