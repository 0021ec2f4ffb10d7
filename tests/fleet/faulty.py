"""A way to S3 that fails as real ones do: answers 503, drops the connection, cuts an answer off, or dawdles."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("busy", "dropped", "cut off", "slow")
SLOW_SECONDS = 0.5
_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_HOPS = ("transfer-encoding", "connection", "content-length")


class Way:
    """``faults`` happen to the next requests, in their order, ``None`` being none; ``met`` counts requests."""

    def __init__(self) -> None:
        self.faults: list[str | None] = []
        self.always: str | None = None
        self.met = 0
        self.url = ""
        self._lock = threading.Lock()

    def next(self) -> str | None:
        with self._lock:
            self.met += 1
            return self.faults.pop(0) if self.faults else self.always


@contextmanager
def way_to(endpoint: str) -> Iterator[Way]:
    """A proxy on this machine, before the service at ``endpoint``."""
    way, host = Way(), endpoint.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            fault = way.next()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault == "busy":
                self._answer(503, {"Content-Type": "application/xml"}, _BUSY)
                return
            if fault == "dropped":
                self.close_connection = True
                return
            if fault == "slow":
                time.sleep(SLOW_SECONDS)
            behind = http.client.HTTPConnection(host, timeout=30)
            behind.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = behind.getresponse()
            content = answer.read()
            behind.close()
            length = answer.headers.get("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, dict(answer.headers.items()), content, length, cut=fault == "cut off")

        def _answer(
            self, status: int, headers: dict[str, str], content: bytes, length: str | None = None, cut: bool = False
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _HOPS:
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    way.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield way
    finally:
        server.shutdown()
        server.server_close()
