"""A model spread over two and four processes: statistics of whole tensors, and a training that is what it was."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder
from rank_job import Job, run_job

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.record.watch import Watch
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.files import FileSource

sharded_training = pytest.importorskip("sharded_training", exc_type=ImportError, reason="this torch has no FSDP2")
SCRIPT = Path(__file__).with_name("sharded_training.py")
STEPS = 6
COMPARED = ("mean", "std", "rms", "min", "max", "zero_share", "nan_count", "inf_count")
TWO = (
    "ddp", "ddp-accumulating", "ddp-static-graph", "ddp-unused-parameters", "ddp-zero-redundancy",
    "fsdp2", "fsdp2-keeps-unsharded", "fsdp2-mixed-precision", "fsdp2-cpu-offload", "fsdp2-clipped",
    "fsdp2-accumulating", "fsdp2-all-reduce", "fsdp2-unsharded-after-backward", "fsdp2-without-optimizer",
    "tensor-parallel", "sequence-parallel", "tensor-parallel-all-reduce", "tensor-parallel-late",
)  # fmt: skip
FOUR = (
    "fsdp2", "tensor-parallel", "fsdp2-and-tensor-parallel", "fsdp2-and-tensor-parallel-all-reduce",
    "hybrid-fsdp2", "hybrid-fsdp2-all-reduce", "fsdp2-of-half-the-ranks",
)  # fmt: skip
CASES = [(2, case) for case in TWO] + [(4, case) for case in FOUR]
every_case = pytest.mark.parametrize(("ranks", "case"), CASES, ids=[f"{case} on {ranks}" for ranks, case in CASES])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    @cache
    def started(ranks: int) -> Path:
        directory: Path = tmp_path_factory.mktemp(f"job{ranks}")
        statuses, errors, _ = run_job(SCRIPT, directory, *(case for n, case in CASES if n == ranks), ranks=ranks)
        assert statuses == [0] * ranks, "\n".join(errors)
        assert "ShimWarning" not in "".join(errors), "\n".join(errors)
        return directory

    return started


def history(directory: Path, case: str) -> History:
    source = FileSource([directory / case / "run"])
    source.refresh()
    (name,) = source.runs()
    return source.run(name).watches[case]


def saved(directory: Path, case: str, kind: str, rank: int = 0) -> Any:
    return torch.load(directory / f"{case}-{kind}-{rank}.pt")


@every_case
def test_statistics_are_those_of_the_whole_tensor(job: Job, ranks: int, case: str) -> None:
    log = history(job(ranks), case)
    rows = {(row.kind, row.subject): row for row in log.layout.rows}
    tables = {(kind, name): log.table(kind, name) for kind in schema.PARAMETER_KINDS for name in COMPARED}
    assert log.steps.tolist() == list(range(STEPS))
    names: set[str] = set()
    for step, kind, name, expected in saved(job(ranks), case, "watched")["truth"]:
        if case == "sequence-parallel" and (kind, rows[kind, name].dtype) == ("gradient", "float32 (summand)"):
            continue
        of = [tables[kind, statistic] for statistic in COMPARED]
        found = [float(table.values[step, table.subjects.index(name)]) for table in of]
        tolerance = 1e-5 * max(expected[COMPARED.index("rms")], 1e-12)
        assert found[:5] == pytest.approx(expected[:5], rel=1e-5, abs=tolerance), (step, kind, name)
        assert found[5:] == pytest.approx(expected[5:], abs=1e-6), (step, kind, name)
        assert rows[kind, name].dtype == "float32"
        names.add(name)
    assert names == set(saved(job(ranks), case, "watched")["weights"])


@pytest.mark.parametrize(
    ("ranks", "case"), [pair for pair in CASES if pair[1] in ("fsdp2", "tensor-parallel", "fsdp2-and-tensor-parallel")]
)
def test_statistics_are_those_of_the_same_training_in_one_process(job: Job, ranks: int, case: str) -> None:
    log, alone = history(job(ranks), case), MemoryRecorder()
    streams = {"fsdp2": ranks, "tensor-parallel": 1, "fsdp2-and-tensor-parallel": 2}[case]
    net = sharded_training.model()
    optimizer = sharded_training.sgd(net)
    watch = Watch(alone, net, optimizer, every=1)
    batches = [sharded_training.batches(i) for i in range(streams)]
    for _ in range(STEPS):
        optimizer.zero_grad()
        x, y = (torch.cat(parts) for parts in zip(*map(next, batches), strict=True))
        sharded_training.loss_of(net, x, y).backward()
        optimizer.step()
    watch.remove()
    for kind in schema.PARAMETER_KINDS:
        rms = log.table(kind, schema.RMS)
        for statistic in COMPARED:
            found = log.table(kind, statistic).values
            for i, name in enumerate(rms.subjects):
                expected = [alone.stream.value(kind, name, statistic, step) for step in range(STEPS)]
                tolerance = 1e-5 if statistic == "zero_share" else 1e-5 * max(float(rms.values[:, i].max()), 1e-3)
                assert found[:, i] == pytest.approx(expected, rel=1e-5, abs=tolerance), (kind, name, statistic)


@every_case
def test_update_ratio_is_that_of_the_whole_tensor(job: Job, ranks: int, case: str) -> None:
    log, rms = history(job(ranks), case), COMPARED.index("rms")
    truth = {(step, kind, name): of[rms] for step, kind, name, of in saved(job(ranks), case, "watched")["truth"]}
    update, weight = (log.table(kind, schema.RMS) for kind in (schema.UPDATE, schema.WEIGHT))
    for i, name in enumerate(update.subjects):
        ratios = update.values[1:, i] / weight.values[1:, weight.subjects.index(name)]  # some begin with zeros
        expected = [truth[step, "update", name] / truth[step, "weight", name] for step in range(1, STEPS)]
        assert ratios == pytest.approx(expected, rel=1e-5), name


@every_case
def test_histograms_count_the_whole_tensor(job: Job, ranks: int, case: str) -> None:
    log = history(job(ranks), case)
    for name, expected in saved(job(ranks), case, "watched")["histograms"].items():
        steps, counts = log.histograms(schema.WEIGHT, name)
        found = {schema.EXPONENT_LOW + i - 1 if i else -1000: int(n) for i, n in enumerate(counts[0]) if n}
        assert (steps[0], found) == (0, expected)


@every_case
def test_layout_tells_the_whole_tensor(job: Job, ranks: int, case: str) -> None:
    result = saved(job(ranks), case, "watched")
    log = history(job(ranks), case)
    first = {name: of[2] for step, kind, name, of in result["truth"] if (step, kind) == (0, "weight")}
    assert [p.name for p in log.layout.parameters] == list(result["weights"])
    for parameter in log.layout.parameters:
        assert tuple(parameter.shape) == tuple(result["weights"][parameter.name].shape)
        assert parameter.dtype == "float32"
        assert parameter.initial_rms == pytest.approx(first[parameter.name], rel=1e-5)


@every_case
def test_training_is_the_same_bit_for_bit(job: Job, ranks: int, case: str) -> None:
    for rank in range(ranks):
        watched, alone = (saved(job(ranks), case, kind, rank) for kind in ("watched", "alone"))
        assert torch.equal(watched["losses"], alone["losses"])
        assert torch.equal(watched["random"], alone["random"])
        for what in ("weights", "gradients"):
            assert watched[what].keys() == alone[what].keys()
            assert all(torch.equal(watched[what][name], alone[what][name]) for name in alone[what])


@every_case
def test_no_finding_blames_a_healthy_job(job: Job, ranks: int, case: str) -> None:
    source = FileSource([job(ranks) / case / "run"])
    source.refresh()
    (name,) = source.runs()
    found = [f for f in judge(source.run(name)).findings if f.severity != "info"]
    assert found == []


def test_summands_are_labelled(job: Job) -> None:
    """The gradient of a replicated parameter may be a sum over ranks that nobody has taken yet."""
    rows = {(row.kind, row.subject): row.dtype for row in history(job(2), "sequence-parallel").layout.rows}
    assert rows["gradient", "norm.weight"] == "float32 (summand)"
    assert rows["weight", "norm.weight"] == rows["update", "norm.weight"] == "float32"
