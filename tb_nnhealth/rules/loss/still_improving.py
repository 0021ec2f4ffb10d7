"""The loss still falls steadily where the log ends: the run was, or is, not yet done.

## What it detects
A training loss whose last quarter falls as surely and by so much that as many steps again would lower it clearly. It
is information, not an illness.

## Why it matters
A network that still improves was stopped early: comparing it with others compares their patience.

## How it is computed
A straight line (Theil and Sen) is laid through the medians of the last quarter of the loss, and through the quarter
before. It fires where the line falls by more than four of its standard errors, by at least `fall` (share of the
whole fall since the start), at least `keeps` times as fast as in the quarter before, and, where the validation loss
is logged, that one does not rise over its own last quarter. Where the noise of the training loss hides its course, the
validation loss is asked in the same way, from sixteen points on. All in the loss's unit; at least `points` points are
needed.

## What to try
1. Train on, or plan more steps and stretch the learning rate's schedule over them.
2. If it takes too long: a larger learning rate, where the update : weight ratio is below 1e-3.
3. Compare runs at equal steps only.

## When it is harmless
Always; a fixed budget of steps is a good reason to stop.

## References
- [A recipe for training neural networks: leave it training](https://karpathy.github.io/2019/04/25/recipe/)
- [37 reasons why your network is not working, number 31](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import ASIDE, Case, Closest, Example, Hit, Ill, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.loss.judged_loss import judged_loss, opening_level, rate_at
from tb_nnhealth.rules.loss.stretches import Line, line
from tb_nnhealth.rules.wording import percent, short

FEWEST_VALIDATIONS = 16
ANNEALED = 0.1
"""Share of the greatest learning rate below which a schedule has ended, and more steps mean a longer schedule."""


def check(case: Case) -> Outcome:
    curve = judged_loss(case.run, int(case.options["points"]))
    if not isinstance(curve, losses.LossCurve):
        return curve
    found = _falling(curve, case)
    if found is None and (validation := losses.scalar_loss(case.run, "val")) is not None:
        evaluated = validation.finite()
        if len(evaluated) >= FEWEST_VALIDATIONS and (found := _falling(evaluated, case)) is not None:
            curve = evaluated
    if found is None or _validation_rises(case.run):
        return Passed(Closest(_share(curve, case), curve.subject, int(curve.steps[-1]), "fall at the end"))
    last, gained = found
    quarter, limit = len(curve) // 4, case.options["fall"] * gained
    rates = rate_at(case.run, curve.steps)
    annealed = bool(np.isfinite(rates).any() and rates[-1] < ANNEALED * np.nanmax(rates))
    since = len(curve) - quarter
    told = (
        f"`{curve.subject}` still falls at the end: by {short(last.fall)} to {short(last.end)} over the last quarter "
        f"of the run, {percent(last.fall / gained)} of all that it has gained."
    )
    first = (
        "The learning rate has been annealed: to go further, stretch its schedule over more steps."
        if annealed
        else "Train on: the loss is likely to fall further."
    )
    return Ill(
        [
            Hit(
                subject=curve.subject,
                first_step=int(curve.steps[since]),
                fired_step=int(curve.steps[-1]),
                last_step=int(curve.steps[-1]),
                count=quarter,
                active=True,
                severity="info",
                statistic="fall of the loss over the last quarter",
                unit="unit of the loss",
                value=last.fall,
                limit=limit,
                direction="above",
                message=told,
                advice=(first, "Compare runs at equal steps only."),
                more={"gained": gained, "loss": last.end, ASIDE: True},
            )
        ]
    )


def _falling(curve: losses.LossCurve, case: Case) -> tuple[Line, float] | None:
    """The line through the last quarter, and what was gained until its end, where that says that the loss goes on."""
    quarter = len(curve) // 4
    last, before = line(curve.values[-quarter:]), line(curve.values[-2 * quarter : -quarter])
    gained = opening_level(curve.values) - last.end
    steady = last.surely_falls and last.fall >= case.options["keeps"] * before.fall
    return (last, gained) if gained > 0 and steady and last.fall >= case.options["fall"] * gained else None


def _share(curve: losses.LossCurve, case: Case) -> float:
    last = line(curve.values[-(len(curve) // 4) :])
    limit = case.options["fall"] * (opening_level(curve.values) - last.end)
    return min(1.0, max(0.0, last.fall / limit)) if limit > 0 and last.surely_falls else 0.0


def _validation_rises(run: Run) -> bool:
    validation = losses.scalar_loss(run, "val")
    if validation is None:
        return False
    values = validation.finite().values
    return line(values[-max(4, len(values) // 4) :]).fall < 0


def _plain(values: np.ndarray, noise: float = 0.02, tag: str = "loss/train") -> Run:
    noisy = values + noise * np.random.default_rng(0).standard_normal(len(values))
    return Run("plain", scalars={tag: Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])})


_T = np.linspace(0, 1, 400)


def _seen_in_validation() -> Run:
    run = _plain(2.3 - _T, 1.5)
    run.scalars["loss/val"] = Series([(20 * i, 20.0 * i, v) for i, v in enumerate((2.3 - _T[::20]).tolist())])
    return run


def _overfitted() -> Run:
    run = _plain(2.3 - _T)
    run.scalars["loss/val"] = Series([(10 * i, 10.0 * i, v) for i, v in enumerate(np.abs(_T[::10] - 0.5).tolist())])
    return run


RULE = Rule(
    id="still-improving",
    healthy="Loss has settled",
    ill="Still improving",
    group="loss",
    severity="info",
    scope="run",
    check=check,
    options=(
        Option("fall", 0.1, "share of the whole fall", "least fall over the last quarter", "judgement"),
        Option("keeps", 0.5, "1", "least speed, relative to that of the quarter before", "an exponential halving"),
        Option("points", 20, "points", "points needed", "judgement"),
    ),
    examples=(
        Example("falls in a straight line", lambda: _plain(2.3 - _T), ill=True, subject="loss/train"),
        Example("twenty epochs, falling", lambda: _plain(2.3 - 0.05 * np.arange(20), 0.01), ill=True),
        Example("falls by an eighth of all at the end", lambda: _plain(2 * np.exp(-1.9 * _T)), ill=True),
        Example("falls by a sixteenth of all", lambda: _plain(2 * np.exp(-3.6 * _T)), ill=False, outcome="Passed"),
        Example("settled", lambda: _plain(0.2 + 2 * np.exp(-9 * _T)), ill=False, outcome="Passed"),
        Example("noise that hides the fall", lambda: _plain(2.3 - _T, 1.5), ill=False, outcome="Passed"),
        Example("noise, but validation falls", _seen_in_validation, ill=True, subject="loss/val"),
        Example("validation rises", _overfitted, ill=False, outcome="Passed"),
        Example("ten epochs", lambda: _plain(2.3 - _T[:10]), ill=False, outcome="TooLittleData"),
        Example("a critic", lambda: _plain(2.3 - _T, tag="loss/critic"), ill=False, outcome="NotApplicable"),
        Example("no loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
)
