"""The learning rate is too high: the loss fell at first, or leapt up, and now stands on a plateau that it should leave.

## What it detects
From the shape of the loss and the size of the updates together: steps that were large for the weights, and a loss
that stopped early on a poor level after having leapt up, while rising again, or while the weights grew many times
larger. As information: a loss that stood still for long and fell at once when the rate was lowered.

## Why it matters
Steps too long for the valley throw the weights from wall to wall, or far out to where units are dead and saturated.
The loss settles where the steps balance the slope, well above what the network could reach.

## How it is computed
The plateau: over its last half the loss (medians) does not fall by more than four standard
errors of a line through it and by a tenth of what had been gained, nor may it, by two of these errors, have fallen by
half of that unless it ends above 0.8 of the untrained level; and its level is above `poor` of the untrained level (the
cost of a constant answer where it is known, else the first loss). The pace: the update : weight ratio per step, median
over the weight matrices and over twenty records, was once above `ratio` (no unit). The harm, one of: the loss stood at
`leap` times the first loss (and the untrained level) or more in the first fifth of the run, for three points; it ends
above its lowest level by a quarter of what had been gained, six sigma of its noise and 2 % of the untrained level;
half of the matrices grew more than `grown`-fold. A fifth of `ratio` is enough where the level has come back to 0.95 to
1.2 of the untrained one, so that all that was learned is lost. A leap of the loss and a plateau above 0.8 of the
untrained level are enough where no ratio is known. A rate that rises threefold above a highest value of ten points,
and a loss that within ten points loses half of what it had gained and rises by ten sigma, are a finding of their own,
where at least three records in these points tell that the rate had stood. A momentum (or beta1) of 0.99 and more, or a
beta1 above √beta2, is named first where the loss at the end is above `poor` of the untrained level (half of a constant
answer's cost for a warning, unless it diverged) and the pace exceeded a fifth of `ratio`, or the weights grew fivefold.
Information: a drop of the rate by 3 or more, after a stretch without a fall of at least a fifth of the run, lowers the
loss by a quarter of its level at once.

## What to try
1. Lower the learning rate to where the ratio is about 3e-3; the finding names it.
2. Warm it up over the first hundreds of steps, then decay it.
3. Begin anew, or from a checkpoint before the leap: weights that have grown large, or units that died, do not come
   back.
4. Clip gradients by norm, if single batches cause the large steps.
5. Larger batches carry larger rates.

## When it is harmless
A schedule that begins with a high rate and lowers it in time: that is why a loss that fell with the rate is only
information. A task that is mostly noise has a high plateau too; there the loss neither leaps nor do the weights
grow.

## References
- [Stanford CS231n: the loss function, effects of learning rates](https://cs231n.github.io/neural-networks-3/#loss)
- [37 reasons why your network is not working, number 36](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Why momentum really works](https://distill.pub/2017/momentum/)
- [Adam can converge without any modification (beta1 < √beta2)](https://arxiv.org/abs/2208.09632)
- [Cyclical learning rates for training neural networks (range test)](https://arxiv.org/abs/1506.01186)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import GIVEN, Case, Closest, Example, Hit, Ill, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.evidence import curves, losses, tags
from tb_nnhealth.rules.evidence.pace import LONG_AVERAGE, Pace, pace
from tb_nnhealth.rules.loss.judged_loss import judged_loss, rate_at, rates_told, untrained
from tb_nnhealth.rules.loss.long_momentum import long_momentum
from tb_nnhealth.rules.loss.rate_drops import Drop
from tb_nnhealth.rules.loss.rate_signs import (
    FELL_WITH_RATE,
    FLAT_BEFORE,
    LEAP_SHOWS,
    LONG_BEFORE,
    RATE_LEAPS,
    Shape,
    fastest_pace,
    fell_with_rate,
    harm,
    loss_leaps_with_rate,
    shape_of,
)
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent, round_rate, short

FEWEST_POINTS = 40
MEDIANS = 1000


def check(case: Case) -> Outcome:
    if (heavy := long_momentum(case)) is not None:
        return Ill([heavy])
    curve = judged_loss(case.run, FEWEST_POINTS)
    if not isinstance(curve, losses.LossCurve):
        return Ill([raised]) if (raised := _raised_between(case)) is not None else curve
    steps, values = curves.blocks(curve.steps, curve.values, MEDIANS)
    shape = shape_of(values, untrained(case.run, values))
    rates = rate_at(case.run, steps)
    moved = pace(case.history)
    if (leap := loss_leaps_with_rate(values, rates, shape, rates_told(case.run, steps))) is not None:
        return Ill([_raised(curve.subject, steps, values, rates, leap)])
    if why := harm(shape, moved, case):
        return Ill([_hit(curve.subject, steps, shape, moved, rates, why, case)])
    if (drop := fell_with_rate(values, rates)) is not None:
        return Ill([_lowered(curve.subject, steps, values, drop)])
    fastest = fastest_pace(moved)
    share = min(1.0, fastest / case.options["ratio"]) if shape.flat and fastest > 0 else 0.0
    return Passed(Closest(share, curve.subject, int(steps[-1]), "pace of the weights"))


def _raised_between(case: Case) -> Hit | None:
    """A rate raised between few points of the loss, told by the records, which lie closer together."""
    if tags.moving_target(case.run):
        return None
    curve = losses.criterion_loss(case.history) if case.history is not None else None
    rates = losses.learning_rate(case.run)
    if curve is None or rates is None or len(curve := curve.finite()) < FEWEST_POINTS:
        return None
    told = np.searchsorted(rates[0], curve.steps, side="right")
    in_force = np.where(told > 0, rates[1][np.maximum(told - 1, 0)], np.nan)
    shape = shape_of(curve.values, untrained(case.run, curve.values))
    leap = loss_leaps_with_rate(curve.values, in_force, shape, told.astype(np.int64))
    return None if leap is None else _raised(curve.subject, curve.steps, curve.values, in_force, leap)


def _raised(subject: str, steps: NDArray[np.int64], values: curves.Values, rates: curves.Values, at: int) -> Hit:
    usual, high = float(rates[:at].max()), float(rates[at:].max())
    reached = float(np.median(values[at - LONG_BEFORE : at]))
    peak, end = float(values[at:].max()), float(np.median(values[-max(3, len(values) // 20) :]))
    fired = min(len(steps) - 1, at + LEAP_SHOWS - 1)
    return Hit(
        subject=subject,
        first_step=int(steps[at]),
        fired_step=int(steps[fired]),
        last_step=int(steps[-1]),
        count=len(steps) - at,
        active=bool(rates[-1] > RATE_LEAPS * usual),
        severity="warning",
        statistic="learning rate over the highest before",
        unit="1",
        value=high / usual,
        limit=RATE_LEAPS,
        direction="above",
        message=(
            f"The learning rate rose from {short(usual)} to {short(high)} at step {int(steps[at]):,}, and with it "
            f"`{subject}` from {short(reached)} to {short(peak)}; it ends at {short(end)}."
        ),
        advice=(
            f"Keep the learning rate at {short(usual)}, or raise it from there by no more than a factor of 3.",
            f"Go back to a checkpoint from before step {int(steps[at]):,}.",
            "Check the schedule: factors, percentages, and which group it sets.",
        ),
        more={"learning_rate": high, "learning_rate_before": usual, "reached": reached, "loss": end, GIVEN: True},
    )


def _hit(
    subject: str, steps: NDArray[np.int64], shape: Shape, moved: Pace | None, rates: curves.Values, why: str, case: Case
) -> Hit:
    share = shape.level / shape.untrained
    told = f"`{subject}` stands at {short(shape.level)}, {percent(share)} of the untrained level, and falls no more"
    told += f"; {why}."
    more: dict[str, float] = {"loss": shape.level, "untrained": shape.untrained}
    first, change = int(steps[0]), "Lower the learning rate tenfold."
    statistic, unit, value, limit = "loss over the untrained level", "1", share, case.options["poor"]
    if moved is not None:
        sustained = moved.sustained
        value = float(np.nanmax(sustained))
        limit = min(case.options["ratio"], value)
        fast = np.flatnonzero(sustained >= limit)
        statistic, unit = "update_ratio", "per step"
        window = slice(max(0, int(fast[0]) - LONG_AVERAGE + 1), int(fast[0]) + 1)
        at = window.start + int(np.argmax(np.nan_to_num(moved.typical[window]) >= limit))
        first = int(steps[shape.lowest_at]) if value < case.options["ratio"] else int(moved.steps[at])
        name = moved.names[int(np.nanargmax(moved.ratio[at]))] if np.isfinite(moved.ratio[at]).any() else ""
        rate = f"Learning rate {short(moved.rate)} gave" if moved.rate > 0 else "The optimizer made"
        told = f"{rate} updates of up to {short(value)} of the weights' norm per step (3e-3 is ample). " + told
        if better := moved.better_rate(value):
            change = f"Lower the learning rate {better}, where a step changes the weights by 3e-3 of their norm."
        more |= {"learning_rate": moved.rate} if moved.rate > 0 else {}
        more |= {"fastest": name} if name else {}  # type: ignore[dict-item]
    elif np.isfinite(rates).any():
        rate_ = float(np.nanmax(rates))
        change = f"Lower the learning rate from {short(rate_)} to {round_rate(rate_ / 10)}."
        more["learning_rate"] = rate_
    return Hit(
        subject=subject,
        first_step=min(first, int(steps[-1])),
        fired_step=int(steps[-1]),
        last_step=int(steps[-1]),
        count=len(steps),
        active=True,
        severity="warning",
        statistic=statistic,
        unit=unit,
        value=value,
        limit=limit,
        direction="above",
        message=told,
        advice=(
            change,
            "Begin anew, or from a checkpoint before the leap: weights that have grown do not shrink back.",
            "Warm the learning rate up over the first few hundred steps.",
        ),
        more=more,
    )


def _lowered(subject: str, steps: NDArray[np.int64], values: curves.Values, drop: Drop) -> Hit:
    at, begun = int(steps[drop.at]), int(steps[drop.at - int(FLAT_BEFORE * len(steps))])
    level, after = float(np.median(values[drop.at - drop.length : drop.at])), drop.after.start
    return Hit(
        subject=subject,
        first_step=begun,
        fired_step=int(steps[min(len(steps) - 1, drop.at + drop.length - 1)]),
        last_step=max(begun, at - 1),
        count=int(FLAT_BEFORE * len(steps)),
        active=False,
        severity="info",
        statistic="fall of the loss when the learning rate dropped",
        unit="share of the loss",
        value=(level - after) / level,
        limit=min(FELL_WITH_RATE, (level - after) / level),
        direction="above",
        message=(
            f"`{subject}` stood at {short(level)} from step {begun:,} on at the latest "
            f"and fell to {short(after)} at once when the learning rate went from {short(drop.high)} to "
            f"{short(drop.low)} at step {at:,}: {short(drop.high)} had "
            "become too high long before."
        ),
        advice=(f"Lower the learning rate earlier: about step {begun:,} instead of {at:,}.",),
        more={"learning_rate": drop.high, "learning_rate_after": drop.low, "drop_step": at},
    )


_STEPS = np.arange(300.0)


def _watched(
    curve: curves.Values, *, factor: float = 60.0, grown: float = 1.0, measured: bool = True, noise: float = 0.03
) -> Run:
    """Updates ``factor`` times the usual 1e-3 of the weights, whose norm grows ``grown``-fold over the run."""
    network = Network(steps=300, lr=0.1)
    growth = 1 + (grown - 1) * _STEPS / 299
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), factor * growth)
        network.scale(schema.WEIGHT, network.weight(i), growth)
        if not measured:
            network.absent(schema.UPDATE, network.weight(i))
    return network.loss(curve, noise=noise).run()


def _heavy(curve: curves.Values, factor: float = 60.0, *, momentum: float = 0.0, betas: tuple[float, ...] = ()) -> Run:
    run = _watched(curve, factor=factor)
    (history,) = run.watches.values()
    group = history.layout.optimizers[0].groups[0]
    group.momentum = momentum
    group.betas.extend(betas)
    return run


def _plain(curve: curves.Values, rates: curves.Values | None = None) -> Run:
    noisy = curve * (1 + 0.03 * np.random.default_rng(0).standard_normal(len(curve)))
    scalars = {"loss": Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])}
    if rates is not None:
        scalars["lr"] = Series([(i, float(i), float(v)) for i, v in enumerate(rates)])
    return Run("plain", scalars=scalars)


_PLATEAU = 1.3 + np.exp(-_STEPS / 10)
_LEAP = 2.25 + 9 * _STEPS / 6 * np.exp(1 - _STEPS / 6)
_REGRESS = _PLATEAU - 0.6 * np.exp(-(((_STEPS - 40) / 20) ** 2))
_LOWERED_AT_200 = np.where(_STEPS < 200, 1e-1, 1e-2)
_LEAPS_AT_100 = np.where(_STEPS < 100, 1e-2, 1.0)
_LEAPS_WITH_IT = np.where(_STEPS < 100, 0.2 + 2.1 * np.exp(-_STEPS / 15), 2.4)
_FALLS_WITH_IT = np.where(_STEPS < 200, 0.6 + 1.7 * np.exp(-_STEPS / 10), 0.3)
_NOISY = np.where(_STEPS < 1, 0.8, 2.0 + 0.8 * np.sin(2.1 * _STEPS**1.3))

RULE = Rule(
    id="learning-rate-too-high",
    healthy="Learning rate not too high",
    ill="Learning rate too high",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("poor", 0.25, "share of the untrained level", "least level of a plateau that is poor", "judgement"),
        Option("ratio", 0.05, "per step", "update : weight ratio over twenty records", "ten times what is ample"),
        Option("leap", 1.5, "1", "leap of the loss over its first value", "trainings of ours that learn stay below"),
        Option("grown", 5.0, "1", "growth of the weights", "trainings of ours that learn stay below"),
    ),
    examples=(
        Example("leapt up, then a plateau", lambda: _watched(np.minimum(_LEAP, 30) * 0.7), True, "loss/train", 0),
        Example("was lower before", lambda: _watched(_REGRESS), ill=True, subject="loss/train", first_step=0),
        Example("weights grow twelvefold", lambda: _watched(_PLATEAU, grown=12.0), ill=True, subject="loss/train"),
        Example("leapt up, no better than at first: scalars alone", lambda: _plain(_LEAP), ill=True, subject="loss"),
        Example(
            "fell with the rate: information",
            lambda: _plain(_FALLS_WITH_IT, _LOWERED_AT_200),
            ill=True,
            subject="loss",
        ),
        Example(
            "the rate leaps", lambda: _plain(_LEAPS_WITH_IT, _LEAPS_AT_100), ill=True, subject="loss", first_step=100
        ),
        Example("momentum of 0.999", lambda: _heavy(_PLATEAU, momentum=0.999), True, "loss/train", 0),
        Example("betas in the wrong order", lambda: _heavy(_PLATEAU, betas=(0.999, 0.9)), True, "loss/train", 0),
        Example("momentum of 0.99, and learned", lambda: _heavy(_PLATEAU - 1.2, momentum=0.99), ill=False),
        Example("momentum of 0.99, usual steps", lambda: _heavy(_PLATEAU, 3.0, momentum=0.99), False, outcome="Passed"),
        Example("betas of a language model", lambda: _heavy(_PLATEAU, betas=(0.9, 0.95)), False, outcome="Passed"),
        Example("the rate leaps, and all is well", lambda: _plain(_PLATEAU, _LEAPS_AT_100), ill=False),
        Example("weights grow fourfold", lambda: _watched(_PLATEAU, grown=4.0), ill=False, outcome="Passed"),
        Example("weights grow sixfold", lambda: _watched(_PLATEAU, grown=6.0), ill=True),
        Example("a plateau of noise, and nothing else", lambda: _watched(_PLATEAU), ill=False, outcome="Passed"),
        Example("usual updates", lambda: _watched(_REGRESS, factor=3.0), ill=False, outcome="Passed"),
        Example("large updates, and it learns", lambda: _watched(_PLATEAU - 1.2, grown=12.0), ill=False),
        Example("still falling", lambda: _watched(_LEAP * (1.2 - _STEPS / 300)), ill=False, outcome="Passed"),
        Example("updates not measured", lambda: _watched(_REGRESS, measured=False), ill=False, outcome="Passed"),
        Example("a plateau, scalars alone", lambda: _plain(_PLATEAU), ill=False, outcome="Passed"),
        Example(
            "leapt up, and learned", lambda: _plain(np.where(_STEPS < 60, _LEAP, 0.3)), ill=False, outcome="Passed"
        ),
        Example("begins below a level of noise: scalars alone", lambda: _plain(_NOISY), ill=False, outcome="Passed"),
        Example("twenty steps", lambda: _plain(_LEAP[:20]), ill=False, outcome="TooLittleData"),
        Example("no loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=(
        "loss-not-decreasing",
        "loss-diverging",
        "loss-oscillating",
        "loss-spike",
        "underfitting",
        "dead-units",
        "saturated-units",
        "prediction-jitter",
        "update-ratio-too-high",
        "exploding-gradients",
        "exploding-activations",
        "gradient-spike",
        "diverging-weights",
        "constant-output",
        "no-gradient",
        "diverging-bias",
        "non-finite",
    ),
)
