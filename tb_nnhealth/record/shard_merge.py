"""Rank 0's side of sharded parameters: its own part's statistics become those of the whole, where all parts arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.record.reduce_readable import SHARD
from tb_nnhealth.record.shard_pieces import COLUMNS, Pieces
from tb_nnhealth.record.shard_routes import Route, own_counts
from tb_nnhealth.record.shards import Plan

Table = NDArray[np.float32]
_INCOMPLETE_BORNE = 8
"""Records running that may lack a part, before rank 0's own part takes the place of the whole."""
_RMS = COLUMNS.index(schema.STATISTICS.index(schema.RMS))
_WEIGHT = schema.PARAMETER_KINDS.index(schema.WEIGHT)


class Merge:
    """Puts wholes in the place of parts, on the thread that makes tables; ``label`` and ``initial`` are for another.

    Rows are of the whole or of the part for long stretches. A single record that lacks a part says nothing of a
    tensor, rather than something of a part of it. ``tell`` reports.
    """

    def __init__(self, route: Route, tell: Callable[[str], Any]) -> None:
        self._route, self._tell = route, tell
        self._told: set[str] = set()
        self._whole = self._over = False
        self._records = self._incomplete = 0
        self.label = SHARD
        """Of what the merged rows are."""
        self.initial: dict[str, float] = {}
        """RMS of the first weights by parameter, to be taken over."""

    def send(self, plan: Plan, index: int, table: Table) -> None:
        """On a rank other than 0: tells its part."""
        if self._route.fits(plan):
            self._route.send(plan, index, pieces_of(plan, table))

    def send_counts(self, plan: Plan, index: int, counts: NDArray[np.int32]) -> None:
        """The same of histograms."""
        if self._route.fits(plan):
            self._route.send_counts(plan, index, own_counts(plan, counts))

    def table(self, plan: Plan, index: int, step: int, label: str, table: Table) -> None:
        """On rank 0: writes the statistics of wholes into ``table``, in place; ``label`` is what its rows bear."""
        if not self._route.fits(plan):
            self._tell_once(
                f"sharded parameters are recorded as the part that rank 0 holds: {len(plan.entries)} of them on "
                f"{len(plan.holders)} ranks are too much for the job's store; give watch() shards='all-reduce'"
            )
            return
        wholes = None if self._over else self._route.wholes(plan, index, pieces_of(plan, table))
        if wholes is None:
            self._lacks(plan, step, label, table)
        else:
            self._write(plan, step, table, wholes)
        self._records += 1

    def counts(self, plan: Plan, index: int, counts: NDArray[np.int32]) -> None:
        """The same for histograms."""
        if not (self._whole and self._route.fits(plan)):
            return
        total = self._route.whole_counts(plan, index, own_counts(plan, counts))
        merged = plan.merged & (plan.rows >= 0) & (plan.rows < len(counts))
        counts[plan.rows[merged]] = 0 if total is None else np.minimum(total[merged], np.iinfo(np.int32).max)

    def _write(self, plan: Plan, step: int, table: Table, wholes: Table) -> None:
        if not self._whole:
            self._whole = True
            self.label = "" if not self._records else f"{SHARD} until step {step}"
        self._incomplete = 0
        merged = plan.merged & (plan.rows >= 0) & (plan.rows < len(table))
        table[plan.rows[merged][:, None], COLUMNS] = wholes[merged]
        if not self._records:
            self.initial = {
                entry.name: float(wholes[i, _WEIGHT, _RMS])
                for i, entry in enumerate(plan.entries)
                if merged[i, _WEIGHT]
            }

    def _lacks(self, plan: Plan, step: int, label: str, table: Table) -> None:
        if not (self._whole or self._over):
            self._tell_once(
                "sharded parameters are recorded as the part that rank 0 holds, since nothing fitting has come "
                "from other ranks; call SummaryWriter(...).watch(...) on every rank, with the same arguments"
            )
        if self._whole:
            self._incomplete += 1
            if self._incomplete > _INCOMPLETE_BORNE:
                self._whole, self._over = False, True
                self.label = f"{SHARD} since step {step}"
                self._tell_once(
                    f"from step {step} on sharded parameters are recorded as the part that rank 0 holds, since nothing "
                    "more has come from other ranks"
                )
        if self._whole or (self._over and label != self.label):  # no layout says that this record is of a part
            merged = plan.merged & (plan.rows >= 0) & (plan.rows < len(table))
            table[plan.rows[merged]] = np.nan

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._tell(message)


def pieces_of(plan: Plan, table: Table) -> Pieces:
    return Pieces.of(table, plan.signature, plan.rows, plan.numel, plan.by_rows)
