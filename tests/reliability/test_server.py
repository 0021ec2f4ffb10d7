"""Some hundred requests; ``python -m tests.reliability.server`` makes ten thousand."""

from __future__ import annotations

from tests.reliability import server


def test_server_under_load() -> None:
    told = server.run(240, clients=4)
    assert told["failures"] == []
    assert told["requests"] >= 230
    assert told["hostile"] > 20


def test_wrong_replies_are_seen() -> None:
    assert server.wrong("/x", False, 500, "text/plain", b"") is not None
    assert server.wrong("/x", True, 200, "text/html", b"<script>") is not None
    assert server.wrong("/x", True, 200, "text/plain", server.SECRET.encode()) is not None
    assert server.wrong("/x", False, 400, "text/plain", b"") is not None
    assert server.wrong("/x", True, 400, "text/plain", b"no such run: <script>") is None
