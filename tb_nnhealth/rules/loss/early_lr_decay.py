"""The learning rate was lowered while the loss was still falling, and the loss has stood still since.

## What it detects
A loss that fell steadily until the learning rate was lowered, and hardly at all from then on, well above where its
course led. A drop that comes when the loss has settled, and a schedule that ends with the run, are what they should
be.

## Why it matters
A small rate makes every curve look settled. The network is left where it was when the rate was lowered, and the rest
of the run is wasted.

## How it is computed
A drop is where the learning rate falls by a factor of `factor` or more within a fiftieth of the run, or, in a slow
decay, where it has come the square of that below its greatest value, and never comes back. Three stretches of equal
length are laid beside each other, two before the drop and one after, and a straight line through each (in the loss's
unit). If the fall that the third would have had, had the fall per unit of learning rate gone on shrinking as before,
is at least `gain` (share of the whole fall) and four standard errors, and the loss fell by less than `left` of that
from the end of the second to the end of the third, it fires. At least `after` of the run must lie behind the drop,
and what a geometric course would still have gained must be a tenth of the loss that was left. Needs a learning rate:
recorded by `watch`, or logged as a scalar.

A rate that is spent early is a finding of its own: within the first half of the run it has come for good to a
hundredth of its greatest value, the loss fell until then by four standard errors of a line through it, falls no more
from there on, and stands above `poor` (share of the untrained level: the cost of a constant answer, or the first
loss); above a tenth of it, it is for information. Where the rate is constant, the size of the steps stands for it,
and their size relative to the gradient: both fall a hundredfold where an optimizer lowers its rate itself
(`lr_decay`); that is for information. Where the loss has few points, as in a log of epochs, the records of the rate
tell it; a warning where the loss stands above half of a constant answer's cost.

## What to try
1. Lower the rate later: at the step where the loss (or the validation loss) settles, for instance by
   ReduceLROnPlateau.
2. Lower it by less: a factor of 3 instead of 10.
3. A cosine or linear decay over the whole run instead of early steps.
4. Check that the scheduler is stepped once per epoch, if its milestones count epochs.

## When it is harmless
Fine-tuning of a few layers whose loss need not fall further; runs in which only the validation metric counts.

## References
- [Stanford CS231n: annealing the learning rate](https://cs231n.github.io/neural-networks-3/#anneal)
- [A recipe for training neural networks: do not trust learning rate decay defaults](https://karpathy.github.io/2019/04/25/recipe/)
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
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
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.evidence.weights import weights_of
from tb_nnhealth.rules.loss.judged_loss import judged_loss, on_records, opening_level, rate_at, untrained
from tb_nnhealth.rules.loss.rate_drops import FEWEST, Drop, drops
from tb_nnhealth.rules.loss.rate_spent import Spent, rate_spent
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent, round_rate, short

FEWEST_POINTS = 24
FEW_POINTS = 60
"""Of which stretches before and after a drop tell little, and the records of the rate are asked as well."""
MEDIANS = 1000
RATE_NEEDS = (
    'log the learning rate: writer.add_scalar("lr", optimizer.param_groups[0]["lr"], step), or watch the optimizer'
)
WORTHWHILE = 0.1
"""Share of the loss left that more steps at the old rate must have promised."""
UNFINISHED = 0.1
"""Share of the untrained level above which a loss whose rate was spent early is told, for information."""
GAINED = 0.9
AT_ONCE = 0.25
"""Share of the run's steps within which records, which lie closer together at its start, are asked as well."""
SURELY_POOR = 0.5
"""Share of what a constant answer costs above which a rate spent early did harm for sure."""
SPENT = 100.0
"""The greatest learning rate over one that changes next to nothing any more."""


