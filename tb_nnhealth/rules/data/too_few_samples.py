"""The data set holds few samples for each class.

## What it detects
A training that meets the same samples again and again because there are few of them, estimated from how often marked
samples come back. A warning where the validation loss has also departed from the training loss, or the accuracy: more
than 15 points below that of training, with more than four times as many wrong answers.

## Why it matters
A network learns few samples by heart sooner than what they have in common. No setting makes up for data.

## How it is computed
Up to 1,024 different samples are marked as they are first seen. Where a share s of later batches' samples is marked,
the data set holds about m / s samples, m being the number marked (capture and recapture, Lincoln and Petersen; over the
last half of the records, at least ten; four, where all of each batch had been seen before). Unit: samples for each
class seen among the labels, or samples where there are no classes, or many targets in a sample. It fires below
`samples`, or three times that of the latter where validation departs. Augmentation makes every sample new, and passes.

## What to try
1. More data; or augmentation: crops, flips, noise, mixup.
2. Begin with a network that was trained on much data, and train the last layers only.
3. Weight decay, dropout, a smaller network; stop at the lowest validation loss.
4. Check that a filter, a split or a `Subset` has not thrown most samples away.

## When it is harmless
Small problems, tests on one batch, and few-shot tasks are meant to be small: information.

## References
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Stanford CS231n: transfer learning](https://cs231n.github.io/transfer-learning/)
- [Mark and recapture](https://en.wikipedia.org/wiki/Mark_and_recapture)
"""

from __future__ import annotations

import numpy as np

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
from tb_nnhealth.rules.data.batch_rows import INPUTS_LINE, number
from tb_nnhealth.rules.data.generalization import parted
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.synthetic import Network

REGRESSION = 3
"""Times as many as for a class are asked for where the targets are no classes, and validation departs."""
RECORDS, FEWEST_RECORDS = 10, 4
"""Records that are needed; fewer where all of each batch had been seen before."""
ADVICE = (
    "Add data, or augmentation: crops, flips, noise, mixup.",
    "Begin with a network that was trained on much data, and train its last layers only.",
    "Check that a filter or a split has not thrown most samples away.",
)


def check(case: Case) -> Outcome:
    history = case.history
    if history is None or not history.rows(schema.INPUT):
        return CouldNotCheck(INPUTS_LINE)
    if why := tags.moving_target(case.run):
        return NotApplicable(why)
    if not history.rows(schema.SEEN) or history.resolution > 1:
        return NotApplicable("the log does not tell one sample from another")
    share, marked = (number(history, schema.SEEN, "samples", name) for name in (schema.MEAN, schema.MAX))
    seen = np.flatnonzero(np.isfinite(share) & (marked > 0))
    needed = FEWEST_RECORDS if (share[seen] == 1).all() else RECORDS
    if len(seen) < needed:
        return TooLittleData(f"{len(seen)} records of the samples seen, {needed} are needed")
    late = seen[-max(RECORDS, len(seen) // 2) :]
    again = float(share[late].mean())
    if not again > 0:
        return Passed()
    samples = max(float(marked[late[-1]]) / again, _largest_batch(history))
    classes = _classes(history)
    departed = parted(case.run)
    each, limit = samples / classes, case.options["samples"] * (REGRESSION if classes == 1 and departed else 1)
    if each >= limit:
        return Passed(Closest(limit / each, "input", int(history.steps[late[-1]]), "samples for each class"))
    of = f", {each:.0f} for each of {classes} classes" if classes > 1 else ""
    steps = history.steps
    return Ill(
        [
            Hit(
                subject="input",
                first_step=int(steps[seen[0]]),
                fired_step=int(steps[seen[needed - 1]]),
                last_step=int(steps[seen[-1]]),
                count=len(seen),
                active=True,
                severity="warning" if departed else "info",
                statistic="samples for each class" if classes > 1 else "different samples",
                unit="samples",
                value=each,
                limit=limit,
                direction="below",
                message=f"The training data hold about {samples:.0f} different samples{of}"
                + (f", and {departed}." if departed else "."),
                advice=ADVICE,
                more={"samples": samples, "classes": classes},
            )
        ]
    )


def _largest_batch(history: History) -> float:
    """Samples of a batch: no data set is smaller, though of a large batch only a part is looked at."""
    return float(history.layout.batch_size)


def _classes(history: History) -> int:
    """Classes seen among the labels, 1 where there are none."""
    shares = np.nan_to_num(history.table(schema.CLASS, schema.MEAN).values)
    if shares.shape[1]:
        return max(1, int((shares > 0).any(axis=0).sum()))
    distinct = number(history, schema.LABELS, "distinct")
    known = distinct[np.isfinite(distinct)]
    return max(1, int(history.layout.criterion.classes if known.size else 1))


def _drawn(samples: int, *, classes: int = 10, batch: int = 32, validation: float | None = None) -> Run:
    """Batches drawn from so many samples; ``validation``: the last validation loss, which begins at 2.3."""
    rng = np.random.default_rng(0)
    network = Network()
    marks: set[int] = set()
    share, marked = np.empty(200), np.empty(200)
    for t in range(200):
        drawn = rng.integers(0, samples, batch).tolist()
        share[t], marked[t] = np.mean([one in marks for one in drawn]), len(marks)
        for one in drawn:
            if len(marks) < schema.SAMPLES_MARKED:
                marks.add(one)
    network.add_row(schema.SEEN, "samples", mean=share, max=marked)
    for index in range(classes if classes > 1 else 0):
        network.add_row(schema.CLASS, str(index), mean=1 / classes)
    if validation is not None:
        network.loss(2.3 * np.exp(-network.at / 20) + 1e-3)
        network.loss(2.3 + (validation - 2.3) * network.at / 200, "loss/val")
    return network.run()


def _records(count: int, again: float) -> Run:
    """So many records of 32 samples of two classes."""
    network = Network(steps=count).add_row(schema.SEEN, "samples", mean=again, max=32.0)
    return network.add_row(schema.CLASS, "0", mean=0.5).add_row(schema.CLASS, "1", mean=0.5).run()


def _augmented() -> Run:
    network = Network()
    return network.add_row(schema.SEEN, "samples", mean=0.0, max=np.minimum(1024, 32.0 * network.at)).run()


RULE = Rule(
    id="too-few-samples",
    healthy="Samples enough",
    ill="Few samples",
    group="data",
    severity="warning",
    scope="watch",
    check=check,
    options=(Option("samples", 30.0, "samples", "least samples for each class", "judgement; CIFAR has 500 and more"),),
    examples=(
        Example("40 samples, validation rises", lambda: _drawn(40, validation=4.0), ill=True, subject="input"),
        Example("40 samples: information", lambda: _drawn(40), ill=True, subject="input"),
        Example("just below the limit", lambda: _drawn(280), ill=True, subject="input"),
        Example("just above the limit", lambda: _drawn(320), ill=False, outcome="Passed"),
        Example("more than are marked", lambda: _drawn(20_000), ill=False, outcome="Passed"),
        Example("a regression of 256 points", lambda: _drawn(256, classes=1), ill=False, outcome="Passed"),
        Example("every sample new: augmentation", _augmented, ill=False, outcome="Passed"),
        Example("samples not told apart", lambda: Network().run(), ill=False, outcome="NotApplicable"),
        Example("eight records", lambda: _records(8, 0.9), ill=False, outcome="TooLittleData"),
        Example("four records of one batch", lambda: _records(4, 1.0), ill=True, subject="input"),
    ),
    page=__doc__ or "",
    causes=("overfitting",),
)
