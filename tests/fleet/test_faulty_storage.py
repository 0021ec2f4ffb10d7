"""A bucket behind a network that fails: what may pass costs time and nothing else, what stays is told in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from events.logs import Log
from source.compare import assert_same_run

from fleet.faulty import FAULTS, Way, way_to
from fleet.s3 import Bucket
from tb_nnhealth.events import storage_errors
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.base import LogDirError
from tb_nnhealth.source.files import FileSource


@pytest.fixture
def way(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    """To the bucket; the user's environment leads there by it."""
    with way_to(bucket.endpoint) as way:
        monkeypatch.setenv("AWS_ENDPOINT_URL", way.url)
        monkeypatch.setattr(storage_errors, "FIRST_PAUSE", 0.01)
        yield way


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver gives up at once, and leaves trying again to us."""
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_may_pass_costs_nothing_but_time(fault: str, tmp_path: Path, bucket: Bucket, way: Way) -> None:
    log = Log(tmp_path / "a")
    log.network(Network(depth=2, width=8, steps=50))
    url = bucket.upload(tmp_path)
    here, there = FileSource([str(tmp_path)]), FileSource([url])
    here.refresh()
    way.faults = [fault, fault, None, fault]  # to the listing and to the reads
    there.refresh()
    assert there.runs() == ["a"]
    way.faults = [fault, None]
    run = there.run("a")
    assert run.problems == []
    assert_same_run(run, here.run("a"))
    assert not any(way.faults)


@pytest.mark.usefixtures("impatient")
def test_a_service_that_stays_busy_is_told_and_not_asked_for_ever(tmp_path: Path, bucket: Bucket, way: Way) -> None:
    Log(tmp_path / "a").scalar("t", 5, 1.0)
    source = FileSource([bucket.upload(tmp_path)])
    source.refresh()
    way.always, before = "busy", way.met
    (problem,) = source.run("a").problems
    assert "cannot be read" in problem.message
    assert "reduce your request rate" in problem.message
    assert f"after {storage_errors.TRIES} tries" in problem.message
    assert way.met - before == storage_errors.TRIES


@pytest.mark.usefixtures("impatient")
def test_no_further_try_is_begun_when_the_driver_has_been_patient_itself(
    tmp_path: Path, bucket: Bucket, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    Log(tmp_path / "a").scalar("t", 5, 1.0)
    source = FileSource([bucket.upload(tmp_path)])
    source.refresh()
    monkeypatch.setattr(storage_errors, "SECONDS", -1.0)
    way.always, before = "busy", way.met
    assert "cannot be read" in source.run("a").problems[0].message
    assert way.met - before == 1


@pytest.mark.usefixtures("impatient")
def test_nobody_listens_there(bucket: Bucket, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(LogDirError, match=r"127\.0\.0\.1:9"):
        FileSource([bucket.url]).refresh()


@pytest.mark.usefixtures("impatient")
def test_another_service_listens_there(bucket: Bucket, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    way.always = "dropped"
    with pytest.raises(LogDirError, match="cannot be read as a log directory"):
        FileSource([bucket.url]).refresh()
