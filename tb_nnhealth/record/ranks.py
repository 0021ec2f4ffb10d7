"""A watch in a distributed job: its own time, the comparison of the ranks, and what ranks other than 0 write."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import messages, schema
from tb_nnhealth.record.device_copy import arriving
from tb_nnhealth.record.faults import warn
from tb_nnhealth.record.health_log import CaptureState
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.rank_digest import Digest, Reader, unlike
from tb_nnhealth.record.rank_exchange import Exchange
from tb_nnhealth.record.reduce_readable import SHARD
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.shard_merge import Merge
from tb_nnhealth.record.shard_routes import Route
from tb_nnhealth.record.shards import Plan, Shards

Table = NDArray[np.float32]
_MEAN, _MIN = (schema.STATISTICS.index(name) for name in (schema.MEAN, schema.MIN))
_FIRST_AWAITED = 20.0
"""Seconds for which a rank waits to hear where rank 0 writes, before it takes it that rank 0 does not."""


class Ranks:
    """Adds to each record of a watch what tells the ranks apart.

    What others tell arrives after the step that it is of. The writer's thread waits for it, for a moment and not for
    ranks that lag: of those a record compares the newest that has arrived.
    """

    def __init__(self, catalog: Catalog, exchange: Exchange, tell: Callable[[str], Any], route: Route | None) -> None:
        """``route``: how the parts of sharded parameters come together; None for not at all."""
        self._catalog, self._exchange = catalog, exchange
        self._subject = str(exchange.rank)
        self._shards = Shards(catalog, exchange.rank)
        self._merge = None if route is None else Merge(route, tell)
        self._plan: Plan | None = None
        self._label = SHARD
        self._reader = Reader(catalog.row_messages, self._subject, self._shards.names)
        self._last_step: float | None = None
        self._seconds: float | None = None
        catalog.rank, catalog.ranks = exchange.rank, exchange.ranks

    @property
    def background_seconds(self) -> float:
        return self._exchange.seconds

    def open(self, last_step: float | None) -> None:
        """Begins a measured step. ``last_step``: when the one before ended, by ``perf_counter``."""
        self._last_step, self._seconds = last_step, None

    def called(self, entry: WatchedModule, module: Any, args: Any) -> None:
        """Of no interest here."""

    def gradient_came(self, entry: WatchedModule, gradient: Any) -> None:
        """From the first backward pass on ranks wait for each other."""
        if self._seconds is None and self._last_step is not None:
            self._seconds = perf_counter() - self._last_step

    def write(self, record: Record) -> None:
        """Adds this rank's row, and gives the others theirs, whose values come later."""
        if self._seconds is not None:
            record.share(self._catalog.row(schema.RANK_SECONDS, self._subject), schema.MEAN, self._seconds)
        self._plan = plan = self._shards.plan()
        if plan is not None:
            self._describe(plan)
        if not self._exchange.rank:
            for rank in self._exchange.compared:
                self._catalog.row(schema.RANK_LOSS, str(rank))
                self._catalog.row(schema.RANK_SECONDS, str(rank))
                if rank:
                    self._catalog.row(schema.RANK_WEIGHTS, str(rank))
                    self._catalog.row(schema.RANK_BATCH, str(rank))

    def described_anew(self) -> bool:
        """Once all tables are made: whether they told more of the parts than the layout of the last step could say."""
        plan, merge = self._plan, self._merge
        if plan is None or merge is None or (merge.label == self._label and not merge.initial):
            return False
        self._describe(plan)
        return True

    def _describe(self, plan: Plan) -> None:
        self._label = SHARD if self._merge is None else self._merge.label
        self._shards.label(plan, self._label)
        self._take_initial(plan)

    def _take_initial(self, plan: Plan) -> None:
        """Of the first weights the whole's scale, once it is known."""
        if self._merge is not None and self._merge.initial:
            initial, self._merge.initial = self._merge.initial, {}
            for entry in plan.entries:
                entry.initial_rms = initial.get(entry.name, entry.initial_rms)
            self._catalog.changed = True

    def told(self, index: int, step: int, every: int, values: Callable[[], Table], batch: Any) -> Callable[[], Table]:
        """``values`` of the step ``index``, which as they are made are told to the others, or compared with theirs.

        ``step``: its number in the log; ``every``: steps between measured ones, as this rank would choose.
        """
        exchange, plan, merge, label = self._exchange, self._plan, self._merge, self._label
        names = [entry.name for _, entry in self._catalog.parameters()]
        fingerprint = arriving(batch)
        if not exchange.rank:
            exchange.expect(index, plan.holders if plan is not None and merge is not None else ())

        def table() -> Table:
            made = values()
            digest = self._reader.digest(index, made, fingerprint(), every)
            exchange.give(digest)
            if exchange.rank:
                if plan is not None and merge is not None and exchange.rank in plan.holders:
                    merge.send(plan, index, made)
                return made
            if plan is not None and merge is not None and plan.holders:
                merge.table(plan, index, step, label, made)
            exchange.await_digests(index)
            self._compare(made, digest, names)
            return made

        return table

    def counted(self, index: int, counts: Callable[[], NDArray[np.int32]]) -> Callable[[], NDArray[np.int32]]:
        """The same for the histograms of that step."""
        exchange, plan, merge = self._exchange, self._plan, self._merge
        if plan is None or merge is None or exchange.rank not in plan.holders:
            return counts

        def made() -> NDArray[np.int32]:
            made = counts()
            if not exchange.rank:
                merge.counts(plan, index, made)
            else:
                merge.send_counts(plan, index, made)
            return made

        return made

    def _compare(self, table: Table, own: Digest, names: list[str]) -> None:
        self._put(table, schema.RANK_LOSS, 0, own.loss)
        for rank, first, other in self._exchange.newest():
            self._put(table, schema.RANK_LOSS, rank, other.loss)
            self._put(table, schema.RANK_SECONDS, rank, other.seconds)
            if first.batch_known and other.batch_known:
                self._put(table, schema.RANK_BATCH, rank, float(first.batch == other.batch))
            parted = unlike(first, other)
            if parted is not None:
                self._put(table, schema.RANK_WEIGHTS, rank, len(parted) / len(first.weights))
                if len(parted):
                    name = self._reader.name(int(parted[0]))
                    self._put(table, schema.RANK_WEIGHTS, rank, names.index(name) if name in names else np.nan, _MIN)

    def _put(self, table: Table, kind: str, rank: int, value: float, column: int = _MEAN) -> None:
        row = self._catalog.row(kind, str(rank))
        if row < len(table):
            table[row, column] = value


