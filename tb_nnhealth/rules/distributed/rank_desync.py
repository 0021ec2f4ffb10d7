"""The ranks of a job no longer hold the same weights.

## What it detects
Ranks whose parameters differ from those of rank 0: several models are trained where one is meant.

## Why it matters
Data-parallel training keeps one model on every rank. Once weights part, each rank goes its own way: gradients are
averaged over different networks, only rank 0's checkpoint is kept, and the loss still falls.

## How it is computed
Fingerprints of the parameters after a step, compared with rank 0's: share of parameters that differ (unit: share of
parameters) in each record. It fires at the first record in which any does. It is information where the weights are
equal again later (steps between exchanges are meant), and where they differ from the first comparison on while all
ranks are given the same batches (parts of one model).

## What to try
1. Call the `DistributedDataParallel` wrapper, and not the module inside of it: only the wrapper averages gradients.
2. Clip gradients, change weights and skip steps on every rank alike.
3. Build the optimizer alike on every rank, over the same parameters in the same order.
4. Without the wrapper: broadcast the first weights, then all-reduce every gradient, also of parameters unused here.
5. Seed what is drawn in common (dropout of parameters, layers left out) the same on every rank.

## When it is harmless
Local SGD and federated averaging part on purpose between exchanges. Ranks that hold different models (ensembles,
parts of one model) should be silenced: `rules={"rank-desync": False}`.

## References
- [PyTorch: DistributedDataParallel](https://pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html)
- [TrainCheck: training with confidence](https://arxiv.org/abs/2506.14813)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run, Table
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
    Example,
    Hit,
    Ill,
    NotApplicable,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.distributed.compared_ranks import EVERY_RANK, comparing
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent

ADVICE = (
    "Call the DistributedDataParallel wrapper, and not the module inside of it.",
    "Clip gradients, change weights and skip steps on every rank alike.",
    "Without the wrapper: broadcast the first weights, and all-reduce every gradient.",
)


def check(case: Case) -> Outcome:
    history = comparing(case.history)
    if isinstance(history, NotApplicable):
        return history
    unlike = history.table(schema.RANK_WEIGHTS, schema.MEAN)
    if not len(unlike):
        return CouldNotCheck(EVERY_RANK)
    if not np.isfinite(unlike.values).any():
        return TooLittleData("the ranks have not been compared yet")
    parted = [i for i in range(len(unlike)) if (unlike.values[:, i] > 0).any()]
    return Ill([_hit(history, unlike, parted)]) if parted else Passed()


def _hit(history: History, unlike: Table, parted: list[int]) -> Hit:
    """The rank that parted first speaks for all that have ``parted`` (columns of the table ``unlike``)."""
    column = min(parted, key=lambda i: int(np.argmax(unlike.values[:, i] > 0)))
    rank, values, steps = unlike.subjects[column], unlike.values[:, column], history.steps
    at, seen = np.flatnonzero(values > 0), np.flatnonzero(np.isfinite(values))
    first = int(at[0])
    from_the_start = first == seen[0]
    equal_again = bool((values[seen[seen > first]] == 0).any())
    by_design = equal_again or (from_the_start and _same_batches(history, rank))
    severity: Severity = "info" if by_design else "critical"
    name = _parameter(history, first, column)
    share, latest = float(values[first]), float(values[at[-1]])
    since = (
        f"from the first comparison on, at step {int(steps[first]):,}"
        if from_the_start
        else f"since step {int(steps[first]):,}"
    )
    told = f"Rank {rank} holds other weights than rank 0 {since}: {percent(share)} of the parameters differ"
    told += f", `{name}` first." if name else "."
    if equal_again:
        told += " They are equal again in later records."
    elif latest != share:
        told += f" By now {percent(latest)} do."
    if len(parted) > 1:
        told += f" So do {len(parted) - 1} further ranks."
    return Hit(
        subject=name or f"rank {rank}",
        first_step=int(steps[first]),
        fired_step=int(steps[first]),
        last_step=int(steps[at[-1]]),
        count=len(at),
        active=bool(at[-1] == seen[-1]),
        severity=severity,
        statistic="parameters unlike rank 0's",
        unit="share of parameters",
        value=share,
        limit=0.0,
        direction="above",
        healthy=(0.0, 0.0),
        message=told,
        advice=ADVICE,
        more={"ranks": [unlike.subjects[i] for i in parted]},
    )


def _parameter(history: History, record: int, column: int) -> str:
    """Name of the first parameter that differs, "" where it is not known."""
    index = history.table(schema.RANK_WEIGHTS, schema.MIN).values[record, column]
    parameters = history.layout.parameters
    return str(parameters[int(index)].name) if np.isfinite(index) and 0 <= index < len(parameters) else ""


def _same_batches(history: History, rank: str) -> bool:
    """Whether this rank has always been given rank 0's batch."""
    equal = history.table(schema.RANK_BATCH, schema.MEAN)
    if rank not in equal.subjects:
        return False
    values = equal.values[:, equal.subjects.index(rank)]
    values = values[np.isfinite(values)]
    return bool(values.size) and bool((values == 1).all())


def _ranks(unlike: ArrayLike, *, same_batches: bool = False, ranks: int = 2) -> Run:
    unlike = np.asarray(unlike, np.float64)
    network = Network(steps=len(unlike))
    network.layout.ranks = ranks
    for rank in range(1, ranks):
        network.add_row(schema.RANK_WEIGHTS, str(rank), mean=unlike, min=np.where(unlike > 0, 4.0, np.nan))
        network.add_row(schema.RANK_BATCH, str(rank), mean=float(same_batches))
        network.add_row(schema.RANK_LOSS, str(rank), mean=2.0)
    return network.run()


def _one_watched() -> Run:
    network = Network()
    network.layout.ranks = 2
    return network.run()


_AT = np.arange(100)

RULE = Rule(
    id="rank-desync",
    healthy="Ranks in step",
    ill="Ranks have parted",
    group="distributed",
    severity="critical",
    scope="watch",
    check=check,
    options=(),
    examples=(
        Example("parted at step 30", lambda: _ranks((_AT >= 30) * 0.5), ill=True, first_step=30),
        Example("unlike from the start", lambda: _ranks(np.ones(100)), ill=True, subject="layers.2.weight"),
        Example("four ranks", lambda: _ranks((_AT >= 30) * 0.5, ranks=4), ill=True, first_step=30),
        Example("in the last record alone", lambda: _ranks((_AT >= 99) * 0.1), ill=True, first_step=99),
        Example("averaged every ten steps: information", lambda: _ranks((_AT % 10 > 0) * 1.0), ill=True, first_step=1),
        Example("parts of one model: information", lambda: _ranks([0.7] * 100, same_batches=True), ill=True),
        Example("equal weights, other batches", lambda: _ranks(np.zeros(100)), ill=False, outcome="Passed"),
        Example("one process", lambda: Network().run(), ill=False, outcome="NotApplicable"),
        Example("one rank watched", _one_watched, ill=False, outcome="CouldNotCheck"),
        Example("not compared yet", lambda: _ranks(np.full(5, np.nan)), ill=False, outcome="TooLittleData"),
    ),
    page=__doc__ or "",
    causes=(
        "loss-diverging", "loss-not-decreasing", "overfitting", "underfitting", "loss-spike",
        "prediction-jitter", "exploding-gradients", "non-finite",
    ),
)  # fmt: skip
