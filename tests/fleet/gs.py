"""Google's storage on this machine: an emulator of its HTTP interface."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from gcp_storage_emulator.server import create_server


@contextmanager
def serving(bucket: str) -> Iterator[str]:
    """The address of a server that holds ``bucket``."""
    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def upload(directory: Path, url: str) -> None:
    """Copies all files below ``directory``."""
    files = fsspec.filesystem("gs")
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            files.pipe_file(f"{url}/{path.relative_to(directory).as_posix()}", path.read_bytes())
