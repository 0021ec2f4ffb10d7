"""The validation loss rises from its minimum while the training loss goes on falling.

## What it detects
A validation loss that has departed upward from the lowest level it had reached, beyond its own noise, for its last
points, while the training loss fell further.

## Why it matters
From the minimum on, the network learns the training samples rather than the task: it becomes surer of answers that
are wrong on new data. The best network is the one at the minimum, not the last.

## How it is computed
The validation loss is smoothed by a running median. It fires where the median of its last points (a sixth, at least
two) exceeds the minimum by `rise` (share of the minimum), by 5 % of the drop from the first loss and by four standard
errors of its point-to-point noise; where it rises as a trend since the minimum, or has been above at each of five
evaluations or more since, and does not come down; where the training loss at the end lies below that at the minimum, or
below half of the validation loss and of where it began; and where validation lies above training. The curves may have
different step axes (batches, epochs): they are aligned by wall time. All in the loss's unit. Where the validation loss
does not tell, the validation accuracy is asked: it fires where that has fallen by `lost` (share of the samples) from
its best, by four standard errors of its noise and as a trend, while the training loss fell. Information: the validation
loss has not come down since the middle of the run and stands above a twentieth of the untrained level, `heart` times or
more above a training loss that went on falling by half. A warning also where the validation loss was never below 0.98
of what a constant answer costs, while the training loss fell below 0.95 of that; of four to nine evaluations, each must
be above, and the training loss below half of it, or for information the last above the first. Information where it was
never below 0.92 of it, and training has gained three times as much as validation. And where a validation loss is the
same to the last digit at six evaluations or more though the training loss changed by a fifth, or an accuracy of 0.75 or
less at eight though the training loss fell to a quarter, and further than so many wrong answers would let it: what
validation is computed from are not the answers of the network that learns. Of four or five evaluations it fires where
the validation loss rose at each since its minimum, at three at least and by 30 % in all, to half of the untrained level
and five times a training loss that halved meanwhile.

## What to try
1. Keep the network of the best validation loss: early stopping.
2. More data, or more augmentation of what there is.
3. Weight decay, dropout, label smoothing, a smaller network.
4. For a pre-trained network: fewer epochs, a smaller learning rate, fewer trainable layers.
5. Check that training and validation data come from the same distribution and are disjoint.

## When it is harmless
Where the validation accuracy is still at its best, and not below half of what the training loss stands for, the network
is overconfident rather than worse; that is reported as information. Some small algorithmic tasks are understood only
long after (grokking).

## References
- [Stanford CS231n: train and validation accuracy](https://cs231n.github.io/neural-networks-3/#accuracy)
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [On calibration of modern neural networks](https://arxiv.org/abs/1706.04599)
- [Grokking: generalization beyond overfitting](https://arxiv.org/abs/2201.02177)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import Run, Series
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
from tb_nnhealth.rules.evidence import losses, tags
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.accuracy_lost import ADVICE, FEWEST_POINTS, accuracy_lost, accuracy_still_best
from tb_nnhealth.rules.loss.by_heart import by_heart, nothing_holds
from tb_nnhealth.rules.loss.departure import Departure, departure, rises, training_at
from tb_nnhealth.rules.loss.few_evaluations import risen_each_time
from tb_nnhealth.rules.loss.judged_loss import chance
from tb_nnhealth.rules.loss.settled import accuracies
from tb_nnhealth.rules.loss.unmoved_validation import unmoved_validation
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import apart, percent, short

FAR_LESS = 0.5
"""Validation accuracy over exp(-training loss), about the share that training gets right: no overconfidence."""
VALIDATION_NEEDS = 'log the validation loss: writer.add_scalar("loss/val", loss, step)'


def check(case: Case) -> Outcome:
    if why := tags.moving_target(case.run):
        return NotApplicable(why)
    if (unmoved := unmoved_validation(case.run)) is not None:
        return Ill([unmoved])
    validation = losses.scalar_loss(case.run, "val")
    if validation is None:
        return CouldNotCheck(VALIDATION_NEEDS)
    training = losses.training_loss(case.run)
    if training is None:
        return CouldNotCheck(losses.NEEDS)
    val, train = validation.finite(), training.finite()
    summed = losses.comparable_validation(case.run) is None
    constant = math.nan if summed else chance(case.run)
    if len(val) < FEWEST_POINTS or len(train) < FEWEST_POINTS:
        if (risen := risen_each_time(val, train) or nothing_holds(val, train, constant)) is not None:
            return Ill([risen])
        return TooLittleData(f"{len(val)} points of the validation loss, {FEWEST_POINTS} are needed of each loss")
    untrained = float(np.median(train.values[:3]))
    gone = departure(val.values, case.options["rise"], untrained)
    if not gone.end > gone.limit or not rises(val.values, gone):
        if (lost := accuracy_lost(case.run, train, case.options["lost"])) is not None:
            return Ill([lost])
        if not summed and (known := by_heart(val, train, untrained, case.options["heart"])) is not None:
            return Ill([known])
        if (unlearned := nothing_holds(val, train, constant)) is not None:
            return Ill([unlearned])
        share = (gone.end - gone.low) / (gone.limit - gone.low) if gone.limit > gone.low else 0.0
        return Passed(Closest(min(1.0, max(0.0, share)), val.subject, int(val.steps[-1]), "validation loss"))
    then, now = training_at(train, val, gone)
    if not (now < gone.end and (now < then or (now < 0.5 * gone.end and now < untrained))):
        return Passed()
    right = accuracies(case.run)[1]
    overconfident = accuracy_still_best(case.run) and not right < FAR_LESS * math.exp(-max(now, 0.0))
    return Ill([_hit(val, gone, then, now, overconfident)])


def _hit(val: losses.LossCurve, gone: Departure, then: float, now: float, overconfident: bool) -> Hit:
    steps = val.steps
    best = int(steps[gone.low_at])
    low, now_at = apart(gone.low, gone.end)
    told = (
        f"`{val.subject}` was lowest at step {best:,} ({low}) and has risen to {now_at} since, "
        f"by {percent(gone.end / gone.low - 1) if gone.low > 0 else short(gone.end - gone.low)}, while the training "
        f"loss went from {short(then)} to {short(now)}."
    )
    if overconfident:
        told += " The validation accuracy is as good as ever: the network grows overconfident rather than worse."
    return Hit(
        subject=val.subject,
        **lasting(steps, min(len(steps) - 1, gone.crossing + gone.tail - 1), since=gone.crossing),
        severity="info" if overconfident else "warning",
        statistic="validation loss",
        unit="unit of the loss",
        value=gone.end,
        limit=gone.limit,
        direction="above",
        message=told,
        advice=(f"Keep the network of the best validation loss, of step {best:,} (early stopping).", *ADVICE),
        more={"best": gone.low, "best_step": best, "training_loss": now},
    )


def _curves(
    val: Sequence[float],
    train: Sequence[float],
    noise: float = 0.01,
    epochs: bool = False,
    accuracy: float | None = None,
) -> Run:
    """Validation beside training; ``epochs``: validation's steps count epochs, its wall times tell where it belongs."""
    rng = np.random.default_rng(0)

    def series(curve: Sequence[float], steps: NDArray[np.int64], walls: NDArray[np.float64]) -> Series:
        noisy = np.asarray(curve) * (1 + noise * rng.standard_normal(len(curve)))
        return Series([(int(s), float(w), float(v)) for s, w, v in zip(steps, walls, noisy, strict=True)])

    n, m = len(val), len(train)
    every = m // n
    walls = np.arange(m, dtype=np.float64)
    at = np.arange(n) * every
    scalars = {
        "loss/train": series(train, np.arange(m), walls),
        "loss/val": series(val, np.arange(n) if epochs else at, walls[at]),
    }
    if accuracy is not None:
        scalars["accuracy/val"] = series(np.minimum(0.95, accuracy * np.arange(n)), at, walls[at])
    return Run("example", scalars=scalars)


