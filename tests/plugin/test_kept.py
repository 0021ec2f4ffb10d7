"""Replies that are made once and sent to everybody who asks while the log is the same."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from synthetic_logs import write_log
from test_app import ROOT, serve

from tb_nnhealth.plugin import wsgi
from tb_nnhealth.plugin.kept import KeptReplies, Reply
from tb_nnhealth.rules.synthetic import Network


def reply(length: int) -> Reply:
    return Reply(bytes(length), "application/json", None)


def test_what_nobody_asked_for_longest_goes_first() -> None:
    kept = KeptReplies(most=100)
    for key in "abc":
        kept.put(key, reply(30))
    assert kept.get("a") is not None
    kept.put("d", reply(30))
    assert [key for key in "abcd" if kept.get(key)] == ["a", "c", "d"]
    kept.put("e", reply(101))
    assert kept.get("e") is None
    kept.put("a", reply(90))
    assert [key for key in "acd" if kept.get(key)] == ["a"]


def test_a_reply_is_made_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        write_log(tmp_path / name, Network(steps=20))
    client = serve(tmp_path)
    made: list[str] = []
    original = wsgi._json
    monkeypatch.setattr(wsgi, "_json", lambda content: (made.append("json"), original(content))[1])
    plain = client.get(f"{ROOT}model?run=a")
    packed = client.get(f"{ROOT}model?run=a", headers={"Accept-Encoding": "gzip"})
    assert made == ["json"]
    assert gzip.decompress(packed.get_data()) == plain.get_data()
    assert packed.headers["ETag"] == plain.headers["ETag"]
    client.get(f"{ROOT}model?run=b")
    in_bytes = client.get(f"{ROOT}model?run=a&as=binary")
    assert made == ["json", "json"]
    assert in_bytes.content_type == "application/octet-stream"
