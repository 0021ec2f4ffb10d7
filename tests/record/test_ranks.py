"""Ranks of a real job of two processes, compared through the job's store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_logs import event_files, values
from rank_job import run_job

from tb_nnhealth import schema
from tb_nnhealth.record.rank_digest import Digest, unlike
from tb_nnhealth.record.rank_exchange import Exchange
from tb_nnhealth.source.files import FileSource

TRAINING = Path(__file__).with_name("rank_training.py")
SCENARIOS = ("healthy", "unwatched", "same data", "raw module", "clipped", "sleeping", "own directories")
pytest.importorskip("torch.distributed")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("job")
    statuses, errors, _ = run_job(TRAINING, directory, *SCENARIOS)
    assert statuses == [0, 0], errors
    assert "tb_nnhealth" not in "".join(errors)
    return directory


def history(directory: Path) -> Any:
    source = FileSource([directory])
    source.refresh()
    (name,) = source.runs()
    return source.run(name).watches["model"]


def known(directory: Path, kind: str, rank: int, statistic: str = schema.MEAN) -> list[float]:
    """The values of a row of rank 0's log over its records, without those before anything had come."""
    table = history(directory / "run").table(kind, statistic)
    values = table.values[:, table.subjects.index(str(rank))]
    return [float(value) for value in values[np.isfinite(values)]]


def test_ranks_of_a_right_job_agree(job: Path) -> None:
    layout = history(job / "healthy" / "run").layout
    assert (layout.rank, layout.ranks) == (0, 2)
    parted = known(job / "healthy", schema.RANK_WEIGHTS, 1)
    assert len(parted) >= 3
    assert set(parted) == {0.0}
    assert set(known(job / "healthy", schema.RANK_BATCH, 1)) == {0.0}
    assert known(job / "healthy", schema.RANK_LOSS, 0) != known(job / "healthy", schema.RANK_LOSS, 1)


def test_training_is_the_same_bit_for_bit(job: Path) -> None:
    watched, alone = (torch.load(job / f"{scenario}.pt") for scenario in ("healthy", "unwatched"))
    assert watched.keys() == alone.keys()
    assert all(torch.equal(watched[key], alone[key]) for key in alone)


def test_same_data_on_both_ranks_is_seen(job: Path) -> None:
    assert set(known(job / "same_data", schema.RANK_BATCH, 1)) == {1.0}
    losses = known(job / "same_data", schema.RANK_LOSS, 1)
    assert losses
    assert set(losses) <= set(known(job / "same_data", schema.RANK_LOSS, 0))


def test_model_called_beside_its_wrapper_parts_the_ranks_at_once(job: Path) -> None:
    parted = known(job / "raw_module", schema.RANK_WEIGHTS, 1)
    assert parted[-1] == 1.0
    assert len([share for share in parted if share == 0.0]) <= 1  # the weights that the first step began with
    assert known(job / "raw_module", schema.RANK_WEIGHTS, 1, schema.MIN)[-1] == 0.0


def test_clipping_on_one_rank_parts_them_from_its_first_step_on(job: Path) -> None:
    table = history(job / "clipped" / "run").table(schema.RANK_WEIGHTS, schema.MEAN)
    by_step = dict(zip(table.steps.tolist(), table.values[:, 0].tolist(), strict=True))
    assert all(not share > 0 for step, share in by_step.items() if step <= 5)
    assert any(share > 0 for step, share in by_step.items() if step > 6)  # the step 6 begins with other weights


def test_rank_that_sleeps_has_longer_seconds_of_its_own(job: Path) -> None:
    slow, quick = (np.median(known(job / "sleeping", schema.RANK_SECONDS, rank)) for rank in (1, 0))
    assert slow > 0.3
    assert quick < slow / 2


def test_only_rank_0_records_in_a_directory_of_both(job: Path) -> None:
    files = event_files(job / "healthy")
    assert len(files) == 2
    with_records = [file for file in files if b"nnhealth/" in file.read_bytes()]
    assert len(with_records) == 1
    assert values(job / "healthy", "loss/of_rank_1") == [(0, 1.0)]


def test_rank_with_a_directory_of_its_own_records_there(job: Path) -> None:
    first, second = (history(job / "own_directories" / f"rank{rank}") for rank in range(2))
    assert len(first) == 12
    assert len(second) >= 6
    assert (second.layout.rank, second.layout.ranks) == (1, 2)
    assert second.subjects(schema.RANK_SECONDS) == ("1",)
    assert second.subjects(schema.RANK_WEIGHTS) == ()


def test_killed_rank_stops_nobody(tmp_path: Path) -> None:
    statuses, errors, seconds = run_job(TRAINING, tmp_path, "killed")
    assert statuses == [0, 9], errors
    assert (tmp_path / "killed.pt").exists()
    assert seconds < 140
    assert len(history(tmp_path / "killed" / "run")) == 12


def digest(weights: Any, *, signature: int = 1) -> Digest:
    return Digest(3, 7, 2, 0.5, 0.25, signature, True, np.asarray(weights, np.float32))


def test_digest_survives_its_packing() -> None:
    before = digest([[-1, 1, 0.1, 0.5], [np.nan] * 4])
    after = Digest.unpack(before.pack())
    assert (after.index, after.batch, after.loss, after.seconds, after.signature) == (3, 7, 0.5, 0.25, 1)
    assert np.array_equal(after.weights, before.weights, equal_nan=True)


def test_sums_in_another_order_are_alike_but_another_extreme_is_not() -> None:
    own = digest([[-1, 1, 0.1, 0.5], [-1, 1, 0.1, 0.5], [np.nan] * 4])
    other = digest(
        [[-1, 1, 0.1000001, 0.5000001], [-1, np.nextafter(np.float32(1), np.float32(2)), 0.1, 0.5], [np.nan] * 4]
    )
    parted = unlike(own, other)
    assert parted is not None
    assert parted.tolist() == [1]
    assert unlike(own, digest([[-1, 1, 0.1, 0.5]], signature=2)) is None


def test_many_ranks_are_compared_in_part() -> None:
    exchange = Exchange("many", 0, 1000, "", pytest.fail)
    assert 32 <= len(exchange.compared) <= 65
    assert exchange.compared[0] == 0
    exchange.stop()


def test_ranks_bear_a_watch_outside_of_any_job(tmp_path: Path) -> None:
    """A job that has ended leaves the exchange idle, not broken."""
    told: list[str] = []
    exchange = Exchange("ended", 1, 2, "", told.append)
    exchange.give(digest([[0, 0, 0, 0]]))
    time.sleep(0.1)
    assert told == []
    exchange.stop(1.0)
    assert not torch.distributed.is_initialized()
