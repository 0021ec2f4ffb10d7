"""One watch's messages in the key-value store that a distributed job has anyway. Nothing waits for another rank."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

RING = 32
"""Messages of each rank that the store keeps."""
_FILE_BYTES = 1 << 24
"""What a store that is a file, which only ever grows, is given."""
_opened: Counter[str] = Counter()
"""Mailboxes so far by name of the watch, which tells those of one name apart."""


def job() -> tuple[int, int]:
    """Rank and number of ranks of the distributed job that this process is in; (0, 1) outside of any."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


class Mailbox:
    """Each rank's messages lie in a ring of their own; besides, there are named values. For one thread."""

    def __init__(self, watch: str, rank: int) -> None:
        _opened[watch] += 1
        self._watch, self._rank = watch, rank
        self._number = _opened[watch]
        self._posted = self._bytes = 0
        self._seen: dict[int, int] = {}

    def store(self) -> Any:
        """Taken anew each time: a reference kept would keep the store from ending with the job. None after its end."""
        distributed = sys.modules.get("torch.distributed")
        if distributed is None or not distributed.is_initialized():
            return None
        default = distributed.distributed_c10d._get_default_store()
        return distributed.PrefixStore(f"nnhealth/{self._watch}/{self._number}", default)

    def meet(self, directory: str) -> str | None:
        """The log directory of rank 0, which tells it; None where it is not known yet."""
        store = self.store()
        if store is None:
            return None
        if not self._rank:
            store.set("directory", directory)
            store.underlying_store.set(f"nnhealth/{self._watch}", str(self._number))
            return directory
        found = self.get("directory")
        key = f"nnhealth/{self._watch}"
        if found is None and store.underlying_store.check([key]):
            newest = int(store.underlying_store.get(key))
            if newest > self._number:  # rank 0 has watched more often than this rank
                self._number = _opened[self._watch] = newest
                self._posted = 0
                found = self.get("directory")
        return found

    @property
    def there(self) -> bool:
        """The job goes on."""
        return self.store() is not None

    def post(self, data: bytes) -> None:
        """Adds a message of this rank's, over the oldest one in its ring. Raises where the store can take no more."""
        store = self.store()
        if store is None:
            return
        self._bytes += len(data)
        if self._bytes > _FILE_BYTES and _is_file(store):
            raise RuntimeError(f"the job's store is a file, which has been given {_FILE_BYTES >> 20} MB by this rank")
        store.set(f"{self._rank}/{self._posted % RING}", data)
        self._posted += 1
        store.set(f"{self._rank}/count", str(self._posted))

    def fetch(self, rank: int) -> list[bytes]:
        """The messages of ``rank`` that have come since the last call, oldest first; those overwritten are lost."""
        store = self.store()
        if store is None or not store.check([f"{rank}/count"]):  # getting what is not there would wait for it
            return []
        count = int(store.get(f"{rank}/count"))
        first, self._seen[rank] = max(self._seen.get(rank, 0), count - RING), count
        keys = [f"{rank}/{number % RING}" for number in range(first, count)]
        return [store.get(key) for key in keys if store.check([key])]

    def put(self, name: str, value: str) -> None:
        store = self.store()
        if store is not None:
            store.set(name, value)

    def get(self, name: str) -> str | None:
        """A named value; None where there is none yet."""
        store = self.store()
        return None if store is None or not store.check([name]) else store.get(name).decode()


def _is_file(store: Any) -> bool:
    while hasattr(store, "underlying_store"):
        store = store.underlying_store
    return type(store).__name__ == "FileStore"
