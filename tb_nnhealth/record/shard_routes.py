"""The two ways in which the parts of sharded parameters come together, both beside the training.

By the job's key-value store each rank sends its part to rank 0. By all-reduce, where the user asks for it, all ranks
add theirs up, in a group of their own.
"""

from __future__ import annotations

import zlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.record.rank_exchange import Exchange
from tb_nnhealth.record.shard_pieces import BYTES_EACH, Pieces, whole
from tb_nnhealth.record.shards import Plan

Table = NDArray[np.float32]
Counts = NDArray[np.int64]
PIECES, COUNTS = 1, 2
"""Kinds of message."""
MOST_BYTES = 1 << 24
"""What all ranks together may send of one record."""


class Route(Protocol):
    """Called on the thread that makes the tables. ``index`` counts optimizer steps."""

    def fits(self, plan: Plan) -> bool:
        """Whether the parts of ``plan`` go this way at all; every rank says the same."""

    def send(self, plan: Plan, index: int, pieces: Pieces) -> None:
        """On a rank other than 0: this rank's part of a step."""

    def send_counts(self, plan: Plan, index: int, counts: Counts) -> None:
        """The same for histograms, (P, 3, bins)."""

    def wholes(self, plan: Plan, index: int, pieces: Pieces) -> Table | None:
        """On rank 0: statistics (P, 3, columns of ``pieces``) of the wholes; None where a part does not come."""

    def whole_counts(self, plan: Plan, index: int, counts: Counts) -> Counts | None:
        """The same for histograms."""


class StoreRoute:
    """Through the key-value store. Nobody waits but rank 0's writer's thread, and that only for a moment."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def fits(self, plan: Plan) -> bool:
        return plan.rows.size * BYTES_EACH * len(plan.holders) <= MOST_BYTES

    def send(self, plan: Plan, index: int, pieces: Pieces) -> None:
        self._exchange.post(PIECES, index, pieces.pack())

    def send_counts(self, plan: Plan, index: int, counts: Counts) -> None:
        packed = zlib.compress(np.minimum(counts, np.iinfo(np.int32).max).astype("<i4").tobytes(), 1)
        self._exchange.post(COUNTS, index, packed)

    def wholes(self, plan: Plan, index: int, pieces: Pieces) -> Table | None:
        others = self._exchange.collect(PIECES, index, plan.holders - {0})
        if others is None:
            return None
        parts = [pieces, *map(Pieces.unpack, others.values())]
        return whole(parts) if all(part.fits(pieces) for part in parts) else None

    def whole_counts(self, plan: Plan, index: int, counts: Counts) -> Counts | None:
        others = self._exchange.collect(COUNTS, index, plan.holders - {0})
        if others is None:
            return None
        parts = [np.frombuffer(zlib.decompress(data), "<i4") for data in others.values()]
        if any(part.size != counts.size for part in parts):
            return None
        total: Any = counts + sum(part.reshape(counts.shape).astype(np.int64) for part in parts)
        return total  # type: ignore[no-any-return]


def own_counts(plan: Plan, counts: NDArray[np.int32]) -> Counts:
    """This rank's part of the histograms of a record, of shape (P, 3, bins)."""
    own = np.zeros((*plan.rows.shape, schema.HISTOGRAM_BINS), np.int64)
    there = (plan.rows >= 0) & (plan.rows < len(counts)) & (plan.numel > 0)
    own[there] = counts[plan.rows[there]]
    return own