def _forgetting(lost: float, noise: float = 0.01) -> Run:
    """The validation loss hides it, the accuracy rises to 0.9 and falls by ``lost`` from there."""
    run = _curves(_FITTED, _TRAIN)
    accuracy = np.minimum(0.9, 4 * _T) - lost * np.clip(2 * _T - 1, 0, 1)
    accuracy += noise * np.random.default_rng(1).standard_normal(len(_T))
    at = run.scalars["loss/val"].steps
    points = [(int(s), float(s), float(v)) for s, v in zip(at, accuracy, strict=True)]
    run.scalars["accuracy/val"] = Series(points)
    return run


def _unmoved(value: float, tag: str = "accuracy/val", *, low: float = 0.02) -> Run:
    """A validation that is the same ten times, while the training loss falls from ln 2 to ``low``."""
    falling = low + (math.log(2) - low) * np.exp(-np.arange(400) / 60)
    training = Series([(i, float(i), float(v)) for i, v in enumerate(falling)])
    return Run("x", scalars={"train/loss": training, tag: Series([(40 * i, 40.0 * i, value) for i in range(10)])})


_T = np.linspace(0, 1, 40)
_TRAIN = (2.3 * np.exp(-8 * np.linspace(0, 1, 400)) + 0.1).tolist()
_BY_HEART = (2.3 * np.exp(-8 * np.linspace(0, 1, 400)) + 0.01).tolist()
_FITTED = (0.5 + 1.8 * np.exp(-8 * _T)).tolist()
_OVERFITTED = (0.5 + 1.8 * np.exp(-8 * _T) + np.maximum(0, _T - 0.3)).tolist()
_BARELY = (0.5 + 1.8 * np.exp(-8 * _T) + 0.03 * np.maximum(0, _T - 0.3)).tolist()


