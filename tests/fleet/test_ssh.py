"""Runs on a machine that is reached by ssh."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from events.logs import Log
from source.compare import assert_same_run

from tb_nnhealth.cli.main import main
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.base import LogDirError
from tb_nnhealth.source.files import FileSource

pytest.importorskip("paramiko")
import paramiko

from fleet import ssh


@pytest.fixture(scope="module")
def key() -> Any:
    return paramiko.ECDSAKey.generate()


@pytest.fixture(scope="module")
def host(key: Any) -> Iterator[str]:
    with ssh.serving(key) as host:
        yield host


@pytest.mark.parametrize("protocol", ["ssh", "sftp"])
def test_the_same_runs_as_here_read_on_where_they_grow(tmp_path: Path, host: str, protocol: str) -> None:
    log = Log(tmp_path / "a" / "b")
    log.network(Network(depth=1, width=4, steps=20))
    Log(tmp_path / "c").scalar("t", 1, 1.0)
    here = FileSource([str(tmp_path)])
    there = FileSource([f"{protocol}://{ssh.USER}:{ssh.PASSWORD}@{host}{tmp_path}"])
    for step in (20, 21):
        for source in (here, there):
            source.refresh()
        assert there.runs() == here.runs() == ["a/b", "c"]
        assert there.problems == []
        for name in here.runs():
            assert_same_run(there.run(name), here.run(name))
        stamps = [stamp.size for stamp in there.directories["a/b"].stamps()]
        assert stamps == [log.path.stat().st_size]
        log.scalar("t", step, 1.0)


def test_the_users_key_opens_as_it_does_for_ssh(
    tmp_path: Path, host: str, key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Log(tmp_path / "logs" / "a").scalar("t", 7, 1.0)
    (tmp_path / ".ssh").mkdir()
    key.write_private_key_file(str(tmp_path / ".ssh" / "id_ecdsa"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    source = FileSource([f"ssh://{ssh.USER}@{host}{tmp_path}/logs"])
    source.refresh()
    assert source.run("a").last_step == 7


def error_of(url: str) -> str:
    with pytest.raises(LogDirError) as raised:
        FileSource([url]).refresh()
    return str(raised.value)


def test_no_such_directory(host: str) -> None:
    assert "No such file" in error_of(f"ssh://{ssh.USER}:{ssh.PASSWORD}@{host}/no/such/place")


def test_a_wrong_password_is_told_and_not_shown(host: str) -> None:
    told = error_of(f"ssh://{ssh.USER}:wrong-one@{host}/")
    assert "uthentication failed" in told
    assert "wrong-one" not in told


def test_nobody_listens_there() -> None:
    assert "ssh://me@127.0.0.1:9/x" in error_of("ssh://me:hidden@127.0.0.1:9/x")


def test_several_threads_read_over_one_connection(
    tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(8):
        Log(tmp_path / f"run{i}").network(Network(depth=2, width=16, steps=200))
    url = f"ssh://{ssh.USER}:{ssh.PASSWORD}@{host}{tmp_path}"
    assert main(["inspect", url, "--no-index", "--no-config", "--jobs", "4", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [run["steps"] for run in told["runs"]] == [199] * 8
    assert told["problems"] == []
