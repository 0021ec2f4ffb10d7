"""The same batch is trained on again and again, or every rank of a job trains on the same samples.

## What it detects
A loader that hands out one batch for ever, from the start or from some step on; batches that come several times in a
row, as from data workers that do not share the work between them; and ranks whose batches equal those of rank 0.

## Why it matters
The loss falls quickly and means nothing: the network learns one batch by heart. Batches that come k times in a row
make an epoch k times longer and its gradients k times as correlated. Ranks with equal batches do the same work.

## How it is computed
Fingerprints of input and target against those of the last eight records, with the number of steps since (unit: share of
records; steps). Where a step accumulates several batches, all its inputs are one. It fires where each of `records`
records holds the batch of the record before, at distances between records that have no common factor, so that no short
cycle of batches explains it. From the start on that is a training on all data at once, or a deliberate test, and
information, unless validation has departed from training; after fresh batches it is a warning. Groups are judged on
neighbouring steps alone, over twelve of them: all of the same size from 2 to 8, each new when it begins. Ranks: equal
to rank 0's in 95 % of ten records.

## What to try
1. Look for `next(iter(loader))` inside of the loop: it starts the loader anew in each step.
2. Look for a cached batch: a variable that the loop over the loader does not overwrite, a data set that ignores its
   index.
3. `IterableDataset` with several workers: let each worker yield its own part, by `torch.utils.data.get_worker_info()`.
4. Distributed: give the loader a `DistributedSampler` and call `sampler.set_epoch(epoch)`.

## When it is harmless
Training on the whole data set at once; the test that a network can learn one batch by heart; several steps on each
batch on purpose, as in PPO. Ranks that hold parts of one model are given the same batch.

## References
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [PyTorch: data loading in several processes](https://pytorch.org/docs/stable/data.html#multi-process-data-loading)
- [A recipe for training neural networks: overfit one batch](https://karpathy.github.io/2019/04/25/recipe/)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run, Steps
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
    Example,
    Hit,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.data.batch_rows import INPUTS_LINE, number
from tb_nnhealth.rules.data.generalization import parted
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent

NEIGHBOURS = 12
"""Records right after the one before that tell of groups."""
LARGEST_GROUP = 8
FRESH_BEFORE = 10
RANK_RECORDS = 10
RANK_SHARE = 0.95
ADVICE = (
    "Look for next(iter(loader)) inside of the training loop, and for a batch that is kept in a variable.",
    "Check that the data set uses the index that it is asked for.",
)
WORKER_ADVICE = (
    "With an IterableDataset let each worker yield its own part, by torch.utils.data.get_worker_info().",
    "Where several steps on each batch are meant, silence the rule: rules={'repeated-batch': False}.",
)
RANK_ADVICE = (
    "Give the loader a DistributedSampler, and call sampler.set_epoch(epoch) at the head of each epoch.",
    "With an IterableDataset skip the samples of the other ranks.",
)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Batches:
    """Records whose batch was compared (n of them): ``gap`` steps since the one before, and whether it is the same.

    ``fresh``: like none of the last eight; ``previous``: like that of the record before. Both of shape (n,).
    """

    steps: Steps
    gap: NDArray[np.int64]
    fresh: Mask
    previous: Mask


def check(case: Case) -> Outcome:
    history = case.history
    if history is None or not history.rows(schema.INPUT):
        return CouldNotCheck(INPUTS_LINE)
    if why := tags.moving_target(case.run):
        return NotApplicable(why)
    if "input" not in history.subjects(schema.REPEATED) or history.resolution > 1:
        return NotApplicable("the log does not tell one batch from the next")
    needed = int(case.options["records"])
    batches = _batches(history)
    if len(batches.steps) < needed:
        return TooLittleData(f"{len(batches.steps)} batches compared, {needed} are needed")
    if _constant(history):
        return NotApplicable("the input is constant")
    hits = _stuck(case, history, batches, needed) or _groups(batches)
    if not hits:
        hits = _ranks(history)
    return Ill(hits) if hits else Passed()


def _batches(history: History) -> Batches:
    inputs, ago = (number(history, schema.REPEATED, "input", name) for name in (schema.MEAN, schema.MAX))
    targets = number(history, schema.REPEATED, "target")
    at = np.flatnonzero(np.isfinite(inputs))
    steps = history.steps[at]
    gap = np.diff(steps, prepend=steps[:1])
    repeated = (inputs[at] == 1) & (np.isnan(targets[at]) | (targets[at] == 1))
    return Batches(steps, gap, ~repeated, repeated & (ago[at] <= gap))


def _constant(history: History) -> bool:
    low, high = (history.table(schema.INPUT, name).values[:, 0] for name in (schema.MIN, schema.MAX))
    return bool((low == high)[np.isfinite(low)].mean() > 0.5) if np.isfinite(low).any() else False


def _stuck(case: Case, history: History, batches: Batches, needed: int) -> list[Hit]:
    """Whether all records since the last fresh batch, at least ``needed``, hold that batch."""
    fresh = np.flatnonzero(batches.fresh)
    begin = int(fresh[-1]) if len(fresh) else 0
    stretch = slice(begin + 1, len(batches.steps))
    gaps = batches.gap[stretch]
    if len(gaps) < needed or not batches.previous[stretch].all():
        return []
    samples = int(history.layout.batch_size)
    of = f" of {samples} samples" if samples else ""
    if len(fresh) > FRESH_BEFORE:
        again = batches.fresh[:begin] & np.isin(batches.gap[:begin], gaps)
        if np.gcd.reduce(gaps) > 1 and again.sum() < FRESH_BEFORE:
            return []
        told = f"Since step {int(batches.steps[begin]):,} the same batch{of} is trained on in every step."
        return [_one_batch(batches, begin, needed, "warning", told)]
    cycle, departed = int(np.gcd.reduce(gaps)), parted(case.run)
    if begin > 1 or (cycle > 1 and not departed):
        return []
    if cycle > 1:
        told = (
            f"All {len(batches.steps):,} batches looked at are the same{of}, {cycle} steps or a multiple apart: it is"
        )
        told += f" the same in every step, or all the data are {cycle} batches in one order. {_capital(departed)}."
        return [_one_batch(batches, begin, needed, "warning", told)]
    told = f"Every one of {len(batches.steps):,} steps looked at trains on the same batch{of}." + (
        f" It is learned by heart: {departed}."
        if departed
        else " Well if these are all the data, or if this is a test that one batch can be learned."
    )
    return [_one_batch(batches, begin, needed, "warning" if departed else "info", told)]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _one_batch(batches: Batches, begin: int, needed: int, severity: Severity, message: str) -> Hit:
    steps = batches.steps
    return Hit(
        subject="input",
        **lasting(steps, begin + needed, since=begin),
        severity=severity,
        statistic="batches equal to the one before",
        unit="share of records",
        value=1.0,
        limit=1.0,
        direction="above",
        healthy=(0.0, 0.0),
        message=message,
        advice=ADVICE,
    )


def _groups(batches: Batches) -> list[Hit]:
    """Batches that come in groups of one size: the same one several steps in a row, then a new one."""
    again = np.flatnonzero(~batches.fresh & ~batches.previous)
    if len(again):  # an epoch has begun anew
        first = slice(int(again[0]))
        batches = Batches(batches.steps[first], batches.gap[first], batches.fresh[first], batches.previous[first])
    near = batches.gap == 1
    if near.sum() < NEIGHBOURS:
        return []
    sizes: list[int] = []
    begins = np.flatnonzero(batches.fresh)
    for this, following in pairwise(begins.tolist()):
        if near[this : following + 1].all():
            sizes.append(int(following - this))
    if len(sizes) < 3 or len(set(sizes)) != 1 or not 2 <= sizes[0] <= LARGEST_GROUP:
        return []
    size, steps = sizes[0], batches.steps
    at = np.flatnonzero(batches.previous & near)
    share = float((batches.previous & near).sum() / near.sum())
    return [
        Hit(
            subject="input",
            first_step=int(steps[at[0]]),
            fired_step=int(steps[np.flatnonzero(near)[NEIGHBOURS - 1]]),
            last_step=int(steps[at[-1]]),
            count=len(at),
            active=bool(at[-1] >= np.flatnonzero(near)[-1] - LARGEST_GROUP),
            severity="warning",
            statistic="batches equal to the one before",
            unit="share of neighbouring steps",
            value=share,
            limit=min(share, 0.5),
            direction="above",
            healthy=(0.0, 0.0),
            message=f"Each batch comes {size} times in a row before a new one follows, as if each of {size} data "
            "workers read all of the data.",
            advice=WORKER_ADVICE,
            more={"times": size},
        )
    ]


def _ranks(history: History) -> list[Hit]:
    """Ranks whose inputs equal those of rank 0, unless their weights differ by design."""
    equal = history.table(schema.RANK_BATCH, schema.MEAN)
    unlike = history.table(schema.RANK_WEIGHTS, schema.MEAN)
    hits = []
    for i, rank in enumerate(equal.subjects):
        at = np.flatnonzero(np.isfinite(equal.values[:, i]))
        if rank == "0" or len(at) < RANK_RECORDS:
            continue
        same = at[equal.values[at, i] == 1]
        share = len(same) / len(at)
        if share < RANK_SHARE or _parts_of_one_model(unlike.subjects, unlike.values, rank):
            continue
        hits.append(
            Hit(
                subject=f"rank {rank}",
                first_step=int(equal.steps[same[0]]),
                fired_step=int(equal.steps[at[RANK_RECORDS - 1]]),
                last_step=int(equal.steps[same[-1]]),
                count=len(same),
                active=bool(same[-1] == at[-1]),
                severity="warning",
                statistic="batches equal to rank 0's",
                unit="share of records",
                value=share,
                limit=RANK_SHARE,
                direction="above",
                healthy=(0.0, 0.0),
                message=f"Rank {rank} trains on the same samples as rank 0 in {percent(share)} of {len(at)} records: "
                "it adds nothing to the job.",
                advice=RANK_ADVICE,
            )
        )
    return hits


def _parts_of_one_model(subjects: tuple[str, ...], values: NDArray[np.float32], rank: str) -> bool:
    if rank not in subjects:
        return False
    unlike = values[:, subjects.index(rank)]
    unlike = unlike[np.isfinite(unlike)]
    return bool(unlike.size and unlike[0] > 0)


def _repeating(ago: ArrayLike, *, every: int = 1, validation: float | None = None) -> Network:
    """``ago``: steps since the same batch in each record, 0 where it is new; ``validation``: the last one's loss."""
    ago = np.asarray(ago, np.float64)
    network = Network(steps=len(ago) * every, every=every)
    same = (ago > 0).astype(np.float64)
    for subject in ("input", "target"):
        network.add_row(schema.REPEATED, subject, mean=same, max=np.where(ago > 0, ago, np.nan))
    if validation is not None:
        falling = np.exp(-network.at / (network.steps / 8))
        network.loss(2.3 * falling + 1e-3)
        other = 2.3 + (validation - 2.3) * np.minimum(1, network.at / network.steps)
        network.loss(other, "loss/val")
    return network


