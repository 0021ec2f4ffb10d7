"""TensorBoard's two data backends over a log directory, each as its DataProvider."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from tensorboard import context
from tensorboard.backend.event_processing import data_ingester, plugin_event_multiplexer
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.data import provider, server_ingester
from tensorboard.util import grpc_util

DONE = "done"
"""Scalar tag that stands last in every file of a test; a backend has read what stands before it."""
KEEP_ALL = {"nnhealth": 0}


class PythonBackend:
    """The event multiplexer. ``samples`` as in ``--samples_per_plugin``."""

    def __init__(self, logdir: str, samples: dict[str, int]) -> None:
        self._logdir = logdir
        self._multiplexer = plugin_event_multiplexer.EventMultiplexer(
            size_guidance=data_ingester.DEFAULT_SIZE_GUIDANCE,
            tensor_size_guidance={**data_ingester.DEFAULT_TENSOR_SIZE_GUIDANCE, **samples},
            purge_orphaned_data=True,
        )
        self.provider: Any = MultiplexerDataProvider(self._multiplexer, logdir)

    def find(self) -> None:
        """Lists the runs, and reads nothing."""
        self._multiplexer.AddRunsFromDirectory(self._logdir)

    def load(self, runs: Iterable[str], done: int = 0) -> None:
        """Returns when all runs are read as far as step ``done`` of their tag DONE."""
        self._multiplexer.AddRunsFromDirectory(self._logdir)
        self._multiplexer.Reload()
        assert _read(self.provider, runs, done)

    def close(self) -> None:
        pass


class ServerBackend:
    """The data server."""

    def __init__(self, logdir: str, samples: dict[str, int]) -> None:
        self._ingester = server_ingester.SubprocessServerDataIngester(
            server_binary=server_ingester.get_server_binary(),
            logdir=logdir,
            reload_interval=1,
            channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
            samples_per_plugin=samples,
        )
        self._ingester.start()
        self.provider: Any = self._ingester.data_provider

    def load(self, runs: Iterable[str], done: int = 0) -> None:
        end = time.monotonic() + 60
        while not _read(self.provider, runs, done):
            assert time.monotonic() < end, "the data server did not read the log"
            time.sleep(0.05)

    def close(self) -> None:
        self._ingester._stdin_handle.close()  # what makes it exit


def has_server() -> bool:
    try:
        server_ingester.get_server_binary()
    except server_ingester.NoDataServerError:
        return False
    return True


def _read(data_provider: Any, runs: Iterable[str], done: int) -> bool:
    listed = data_provider.list_scalars(
        context.RequestContext(),
        experiment_id="",
        plugin_name="scalars",
        run_tag_filter=provider.RunTagFilter(tags=[DONE]),
    )
    return all(run in listed and listed[run][DONE].max_step == done for run in runs)
