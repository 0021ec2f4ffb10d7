"""What the ranks of a job tell each other of the steps that they measure, on a thread of its own.

It goes through the job's key-value store. No collective is used: a rank that dies, lags or does not watch at all
holds nobody up.
"""

from __future__ import annotations

import atexit
import os
import struct
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from tb_nnhealth.record.event_file import close_all
from tb_nnhealth.record.faults import describe
from tb_nnhealth.record.rank_digest import Digest
from tb_nnhealth.record.rank_store import Mailbox

RANKS_COMPARED = 64
"""Ranks that are compared with rank 0; of more, as many evenly spread."""
PATIENCE, FIRST_PATIENCE = 1.0, 5.0
"""Seconds for which the writer's thread waits for what other ranks tell of a step; FIRST of those never heard of."""
_POLL_SECONDS, _POLLS = 0.25, 40
_QUICKEST_POLL = 0.002
_WAITING = 64
"""Messages that wait for the thread, and steps whose messages wait to be read; of more the oldest are dropped."""
_EXIT_SECONDS = 2.0
_HEADER = struct.Struct("<Bq")
_DIGEST = 0


class Exchange:
    """One rank's end. ``tell`` reports a fault, once; after it nothing is sent or fetched any more.

    A message is of a kind, a number from 1 to 255 (0 is a digest's), and of a step, counted by the optimizer's.
    """

    def __init__(self, watch: str, rank: int, ranks: int, directory: str, tell: Callable[[str], None]) -> None:
        self.rank, self.ranks = rank, ranks
        self.compared = range(ranks)[:: max(1, -(-(ranks - 1) // RANKS_COMPARED))] if ranks > 1 else range(0)
        """Ranks whose digests are exchanged."""
        self.first_directory: str | None = None
        """The log directory of rank 0, once it is known."""
        self.schedule = ""
        """What rank 0 last published of the steps that are measured."""
        self.seconds = 0.0
        """What the thread has worked."""
        self.mailbox = Mailbox(watch, rank)
        self._watch, self._directory, self.tell = watch, directory, tell
        self._pid = os.getpid()
        self._jobs: deque[Callable[[], Any]] = deque(maxlen=_WAITING)
        self._changed = threading.Condition()
        self._stopping = self._working = False
        self._awaiting = 0
        self._thread: threading.Thread | None = None
        self._heard = {other for other in self.compared if other != rank}
        self._expected = -1
        self._latest: dict[int, int] = {}
        self._late: set[int] = set()
        self._every: dict[int, int] = {}
        self._own: dict[int, Digest] = {}
        self._digests: dict[int, dict[int, Digest]] = {}
        self._messages: dict[tuple[int, int], dict[int, bytes]] = {}
        _exchanges.add(self)
        self.submit(self._meet)

    # --- from any thread --------------------------------------------------------------------------------------------

    def submit(self, work: Callable[[], Any]) -> None:
        """Has ``work`` done on the thread; returns at once."""
        with self._changed:
            if self._stopping or os.getpid() != self._pid:
                return
            self._jobs.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"tb_nnhealth:ranks:{self._watch}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def post(self, kind: int, index: int, payload: bytes) -> None:
        """Sends a message on the step ``index`` to rank 0; from rank 0 to nobody."""
        if self.rank:
            self.submit(lambda: self._send(_HEADER.pack(kind, index) + payload))

    def give(self, digest: Digest) -> None:
        """Takes this rank's digest of a step: sends it, or on rank 0 keeps it to compare others with."""
        if self.rank:
            if self.rank in self.compared:
                self.post(_DIGEST, digest.index, digest.pack())
            return
        with self._changed:
            self._own[digest.index] = digest
            while len(self._own) > _WAITING:
                del self._own[next(iter(self._own))]

    def expect(self, index: int, ranks: Collection[int] = ()) -> None:
        """On rank 0: this step was measured, so messages of it are to be looked for, from ``ranks`` too."""
        with self._changed:
            self._heard.update(ranks)
            self._heard.discard(self.rank)
            self._expected = index
            looking = self._fetch in self._jobs
        if not looking:
            self.submit(self._fetch)

    def await_digests(self, index: int) -> None:
        """Waits until the digests of a step have come from all ranks compared, as long as there is hope."""
        self._await(lambda: [r for r in self.compared if r != self.rank and self._newest_of(r) < index], first=PATIENCE)

    def collect(self, kind: int, index: int, ranks: Collection[int]) -> dict[int, bytes] | None:
        """The messages of a kind and a step from ``ranks``, by rank; None where one has not come. Waits for them."""
        key = kind, index
        self._await(
            lambda: [r for r in ranks if r not in self._messages.get(key, ()) and self._newest_of(r) <= index],
            lambda: any(r not in self._messages.get(key, ()) and self._newest_of(r) > index for r in ranks),
        )
        with self._changed:
            found = self._messages.pop(key, {})
            return {r: found[r] for r in ranks} if all(r in found for r in ranks) else None

    def newest(self) -> list[tuple[int, Digest, Digest]]:
        """On rank 0: of each rank the newest digest that has come since the last call, with that of rank 0 itself."""
        with self._changed:
            pairs = []
            for rank, digests in self._digests.items():
                common = max(digests.keys() & self._own.keys(), default=None)
                if common is not None:
                    pairs.append((rank, self._own[common], digests[common]))
                    self._digests[rank] = {index: digest for index, digest in digests.items() if index > common}
            return pairs

    def slowest(self) -> int:
        """On rank 0: the most steps between two measured ones that another rank would choose; 0 while unknown."""
        with self._changed:
            return max(self._every.values(), default=0)

    @property
    def stopped(self) -> bool:
        return self._stopping

    def settle(self, timeout: float) -> None:
        """Waits until what was submitted is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or not (self._jobs or self._working), timeout)

    def stop(self, timeout: float = 0.0) -> None:
        with self._changed:
            self._stopping = True
            self._jobs.clear()
            self._changed.notify_all()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and timeout > 0:
            thread.join(timeout)

    def _newest_of(self, rank: int) -> int:
        return self._latest.get(rank, -1)

    def _await(
        self, lacking: Callable[[], list[int]], hopeless: Callable[[], bool] = lambda: False, *, first: float = 0.0
    ) -> None:
        """Waits while a rank that is not late is lacking. A rank waited for in vain is late until it has caught up.

        ``first``: seconds for those never heard of, by default FIRST_PATIENCE.
        """
        begun = time.monotonic()
        with self._changed:
            self._awaiting += 1
            self._changed.notify_all()
            try:
                while not self._stopping and not hopeless():
                    missing = [rank for rank in lacking() if rank not in self._late]
                    if not missing or not self.mailbox.there:
                        return
                    patience = PATIENCE if all(rank in self._latest for rank in missing) else first or FIRST_PATIENCE
                    left = begun + patience - time.monotonic()
                    if left <= 0:
                        self._late.update(missing)
                        return
                    self._changed.wait(min(left, _POLL_SECONDS))
            finally:
                self._awaiting -= 1

    # --- on the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        polls, pause = 0, _QUICKEST_POLL
        while True:
            with self._changed:
                self._working = False
                self._changed.notify_all()
                if not self._jobs and not self._stopping:
                    self._changed.wait(pause if polls > 0 or self._awaiting else None)
                if self._stopping:
                    return
                work = self._jobs.popleft() if self._jobs else None
                self._working = True
            polls, pause = (_POLLS, _QUICKEST_POLL) if work is not None else (polls - 1, min(2 * pause, _POLL_SECONDS))
            begin = time.thread_time()
            try:
                (work or self._again)()
            except Exception as error:
                if self.mailbox.there:
                    with suppress(Exception):
                        self.tell(f"ranks are no longer compared: {describe(error)}")
                self.stop()
            self.seconds += time.thread_time() - begin
            work = None
            if not self._lacking():
                polls = 0

    def _again(self) -> None:
        (self._meet if self.rank else self._fetch)()

    def _lacking(self) -> bool:
        """Something is still to come that was not there when it was looked for."""
        if self.rank:
            return self.first_directory is None
        return any(self._newest_of(rank) < self._expected for rank in self._heard)

    def _meet(self) -> None:
        self.first_directory = self.mailbox.meet(self._directory)

    def publish(self, schedule: str) -> None:
        """On rank 0: tells the others which steps are measured."""
        self.submit(lambda: self.mailbox.put("schedule", schedule))

    def hear(self) -> None:
        """On another rank: looks for what rank 0 has published; returns at once."""
        self.submit(self._hear)

    def _send(self, message: bytes) -> None:
        if self.first_directory is None:
            self._meet()
        self.mailbox.post(message)

    def _hear(self) -> None:
        self.schedule = self.mailbox.get("schedule") or ""

    def _fetch(self) -> None:
        for rank in self._heard:
            for message in self.mailbox.fetch(rank):
                kind, index = _HEADER.unpack_from(message)
                self._take(rank, kind, index, message[_HEADER.size :])

    def _take(self, rank: int, kind: int, index: int, payload: bytes) -> None:
        with self._changed:
            if kind == _DIGEST:
                self._digests.setdefault(rank, {})[index] = digest = Digest.unpack(payload)
                self._every[rank] = digest.every
            else:
                self._messages.setdefault((kind, index), {})[rank] = payload
                while len(self._messages) > _WAITING:
                    del self._messages[min(self._messages, key=lambda key: key[1])]
            self._latest[rank] = max(index, self._newest_of(rank))
            if index >= self._expected:
                self._late.discard(rank)
            self._changed.notify_all()


_exchanges: weakref.WeakSet[Exchange] = weakref.WeakSet()


def _stop_all() -> None:
    """At exit, once all is told: a thread that came back to an interpreter that has ended would abort the process."""
    exchanges = list(_exchanges)
    if any(exchange.rank == 0 for exchange in exchanges):
        close_all()
    for exchange in exchanges:
        if exchange.rank:
            exchange.settle(_EXIT_SECONDS)
    for exchange in exchanges:
        exchange.stop()
    deadline = time.monotonic() + _EXIT_SECONDS
    for exchange in exchanges:
        exchange.stop(max(0.01, deadline - time.monotonic()))


atexit.register(_stop_all)