class RankStream:
    """The stream of a watch on a rank other than 0.

    Into the directory of rank 0 it writes nothing, since the records of two ranks would lie among each other; in a
    directory of its own it records as usual, from when it has heard that it is one.
    """

    def __init__(
        self, recorder: Any, name: str, rules: Mapping[str, Any] | None, scalars: Mapping[str, Any] | None
    ) -> None:
        self.capture = CaptureState()
        self.exchange: Exchange | None = None
        self._recorder, self._arguments = recorder, (name, rules, scalars)
        self._stream: Any = None
        self._layout: Any = None
        self._closed = False
        self._begun = time.monotonic()

    @property
    def active(self) -> bool:
        return not self._closed and bool(self._recorder.is_open)

    @property
    def background_seconds(self) -> float:
        return 0.0 if self._stream is None else float(self._stream.background_seconds)

    def layout(self, layout: Any) -> None:
        if self._recording():
            self._stream.layout(layout)
        else:
            self._layout = messages.Layout()
            self._layout.CopyFrom(layout)

    def stats(self, step: int, values: Callable[[], Table], *, size: int = 0) -> None:
        if self._recording():
            self._stream.stats(step, values, size=size)
        elif self.exchange is not None:
            self.exchange.submit(values)

    def histograms(self, step: int, counts: Any, *, size: int = 0) -> None:
        if self._stream is not None:
            self._stream.histograms(step, counts, size=size)
        elif self.exchange is not None:
            self.exchange.submit(counts)

    def filters(self, step: int, make: Any, *, size: int = 0) -> None:
        if self._stream is not None:
            self._stream.filters(step, make, size=size)

    def _recording(self) -> bool:
        if self._stream is None and self.exchange is not None:
            first = self.exchange.first_directory
            if first is None and time.monotonic() - self._begun < _FIRST_AWAITED:
                return False
            if first is not None and first == directory_of(self._recorder):
                return False
            self._stream = self._recorder.open_watch(*self._arguments)
            self._stream.capture.budget = self.capture.budget
            self.capture = self._stream.capture
            if self._layout is not None:
                self._stream.layout(self._layout)
        return self._stream is not None

    def error(self, error: BaseException | str) -> None:
        if self._stream is not None:
            self._stream.error(error)
        else:
            warn(str(error))

    def findings(self) -> list[Any]:
        return [] if self._stream is None else list(self._stream.findings())

    def close(self) -> None:
        self._closed = True
        if self._stream is not None:
            self._stream.close()


def directory_of(recorder: Any) -> str:
    """The directory that ``recorder`` writes to, the same for all ways to name it."""
    return str(recorder.log_dir) if "://" in recorder.log_dir else os.path.realpath(recorder.log_dir)