def check(case: Case) -> Outcome:
    told = _check(case)
    if isinstance(told, Ill):
        if all(hit.severity != "info" for hit in told.hits) or (spent := rate_spent(case)) is None:
            return told
        return Ill([replace(hit, severity=_severity(spent, case)) for hit in told.hits])
    spent = rate_spent(case)
    few = isinstance(told, TooLittleData) or (spent is not None and len(spent.curve) < FEW_POINTS)
    if spent is None or not few or spent.level < case.options["poor"] * spent.untrained:
        return told
    return Ill([_of_records(spent, _severity(spent, case))])


def _severity(spent: Spent, case: Case) -> Severity:
    sure = spent.known and spent.level > SURELY_POOR * spent.untrained
    return "warning" if sure else "info"


def _check(case: Case) -> Outcome:
    curve = judged_loss(case.run, FEWEST_POINTS)
    if not isinstance(curve, losses.LossCurve):
        return curve
    steps, values = curves.blocks(curve.steps, curve.values, MEDIANS)
    rates = rate_at(case.run, steps)
    if not np.isfinite(rates).any():
        return CouldNotCheck(RATE_NEEDS)
    known = np.isfinite(rates)
    steps, values, rates = steps[known], values[known], rates[known]
    if len(values) < FEWEST_POINTS:
        return TooLittleData(f"{len(values)} points of the training loss at a known learning rate")
    found = drops(values, rates, case.options["factor"])
    judged = [drop for drop in found if drop.at <= (1 - case.options["after"]) * len(values)]
    start = untrained(case.run, values)
    if at := _spent(values, rates, start, case.options["poor"]):
        return Ill([_spent_hit(curve.subject, steps, values, rates, at, "warning")])
    if at := _spent_within(case, curve, steps, values, start):
        return Ill([_spent_hit(curve.subject, steps, values, rates, at, "info")])
    if spent := _spent_at_once(case, start):
        return Ill([spent])
    if not judged:
        return NotApplicable("the learning rate is not lowered for good while much of the run is left")
    whole = opening_level(values) - float(np.median(values[-max(3, len(values) // 10) :]))
    for drop in judged:
        if _too_early(drop, values, whole, case):
            return Ill([_hit(curve.subject, steps, values, drop, whole)])
    if at := _spent(values, rates, start, UNFINISHED):
        return Ill([_spent_hit(curve.subject, steps, values, rates, at, "info")])
    near = max(judged, key=lambda drop: _share(drop, whole, case))
    return Passed(
        Closest(_share(near, whole, case), curve.subject, int(steps[near.at]), "fall cut off by the schedule")
    )


def _spent(
    values: curves.Values,
    rates: curves.Values,
    start: float,
    poor: float,
    since: float = -math.inf,
    latest: int | None = None,
) -> int:
    """The index from which the rate is next to nothing, where the loss stayed above ``poor`` of ``start``; else 0.

    It must be so by the index ``latest``, the middle of the points where none is given. Until then the loss must have
    been falling, or have come a tenth below ``since``.
    """
    later = np.maximum.accumulate(rates[::-1])[::-1]
    low = np.flatnonzero(later * SPENT <= rates.max())
    at = int(low[0]) if low.size else 0
    if not FEWEST <= at <= (len(values) // 2 if latest is None else latest) or not start > 0:
        return 0
    stands = not line(values[at:]).surely_falls
    high = float(np.median(values[at:])) > poor * start
    fell = line(values[:at]).surely_falls or float(np.median(values[at // 2 : at])) < GAINED * since
    return at if fell and stands and high else 0


def _spent_within(
    case: Case, curve: losses.LossCurve, steps: NDArray[np.int64], values: curves.Values, start: float
) -> int:
    """The same for an optimizer that lowers its rate itself: its steps shrink, and more than its gradients do."""
    if case.history is None:
        return 0
    weights = weights_of(case.history)
    weights = weights.only(weights.matrix & weights.trained)
    if not weights.names or len(weights.steps) < FEWEST_POINTS:
        return 0
    with np.errstate(all="ignore"):
        steps_taken = weights.update.astype(np.float64)
        share = steps_taken / weights.gradient
    known = np.isfinite(steps_taken) & np.isfinite(share) & (share > 0)
    seen = known.any(axis=1)
    if seen.sum() < FEWEST_POINTS:
        return 0
    taken, relative = (np.nanmedian(np.where(known, x, np.nan)[seen], axis=1) for x in (steps_taken, share))
    effective = np.maximum(*(curves.smooth(x, 5) / curves.smooth(x, 5).max() for x in (taken, relative)))
    at = np.searchsorted(weights.steps[seen], on_records(case.run, steps), side="right") - 1
    return _spent(values, effective[np.maximum(at, 0)], start, case.options["poor"], since=start)


def _spent_at_once(case: Case, start: float) -> Hit | None:
    """The same within the first steps, of which records tell that lie closer together than the loss's points."""
    recorded = [
        (history, curve.finite())
        for history in case.run.watches.values()
        if (curve := losses.criterion_loss(history)) is not None
    ]
    if len(recorded) != 1 or len(recorded[0][1]) < FEWEST_POINTS:
        return None
    curve = recorded[0][1]
    rates = losses.learning_rate(case.run)
    if rates is None:
        return None
    known = np.searchsorted(rates[0], curve.steps, side="right") - 1
    if (known < 0).any():
        return None
    latest = int(np.searchsorted(curve.steps, AT_ONCE * curve.steps[-1]))
    at = _spent(curve.values, rates[1][known], start, UNFINISHED, latest=min(latest, len(curve) - FEWEST))
    if not at:
        return None
    return _spent_hit(curve.subject, curve.steps, curve.values, rates[1][known], at, "info")


def _spent_hit(
    subject: str, steps: NDArray[np.int64], values: curves.Values, rates: curves.Values, at: int, severity: Severity
) -> Hit:
    high, level, share = float(rates.max()), float(np.median(values[at:])), at / len(values)
    low = float(rates[at])
    told = f"The learning rate came from {short(high)} to {short(low)}"
    if low > high / SPENT:
        told = "The optimizer's steps came to a hundredth of their size, at a learning rate that it lowers itself,"
    return Hit(
        subject=subject,
        first_step=int(steps[at]),
        fired_step=int(steps[-1]),
        last_step=int(steps[-1]),
        count=len(steps) - at,
        active=True,
        severity=severity,
        statistic="share of the run in which the learning rate was more than a hundredth of its greatest",
        unit="1",
        value=share,
        limit=0.5,
        direction="below",
        message=(
            f"{told} by step {int(steps[at]):,} of {int(steps[-1]) + 1:,}, while `{subject}` was falling; it has stood"
            f" at {short(level)} since."
        ),
        advice=(
            f"Stretch the decay over the whole run: {int(steps[-1]) + 1:,} steps in place of {int(steps[at]):,}.",
            "Check that the scheduler is stepped once per epoch, if its milestones or its factor count epochs.",
        ),
        more={"learning_rate": float(rates[at]), "learning_rate_before": high, "loss": level},
    )


def _of_records(spent: Spent, severity: Severity) -> Hit:
    curve, steps = spent.curve, spent.last + 1
    since = int(curve.steps[len(curve) - spent.points])
    return Hit(
        subject=curve.subject,
        first_step=since if curve.steps[-1] < spent.last else spent.step,
        fired_step=int(curve.steps[-1]),
        last_step=int(curve.steps[-1]),
        count=spent.points,
        active=True,
        severity=severity,
        statistic="share of the run in which the learning rate was more than a hundredth of its greatest",
        unit="1",
        value=spent.step / steps,
        limit=0.5,
        direction="below",
        message=(
            f"The learning rate came from {short(spent.high)} to {short(spent.low)} by the optimizer's step "
            f"{spent.step:,} of {steps:,}, and `{curve.subject}` has stood at {short(spent.level)} since, "
            f"{percent(spent.level / spent.untrained)} of the untrained level."
        ),
        advice=(
            f"Stretch the decay over the whole run: {steps:,} steps in place of {spent.step:,}.",
            "Check that the scheduler is stepped once per epoch, if its milestones or its factor count epochs.",
            "ReduceLROnPlateau: mode='min' where it is given a loss.",
        ),
        more={"learning_rate": spent.low, "learning_rate_before": spent.high, "loss": spent.level},
    )


def _got(drop: Drop) -> float:
    return drop.before.end - drop.after.end


def _promised(drop: Drop) -> float:
    """What all further stretches together would have gained: a geometric series, or the next ten stretches."""
    ratio = drop.expected / drop.before.fall
    return drop.expected * (10.0 if ratio > 0.9 else 1 / (1 - ratio))


def _too_early(drop: Drop, values: curves.Values, whole: float, case: Case) -> bool:
    expected, got = drop.expected, _got(drop)
    sure = 4 * np.hypot(drop.before.error, drop.after.error)
    since = values[drop.at :]
    later = drop.before.end - float(np.median(since[-max(3, len(since) // 5) :]))
    return bool(
        whole > 0
        and expected > max(case.options["gain"] * whole, sure)
        and max(got, later * drop.length / len(since)) < case.options["left"] * expected
        and drop.expected > 0
        and _promised(drop) > WORTHWHILE * abs(drop.after.end)
    )


def _share(drop: Drop, whole: float, case: Case) -> float:
    lost = drop.expected - _got(drop)
    return min(1.0, max(0.0, lost / whole)) if whole > 0 else 0.0


def _hit(subject: str, steps: NDArray[np.int64], values: curves.Values, drop: Drop, whole: float) -> Hit:
    at, expected, got = int(steps[drop.at]), drop.expected, _got(drop)
    span = int(steps[min(len(steps) - 1, drop.at + drop.length - 1)] - steps[drop.at])
    between = (drop.high * drop.low) ** 0.5 if drop.low > 0 else drop.high / 3
    return Hit(
        subject=subject,
        first_step=at,
        fired_step=int(steps[min(len(steps) - 1, drop.at + drop.length - 1)]),
        last_step=int(steps[-1]),
        count=len(steps) - drop.at,
        active=True,
        severity="warning",
        statistic="fall of the loss after the drop, relative to its course",
        unit="1",
        value=got / expected,
        limit=max(got / expected, 0.25),
        direction="below",
        message=(
            f"The learning rate went from {short(drop.high)} to {short(drop.low)} at step {at:,} while `{subject}` was "
            f"falling; in the {span:,} steps after it fell by {short(max(0.0, got))}, where its course led down by "
            f"{short(expected)}, {percent(expected / whole)} of all that it has gained."
        ),
        advice=(
            f"Keep the learning rate at {short(drop.high)} beyond step {at:,}, until the loss has settled.",
            f"Lower it by less: to {round_rate(between)} instead of {short(drop.low)}.",
            "Check that the scheduler is stepped once per epoch, if its milestones count epochs.",
        ),
        more={
            "learning_rate": drop.low,
            "learning_rate_before": drop.high,
            "expected_fall": expected,
            "fall": got,
            "loss": float(values[-1]),
        },
    )


_STEPS = np.arange(600.0)


def _decayed(
    at: int, *, time: float = 200.0, by: float = 0.1, noise: float = 0.02, at_once: float = 0.0, tag: str = "loss"
) -> Run:
    """A loss that falls with a time constant of ``time`` steps until the rate drops; ``at_once``: fall at the drop."""
    rates = np.where(at > _STEPS, 1e-2, 1e-2 * by)
    values = 0.3 + 2.0 * np.exp(-np.cumsum(rates) / 1e-2 / time) - at_once * (at <= _STEPS)
    return _logged(values, rates, noise, tag)


def _logged(values: curves.Values, rates: curves.Values | None, noise: float = 0.02, tag: str = "loss") -> Run:
    noisy = values + noise * np.random.default_rng(0).standard_normal(len(values))
    scalars = {tag: Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])}
    if rates is not None:
        scalars["lr"] = Series([(i, float(i), float(v)) for i, v in enumerate(rates)])
    return Run("plain", scalars=scalars)


def _scheduled(share: curves.Values, time: float = 150.0) -> Run:
    return _logged(0.3 + 2.0 * np.exp(-np.cumsum(share) / time), 1e-2 * share)


def _spent_in_epochs(level: float) -> Run:
    """Twelve means of forty steps each; the rate falls by a tenth at each step from the fortieth on."""
    network = Network(steps=480)
    rates = 1e-3 * 0.9 ** np.maximum(0, np.arange(480) - 40)
    run = network.set(schema.LEARNING_RATE, "0.0", mean=rates).absent(schema.LOSS, "").run()
    losses_ = [2.3, *np.full(11, level)]
    return Run("run", run.watches, {"loss/train": Series([(i, 40.0 * i, v) for i, v in enumerate(losses_)])})


_COSINE = 0.5 * (1 + np.cos(np.pi * _STEPS / 600))
_ONE_CYCLE = np.minimum(_STEPS / 180 + 0.04, 0.5 * (1 + np.cos(np.pi * np.clip((_STEPS - 180) / 420, 0, 1))) + 1e-4)
_QUICK_DECAY = np.exp(-_STEPS / 40)
_SPENT = 0.9**_STEPS

RULE = Rule(
    id="early-lr-decay",
    healthy="Learning rate lowered in time",
    ill="Learning rate lowered too early",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("factor", 5.0, "1", "least drop of the learning rate", "schedules divide by 5 or 10"),
        Option("gain", 0.05, "share of the whole fall", "fall that the loss's course must have promised", "judgement"),
        Option("left", 0.25, "1", "fall after the drop, relative to what its course led to", "judgement"),
        Option("poor", 0.35, "share of the untrained level", "level that a rate spent early has left", "judgement"),
        Option("after", 0.3, "share of the run", "least part behind the drop", "a cosine passes a fifth at 0.7"),
    ),
    examples=(
        Example("a tenth after a quarter of the run", lambda: _decayed(150), ill=True, subject="loss", first_step=150),
        Example("decays exponentially within 100 steps", lambda: _scheduled(_QUICK_DECAY, 100), ill=True),
        Example("stepped per batch in place of per epoch", lambda: _scheduled(_SPENT, 8), ill=True, subject="loss"),
        Example("spent within the second of twelve epochs", lambda: _spent_in_epochs(2.2), ill=True),
        Example("the same, and learned", lambda: _spent_in_epochs(0.3), ill=False, outcome="TooLittleData"),
        Example("spent early, and learned", lambda: _scheduled(_SPENT, 1), ill=False, outcome="Passed"),
        Example("to a tenth, time enough before", lambda: _decayed(380, time=80), ill=False, outcome="Passed"),
        Example("falls at once when the rate drops", lambda: _decayed(300, time=90, at_once=0.2), ill=False),
        Example("halved", lambda: _decayed(150, by=0.5), ill=False, outcome="NotApplicable"),
        Example("still falling, a little left to gain", lambda: _decayed(300, time=95), ill=False, outcome="Passed"),
        Example("still falling, much left to gain", lambda: _decayed(200, time=160), ill=True),
        Example("cosine over the run", lambda: _scheduled(_COSINE), ill=False, outcome="NotApplicable"),
        Example("one cycle", lambda: _scheduled(_ONE_CYCLE), ill=False, outcome="NotApplicable"),
        Example("noise that hides the course", lambda: _decayed(150, noise=2.0), ill=False, outcome="Passed"),
        Example("no learning rate", lambda: _logged(_COSINE, None), ill=False, outcome="CouldNotCheck"),
        Example("twenty steps", lambda: _logged(_COSINE[:20], _COSINE[:20]), ill=False, outcome="TooLittleData"),
        Example("an actor's loss", lambda: _decayed(150, tag="loss/actor"), ill=False, outcome="NotApplicable"),
    ),
    page=__doc__ or "",
    causes=(
        "underfitting",
        "update-ratio-too-low",
        "learning-rate-too-low",
        "still-improving",
        "frozen-parameters",
        "loss-not-decreasing",
    ),
)
