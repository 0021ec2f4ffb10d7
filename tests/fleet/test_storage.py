"""Runs in buckets and behind any URL of fsspec: the same names, the same runs, few calls, clear errors."""

from __future__ import annotations

import importlib
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from events.logs import Log
from source.compare import assert_same_run

from fleet.s3 import Bucket
from tb_nnhealth.events import storage_errors, storage_fsspec
from tb_nnhealth.events.storage import LOCAL
from tb_nnhealth.events.storage_errors import TRIES, as_os_error, passing, retried
from tb_nnhealth.events.storage_fsspec import FsspecStorage, storage_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.base import LogDirError
from tb_nnhealth.source.files import FileSource


def opened(url: str) -> FileSource:
    source = FileSource([url])
    source.refresh()
    return source


@pytest.fixture
def memory() -> Iterator[str]:
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    fsspec.filesystem("memory").rm(url, recursive=True)


def into_memory(directory: Path, url: str) -> None:
    files = fsspec.filesystem("memory")
    for path in directory.rglob("*"):
        if path.is_file():
            files.pipe_file(f"{url}/{path.relative_to(directory).as_posix()}", path.read_bytes())


def some_runs(directory: Path) -> Path:
    for name in (".", "a", "a/b/c", "ü x", "x.tfevents"):
        Log(directory / name).network(Network(depth=1, width=4, steps=20))
    (directory / "a" / "model.pt").write_bytes(b"x" * 100)
    (directory / "other").mkdir()
    (directory / "other" / "notes.txt").write_bytes(b"x")
    return directory


def test_a_bucket_holds_the_same_runs_as_the_directory_it_was_copied_from(tmp_path: Path, bucket: Bucket) -> None:
    here, there = opened(str(some_runs(tmp_path))), opened(bucket.upload(tmp_path, "runs") + "/")
    assert there.runs() == here.runs()
    assert there.problems == []
    for name in here.runs():
        assert_same_run(there.run(name), here.run(name))


def test_so_does_memory_which_is_listed_directory_by_directory(tmp_path: Path, memory: str) -> None:
    into_memory(some_runs(tmp_path), memory)
    here, there = opened(str(tmp_path)), opened(memory)
    assert there.runs() == here.runs()
    for name in here.runs():
        assert_same_run(there.run(name), here.run(name))


def test_a_prefix_does_not_take_in_its_neighbours(tmp_path: Path, bucket: Bucket) -> None:
    Log(tmp_path / "a").scalar("t", 0, 1.0)
    url = bucket.upload(tmp_path, "runs")
    bucket.upload(tmp_path, "runs-old")
    assert opened(url).runs() == ["a"]
    assert opened(bucket.url).runs() == ["runs-old/a", "runs/a"]


@pytest.mark.parametrize("key", ["a//b/tfevents.1", "a/../b/tfevents.1", "a b/<i>/tfevents.1", "esc\x1b[2J/tfevents.1"])
def test_a_key_may_hold_anything(bucket: Bucket, tmp_path: Path, key: str) -> None:
    log = Log(tmp_path, "tfevents.1")
    log.scalar("t", 3, 1.0)
    bucket.put(f"runs/{key}", log.path.read_bytes())
    source = opened(f"{bucket.url}/runs")
    assert source.runs() == [key.removesuffix("/tfevents.1")]
    assert source.run(source.runs()[0]).last_step == 3


def test_a_single_event_file_is_a_run(tmp_path: Path, bucket: Bucket) -> None:
    log = Log(tmp_path / "a")
    log.scalar("t", 7, 1.0)
    url = bucket.upload(tmp_path)
    assert opened(f"{url}/a/{log.path.name}").run(".").last_step == 7


