"""Metrics as a file that is replaced at once, and as ``/metrics`` over HTTP."""

from __future__ import annotations

import os
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tb_nnhealth.report.openmetrics import CONTENT_TYPE

CLIENT_SECONDS = 10.0
"""For which a client may keep a connection without asking."""


def write(path: Path, text: str) -> None:
    """Writes ``text`` so that a reader of ``path`` sees the old file or the new, never a part. Raises OSError."""
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


class MetricsServer:
    """Answers GET /metrics with the text of the last ``update``, and nothing else. Raises OSError for a taken port."""

    def __init__(self, address: str, port: int) -> None:
        self._text = b"# EOF\n"
        server = self

        class Handler(BaseHTTPRequestHandler):
            timeout = CLIENT_SECONDS
            server_version, sys_version = "nnhealth", ""

            def do_GET(self) -> None:
                found = self.path.partition("?")[0] == "/metrics"
                body = server._text if found else b"There is only /metrics here.\n"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = _Server((address, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="nnhealth-metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}/metrics"

    def update(self, text: str) -> None:
        """What is answered from now on."""
        self._text = text.encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away is nothing to tell."""
