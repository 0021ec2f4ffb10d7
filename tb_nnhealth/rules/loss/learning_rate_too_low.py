"""The learning rate is too low: the loss creeps down in a straight line, or not at all, in steps that hardly count.

## What it detects
A loss that over the whole run fell little and without ever bending, or that stands where a constant answer would,
while each step changed the weights by far less than is usual. Where no updates were recorded, the shape alone is
told as information.

## Why it matters
A curve bends when the network begins to learn. A straight, shallow one says that the run covers only its first
moments; at ten times the rate the same time would go ten times as far.

## How it is computed
The loss from the start of the run to its end (medians, in its own unit) fell by less than `fall` of its first value.
It is straight where a line through each third falls by more than half and less than twice as much as through the
whole third's share, and the whole by more than four standard errors. It stands where its level is within 3 % of the
cost of a constant answer; information where a straight one is walked at less than 3e-4 per step. The pace is the
update : weight ratio per step (no unit), median over the records at full rate: below `ratio` for the median weight
matrix, and below ten times that for each. Not judged: fewer than `points` points, a rate that is still rising, a loss
that began below half of a constant answer's cost (fine-tuning), rates that were lowered on the way. A warning;
information where the cost of a constant answer is not known, or no updates were recorded.

Where the loss has fewer points, too much noise to tell, or a schedule, the pace tells alone: below 3e-4 at full rate
(7e-4 where the run's steps add up to less than half of the weights' norm), over 10 records and 100 steps, where the
rate neither rises nor was below a third of its height by half of the run, while the last third of the loss stands above
0.7 of the untrained level (0.25 where those steps add up to less than a fifth), and has not bent; information unless
the pace is below `ratio` and the level above 0.9 of a constant answer's cost. Where an adaptive optimizer's epsilon is
ten times the gradients' root mean square and more, epsilon holds the steps down: then from 1e-3 and a quarter of the
untrained level on, for information. So it does where all gradients together have one and the same norm (to a
thousandth) in 95 % of 20 records and more, and no optimizer divides it out again: clipping to less than any gradient
has sets the size of every step.

A rate that still rises at the end, after 200 steps and more that add up to less than 0.2 of the weights' norm, while
the loss is above half of the untrained level, is told for information: a warm-up under way, or one that outlasts the
run.

## What to try
1. Raise the learning rate to where the ratio is about 1e-3; the finding names it.
2. Plain SGD often needs rates a hundred times those of Adam: 1e-3 is Adam's, 0.1 that of SGD.
3. Check what makes gradients small: clipping to a tiny norm, a loss divided twice, inputs or targets that are not
   scaled.
4. If the first layers alone are slow, the remedy is initialization or normalization.

## When it is harmless
In fine-tuning with a small rate on purpose, and in the first minutes of a run of days.

## References
- [Stanford CS231n: ratio of weights to updates](https://cs231n.github.io/neural-networks-3/#ratio)
- [Stanford CS231n: the loss function, effects of learning rates](https://cs231n.github.io/neural-networks-3/#loss)
- [Kingma and Ba 2015, Adam (epsilon)](https://arxiv.org/abs/1412.6980)
- [37 reasons why your network is not working, number 36](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
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
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.evidence.pace import Pace, pace
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.judged_loss import chance, judged_loss, opening_level, rate_at
from tb_nnhealth.rules.loss.rate_of_zero import rate_of_zero
from tb_nnhealth.rules.loss.slow_pace import slow_pace
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.loss.unfinished_warm_up import unfinished_warm_up
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent, round_rate, short

MEDIANS = 1000
TARGET = 1e-3
LEISURELY = 0.3
"""Share of the usual pace below which a straight curve, of which the level is known, is told for information."""
FINE_TUNED = 0.5
AT_CHANCE = 0.97
LOWERED = 3.0
WARMING_UP = 1.02


def check(case: Case) -> Outcome:
    if (zero := rate_of_zero(case.run)) is not None:
        return Ill([zero])
    if (warming_up := unfinished_warm_up(case)) is not None:
        return Ill([warming_up])
    curve = judged_loss(case.run, int(case.options["points"]))
    if not isinstance(curve, losses.LossCurve):
        return Ill([crept]) if isinstance(curve, TooLittleData) and (crept := slow_pace(case)) is not None else curve
    steps, values = curves.blocks(curve.steps, curve.values, MEDIANS)
    naive, start = chance(case.run), opening_level(values)
    if start < FINE_TUNED * naive:
        trained = NotApplicable(f"the loss begins at {short(start)}, far below a constant answer's: trained before")
        return Ill([crept]) if (crept := slow_pace(case)) is not None else trained
    rates = rate_at(case.run, steps)
    if np.isfinite(rates).any():
        known = rates[np.isfinite(rates)]
        if known[-1] >= known.max() and known[-1] > WARMING_UP * known[(3 * len(known)) // 4]:
            return TooLittleData("the learning rate is still rising")
        if known.max() > LOWERED * known[len(known) // 2 :].min():
            lowered = NotApplicable("the learning rate was lowered on the way")
            return Ill([crept]) if (crept := slow_pace(case)) is not None else lowered
    whole, moved = line(values), pace(case.history)
    fall = max(0.0, whole.fall) / abs(start) if start else math.inf
    straight = _straight(values)
    stands = bool(np.median(values[len(values) // 2 :]) >= AT_CHANCE * naive) and not whole.surely_rises
    slow = _slow(moved, case.options["ratio"])
    usual = _usual(moved)
    leisurely = straight and usual < LEISURELY * TARGET and not math.isnan(naive)
    if (
        fall >= case.options["fall"]
        or not (straight or (stands and slow))
        or (moved is not None and not (slow or leisurely))
    ):
        if (crept := slow_pace(case)) is not None:
            return Ill([crept])
        share = min(1.0, case.options["ratio"] / usual) if usual > 0 else 0.0
        return Passed(Closest(share, curve.subject, int(steps[-1]), "pace of the weights"))
    known_slow = slow and not math.isnan(naive)
    return Ill([_hit(curve.subject, steps, values, fall, straight, usual, moved, rates, known_slow, case)])


def _straight(values: curves.Values) -> bool:
    """Whether the curve falls surely, and through each of its thirds about as much."""
    whole = line(values)
    thirds = [line(part).fall for part in np.array_split(values, 3)]
    share = whole.fall / 3
    return whole.surely_falls and all(share / 2 < third < 2 * share for third in thirds)


def _usual(moved: Pace | None) -> float:
    if moved is None or not np.isfinite(moved.usual).any():
        return math.nan
    return float(np.nanmedian(moved.usual))


def _slow(moved: Pace | None, limit: float) -> bool:
    if moved is None or not np.isfinite(moved.usual).any():
        return False
    return 0 < float(np.nanmedian(moved.usual)) < limit and float(np.nanmax(moved.usual)) < 10 * limit


def _hit(
    subject: str, steps: NDArray[np.int64], values: curves.Values, fall: float, straight: bool, usual: float,
    moved: Pace | None, rates: curves.Values, known_slow: bool, case: Case,
) -> Hit:  # fmt: skip
    now = float(np.median(values[-max(3, len(values) // 20) :]))
    how = "in a straight line" if straight else "or hardly at all"
    told = f"`{subject}` fell by {percent(fall)} to {short(now)} over {int(steps[-1] - steps[0]):,} steps, {how}"
    advice = "Raise the learning rate tenfold, and again if the curve stays straight."
    more: dict[str, float] = {"fall": fall, "loss": now}
    rate = moved.rate if moved is not None else float(np.nanmax(rates)) if np.isfinite(rates).any() else math.nan
    if moved is not None and usual > 0:
        at = f" at learning rate {short(rate)}" if rate > 0 else ""
        slowest = moved.names[int(np.nanargmin(moved.usual))]
        told += f", while a step changed the weights by {short(usual)} of their norm{at}, least in `{slowest}`"
        told += " (1e-3 is usual)"
        more["update_ratio"] = usual
        if rate > 0:
            advice = f"Raise the learning rate from {short(rate)} towards {round_rate(rate * TARGET / usual)}."
            more["learning_rate_to_try"] = rate * TARGET / usual
    elif rate > 0:
        advice = f"Raise the learning rate from {short(rate)} to {round_rate(10 * rate)} and see if it bends."
    if rate > 0:
        more["learning_rate"] = rate
    by_pace = moved is not None and usual > 0
    when = lasting(steps, -1)
    if moved is not None:  # the steps are small from the first record on, wherever the loss is first told
        when["first_step"] = min(int(moved.steps[0]), when["first_step"])
    return Hit(
        subject=subject,
        **when,
        severity="warning" if known_slow else "info",
        statistic="update_ratio" if by_pace else "fall of the loss over the run",
        unit="per step" if by_pace else "share of the first loss",
        value=usual if by_pace else fall,
        limit=max(case.options["ratio"], usual) if by_pace else case.options["fall"],
        direction="below",
        message=told + ".",
        advice=(
            advice,
            "Check that the loss is not divided twice, and that gradients are not clipped to a tiny norm.",
            "Scale inputs and targets to a standard deviation of 1.",
        ),
        more=more,
    )


_STEPS = np.arange(300.0)


def _watched(curve: curves.Values, factor: float = 0.05, *, criterion: str = "CrossEntropyLoss") -> Run:
    """Updates ``factor`` times the usual 1e-3 of the weights."""
    network = Network(steps=300, lr=1e-5, criterion=criterion)
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), factor)
    return network.loss(curve, noise=0.01).run()


def _epochs(curve: curves.Values, factor: float, *, epsilon: float = 0.0, clipped: bool = False) -> Run:
    """Eight means of forty steps each; updates ``factor`` times the usual 1e-3 of the weights."""
    network = Network(steps=320, lr=1e-5)
    network.layout.optimizers[0].groups[0].epsilon = epsilon
    if clipped:
        network.layout.optimizers[0].type = "SGD"
        for parameter in network.layout.parameters:
            network.set(schema.GRADIENT, parameter.name, rms=1e-5)
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), factor)
    run = network.absent(schema.LOSS, "").loss(np.asarray(curve), noise=0.002).run()
    (series,) = run.scalars.values()
    return Run("run", run.watches, {"loss/train": Series([(i, 40.0 * i, v) for i, v in enumerate(series.values)])})


def _warming_up(factor: float) -> Run:
    """A rate that rises to the end, with updates of up to ``factor`` times the usual 1e-3, at the untrained level."""
    network, rising = Network(steps=300), (_STEPS + 1) / 300
    network.set(schema.LEARNING_RATE, "0.0", mean=1e-4 * rising)
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), factor * rising)
    return network.set(schema.LOSS, "", mean=2.3).loss(2.3 + 0 * _STEPS).run()


def _at_zero(records: int, other: float = 0.0) -> Run:
    """One group's rate is 0 for ``records`` records, every tenth step, and 1e-3 after; ``other``: a second group's."""
    network = Network(steps=291, every=10)
    rate = np.where(np.arange(30) < records, 0.0, 1e-3)
    network.set(schema.LEARNING_RATE, "0.0", mean=rate).add_row(schema.LEARNING_RATE, "0.1", mean=other)
    for name in (p.name for p in network.layout.parameters):
        moved = network.get(schema.UPDATE, name, schema.RMS)
        network.set(schema.UPDATE, name, rms=np.where(rate > 0, moved, 0.0) if not other else moved)
    return network.loss(2.0 + 0.15 * _BENT[:291]).run()


def _plain(curve: curves.Values, rates: curves.Values | None = None) -> Run:
    noisy = curve * (1 + 0.01 * np.random.default_rng(0).standard_normal(len(curve)))
    scalars = {"loss": Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])}
    if rates is not None:
        scalars["lr"] = Series([(i, float(i), float(v)) for i, v in enumerate(rates)])
    return Run("plain", scalars=scalars)


_LINE = 2.3 - 0.2 * _STEPS / 300
_EPOCHS = np.linspace(2.3, 2.25, 8)
_LEARNED = 2.3 * 0.6 ** np.arange(8.0)
_BENT = 0.3 + 2 * np.exp(-_STEPS / 60)

RULE = Rule(
    id="learning-rate-too-low",
    healthy="Learning rate not too low",
    ill="Learning rate too low",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("ratio", 1e-4, "per step", "highest update : weight ratio", "a tenth of the 1e-3 of CS231n"),
        Option("fall", 0.25, "share of the first loss", "a run that fell further has come some way", "judgement"),
        Option("points", 100, "points", "points needed", "judgement"),
    ),
    examples=(
        Example("creeps in a straight line", lambda: _watched(_LINE), ill=True, subject="loss/train", first_step=0),
        Example("stands at chance", lambda: _watched(2.3 + 0 * _STEPS, 0.02), ill=True, subject="loss/train"),
        Example("just below the limit", lambda: _watched(_LINE, 0.09), ill=True, subject="loss/train"),
        Example("leisurely: information", lambda: _watched(_LINE, 0.12), ill=True, subject="loss/train"),
        Example("eight epochs at a slow pace", lambda: _epochs(_EPOCHS, 0.05), ill=True, subject="loss/train"),
        Example("held down by clipping", lambda: _epochs(_EPOCHS, 0.5, clipped=True), ill=True, subject="loss/train"),
        Example(
            "clipped always, and learned",
            lambda: _epochs(_LEARNED, 0.5, clipped=True),
            ill=False,
            outcome="TooLittleData",
        ),
        Example("held down by epsilon", lambda: _epochs(_EPOCHS, 0.5, epsilon=1.0), ill=True, subject="loss/train"),
        Example(
            "eight short epochs at half the usual pace", lambda: _epochs(_EPOCHS, 0.5), ill=True, subject="loss/train"
        ),
        Example(
            "eight epochs at nearly the usual pace", lambda: _epochs(_EPOCHS, 0.8), ill=False, outcome="TooLittleData"
        ),
        Example(
            "a large epsilon, and learned",
            lambda: _epochs(_LEARNED, 0.5, epsilon=1.0),
            ill=False,
            outcome="TooLittleData",
        ),
        Example("straight, at a usual pace", lambda: _watched(_LINE, 0.8), ill=False, outcome="Passed"),
        Example("scalars alone: information", lambda: _plain(_LINE), ill=True, subject="loss"),
        Example("a criterion of one's own: information", lambda: _watched(_LINE, criterion="MyLoss"), ill=True),
        Example("falls further", lambda: _plain(2.3 - 0.8 * _STEPS / 300), ill=False, outcome="Passed"),
        Example("bends", lambda: _watched(2.0 + 0.15 * _BENT), ill=False, outcome="Passed"),
        Example("a usual pace, at chance", lambda: _watched(2.3 + 0 * _STEPS, 1.0), ill=False, outcome="Passed"),
        Example("fine-tuned", lambda: _watched(0.4 - 0.03 * _STEPS / 300), ill=False, outcome="NotApplicable"),
        Example("a rate of zero throughout", lambda: _at_zero(30), ill=True, subject="learning rate", first_step=0),
        Example("a rate of zero for four records", lambda: _at_zero(4), ill=False, outcome="Passed"),
        Example("a rate of zero for one group alone", lambda: _at_zero(30, 1e-3), ill=False, outcome="Passed"),
        Example("warming up", lambda: _plain(_LINE, 1e-6 * _STEPS), ill=False, outcome="TooLittleData"),
        Example("still warming up, and come nowhere: information", lambda: _warming_up(0.5), True, "loss/train", 0),
        Example("warming up, and on its way", lambda: _warming_up(5.0), False, outcome="TooLittleData"),
        Example("lowered on the way", lambda: _plain(_LINE, 0.99**_STEPS), ill=False, outcome="NotApplicable"),
        Example("fifty steps", lambda: _plain(_LINE[:50]), ill=False, outcome="TooLittleData"),
        Example("no loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=("loss-not-decreasing", "slow-start", "underfitting", "still-improving", "constant-output"),
)
