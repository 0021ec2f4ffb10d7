from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from alerted import EVIL, change

from tb_nnhealth.follow.webhook import Webhook


class Receiver:
    """A server that answers with the given statuses in turn, the last one for ever, and keeps what it was sent."""

    def __init__(self, statuses: list[int], answer: bool = True, body: bool = True) -> None:
        self.got: list[tuple[dict[str, str], Any]] = []
        receiver, left = self, list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), json.loads(body)))
                if not answer:
                    receiver.released.wait(10)
                    return
                status = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.end_headers()
                if not body:
                    receiver.released.wait(10)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                return

        self.released = threading.Event()
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    opened: list[Receiver] = []

    def open_(*statuses: int, answer: bool = True, body: bool = True) -> Receiver:
        opened.append(Receiver(list(statuses), answer, body))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def test_the_finding_is_posted_as_json_with_a_line_for_chats(receiver: Callable[..., Receiver]) -> None:
    hook = receiver(200)
    assert Webhook(hook.url).send(change()) == ("", True)
    ((headers, body),) = hook.got
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == body["fingerprint"] == change().identity.fingerprint
    assert body["text"] == "critical: exp1: non-finite in layers.3 from step 81. NaN in layers.3."
    assert body["finding"]["message"] == "NaN in layers.3."
    assert body["event"] == "appeared"


def test_a_server_that_says_later_is_asked_again_with_growing_waits(receiver: Callable[..., Receiver]) -> None:
    hook, waits = receiver(503, 429, 204), []
    assert Webhook(hook.url, wait=waits.append).send(change()) == ("", True)
    assert len(hook.got) == 3
    assert waits == [1.0, 2.0]


def test_tries_are_bounded(receiver: Callable[..., Receiver]) -> None:
    hook, waits = receiver(500), []
    why, may_have_arrived = Webhook(hook.url, wait=waits.append, tries=4).send(change())
    assert (len(hook.got), waits) == (4, [1.0, 2.0, 4.0])
    assert "answered 500" in why
    assert not may_have_arrived


def test_a_server_that_took_it_and_does_not_answer_is_not_asked_again(receiver: Callable[..., Receiver]) -> None:
    hook = receiver(200, answer=False)
    why, may_have_arrived = Webhook(hook.url, seconds=0.3, wait=lambda _: None).send(change())
    assert "did not answer" in why
    assert may_have_arrived
    assert len(hook.got) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_a_server_that_refuses_is_not_asked_again(receiver: Callable[..., Receiver], status: int) -> None:
    hook = receiver(status)
    assert f"answered {status}" in Webhook(hook.url, wait=lambda _: None).send(change()).why
    assert len(hook.got) == 1


def test_a_redirect_is_not_followed(receiver: Callable[..., Receiver]) -> None:
    hook = receiver(302)
    assert "answered 302" in Webhook(hook.url).send(change()).why
    assert len(hook.got) == 1


def test_a_server_whose_answer_never_ends_has_answered(receiver: Callable[..., Receiver]) -> None:
    assert Webhook(receiver(200, body=False).url, seconds=2.0).send(change()) == ("", True)


def test_nobody_there_is_tried_again() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    waits: list[float] = []
    why, may_have_arrived = Webhook(f"http://127.0.0.1:{port}/", wait=waits.append).send(change())
    assert "cannot be reached" in why
    assert not may_have_arrived
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_names_stay_text(receiver: Callable[..., Receiver]) -> None:
    hook = receiver(200)
    assert Webhook(hook.url).send(change(EVIL, EVIL)).why == ""
    body = hook.got[0][1]
    assert body["finding"]["subject"] == EVIL
    assert body["text"].isprintable()


@pytest.mark.parametrize("url", ["ftp://host/x", "host/x", "file:///etc/passwd", "http://", ""])
def test_what_is_no_webhook(url: str) -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        Webhook.checked(url)
