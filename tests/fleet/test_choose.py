"""Which runs are meant: by name, age and share; and which of them are the ranks of one job."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest
from events.logs import Log

from fleet.test_scan import directories
from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet.choose import Choice, Shard, checked, matches, shard, since
from tb_nnhealth.fleet.jobs import jobs, member, names

NOW = 1_000_000_000.0


def chosen(choice: Choice, *runs: str) -> list[str]:
    return [run.name for run in choice.of({name: RunDirectory(name, name, ()) for name in runs})]


@pytest.mark.parametrize(
    ("pattern", "name", "meant"),
    [
        ("exp*", "exp1/a", True),
        ("exp?", "exp12", False),
        ("*/lr=0.1", "a/lr=0.1", True),
        ("[", "[", True),
        ("/^exp[0-9]+$/", "exp12", True),
        ("/^exp[0-9]+$/", "exp12/a", False),
        ("/seed=3/", "a/seed=3/b", True),
        ("EXP", "exp", False),
    ],
)
def test_patterns(pattern: str, name: str, meant: bool) -> None:
    assert matches(name, pattern) is meant


def test_a_regular_expression_that_is_none_is_refused() -> None:
    assert checked("/a+/") == "/a+/"
    with pytest.raises(ValueError, match="between slashes"):
        checked("/(/")


def test_any_of_several_patterns_will_do() -> None:
    assert chosen(Choice(("a*", "b")), "a1", "b", "c") == ["a1", "b"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("7d", 604800), ("2 w", 1209600)]
)
def test_ages(text: str, seconds: float) -> None:
    assert since(text, NOW) == NOW - seconds


def test_dates() -> None:
    assert since("2026-03-01", NOW) == datetime(2026, 3, 1).timestamp()
    assert since("2026-03-01T18:00+00:00", NOW) == 1772388000.0


@pytest.mark.parametrize("text", ["", "yesterday", "5", "d", "-3d", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an age"):
        since(text, NOW)


def test_runs_written_to_since(tmp_path: Path) -> None:
    for name, age in (("old", 500), ("new", 10), ("edge", 100)):
        log = Log(tmp_path / name)
        os.utime(log.path, (NOW - age, NOW - age))
    both = Log(tmp_path / "old", "tfevents.2")
    found = {run.name: run for run in directories(tmp_path)}
    os.utime(both.path, (NOW - 400, NOW - 400))
    assert [run.name for run in Choice(since=NOW - 100).of(found)] == ["edge", "new"]
    os.utime(both.path, (NOW, NOW))
    assert [run.name for run in Choice(since=NOW - 100).of(found)] == ["edge", "new", "old"]


def test_shares_are_whole_disjoint_and_stay() -> None:
    runs = [f"run{i}" for i in range(200)]
    shares = [chosen(Choice(shard=Shard(i, 7)), *runs) for i in range(1, 8)]
    assert sorted(run for share in shares for run in share) == sorted(runs)
    assert all(10 < len(share) < 60 for share in shares)
    assert set(chosen(Choice(shard=Shard(3, 7)), *runs[:150])) <= set(shares[2])


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "a/b", "-1/4", "1/4/2"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected N/OF"):
        shard(text)


@pytest.mark.parametrize(
    ("run", "job", "rank"),
    [
        ("exp1/rank_0", "exp1", 0),
        ("exp1/rank1", "exp1", 1),
        ("exp1-rank3", "exp1", 3),
        ("exp1_RANK=12", "exp1", 12),
        ("rank_7", ".", 7),
        ("a/rank_2/tb", "a/tb", 2),
        ("a/node1/rank_2", "a", 2),
        ("a-node3-rank.17", "a", 17),
        ("a/host02_rank4", "a", 4),
        ("rank_0_of_8", ".", 0),
    ],
)
def test_names_of_ranks(run: str, job: str, rank: int) -> None:
    assert member(run) == (job, rank, run)


@pytest.mark.parametrize(
    "run",
    [
        "exp1",
        "crank3",
        "exp_rank",
        "ranking/3",
        "frank_1",
        "lora_rank_8",
        "low-rank-4",
        "rank3b",
        "a/adapter.rank=2",
        ".",
    ],
)
def test_names_of_no_rank(run: str) -> None:
    assert member(run) is None


def test_a_job_has_rank_0_and_most_of_the_others() -> None:
    found = jobs(
        [*(f"a/rank{i}" for i in (0, 1, 2, 10, 11, 3)), "b/rank0", "c/rank1", "c/rank2", "d", "d-rank1", "d-rank2"]
    )
    assert {job: [one.rank for one in members] for job, members in found.items()} == {
        "a": [0, 1, 2, 3, 10, 11],
        "d": [0, 1, 2],
    }
    assert found["d"][0].run == "d"
    assert jobs(["x/rank4", "x/rank8", "x/rank16"]) == {}, "ranks of matrices"
    assert jobs(["x/rank0", "x/rank8", "x/rank16"]) == {}
    assert jobs(["x", "x/rank2", "x/rank4"]) == {}


def test_two_nodes_may_count_from_0_each() -> None:
    (members,) = jobs([f"a/node{n}/rank{r}" for n in range(2) for r in range(2)]).values()
    assert [one.run for one in members] == ["a/node0/rank0", "a/node1/rank0", "a/node0/rank1", "a/node1/rank1"]


def test_ranks_are_taken_or_left_together(tmp_path: Path) -> None:
    runs = [*(f"a/rank{i}" for i in range(4)), "b"]
    assert names(runs) == {**{f"a/rank{i}": "a" for i in range(4)}, "b": "b"}
    assert chosen(Choice(("a",)), *runs) == runs[:4]
    assert chosen(Choice(("*rank2",)), *runs) == runs[:4]
    shares = [chosen(Choice(shard=Shard(i, 2)), *runs) for i in (1, 2)]
    assert sorted(sum(run.startswith("a/") for run in share) for share in shares) == [0, 4]
    for i, age in ((0, 5), (1, 500)):
        log = Log(tmp_path / f"rank{i}")
        os.utime(log.path, (NOW - age, NOW - age))
    found = {run.name: run for run in directories(tmp_path)}
    assert len(Choice(since=NOW - 100).of(found)) == 2, "the rank that has stopped is the one to see"