_WORSE, _ONCE = [1.2, 1.4, 1.8, 2.1], [1.2, 1.0, 1.0, 2.1]
_TO_NOTHING = (0.02 + 2.3 * np.exp(-np.arange(400) / 60)).tolist()

RULE = Rule(
    id="overfitting",
    healthy="Validation follows training",
    ill="Overfitting",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("rise", 0.1, "share of the lowest validation loss", "rise of validation that counts", "judgement"),
        Option("heart", 10.0, "1", "validation loss : training loss, of samples known by heart", "judgement"),
        Option("lost", 0.08, "share of samples", "fall of the validation accuracy that counts", "judgement"),
    ),
    examples=(
        Example("validation rises, training falls", lambda: _curves(_OVERFITTED, _TRAIN), ill=True, subject="loss/val"),
        Example(
            "steps against epochs", lambda: _curves(_OVERFITTED, _TRAIN, epochs=True), ill=True, subject="loss/val"
        ),
        Example("the same with noise", lambda: _curves(_OVERFITTED, _TRAIN, noise=0.08), ill=True, subject="loss/val"),
        Example("accuracy falls by a fifth", lambda: _forgetting(0.2), ill=True, subject="accuracy/val"),
        Example("accuracy falls by a twentieth", lambda: _forgetting(0.05), ill=False, outcome="Passed"),
        Example("accuracy jumps about", lambda: _forgetting(0.0, 0.08), ill=False, outcome="Passed"),
        Example("half right at every evaluation", lambda: _unmoved(0.5), ill=True, subject="accuracy/val"),
        Example("a validation loss that never moves", lambda: _unmoved(0.7, "loss/val"), ill=True, subject="loss/val"),
        Example("all right at every evaluation", lambda: _unmoved(1.0), ill=False, outcome="CouldNotCheck"),
        Example("training learns little", lambda: _unmoved(0.5, low=0.4), ill=False, outcome="CouldNotCheck"),
        Example("learned by heart: information", lambda: _curves(_FITTED, _BY_HEART), ill=True, subject="loss/val"),
        Example(
            "nothing but labels by heart", lambda: _unlearned(1.01, 0.88), ill=True, subject="loss/val", first_step=0
        ),
        Example("sums over batches of two sizes", lambda: _unlearned(1.01, 0.88, summed=True), False, outcome="Passed"),
        Example("validation has hardly learned: information", lambda: _unlearned(0.97, 0.8), ill=True),
        Example("five evaluations, each above a constant answer: information", lambda: _unlearned(1.02, 0.9, 40), True),
        Example("validation has learned a little", lambda: _unlearned(0.95, 0.88), ill=False, outcome="Passed"),
        Example("nothing is learned at all", lambda: _unlearned(1.01, 0.99), ill=False, outcome="Passed"),
        Example("validation stays flat", lambda: _curves(_FITTED, _TRAIN), ill=False, outcome="Passed"),
        Example("noise only", lambda: _curves(_FITTED, _TRAIN, noise=0.25), ill=False, outcome="Passed"),
        Example("a rise of 4 %", lambda: _curves(_BARELY, _TRAIN, noise=0.002), ill=False, outcome="Passed"),
        Example(
            "a rise of 20 %",
            lambda: _curves((np.array(_FITTED) + 0.3 * np.maximum(0, _T - 0.3)).tolist(), _TRAIN, noise=0.002),
            ill=True,
            subject="loss/val",
        ),
        Example(
            "both rise", lambda: _curves(_OVERFITTED, np.linspace(0.5, 3, 400).tolist()), ill=False, outcome="Passed"
        ),
        Example(
            "grokking: validation falls in the end",
            lambda: _curves(np.where(_T < 0.8, np.array(_OVERFITTED), 0.05).tolist(), _TRAIN),
            ill=False,
            outcome="Passed",
        ),
        Example("four epochs", lambda: _curves([2.0, 1.0, 1.5, 2.0], _TRAIN), ill=False, outcome="TooLittleData"),
        Example("four evaluations, each worse", lambda: _curves(_WORSE, _TO_NOTHING), ill=True, subject="loss/val"),
        Example(
            "four evaluations, the last worse", lambda: _curves(_ONCE, _TO_NOTHING), False, outcome="TooLittleData"
        ),
        Example("no validation", lambda: _without("loss/val"), ill=False, outcome="CouldNotCheck"),
        Example("no training loss", lambda: _without("loss/train"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
)


def _unlearned(validation: float, training: float, every: int = 10, *, summed: bool = False) -> Run:
    """A classifier of ten classes: where its losses go from ln 10, as shares of it."""
    network, guess, way = Network(classes=10), math.log(10), np.arange(200) / 199
    network.layout.criterion.reduction = "sum" if summed else "mean"
    network.loss(guess * (1 + (training - 1) * way), noise=0.005)
    network.loss(guess * (1 + (validation - 1) * way)[::every], tag="loss/val", noise=0.001)
    return network.run()


def _without(tag: str) -> Run:
    run = _curves(_OVERFITTED, _TRAIN)
    del run.scalars[tag]
    return run
