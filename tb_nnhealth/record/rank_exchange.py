"""Digests of measured steps, carried between the ranks of a job by the key-value store that the job has anyway.

No collective is used: a rank that dies, lags or does not watch at all holds nobody up. All traffic is on a thread of
its own.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tb_nnhealth.record.faults import describe
from tb_nnhealth.record.rank_digest import Digest

RING = 16
"""Digests of each rank that the store keeps."""
RANKS_COMPARED = 64
"""Ranks that are compared with rank 0; of more, as many evenly spread."""
_POLL_SECONDS, _POLLS = 0.25, 40
_WAITING = 64
"""Digests that wait for the thread; of more the oldest are dropped."""
_EXIT_SECONDS = 2.0
_FILE_BYTES = 1 << 24
"""What a store that is a file, which only ever grows, is given."""


def job() -> tuple[int, int]:
    """Rank and number of ranks of the distributed job that this process is in; (0, 1) outside of any."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


class Exchange:
    """One rank's end. ``tell`` reports a fault, once; after it nothing is sent or fetched any more."""

    def __init__(self, watch: str, rank: int, ranks: int, directory: str, tell: Callable[[str], None]) -> None:
        self.rank, self.ranks = rank, ranks
        self.compared = range(ranks)[:: max(1, -(-(ranks - 1) // RANKS_COMPARED))] if ranks > 1 else range(0)
        """Ranks whose digests are exchanged."""
        self.first_directory: str | None = None
        """The log directory of rank 0, once it is known."""
        self.seconds = 0.0
        """What the thread has worked."""
        self._watch, self._directory, self._tell = watch, directory, tell
        _opened[watch] += 1
        self._prefix = f"nnhealth/{watch}/{_opened[watch]}"
        self._pid = os.getpid()
        self._jobs: deque[Callable[[], Any]] = deque(maxlen=_WAITING)
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._posted = self._bytes = 0
        self._seen: dict[int, int] = {}
        self._latest: dict[int, int] = {}
        self._own: dict[int, Digest] = {}
        self._arrived: dict[int, dict[int, Digest]] = {rank: {} for rank in self.compared if rank}
        _exchanges.add(self)
        self.submit(self._meet)

    def submit(self, work: Callable[[], Any]) -> None:
        """Has ``work`` done on the thread; returns at once."""
        with self._changed:
            if self._stopping or os.getpid() != self._pid:
                return
            self._jobs.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"tb_nnhealth:ranks:{self._watch}", daemon=True)
                self._thread.start()
            self._changed.notify()

    def give(self, digest: Digest) -> None:
        """Takes this rank's digest of a step: sends it, or on rank 0 keeps it to compare others with."""
        if self.rank:
            if self.rank in self.compared:
                self.submit(lambda: self._post(digest))
            return
        with self._changed:
            self._own[digest.index] = digest
            while len(self._own) > _WAITING:
                del self._own[next(iter(self._own))]
        self.submit(self._fetch)

    def newest(self) -> list[tuple[int, Digest, Digest]]:
        """On rank 0: of each rank the newest digest that has come since the last call, with that of rank 0 itself."""
        with self._changed:
            pairs = []
            for rank, digests in self._arrived.items():
                common = max(digests.keys() & self._own.keys(), default=None)
                if common is not None:
                    pairs.append((rank, self._own[common], digests[common]))
                    self._arrived[rank] = {index: digest for index, digest in digests.items() if index > common}
            return pairs

    def stop(self, timeout: float = 0.0) -> None:
        with self._changed:
            self._stopping = True
            self._jobs.clear()
            self._changed.notify()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and timeout > 0:
            thread.join(timeout)

    # --- on the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        polls = 0
        while True:
            with self._changed:
                if not self._jobs and not self._stopping:
                    self._changed.wait(_POLL_SECONDS if polls else None)
                if self._stopping:
                    return
                work = self._jobs.popleft() if self._jobs else None
            polls = _POLLS if work is not None else polls - 1
            begin = time.thread_time()
            try:
                (work or self._again)()
            except Exception as error:
                if self._store() is not None:
                    with suppress(Exception):
                        self._tell(f"ranks are no longer compared: {describe(error)}")
                self.stop()
            self.seconds += time.thread_time() - begin
            work = None
            if not self._lacking():
                polls = 0

    def _store(self) -> Any:
        """Taken anew each time: a reference kept would keep the store from ending with the job. None after its end."""
        distributed = sys.modules.get("torch.distributed")
        if distributed is None or not distributed.is_initialized():
            return None
        default = distributed.distributed_c10d._get_default_store()
        return distributed.PrefixStore(self._prefix, default)

    def _again(self) -> None:
        (self._meet if self.rank else self._fetch)()

    def _lacking(self) -> bool:
        """Something is still to come that was not there when it was looked for."""
        if self.rank:
            return self.first_directory is None
        newest = max(self._own, default=-1)
        return any(self._latest.get(rank, -1) < newest for rank in self._arrived)

    def _meet(self) -> None:
        store = self._store()
        if store is None:
            return
        if not self.rank:
            self.first_directory = self._directory
            store.set("directory", self._directory)
        elif store.check(["directory"]):  # getting what is not there would wait for it
            self.first_directory = store.get("directory").decode()

    def _post(self, digest: Digest) -> None:
        store = self._store()
        if store is None:
            return
        if self.first_directory is None:
            self._meet()
        data = digest.pack()
        self._bytes += len(data)
        if self._bytes > _FILE_BYTES and _is_file(store):
            raise RuntimeError(f"the job's store is a file, which has been given {_FILE_BYTES >> 20} MB of digests")
        store.set(f"{self.rank}/{self._posted % RING}", data)
        self._posted += 1
        store.set(f"{self.rank}/count", str(self._posted))

    def _fetch(self) -> None:
        store = self._store()
        if store is None:
            return
        for rank in self._arrived:
            if not store.check([f"{rank}/count"]):
                continue
            count = int(store.get(f"{rank}/count"))
            for number in range(max(self._seen.get(rank, 0), count - RING), count):
                key = f"{rank}/{number % RING}"
                if store.check([key]):
                    digest = Digest.unpack(store.get(key))
                    with self._changed:
                        self._arrived[rank][digest.index] = digest
                    self._latest[rank] = digest.index
            self._seen[rank] = count


def _is_file(store: Any) -> bool:
    while hasattr(store, "underlying_store"):
        store = store.underlying_store
    return type(store).__name__ == "FileStore"


_exchanges: weakref.WeakSet[Exchange] = weakref.WeakSet()
_opened: Counter[str] = Counter()
"""Exchanges so far by name of the watch: what an earlier one left in the store is not taken for the present one's."""


def _stop_all() -> None:
    """At exit: a thread that came back from the store to an interpreter that has ended would abort the process."""
    exchanges = list(_exchanges)
    for exchange in exchanges:
        exchange.stop()
    deadline = time.monotonic() + _EXIT_SECONDS
    for exchange in exchanges:
        exchange.stop(max(0.01, deadline - time.monotonic()))


atexit.register(_stop_all)