def _since(record: int, records: int = 200, every: int = 1) -> NDArray[np.float64]:
    return np.where(np.arange(records) > record, float(every), 0.0)


def _with_ranks(equal: float, unlike: float = 0.0) -> Run:
    network = _repeating(np.zeros(200))
    network.layout.ranks = 2
    network.add_row(schema.RANK_WEIGHTS, "1", mean=unlike)
    return network.add_row(schema.RANK_BATCH, "1", mean=equal).run()


_AT = np.arange(200)

RULE = Rule(
    id="repeated-batch",
    healthy="Batches differ",
    ill="The same batch again",
    group="data",
    severity="warning",
    scope="watch",
    check=check,
    options=(Option("records", 6, "records", "records of the same batch before it is reported", "judgement"),),
    examples=(
        Example("stuck from step 80 on", lambda: _repeating(_since(80)).run(), ill=True, first_step=80),
        Example("one batch while validation rises", lambda: _repeating(_since(0), validation=4.0).run(), ill=True),
        Example("one batch from the start: information", lambda: _repeating(_since(0)).run(), ill=True, first_step=0),
        Example("each batch twice", lambda: _repeating((_AT % 2).astype(float)).run(), ill=True, subject="input"),
        Example("each batch four times", lambda: _repeating((_AT % 4 > 0) * 1.0).run(), ill=True, subject="input"),
        Example(
            "each batch four times, in each of five epochs",
            lambda: _repeating(np.where(_AT % 4 > 0, 1.0, np.where(_AT < 40, 0.0, 40.0))).run(), ill=True,
            subject="input",
        ),
        Example("every rank the same samples", lambda: _with_ranks(1.0), ill=True, subject="rank 1", first_step=0),
        Example("parts of one model", lambda: _with_ranks(1.0, unlike=0.7), ill=False, outcome="Passed"),
        Example("ranks with samples of their own", lambda: _with_ranks(0.0), ill=False, outcome="Passed"),
        Example("stuck for 6 records", lambda: _repeating(_since(193)).run(), ill=True, first_step=193),
        Example("stuck for 5 records", lambda: _repeating(_since(194)).run(), ill=False, outcome="Passed"),
        Example("new batches", lambda: _repeating(np.zeros(200)).run(), ill=False, outcome="Passed"),
        Example("a cycle of four batches", lambda: _repeating(np.where(_AT < 4, 0, 4)).run(), ill=False),
        Example(
            "one batch seen in every fourth step, while validation rises",
            lambda: _repeating(_since(0, 60, every=4), every=4, validation=4.0).run(),
            ill=True,
            first_step=0,
        ),
        Example(
            "a cycle of four batches, seen in every fourth step",
            lambda: _repeating(_since(0, 60, every=4), every=4).run(),
            ill=False,
            outcome="Passed",
        ),
        Example(
            "drawn from four points", lambda: _repeating(np.random.default_rng(0).integers(1, 9, 200) * 1.0).run(),
            ill=False, outcome="Passed",
        ),
        Example("five batches", lambda: _repeating(np.ones(5)).run(), ill=False, outcome="TooLittleData"),
        Example("batches not compared", lambda: Network().run(), ill=False, outcome="NotApplicable"),
    ),
    page=__doc__ or "",
    causes=(
        "overfitting", "too-few-samples", "unshuffled-data", "single-class-batches", "class-imbalance",
        "still-improving", "large-batch",
    ),
)  # fmt: skip
