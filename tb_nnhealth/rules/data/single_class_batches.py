"""Each batch holds samples of one class only.

## What it detects
Batches whose labels are all of one class, another class in other batches, where chance would mix them.

## Why it matters
Each step teaches the network to answer with that one class, and the next step the opposite. Batch normalization
computes its statistics from one class alone. The training loss of a batch can fall to nothing while nothing is learned
that holds for the next.

## How it is computed
Labels that are all the same in every batch, 200 or more, where the network tells several classes apart, are critical;
not so where the loss compares the network's answers with each other (a pair, of which one is to be preferred; the
first of many similarities), so that the label says which is which. Else: share of the last `records` batches whose
labels are all the same (unit: share of batches). It fires where that is at least half, at least three times what
chance gives for the class shares seen and this many samples, where chance gives less than 0.2, and where two classes
or more were seen. Batches of fewer than four samples, and targets with several labels a sample (tokens, pixels), are
not judged.

## What to try
1. `DataLoader(dataset, batch_size=…, shuffle=True)`: file formats and folders list samples class by class.
2. Streams (`IterableDataset`, web datasets): shuffle the shards, and keep a shuffle buffer of many batches.
3. A sampler of one's own: let it draw from all classes for each batch.

## When it is harmless
Where one class in each batch is meant (a discriminator's real and false batches), which adversarial trainings are not
judged for.

## References
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [PyTorch: shuffling](https://pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader)
- [Batch normalization](https://arxiv.org/abs/1502.03167)
"""

from __future__ import annotations

import numpy as np

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
)
from tb_nnhealth.rules.data.batch_rows import Labels, labels_of, number
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.synthetic_labels import add_labels, sampled
from tb_nnhealth.rules.wording import percent

FEWEST_SAMPLES = 4
SHARE = 0.5
BEYOND_CHANCE = 3.0
ENOUGH_LABELS, FEWEST_BATCHES = 200, 10
SEVERAL = 1.5
"""Samples to a label from which the labels are not of the samples, but of pairs of them."""
LIKELY = 0.2
"""Where chance alone makes so many batches of one class, they tell nothing."""


def check(case: Case) -> Outcome:
    history = case.history
    labels = labels_of(case.run, history, int(case.options["records"]))
    if not isinstance(labels, Labels) or history is None:
        assert not isinstance(labels, Labels)
        return labels
    if np.median(labels.samples) < FEWEST_SAMPLES:
        return NotApplicable(f"{np.median(labels.samples):.0f} samples in a batch are of one class by chance")
    single = labels.distinct == 1
    share = float(single[-int(case.options["records"]) :].mean())
    classes, chance = _classes_seen(history, labels), _chance(labels)
    if classes < 2:
        return _one_label(history, labels)
    if chance >= LIKELY:
        return NotApplicable(f"chance alone makes {percent(chance)} of the batches of one class")
    limit = max(SHARE, BEYOND_CHANCE * chance)
    if share < limit:
        return Passed(Closest(share / limit, "target", int(labels.steps[-1]), "batches of one class"))
    at = np.flatnonzero(single)
    return Ill(
        [
            Hit(
                subject="target",
                first_step=int(labels.steps[at[0]]),
                fired_step=int(labels.steps[max(at[0], min(int(case.options["records"]), len(labels.steps)) - 1)]),
                last_step=int(labels.steps[at[-1]]),
                count=len(at),
                active=True,
                severity="warning",
                statistic="batches of one class",
                unit="share of batches",
                value=share,
                limit=limit,
                direction="above",
                healthy=(0.0, LIKELY),
                message=f"{percent(share)} of the batches of {np.median(labels.samples):.0f} samples hold one class "
                f"only, of at least {classes} classes; chance would make {_about(chance)}.",
                advice=(
                    "Shuffle: DataLoader(dataset, batch_size=…, shuffle=True).",
                    "Where the data are a stream, shuffle its shards and keep a shuffle buffer of many batches.",
                ),
                more={"classes": classes, "chance": chance},
            )
        ]
    )


def _one_label(history: History, labels: Labels) -> Outcome:
    """Ill where a network that tells several classes apart is only ever shown one of them."""
    told = int(history.layout.criterion.classes)
    if told < 2 or labels.samples.sum() < ENOUGH_LABELS:
        return NotApplicable("one class is all there is")
    if told > 2 and not any(told in parameter.shape for parameter in history.layout.parameters):
        return NotApplicable(f"no weights of the network tell {told} classes apart: the loss compares its answers")
    if _several_answers_to_a_label(history, labels):
        return NotApplicable("the network answers more often than it is told a label: the loss compares its answers")
    return Ill(
        [
            Hit(
                subject="target",
                **lasting(labels.steps, min(FEWEST_BATCHES, len(labels.steps)) - 1),
                severity="critical",
                statistic="classes seen",
                unit="classes",
                value=1.0,
                limit=2.0,
                direction="below",
                healthy=(2.0, float(told)),
                message=f"Each of {labels.samples.sum():,.0f} labels is the same, where the network tells {told}"
                " classes apart.",
                advice=(
                    "Look at how labels are read: a path's wrong part, a column's default, a failed join.",
                    "Count them before training: torch.unique(targets, return_counts=True).",
                ),
                more={"classes": told},
            )
        ]
    )


