"""Small servers around TensorBoard: a proxy below a path of its own, and a page of another origin that frames it."""

from __future__ import annotations

import html
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PASSED_ON = ("Content-Type", "Content-Encoding", "Content-Security-Policy", "Content-Disposition", "Cache-Control")


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def proxied(tensorboard: str, below: str) -> Iterator[str]:
    """The address of a proxy that serves ``tensorboard`` below the path ``below``, stripped as Jupyter's does."""

    class Proxy(_Quiet):
        def do_POST(self) -> None:  # TensorBoard's own tabs ask by it
            self.pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def do_GET(self) -> None:
            self.pass_on(None)

        def pass_on(self, asked: bytes | None) -> None:
            if not self.path.startswith(below):
                return self.answer(404, {"Content-Type": "text/plain"}, f"nothing but {below} here".encode())
            wanted = urllib.request.Request(tensorboard + self.path.removeprefix(below), asked)
            for name in ("Accept-Encoding", "Content-Type"):
                if self.headers[name]:
                    wanted.add_header(name, self.headers[name])
            try:
                with urllib.request.urlopen(wanted, timeout=60) as found:
                    status, headers, body = found.status, found.headers, found.read()
            except urllib.error.HTTPError as error:
                status, headers, body = error.code, error.headers, error.read()
            return self.answer(status, {name: headers[name] for name in _PASSED_ON if headers[name]}, body)

    with _serving(Proxy) as address:
        yield f"{address}{below}"


@contextmanager
def notebook(tensorboard: str) -> Iterator[str]:
    """The address of a page that shows ``tensorboard`` in a frame, from another origin, as a notebook's output does."""

    class Notebook(_Quiet):
        def do_GET(self) -> None:
            page = (
                "<!doctype html><title>notebook</title>"
                f'<iframe id="tensorboard" width="1300" height="900" src="{html.escape(tensorboard)}"></iframe>'
            )
            self.answer(200, {"Content-Type": "text/html; charset=utf-8"}, page.encode())

    # Another port of the same host, as Jupyter and TensorBoard have: another origin. Framed from another site
    # TensorBoard itself would fail, since browsers refuse it its storage there.
    with _serving(Notebook) as address:
        yield f"{address.replace('127.0.0.1', 'localhost')}/"


@contextmanager
def _serving(handler: type[_Quiet]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
