"""One rank of a job is much slower than the others, which wait for it in every step.

## What it detects
A rank whose own work between two steps (data, forward pass) takes a multiple of what it takes the others.

## Why it matters
Gradients are averaged when the last rank is ready: the job runs at the speed of the slowest.

## How it is computed
Seconds from the end of a step to the next backward pass on each rank, a stretch in which ranks do not wait for each
other, over the median of the other ranks. It fires where that exceeds `ratio` in two thirds of `records` records and
where the time lost exceeds `share` of the whole step (seconds of wall time between records, for each step) and 5 ms.
The first three records are left out: memory is allocated and kernels are chosen there.

## What to try
1. Look at the rank's data: a slower disk, fewer workers, longer samples, larger images.
2. Look at the machine: another job on the same device or cores, a device at its limit of heat (`nvidia-smi -q -d
   PERFORMANCE`).
3. What rank 0 alone does in each step (logging, saving, evaluating) should be rare, or done in the background.
4. Spread long samples over the ranks alike: sort by length, then deal out.

## When it is harmless
Rank 0 logs, and is somewhat slower.

## References
- [PyTorch: distributed, monitored barrier](https://pytorch.org/docs/stable/distributed.html#torch.distributed.monitored_barrier)
- [Understanding stragglers in large model training](https://arxiv.org/abs/2505.05713)
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    Case,
    Closest,
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
from tb_nnhealth.rules.distributed.compared_ranks import EVERY_RANK, comparing
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent, short

SHARE = 0.65
WARM_UP = 3
LEAST_SECONDS = 5e-3
"""What rank 0 may take longer for logging, where steps are short."""
ADVICE = (
    "Compare the rank's data with the others': slower storage, fewer workers, longer samples.",
    "Look for another job on its device or cores, and for a device that slows down for heat.",
    "Do what one rank alone does in each step (logging, saving) rarely, or in the background.",
)


def check(case: Case) -> Outcome:
    history = comparing(case.history)
    if isinstance(history, NotApplicable):
        return history
    table = history.table(schema.RANK_SECONDS, schema.MEAN)
    if not len(table):
        return CouldNotCheck(EVERY_RANK)
    if len(table) < 2:
        return TooLittleData("seconds of one rank alone")
    seconds = table.values.astype(np.float64)
    seconds[:WARM_UP] = np.nan
    others = _median_of_others(seconds)
    judged = np.isfinite(seconds) & (others > 0)
    window = int(case.options["records"])
    if judged.any(axis=1).sum() < window:
        return TooLittleData(f"{int(judged.any(axis=1).sum())} records of the ranks' seconds, {window} are needed")
    ratio = np.where(judged, seconds / np.where(judged, others, 1.0), np.nan)
    step = _seconds_per_step(history)
    lost = (seconds - others) / step
    noticed = (lost > case.options["share"]) & (seconds - others > LEAST_SECONDS)
    ill = judged & (ratio > case.options["ratio"]) & noticed
    found = episodes(ill, judged, history.steps, window=window, share=SHARE)
    hits = [_hit(episode, table.subjects, seconds, others, lost, case.options["ratio"]) for episode in found]
    if hits:
        return Ill(hits)
    typical = [float(np.median(ratio[judged[:, i], i])) for i in range(len(table)) if judged[:, i].any()]
    share = min(1.0, max(typical, default=0.0) / case.options["ratio"])
    return Passed(Closest(share, "ranks", int(history.steps[-1]), "slowest rank"))


def _median_of_others(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each rank the median over the other ranks, shape (records, ranks)."""
    others = np.empty_like(seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # records in which no other rank was measured
        for i in range(seconds.shape[1]):
            others[:, i] = np.nanmedian(np.delete(seconds, i, axis=1), axis=1)
    return others


def _seconds_per_step(history: History) -> float:
    """Median wall time of a step, infinite where it is not known: then nothing counts as lost."""
    walls, steps = np.diff(history.walls), np.diff(history.steps)
    usable = (walls > 0) & (steps > 0)
    return float(np.median(walls[usable] / steps[usable])) if usable.any() else np.inf


def _hit(
    episode: Episode, subjects: tuple[str, ...], seconds: NDArray[np.float64], others: NDArray[np.float64],
    lost: NDArray[np.float64], limit: float,
) -> Hit:  # fmt: skip
    column, stretch = episode.column, slice(episode.first, episode.last + 1)
    own, of_others = float(np.nanmedian(seconds[stretch, column])), float(np.nanmedian(others[stretch, column]))
    wasted = float(np.nanmedian(lost[stretch, column]))
    return hit(
        episode, f"rank {subjects[column]}", severity="warning", statistic="seconds of the rank : of the others",
        unit="1", value=max(own / of_others, limit), limit=limit, direction="above", healthy=(0.5, 1.3),
        message=f"Rank {subjects[column]} takes {short(own)} s between steps, the others {short(of_others)} s: they "
        f"wait for it during {percent(wasted)} of each step.",
        advice=ADVICE, more={"seconds": own, "others": of_others}, rank=own,
    )  # fmt: skip


def _slow(
    factor: float, since: int = 0, *, ranks: int = 4, seconds: float = 0.4, steps: int = 100, wall: float = 1.0
) -> Run:
    """Ranks that take ``seconds`` of each step of ``wall`` s; the last takes ``factor`` times that from a record on."""
    network = Network(steps=steps)
    network.layout.ranks = ranks
    rng = np.random.default_rng(0)
    for rank in range(ranks):
        own = seconds * (1 + 0.05 * rng.standard_normal(steps))
        if rank == ranks - 1:
            own = np.where(network.at >= since, factor * own, own)
        network.add_row(schema.RANK_SECONDS, str(rank), mean=own)
    run = History(network.layout)
    for t, step in enumerate(network.at):
        run.append(int(step), wall * t, network.values[t])
    return Run("example", watches={schema.DEFAULT_WATCH: run})


def _one_watched() -> Run:
    network = Network()
    network.layout.ranks = 2
    return network.run()


RULE = Rule(
    id="straggler",
    healthy="Ranks equally fast",
    ill="One rank slows the others",
    group="distributed",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option("ratio", 1.8, "seconds of the rank : of the others", "slowest rank", "judgement"),
        Option("share", 0.15, "share of a step", "least time lost", "judgement"),
        Option("records", 20, "records", "window in which it must hold", "judgement"),
    ),
    examples=(
        Example("three times slower", lambda: _slow(3.0), ill=True, subject="rank 3", first_step=3),
        Example("slow from step 50 on", lambda: _slow(3.0, 50), ill=True, subject="rank 3", first_step=50),
        Example("two ranks", lambda: _slow(3.0, ranks=2), ill=True, subject="rank 1"),
        Example("just above the limit", lambda: _slow(2.1), ill=True, subject="rank 3"),
        Example("just below the limit", lambda: _slow(1.55), ill=False, outcome="Passed"),
        Example("rank 0 logs", lambda: _slow(1.2), ill=False, outcome="Passed"),
        Example("slow in a trifle of the step", lambda: _slow(5.0, seconds=0.01), ill=False, outcome="Passed"),
        Example("milliseconds of logging", lambda: _slow(3.0, seconds=0.002, wall=0.01), ill=False, outcome="Passed"),
        Example("slow in ten records", lambda: _slow(5.0, 90), ill=False, outcome="Passed"),
        Example("one process", lambda: Network().run(), ill=False, outcome="NotApplicable"),
        Example("one rank watched", _one_watched, ill=False, outcome="CouldNotCheck"),
        Example("ten records", lambda: _slow(3.0, steps=10), ill=False, outcome="TooLittleData"),
    ),
    page=__doc__ or "",
)
