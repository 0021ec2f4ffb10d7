"""The scan on other machines: the workers of a Dask scheduler.

Every worker must have this package, in this version, and see the logs under the same paths; a bucket is seen by all.
A worker that is lost has its runs read by another.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tb_nnhealth import __version__
from tb_nnhealth.fleet.executors import Workers

SECONDS = 30
"""To reach the scheduler, and for its first worker."""
RETRIES = 2
"""Of a run whose worker failed, beside those that the scheduler itself makes for workers that it lost."""


class ClusterError(Exception):
    """A cluster that cannot be used. The message is for the user."""


class Cluster:
    """The workers behind the scheduler at ``address``, such as ``tcp://10.0.0.1:8786``. Raises ClusterError."""

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise ClusterError("--scheduler needs Dask: pip install 'tb-nnhealth[dask]'") from error
        try:
            self._client: Any = Client(address, timeout=SECONDS, set_as_default=False)
        except Exception as error:
            raise ClusterError(f"no scheduler answers at {address}: {error}") from error
        try:
            self._check(address)
        except BaseException:
            self.close()
            raise

    def workers(self) -> Workers:
        """All threads of all workers, as one executor."""
        threads = sum(self._client.nthreads().values())
        return Workers(partial(self._client.get_executor, pure=False, retries=RETRIES), threads)

    def close(self) -> None:
        self._client.close()

    def _check(self, address: str) -> None:
        try:
            self._client.wait_for_workers(1, timeout=SECONDS)
        except Exception as error:
            raise ClusterError(f"the scheduler at {address} has no workers") from error
        for worker, answer in self._client.run(_version, on_error="return").items():
            if isinstance(answer, BaseException):
                raise ClusterError(f"worker {worker} cannot run tb_nnhealth; install it there: {answer}")
            if answer != __version__:
                raise ClusterError(f"worker {worker} has tb_nnhealth {answer}, expected {__version__}, as it is here")


def _version() -> str:
    return __version__
