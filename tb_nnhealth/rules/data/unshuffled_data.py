"""Batches differ from each other in their classes far more than chance allows: the data were not shuffled.

## What it detects
Samples in an order: sorted by class, or read file by file, so that neighbouring samples are alike.

## Why it matters
Steps in a row pull the same way, and later ones back: the loss swings, what was learned first is forgotten, and the
last classes of an epoch are favoured. Batch statistics do not represent the data.

## How it is computed
Of the class counts of the batches, `clustering`: the correlation of the classes of two samples of one batch, from the
chi-square of the counts against the shares over the whole run, divided by its degrees of freedom (unit: 1; 0 for
shuffled data, 1 for batches of one class). It fires above `clustering` at six standard errors; for batches of fewer
than eight samples, where neighbouring steps are correlated by more than 0.5. With more than 64 classes the variance of
the batches' mean class index takes the place of the counts. Repeated batches, and targets with several labels a
sample, are left out. Batches of one class each, in no order, belong to `single-class-batches`.

Targets of a regression: the share of their variance that lies between batches, from 0.6, where neighbouring batches'
means are correlated by 0.3 as well. The order of the answers is the fault: the last bias follows it, and nothing else
is learned.

It is told from the batch since which batches hold fewer classes than chance mixes.

## What to try
1. `DataLoader(dataset, batch_size=…, shuffle=True)`, or a permutation drawn anew for each epoch.
2. Streams: shuffle the shards and keep a shuffle buffer far larger than the runs of like samples.
3. Distributed: `sampler.set_epoch(epoch)`, or every epoch has the same order.

## When it is harmless
Where the order is the task: learning class after class on purpose (continual learning), or a curriculum.

## References
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Practical recommendations for gradient-based training, section 3.1](https://arxiv.org/abs/1206.5533)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    Case,
    Closest,
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
from tb_nnhealth.rules.data.batch_rows import LEAST, Labels, labels_of, number
from tb_nnhealth.rules.data.target_order import in_their_order
from tb_nnhealth.rules.evidence import curves, tags
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.persistence import window_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.synthetic_labels import add_labels, sampled
from tb_nnhealth.rules.wording import short

RECORDS = 12
SMALL_BATCH = 8
SMALL_BATCH_RECORDS = 50
ORDERED = 0.5
"""Correlation of neighbouring batches above which they come in an order."""
ORDER_OF_BLOCKS = 0.3
STANDARD_ERRORS = 6.0
ONSET_OVER = 5
FEWEST_ACCURACIES, ANSWERED = 5, 0.8


@dataclass(frozen=True)
class Mixing:
    """``clustering`` of the classes in batches, in how many standard ``errors`` it exceeds chance, and the ``order``:
    correlation of a batch's departure from the average with that of the batch before."""

    clustering: float
    errors: float
    order: float


def check(case: Case) -> Outcome:
    history = case.history
    labels = labels_of(case.run, history, RECORDS)
    if not isinstance(labels, Labels) or history is None:
        assert not isinstance(labels, Labels)
        return in_their_order(case) or labels
    if history.resolution > 1:
        return NotApplicable("records were averaged")
    labels = labels.only(number(history, schema.REPEATED, "input")[labels.records] != 1)
    needed = window_of(history.steps, RECORDS, LEAST)
    if len(labels.steps) < needed:
        return TooLittleData(f"{len(labels.steps)} different batches, {needed} are needed")
    departures, freedom = _departures(history, labels)
    if freedom < 1:
        return NotApplicable("one class is all there is")
    mixing = _mixing(departures, freedom, labels)
    samples, limit = float(np.median(labels.samples)), case.options["clustering"]
    if samples >= SMALL_BATCH:
        of_one_class = (labels.distinct == 1).mean() > 0.5 and mixing.order < ORDER_OF_BLOCKS
        if mixing.clustering > limit and mixing.errors > STANDARD_ERRORS and not of_one_class:
            onset = _onset(departures, freedom, labels)
            told = _hit(labels, mixing, "classes of two samples of a batch", mixing.clustering, limit, onset)
            return Ill([replace(told, severity="info") if _answers_others(case.run) else told])
        share = min(1.0, max(0.0, mixing.clustering / limit))
        return Passed(Closest(share, "target", int(labels.steps[-1]), "classes of a batch that are alike"))
    if len(labels.steps) < SMALL_BATCH_RECORDS:
        return TooLittleData(f"{len(labels.steps)} batches of {samples:.0f} samples, {SMALL_BATCH_RECORDS} are needed")
    if mixing.order > ORDERED:
        return Ill([_hit(labels, mixing, "classes of neighbouring batches", mixing.order, ORDERED)])
    return Passed()


