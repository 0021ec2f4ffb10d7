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

A rate that is spent early is a finding of its own: within the first half of the run it has come for good to a hundredth
of its greatest value, the loss fell until then by four standard errors of a line through it, falls no more from there
on, and stands above `poor` (share of the untrained level: the cost of a constant answer, or the first loss); above a
tenth of it, it is for information. Where the rate is constant, the size of the steps stands for it, and their size
relative to the gradient: both fall a hundredfold where an optimizer lowers its rate itself (`lr_decay`); that is for
information. Where the loss has few points, as in a log of epochs, or stands about the untrained level, so that it had
not been falling, the records of the rate tell it; a warning where the loss stands above half of a constant answer's
cost. Above that a rate spent within the first tenth of the run is told as well, for information: so few points tell no
course. So is, within the first tenth, one of a loss that comes to 0 or below and of which no constant answer's cost is
known: its level tells nothing.

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

from dataclasses import replace

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import (
    Case,
    Closest,
    CouldNotCheck,
    Example,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.loss.cut_off_fall import cut_off_hit, cut_off_share, too_early
from tb_nnhealth.rules.loss.judged_loss import judged_loss, opening_level, rate_at, untrained
from tb_nnhealth.rules.loss.rate_drops import drops
from tb_nnhealth.rules.loss.rate_spent import Spent, rate_spent
from tb_nnhealth.rules.loss.spent_early import (
    FEWEST_POINTS,
    UNFINISHED,
    of_records,
    spent_at_once,
    spent_from,
    spent_hit,
    spent_within,
)
from tb_nnhealth.rules.synthetic import Network

FEW_POINTS = 60
"""Of which stretches before and after a drop tell little, and the records of the rate are asked as well."""
MEDIANS = 1000
RATE_NEEDS = (
    'log the learning rate: writer.add_scalar("lr", optimizer.param_groups[0]["lr"], step), or watch the optimizer'
)
UNTAUGHT, DIVERGED = 0.9, 2.0
"""Shares of the untrained level between which the rate was spent before anything was learned, whatever the points."""
SURELY_POOR = 0.5
"""Share of what a constant answer costs above which a rate spent early did harm for sure."""


def check(case: Case) -> Outcome:
    told = _check(case)
    if isinstance(told, Ill):
        if all(hit.severity != "info" for hit in told.hits) or (spent := rate_spent(case)) is None:
            return told
        return Ill([replace(hit, severity=_severity(spent, case)) for hit in told.hits])
    spent = rate_spent(case)
    if spent is None:
        return told
    unscaled = spent.at_once and spent.unscaled
    if not unscaled and spent.level < case.options["poor"] * spent.untrained:
        return told
    few = isinstance(told, TooLittleData) or len(spent.curve) < FEW_POINTS
    untaught = UNTAUGHT < spent.level / spent.untrained < DIVERGED  # nor had it been falling before
    at_once = unscaled or (spent.at_once and spent.known and spent.level > SURELY_POOR * spent.untrained)
    if not (few or untaught or at_once):
        return told
    return Ill([of_records(spent, _severity(spent, case) if few or untaught else "info")])


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
    if at := spent_from(values, rates, start, case.options["poor"]):
        return Ill([spent_hit(curve.subject, steps, values, rates, at, "warning")])
    if at := spent_within(case, curve, steps, values, start):
        return Ill([spent_hit(curve.subject, steps, values, rates, at, "info")])
    if spent := spent_at_once(case, start):
        return Ill([spent])
    if not judged:
        return NotApplicable("the learning rate is not lowered for good while much of the run is left")
    whole = opening_level(values) - float(np.median(values[-max(3, len(values) // 10) :]))
    for drop in judged:
        if too_early(drop, values, whole, case):
            return Ill([cut_off_hit(curve.subject, steps, values, drop, whole)])
    if at := spent_from(values, rates, start, UNFINISHED):
        return Ill([spent_hit(curve.subject, steps, values, rates, at, "info")])
    near = max(judged, key=lambda drop: cut_off_share(drop, whole, case))
    return Passed(
        Closest(cut_off_share(near, whole, case), curve.subject, int(steps[near.at]), "fall cut off by the schedule")
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


def _about_zero() -> Run:
    """A likelihood that falls from 0.2 to -1 slowly, but for a rate that is spent at once."""
    return _logged(0.2 - 0.3 * np.minimum(_STEPS, 30) / 30, np.where(_STEPS < 30, 1e-2, 1e-5), 0.05)


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
        Example("spent at once, of a loss about 0: information", lambda: _about_zero(), ill=True, subject="loss"),
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
