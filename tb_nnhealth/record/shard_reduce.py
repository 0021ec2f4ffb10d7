"""Shards added up by all-reduce, on the ranks' own threads, in a group that is neither the training's nor known to it.

A rank that dies, stops or measures other steps breaks this group alone: the parts go through the store again then.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tb_nnhealth.record import rank_exchange
from tb_nnhealth.record.faults import describe
from tb_nnhealth.record.shard_pieces import Moments, Pieces
from tb_nnhealth.record.shard_routes import Counts, StoreRoute, Table
from tb_nnhealth.record.shards import Plan

MEETING_SECONDS = 10.0
"""How long a rank waits to hear the others' terms before it takes the way through the store."""
COLLECTIVE_SECONDS = 30.0
"""How long a rank waits in an all-reduce for the others."""
_POLL_SECONDS = 0.002


class AllReduceRoute:
    """Two all-reduces a record: greatest and least values with the number of the step, then sums.

    Ranks first tell each other their terms, by the store; where these differ, nothing is reduced. A rank whose step
    turns out to be older than another's lets it go and takes its next one, so that ranks fall in step by themselves.
    """

    def __init__(self, exchange: rank_exchange.Exchange, every: int | None) -> None:
        self._exchange, self._every = exchange, every
        self._store = StoreRoute(exchange)
        self._group: Any = None
        self._plan: tuple[int, frozenset[int]] | None = None
        self._works = self._refused = False
        self._results: dict[tuple[int, str], Any] = {}
        self._changed = threading.Condition()

    def fits(self, plan: Plan) -> bool:
        return True

    def send(self, plan: Plan, index: int, pieces: Pieces) -> None:
        self._exchange.submit(lambda: self._reduce(plan, index, pieces))
        if not self._works and self._store.fits(plan):
            self._store.send(plan, index, pieces)

    def send_counts(self, plan: Plan, index: int, counts: Counts) -> None:
        self._exchange.submit(lambda: self._reduce_counts(plan, index, counts))
        if not self._works and self._store.fits(plan):
            self._store.send_counts(plan, index, counts)

    def wholes(self, plan: Plan, index: int, pieces: Pieces) -> Table | None:
        self._exchange.submit(lambda: self._reduce(plan, index, pieces))
        sums, reduced = self._result(index, "pieces")
        if reduced:
            return None if sums is None else sums.statistics()
        return self._store.wholes(plan, index, pieces) if self._store.fits(plan) else None

    def whole_counts(self, plan: Plan, index: int, counts: Counts) -> Counts | None:
        self._exchange.submit(lambda: self._reduce_counts(plan, index, counts))
        total, reduced = self._result(index, "counts")
        if reduced:
            return total  # type: ignore[no-any-return]
        return self._store.whole_counts(plan, index, counts) if self._store.fits(plan) else None

    def _result(self, index: int, what: str) -> tuple[Any, bool]:
        """What came of a reduction, and whether there was any: without one the store is to be asked."""
        patience = rank_exchange.PATIENCE if self._works else MEETING_SECONDS + rank_exchange.FIRST_PATIENCE
        with self._changed:
            self._changed.wait_for(lambda: (index, what) in self._results or self._exchange.stopped, patience)
            result: tuple[Any, bool] = self._results.pop((index, what), (None, self._works))
            self._results = {key: value for key, value in self._results.items() if key[0] >= index}
            return result

    # --- on the exchange's thread -----------------------------------------------------------------------------------

    def _reduce(self, plan: Plan, index: int, pieces: Pieces) -> None:
        self._settle(index, "pieces", lambda: self._sum(plan, index, pieces))

    def _reduce_counts(self, plan: Plan, index: int, counts: Counts) -> None:
        self._settle(index, "counts", lambda: self._sum_counts(index, counts))

    def _settle(self, index: int, what: str, reduce: Any) -> None:
        """Runs ``reduce`` and hands its result to the thread that waits for it."""
        result: tuple[Any, bool] = None, False
        try:
            if not self._refused:
                result = reduce()
        except Exception as error:
            self._refuse(f"the all-reduce of shards failed: {describe(error)}")
        finally:
            if not self._exchange.rank:
                with self._changed:
                    self._results[index, what] = result
                    self._changed.notify_all()

    def _sum(self, plan: Plan, index: int, pieces: Pieces) -> tuple[Moments | None, bool]:
        terms = pieces.signature, plan.holders
        if self._plan is None:
            self._plan = terms
            self._meet(plan, pieces)
        elif self._plan != terms:
            self._refuse("the shards of the model have changed")
        if self._group is None:
            return None, False
        moments = Moments.of(pieces)
        extremes = self._aligned(index, moments.extremes)
        if extremes is None:
            return None, True
        sums = self._all_reduce(moments.sums, torch.distributed.ReduceOp.SUM)
        self._works = True
        return Moments(sums, extremes), True

    def _sum_counts(self, index: int, counts: Counts) -> tuple[Counts | None, bool]:
        if self._group is None:
            return None, False
        if self._aligned(index, np.zeros(0)) is None:
            return None, True
        total = self._all_reduce(counts.astype(np.float64), torch.distributed.ReduceOp.SUM)
        return total.astype(np.int64), True

    def _aligned(self, index: int, extremes: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The greatest ``extremes`` of all ranks; None where others are at a later step."""
        while True:
            own = np.concatenate([[index, -index], extremes.reshape(-1)])
            found = self._all_reduce(own, torch.distributed.ReduceOp.MAX)
            if found[0] == -found[1]:
                return found[2:].reshape(extremes.shape)
            if index < found[0]:
                return None

    def _meet(self, plan: Plan, pieces: Pieces) -> None:
        """Tells the others this rank's terms; makes the group once all are known to be the same."""
        mailbox, holders = self._exchange.mailbox, sorted(plan.holders)
        own = {"every": self._every, "signature": pieces.signature, "holders": holders}
        mailbox.put(f"terms/{self._exchange.rank}", json.dumps(own))
        deadline = time.monotonic() + MEETING_SECONDS
        missing = set(holders)
        while missing and not self._exchange.stopped:
            for rank in sorted(missing):
                text = mailbox.get(f"terms/{rank}")
                if text is not None:
                    missing.discard(rank)
                    theirs = json.loads(text)
                    if theirs != own:
                        unlike = ", ".join(f"{key}={theirs[key]!r}" for key in own if theirs[key] != own[key])
                        self._refuse(f"rank {rank} has {unlike}, which is not what rank {self._exchange.rank} has")
                        return
            if missing and time.monotonic() > deadline:
                self._refuse(f"rank {', '.join(map(str, sorted(missing)))} does not take part")
                return
            time.sleep(_POLL_SECONDS)
        store = mailbox.store()
        if store is not None and not self._exchange.stopped:
            self._group = _group(store, holders.index(self._exchange.rank), len(holders))

    def _refuse(self, why: str) -> None:
        """From here on the parts go through the store."""
        self._refused, self._works = True, False
        group, self._group = self._group, None
        if group is not None and hasattr(group, "abort"):
            group.abort()
        if not self._exchange.stopped:
            self._exchange.tell(f"shards='all-reduce' is off, since {why}; shards go through the job's store")

    def _all_reduce(self, values: NDArray[np.float64], operation: Any) -> NDArray[np.float64]:
        tensor = torch.from_numpy(values.reshape(-1).copy())
        options = torch.distributed.AllreduceOptions()
        options.reduceOp = operation
        work = self._group.allreduce([tensor], options)
        deadline = time.monotonic() + COLLECTIVE_SECONDS
        pause = 0.0
        while not work.is_completed():
            if self._exchange.stopped:
                raise InterruptedError("the watch has ended")
            if time.monotonic() > deadline:
                raise TimeoutError(f"other ranks did not take part for {COLLECTIVE_SECONDS:g} s")
            time.sleep(pause)
            pause = min(pause + 1e-4, _POLL_SECONDS)
        work.wait()
        return np.asarray(tensor.numpy()).reshape(values.shape)


def _group(store: Any, rank: int, ranks: int) -> Any:
    """A gloo group that torch.distributed does not know of; all its ranks are about to call this."""
    distributed = torch.distributed
    prefixed = distributed.PrefixStore("all-reduce", store)
    return distributed.ProcessGroupGloo(prefixed, rank, ranks, timedelta(seconds=COLLECTIVE_SECONDS))