def _answers_others(run: Run) -> bool:
    """Whether other data are answered well all the same, as by the mean of models each trained on a few classes."""
    for _, series in tags.series_of(run, "accuracy", "val"):
        values = np.asarray(series.values, np.float64)
        now = float(np.median(values[-max(3, len(values) // 10) :]))
        if len(values) >= FEWEST_ACCURACIES and now / (100 if now > 1 else 1) > ANSWERED:
            return True
    return False


def _departures(history: History, labels: Labels) -> tuple[NDArray[np.float64], int]:
    """Departure of each batch from the average, in standard deviations of one sample, shape (t, k), and k."""
    if labels.classes:
        shares = labels.pooled
        there = shares > 0
        return (labels.shares[:, there] - shares[there]) / np.sqrt(shares[there]), int(there.sum()) - 1
    mean, std = (number(history, schema.TARGET, "", name)[labels.records] for name in (schema.MEAN, schema.STD))
    center = float(np.average(mean, weights=labels.samples))
    variance = float(np.average(std**2 + (mean - center) ** 2, weights=labels.samples))
    if not variance > 0:
        return np.zeros((len(mean), 1)), 0
    return (mean - center)[:, None] / math.sqrt(variance), 1


def _mixing(departures: NDArray[np.float64], freedom: int, labels: Labels) -> Mixing:
    squares = np.asarray((departures**2).sum(axis=1))
    total = float((labels.samples * squares).sum())
    degrees = (len(squares) - 1) * freedom
    factor = total / degrees  # 1 for shuffled data, the number of samples for batches of one class
    mean = float(np.median(labels.samples))
    clustering = (factor - 1) / max(1.0, mean - 1)
    products = (departures[1:] * departures[:-1]).sum(axis=1)
    order = float(products.sum() / squares.sum()) if squares.sum() > 0 else 0.0
    return Mixing(clustering, (factor - 1) / math.sqrt(2 / degrees), order)


def _onset(departures: NDArray[np.float64], freedom: int, labels: Labels) -> int:
    """Index of the first batch since which batches hold fewer classes than chance mixes: data may be sorted midway."""
    own = labels.samples * (departures**2).sum(axis=1) / freedom
    usual = curves.smooth(own, ONSET_OVER)
    return int(np.argmax(usual > (1 + np.median(own[-len(own) // 3 :])) / 2))


def _hit(labels: Labels, mixing: Mixing, what: str, value: float, limit: float, onset: int = 0) -> Hit:
    steps = labels.steps[onset:]
    ordered = " Neighbouring batches are alike: they come in an order." if mixing.order > ORDER_OF_BLOCKS else ""
    return Hit(
        subject="target",
        **lasting(steps, min(RECORDS, len(steps)) - 1),
        severity="warning",
        statistic=f"correlation of the {what}",
        unit="1",
        value=value,
        limit=limit,
        direction="above",
        healthy=(-1.0, 0.05),
        message=(
            f"The {what} are correlated by {short(value)}, where shuffled data have 0: a batch of "
            f"{np.median(labels.samples):.0f} samples holds {np.median(labels.distinct):.0f} classes.{ordered}"
        ),
        advice=(
            "Shuffle: DataLoader(dataset, batch_size=…, shuffle=True), in a new order for each epoch.",
            "Where the data are a stream, shuffle its shards and keep a shuffle buffer of many batches.",
        ),
        more={"order": mixing.order, "standard_errors": mixing.errors},
    )


def _sorted(samples: int = 32, per_class: int = 1600, classes: int = 10, steps: int = 200) -> Network:
    """Samples sorted by class, read from the start again and again."""
    order = np.repeat(np.arange(classes), per_class)
    read = order[np.arange(steps * samples) % len(order)].reshape(steps, samples)
    return add_labels(Network(steps=steps, classes=classes), _counts(read, classes))


def _counts(read: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    return np.array([np.bincount(batch, minlength=classes) for batch in read], np.float64)


def _clustered(concentration: float) -> Run:
    """Shares of each batch drawn from a Dirichlet distribution: clustering 1 / (1 + concentration)."""
    shares = np.random.default_rng(3).dirichlet(np.full(10, concentration / 10), 200)
    return add_labels(Network(), sampled(shares)).run()


def _shuffled(samples: int = 32, classes: int = 10) -> Run:
    return add_labels(Network(classes=classes), sampled(np.full((200, classes), 1 / classes), samples)).run()


def _hundred_classes() -> Run:
    network = _sorted(classes=100, per_class=160, samples=64)
    for row in network.layout.rows:
        if row.kind == schema.CLASS:
            row.kind = "unknown"
    return network.run()


def _stuck() -> Run:
    counts = sampled(np.full((200, 10), 0.1))
    counts[40:] = [32, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    return (
        add_labels(Network(), counts)
        .add_row(schema.REPEATED, "target", mean=(np.arange(200) > 40).astype(np.float64))
        .run()
    )


def _by_size(within: float) -> Run:
    """Targets from -1.7 to 1.7 again and again, each batch of standard deviation ``within``; 1 is shuffled."""
    network = Network(criterion="MSELoss")
    for row in network.layout.rows:
        if row.kind in (schema.PREDICTION, schema.TARGET):
            del row.shape[:]
            row.shape.extend((32, 1))
    mean = (network.at % 60 / 30 - 1) * 1.7 if within < 1 else 0.18 * np.sin(997.0 * network.at)
    return network.set(schema.TARGET, "", mean=mean, std=within).run()


RULE = Rule(
    id="unshuffled-data",
    healthy="Data shuffled",
    ill="Data not shuffled",
    group="data",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option(
            "clustering", 0.2, "1", "greatest correlation of the classes in a batch",
            "shuffled data have 0, a mixture over a buffer of ten batches about 0.1",
        ),
    ),
    examples=(
        Example("sorted by class", lambda: _sorted().run(), ill=True, subject="target", first_step=0),
        Example("short runs of a class", lambda: _sorted(per_class=40).run(), ill=True, subject="target"),
        Example("batches of two, sorted", lambda: _sorted(2, 40).run(), ill=True, subject="target"),
        Example("a hundred classes, sorted", _hundred_classes, ill=True, subject="target"),
        Example("a table sorted by what is to be learned", lambda: _by_size(0.02), ill=True, subject="target"),
        Example("a regression, shuffled", lambda: _by_size(1.0), ill=False, outcome="NotApplicable"),
        Example("just above the limit", lambda: _clustered(3.2), ill=True, subject="target"),
        Example("just below the limit", lambda: _clustered(5.2), ill=False, outcome="Passed"),
        Example("shuffled", lambda: _shuffled(), ill=False, outcome="Passed"),
        Example("batches of two, shuffled", lambda: _shuffled(2), ill=False, outcome="Passed"),
        Example("stuck on one batch", _stuck, ill=False, outcome="Passed"),
        Example(
            "the same share of each class in every batch",
            lambda: add_labels(Network(), np.full((200, 10), 3.0)).run(), ill=False, outcome="Passed",
        ),
        Example("no labels", lambda: Network().run(), ill=False, outcome="NotApplicable"),
        Example("ten batches", lambda: _sorted(steps=10).run(), ill=False, outcome="TooLittleData"),
    ),
    page=__doc__ or "",
    causes=(
        "loss-oscillating", "loss-spike", "loss-not-decreasing", "overfitting",
        "constant-output", "prediction-jitter", "diverging-bias", "gradient-spike", "class-imbalance",
        "large-batch", "learning-rate-too-high", "dead-units", "loss-diverging",
        "diverging-weights", "exploding-activations", "saturated-units", "update-ratio-too-high",
        "exploding-gradients",
    ),
)  # fmt: skip
