"""Whatever goes wrong with a rank or with how it is watched: the training goes on, and the log says what it is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rank_job import run_job

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.source.files import FileSource

pytest.importorskip("torch.distributed.fsdp", reason="this torch has no FSDP2")
SCRIPT = Path(__file__).with_name("faulty_training.py")
STEPS = 20
CASES = (
    "unwatched", "raises", "removed", "other-cadence", "by-load", "watched-before-sharding", "watched-again", "join",
    "all-reduce-other-cadence", "all-reduce-unwatched", "all-reduce-removed", "all-reduce-by-load",
    "destroyed",
)  # fmt: skip
SHARD = "float32 (shard)"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("faulty")
    statuses, errors, _ = run_job(SCRIPT, directory, *CASES)
    assert statuses == [0, 0], "\n".join(errors)
    return directory


def run(directory: Path, case: str) -> Run:
    source = FileSource([directory / case / "run"])
    source.refresh()
    (name,) = source.runs()
    return source.run(name)


def measured(found: Run, case: str, kind: str = schema.GRADIENT) -> list[bool]:
    """Of each record whether it has all its rows of a kind."""
    log = found.watches[case]
    assert len(log) == STEPS
    assert len(log.subjects(kind)) == 4
    return [bool(all_of_it) for all_of_it in np.isfinite(log.table(kind, schema.MEAN).values).all(axis=1)]


def dtypes(found: Run, case: str) -> set[str]:
    return {row.dtype for row in found.watches[case].layout.rows if row.kind in schema.PARAMETER_KINDS}


def notices(found: Run) -> str:
    return "\n".join(found.capture.errors) if found.capture is not None else ""


@pytest.mark.parametrize("case", ["unwatched", "all-reduce-unwatched"])
def test_rank_without_a_watch_leaves_shards(job: Path, case: str) -> None:
    found = run(job, case)
    assert all(measured(found, case))
    assert dtypes(found, case) == {SHARD}
    assert "watch(...) on every rank" in notices(found)


def test_rank_whose_watch_fails_leaves_out_what_it_lacks(job: Path) -> None:
    found = run(job, "raises")
    assert all(measured(found, "raises", schema.WEIGHT))
    assert not any(measured(found, "raises", schema.GRADIENT))
    assert dtypes(found, "raises") == {"float32"}


@pytest.mark.parametrize("case", ["removed", "all-reduce-removed"])
def test_rank_that_ends_its_watch_leaves_gaps_then_shards(job: Path, case: str) -> None:
    found = run(job, case)
    (label,) = dtypes(found, case)
    begin = int(label.removeprefix("float32 (shard since step ").removesuffix(")"))
    assert 10 <= begin <= 14
    whole = measured(found, case)
    assert all(whole[:4])  # what was told of the step before the end may be lost
    assert whole[5:] == [step > begin for step in range(5, STEPS)]
    assert "nothing more has come from other ranks" in notices(found)


@pytest.mark.parametrize("case", ["other-cadence", "all-reduce-other-cadence"])
def test_ranks_that_measure_other_steps_share_some(job: Path, case: str) -> None:
    found = run(job, case)
    assert measured(found, case) == [step % 2 == 0 for step in range(STEPS)]
    assert dtypes(found, case) == {"float32"}
    assert ("rank 1 has every=2" in notices(found)) == case.startswith("all-reduce")


@pytest.mark.parametrize("case", ["by-load", "all-reduce-by-load"])
def test_ranks_under_unlike_load_measure_the_same_steps(job: Path, case: str) -> None:
    log = run(job, case).watches[case]
    whole = np.isfinite(log.table(schema.GRADIENT, schema.MEAN).values).all(axis=1)
    assert len(log) >= 20
    assert whole[:10].all()
    assert whole.mean() > 0.9
    assert notices(run(job, case)) == ""


def test_watch_before_sharding_follows_the_parameters(job: Path) -> None:
    found = run(job, "watched-before-sharding")
    assert all(measured(found, "watched-before-sharding", schema.WEIGHT))
    assert all(measured(found, "watched-before-sharding", schema.GRADIENT))
    assert dtypes(found, "watched-before-sharding") == {"float32"}


def test_ranks_that_have_watched_unequally_often_find_each_other(job: Path) -> None:
    found = run(job, "watched-again")
    assert measured(found, "watched-again").count(True) >= STEPS - 1  # the first may come before they have met
    assert notices(found) == ""


def test_uneven_inputs_are_borne(job: Path) -> None:
    found = run(job, "join")
    assert all(measured(found, "join"))
    parted = found.watches["join"].table(schema.RANK_WEIGHTS, schema.MEAN).values
    assert set(parted[np.isfinite(parted)]) == {0.0}
    assert notices(found) == ""


def test_job_that_ends_before_its_writer_loses_only_what_was_on_its_way(job: Path) -> None:
    whole = measured(run(job, "destroyed"), "destroyed")
    assert all(whole[: STEPS // 2])  # these were awaited
    assert whole == sorted(whole, reverse=True)


def test_killed_rank_stops_nobody(tmp_path: Path) -> None:
    case = "all-reduce-killed"
    statuses, errors, _ = run_job(SCRIPT, tmp_path, case)
    assert statuses == [0, 9], errors
    log = run(tmp_path, case).watches[case]
    assert log.steps.tolist() == list(range(8))
    assert np.isfinite(log.table(schema.GRADIENT, schema.MEAN).values[:6]).all()