def _several_answers_to_a_label(history: History, labels: Labels) -> bool:
    """Whether the forwards of a step take in more samples than it has labels, as where one of two is to be preferred.

    An accumulated step has the labels of all its batches.
    """
    forwards = number(history, schema.EVALUATION, "train with gradients")
    a_step = forwards[1:] / np.diff(history.steps)
    known = a_step[np.isfinite(a_step)]
    batch = int(history.layout.batch_size)
    return bool(known.size and batch and np.median(known) * batch > SEVERAL * np.median(labels.samples))


def _classes_seen(history: History, labels: Labels) -> int:
    if labels.classes:
        return int((labels.pooled > 0).sum())
    alone = labels.records[labels.distinct == 1]
    means = number(history, schema.TARGET, "")[alone]
    return max(int(labels.distinct.max()), len(np.unique(np.round(means[np.isfinite(means)], 3))))


def _chance(labels: Labels) -> float:
    """Probability that a batch drawn from the shares seen is of one class."""
    shares = labels.pooled if labels.classes else np.array([0.5, 0.5])
    return float((shares ** np.median(labels.samples)).sum())


def _about(chance: float) -> str:
    return percent(chance) if chance > 1e-3 else "less than 0.1 %"


def _alternating(share: float, samples: int = 32, classes: int = 10) -> Run:
    """So large a share of batches are of one class, drawn at random; the others are mixed."""
    rng = np.random.default_rng(1)
    shares = np.full((200, classes), 1 / classes)
    alone = np.flatnonzero(np.arange(200) % 100 < round(100 * share))
    shares[alone] = np.eye(classes)[rng.integers(0, classes, len(alone))]
    return add_labels(Network(classes=classes), sampled(shares, samples)).run()


def _of_one_class(*, own: bool = True, forwards: int = 1) -> Run:
    """``own``: the classes are units of the last layer; so many ``forwards`` of 32 samples for 32 labels."""
    network = add_labels(Network(), np.tile([32.0, 0.0], (200, 1)))
    if own:
        network.layout.parameters[-2].shape[:] = [network.classes, network.width]
    return network.add_row(schema.EVALUATION, "train with gradients", mean=float(forwards)).run()


def _pixels() -> Run:
    network = add_labels(Network(), 32 * np.eye(10)[np.arange(200) % 10])
    for row in network.layout.rows:
        if row.kind == schema.TARGET:
            row.shape.extend([8, 8])
    return network.run()


RULE = Rule(
    id="single-class-batches",
    healthy="Batches hold several classes",
    ill="Batches of one class",
    group="data",
    severity="critical",
    scope="watch",
    check=check,
    options=(Option("records", 20, "records", "last batches that are judged", "judgement"),),
    examples=(
        Example("one class in each batch", lambda: _alternating(1.0), ill=True, subject="target", first_step=0),
        Example("two classes", lambda: _alternating(1.0, classes=2), ill=True, subject="target", first_step=0),
        Example("one class in the last half", lambda: _half_single(0.5), ill=True, subject="target"),
        Example("one class in 9 of 20 batches", lambda: _half_single(0.45), ill=False, outcome="Passed"),
        Example("mixed batches", lambda: _alternating(0.0), ill=False, outcome="Passed"),
        Example("a rare class", lambda: _rare(0.01), ill=False, outcome="NotApplicable"),
        Example("pairs", lambda: _alternating(0.0, samples=2), ill=False, outcome="NotApplicable"),
        Example("one class is all there is", _of_one_class, ill=True, subject="target", first_step=0),
        Example(
            "the first of many similarities", lambda: _of_one_class(own=False), ill=False, outcome="NotApplicable"
        ),
        Example(
            "the better one of two answers", lambda: _of_one_class(forwards=2), ill=False, outcome="NotApplicable"
        ),
        Example("pixels of images", _pixels, ill=False, outcome="NotApplicable"),
        Example("no labels", lambda: Network(criterion="MSELoss").run(), ill=False, outcome="NotApplicable"),
        Example("ten batches", lambda: _few(), ill=False, outcome="TooLittleData"),
        Example("no target seen", lambda: _without_target(), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=(
        "initial-loss-off", "overfitting", "loss-oscillating", "loss-spike", "loss-not-decreasing", "constant-output",
        "prediction-jitter", "diverging-bias", "gradient-spike", "large-batch", "learning-rate-too-high",
        "dead-units", "loss-diverging", "unshuffled-data",
        "diverging-weights", "exploding-activations", "saturated-units", "update-ratio-too-high",
        "exploding-gradients",
    ),
)  # fmt: skip


def _half_single(share: float) -> Run:
    shares = np.full((200, 10), 0.1)
    alone = np.arange(200) % 20 < round(20 * share)
    shares[alone] = np.eye(10)[np.random.default_rng(2).integers(0, 10, alone.sum())]
    return add_labels(Network(), sampled(shares)).run()


def _rare(share: float) -> Run:
    return add_labels(Network(classes=2), sampled(np.tile([1 - share, share], (200, 1)))).run()


def _few() -> Run:
    return add_labels(Network(steps=10), sampled(np.full((10, 10), 0.1))).run()


def _without_target() -> Run:
    network = Network()
    for row in network.layout.rows:
        if row.kind == schema.TARGET:
            row.kind = "unknown"
    return network.run()