def test_a_thousand_names_cost_one_call_and_no_file_is_asked_for_singly(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(30):
        Log(tmp_path / f"group{i % 3}" / f"run{i}")
    url = bucket.upload(tmp_path)
    calls: list[str] = []
    import s3fs

    true_call = s3fs.S3FileSystem._call_s3

    async def counted(self, method, *args, **kwargs):  # type: ignore[no-untyped-def]
        calls.append(method)
        return await true_call(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    source = opened(url)
    assert len(source.runs()) == 30
    assert all(stamp.size and stamp.version for run in source.directories.values() for stamp in run.stamps())
    assert calls == ["list_objects_v2"]
    source.run("group0/run0")
    assert calls == ["list_objects_v2", "get_object"]


def test_a_file_that_grew_is_read_on_from_where_reading_stopped(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "a")
    for step in range(100):
        log.scalar("t", step, 1.0)
    source = opened(bucket.upload(tmp_path))
    assert source.run("a").last_step == 99
    before = log.path.stat().st_size
    log.scalar("t", 100, 1.0)
    bucket.upload(tmp_path)
    reads: list[tuple[int, int]] = []
    read_into = FsspecStorage.read_into

    def noted(self: FsspecStorage, memory: memoryview, path: str, offset: int) -> int:
        reads.append((offset, len(memory)))
        return read_into(self, memory, path, offset)

    monkeypatch.setattr(FsspecStorage, "read_into", noted)
    source.refresh()
    assert source.run("a").last_step == 100
    assert reads == [(before, log.path.stat().st_size - before)]


def test_an_entity_tag_tells_states_of_one_size_apart(tmp_path: Path, bucket: Bucket) -> None:
    log = Log(tmp_path / "a")
    log.scalar("t", 1, 1.0)
    source = opened(bucket.upload(tmp_path))
    (before,) = source.directories["a"].stamps()
    content = bytearray(log.path.read_bytes())
    content[-1] ^= 1
    log.path.write_bytes(content)
    bucket.upload(tmp_path)
    source.refresh()
    (after,) = source.directories["a"].stamps()
    assert after.size == before.size
    assert after.version != before.version
    assert after.modified > 1.6e9


def test_a_storage_travels_to_another_process(tmp_path: Path, bucket: Bucket) -> None:
    log = Log(tmp_path / "a")
    storage, url = storage_of(bucket.upload(tmp_path))
    copy = pickle.loads(pickle.dumps(storage))
    memory = memoryview(bytearray(10))
    assert copy.read_into(memory, f"{url}/a/{log.path.name}", 5) == 10
    assert bytes(memory) == log.path.read_bytes()[5:15]


def error_of(url: str) -> str:
    with pytest.raises(LogDirError) as raised:
        opened(url)
    return str(raised.value)


def test_no_such_bucket(bucket: Bucket) -> None:
    assert "not there: The specified bucket does not exist" in error_of("s3://never-made/runs")


def test_no_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    told = error_of(bucket.url)
    assert "no credentials were found" in told
    assert "AWS_ACCESS_KEY_ID" in told


def test_no_access(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    async def denied(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(s3fs.S3FileSystem, "_lsdir", denied)
    assert "no access: Access Denied; check the credentials" in error_of(bucket.url)


def test_a_prefix_without_anything_is_an_empty_directory(bucket: Bucket) -> None:
    assert opened(f"{bucket.url}/nothing").runs() == []


def test_a_file_where_a_directory_was_expected(bucket: Bucket) -> None:
    bucket.put("notes.txt", b"x")
    assert "Not a directory" in error_of(f"{bucket.url}/notes.txt")


@pytest.mark.parametrize(
    ("missing", "url", "told"),
    [
        ("fsspec.core", "s3://bucket", "needs fsspec: pip install 'tb-nnhealth[remote]'"),
        ("gcsfs", "gs://bucket", "the driver for gs:// is not installed"),
        ("paramiko", "sftp://me:hidden@host/x", "the driver for sftp:// is not installed"),
    ],
)
def test_a_driver_that_is_not_installed(missing: str, url: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    drivers = importlib.import_module("fsspec.registry")._registry
    monkeypatch.setitem(sys.modules, missing, None)
    for module in ("fsspec.implementations.sftp", "gcsfs.core"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    for protocol in ("sftp", "gs"):
        monkeypatch.delitem(drivers, protocol, raising=False)
    said = error_of(url)
    assert told in said
    assert "hidden" not in said


def test_a_protocol_that_nobody_knows() -> None:
    assert "Protocol not known: nonsense" in error_of("nonsense://x")


def test_urls_of_this_machine_are_paths(tmp_path: Path) -> None:
    assert storage_of(f"file://{tmp_path}") == (LOCAL, str(tmp_path))
    assert storage_of(str(tmp_path)) == (LOCAL, str(tmp_path))


def test_passwords_are_not_told() -> None:
    from tb_nnhealth.events.storage_url import displayed

    assert displayed("sftp://me:secret@host:22/a:b@c") == "sftp://me@host:22/a:b@c"
    assert displayed("s3://bucket/a@b:c") == "s3://bucket/a@b:c"


class Flaky:
    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "read"


@pytest.mark.parametrize(
    "error", [ConnectionResetError("reset"), TimeoutError("slow"), OSError(5, "Input/output error")]
)
def test_what_may_pass_is_tried_again_after_growing_pauses(error: Exception) -> None:
    pauses: list[float] = []
    call = Flaky(*[error] * (TRIES - 1))
    assert retried(call, "s3://b/x", pauses.append) == "read"
    assert len(pauses) == TRIES - 1
    assert 0 < pauses[0] < pauses[-1] * 3


def test_tries_are_bounded_and_told() -> None:
    call = Flaky(*[ConnectionResetError("reset by peer")] * 99)
    with pytest.raises(OSError, match=f"reset by peer \\(after {TRIES} tries\\)"):
        retried(call, "s3://b/x", lambda _: None)
    assert call.calls == TRIES


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), PermissionError("no"), ValueError("x"), KeyError("x")])
def test_what_will_not_pass_is_tried_once(error: Exception) -> None:
    call = Flaky(error)
    with pytest.raises(OSError, match=r"gone|no|x"):
        retried(call, "s3://b/x", lambda _: pytest.fail("waited"))
    assert call.calls == 1


def test_a_services_status_says_whether_to_try_again() -> None:
    from botocore.exceptions import ClientError

    def of(status: int) -> Exception:
        answer = {"Error": {"Code": "x", "Message": "said"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        error = OSError("said")
        error.__cause__ = ClientError(answer, "GetObject")
        return error

    assert [passing(of(status)) for status in (404, 403, 429, 500, 503)] == [False, False, True, True, True]
    assert isinstance(as_os_error(of(403), "s3://b"), PermissionError)


def test_a_read_survives_a_connection_that_breaks(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "a")
    log.scalar("t", 5, 1.0)
    source = opened(bucket.upload(tmp_path))
    monkeypatch.setattr(storage_errors, "FIRST_PAUSE", 0.0)
    files = source.directories["a"].storage._files  # type: ignore[attr-defined]
    cat_file, failures = files.cat_file, [ConnectionResetError("reset")]

    def flaky(*args: object, **kwargs: object) -> bytes:
        if failures:
            raise failures.pop()
        return bytes(cat_file(*args, **kwargs))

    monkeypatch.setattr(files, "cat_file", flaky)
    run = source.run("a")
    assert failures == []
    assert run.problems == []
    assert run.last_step == 5


def test_a_file_that_vanishes_is_a_problem_of_its_run(tmp_path: Path, bucket: Bucket) -> None:
    log = Log(tmp_path / "a")
    Log(tmp_path / "b").scalar("t", 1, 1.0)
    source = opened(bucket.upload(tmp_path))
    bucket.client.delete_object(Bucket=bucket.name, Key=f"a/{log.path.name}")
    (problem,) = source.run("a").problems
    assert problem.path == f"{bucket.url}/a/{log.path.name}"
    assert "cannot be read: not there" in problem.message
    assert source.run("b").last_step == 1


def test_of_a_bucket_full_of_other_things_only_event_files_are_kept(bucket: Bucket, tmp_path: Path) -> None:
    Log(tmp_path / "a")
    bucket.upload(tmp_path)
    for i in range(20):
        bucket.put(f"checkpoints/{i}/model.pt", b"x")
    storage, url = storage_of(bucket.url)
    assert [entry.name for entry in storage.entries(url)] == ["a"]
    assert storage_fsspec._lists_all_below(storage._files)  # type: ignore[attr-defined]
