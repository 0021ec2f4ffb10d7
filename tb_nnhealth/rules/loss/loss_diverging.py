"""The training loss has gone up, far above the lowest level it had reached, and stays there.

## What it detects
A training loss that has lost at least half of what it had gained, or stands half above where it began, and does not
come back. A spike that comes back is not reported, nor a loss that is just falling again.

## Why it matters
The steps are too large for the ground they are taken on; what had been learned is being destroyed. Further steps
seldom mend it, and NaN often follows.

## How it is computed
The curve is reduced to at most 400 medians and smoothed by a running median over a twentieth of them. Its lowest level
plus `rise` times the greater of the drop from the start and the first loss (in the loss's unit), and at least six sigma
of the point-to-point noise above, is the limit. Of a loss that never fell it is three times the first value, or what a
constant answer costs where that is less: tasks are made harder in their first steps. It fires where four fifths of the
last twentieth of the points, at least five, lie above the limit, unless the loss is below its start and falling again.
Where the curve ends in NaN or infinity, three rising points above the limit are enough. The first step is the crossing
of the limit.

It also fires where the loss is logged seldom, ten steps and more to a point, had come to half of what a constant answer
costs, and its last three points are at 0.95 of that cost and above.

A watched cross-entropy, of classes or of probabilities, is never below 0, nor is a squared error. Where it is in five
records, it has no least value and runs away downwards: its sign is turned, its arguments are swapped, or its targets
are no shares. So does any loss that is a hundred times its first size below 0 and fell in each third of the run more
than twice as far as before. A scalar that is the watched criterion's value with the other sign, at five steps and more,
says so as soon as the criterion has doubled.

Of reinforcement learning the loss tells nothing; a reward that has fallen from its first to its last points, and nearly
all that it ever moved, is told for information. A beaten generator is a warning: where the cross-entropies of generator
and discriminator both began at about an even game, the one above 4 nats and the other below 0.02 through nine tenths
of the second half of a hundred points and more.

## What to try
1. Go back to a checkpoint from before the first step reported, with a learning rate three to ten times smaller.
2. Clip gradients by norm at about their usual norm.
3. Warm the learning rate up, or raise it more slowly; look at what the schedule did at that step.
4. Adam with a large beta2 on bursts of gradients: lower beta2 to 0.95, raise eps.
5. Look at the batches just before: a broken shard, a changed normalization, a very long sequence.

## When it is harmless
The loss itself was changed on purpose: a curriculum, a new task, an added or re-weighted term. Then the first step
reported is the one of the change.

## References
- [Stanford CS231n: the loss function](https://cs231n.github.io/neural-networks-3/#loss)
- [ZClip: adaptive spike mitigation for LLM pre-training](https://arxiv.org/abs/2504.02507)
- [PaLM, section 5.1: training instability](https://arxiv.org/abs/2204.02311)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
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
from tb_nnhealth.rules.evidence import curves, losses, tags
from tb_nnhealth.rules.evidence.constant_answer import constant_cost
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.below_floor import below_floor, negated, without_bound
from tb_nnhealth.rules.loss.falling_reward import falling_reward
from tb_nnhealth.rules.loss.judged_loss import rate_at
from tb_nnhealth.rules.loss.opponent_wins import opponent_wins
from tb_nnhealth.rules.loss.unlearned import LOST, unlearned_since
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import round_rate, short

FEWEST_POINTS = 10
MEDIANS = 400
SIGMAS = 6.0
STAYING = 0.8
"""Share of the last points that must lie above the limit."""
NOTHING = 0.1
"""Share of the depth that a loss reaches below zero, under which it began at nothing: no cost but a score, as of two
energies that are to part. It comes back to there as it settles.
"""
HARDER = 3.0
"""Times its first value that a loss must reach which never fell, or a constant answer's cost where that is less: a task
may be made harder in its first steps, as by a queue of negatives that fills up or a teacher that sharpens.
"""
NEXT_TO_NOTHING = 0.1
"""Share of a constant answer's cost below which a loss may move about."""
BREAKING_POINTS = 3
"""Points above the limit that are enough where NaN or infinity follows."""
COMING_BACK = 0.7
"""Below this share of the way from the lowest level to the peak, and falling, a loss is on its way back."""


def check(case: Case) -> Outcome:
    if why := tags.moving_target(case.run):
        played = falling_reward(case.run) or opponent_wins(case.run)
        return NotApplicable(why) if played is None else Ill([played])
    found = losses.training_loss(case.run)
    if found is None:
        return CouldNotCheck(losses.NEEDS)
    told = _check(case, found)
    if not isinstance(told, Ill) and (lost := unlearned_since(case.run)) is not None:
        return Ill([_lost(case.run, *lost)])
    return told


def _check(case: Case, found: losses.LossCurve) -> Outcome:
    for history in case.run.watches.values():
        if (below := below_floor(history, found.subject)) is not None:
            return Ill([below])
        if (climbing := negated(history, found)) is not None:
            return Ill([climbing])
    if (downwards := without_bound(found, _criteria(case.run))) is not None:
        return Ill([downwards])
    curve = found.finite()
    broken = not np.isfinite(found.values[-1]) if len(found) else False
    if len(curve) < (BREAKING_POINTS + 2 if broken else FEWEST_POINTS):
        return TooLittleData(f"{len(curve)} finite points of the training loss, {FEWEST_POINTS} are needed")
    steps, values = curves.blocks(curve.steps, curve.values, MEDIANS)
    tail = BREAKING_POINTS if broken else max(5, len(values) // 20)
    level = curves.smooth(values, 1 if broken else max(3, len(values) // 20))
    low_at = int(np.argmin(level))
    low = float(level[low_at])
    start = _start(case.run, values)
    noise = curves.noise(values[: max(low_at, 5)])
    limit = low + max(case.options["rise"] * max(start - low, abs(start)), SIGMAS * noise)
    if start < NOTHING * -low:
        limit = max(limit, start + SIGMAS * noise)
    chance = _chance(case.run)
    if low_at < tail:
        limit = max(limit, float(np.fmin(HARDER * start, chance + SIGMAS * noise)))
    limit = float(np.fmax(limit, NEXT_TO_NOTHING * chance))
    above = (level > limit) & (np.arange(len(level)) > low_at)
    staying = above[-tail:].mean() >= STAYING and (values[-tail:] > limit).mean() >= STAYING
    if not staying or (not broken and level[-1] < max(start, limit) and _coming_back(values, level, low_at, tail)):
        share = float((level[-1] - low) / (limit - low)) if limit > low else 0.0
        return Passed(Closest(min(1.0, max(0.0, share)), found.subject, int(steps[-1]), "training loss"))
    crossing = int(np.flatnonzero(~above)[-1]) + 1
    rate = float(rate_at(case.run, steps[[crossing]])[0]) if crossing < len(steps) else math.nan
    return Ill([_hit(found.subject, steps, values, crossing, tail, low, low_at, limit, broken, rate)])


def _lost(run: Run, curve: losses.LossCurve, since: int, naive: float) -> Hit:
    low_at = int(np.argmin(curve.values[:since]))
    low, rate = float(curve.values[low_at]), float(rate_at(run, curve.steps[[since]])[0])
    tail = len(curve) - since
    return _hit(curve.subject, curve.steps, curve.values, since, tail, low, low_at, LOST * naive, False, rate)


def _criteria(run: Run) -> list[str]:
    return [history.layout.criterion.type for history in run.watches.values()]


def _start(run: Run, values: curves.Values) -> float:
    """The first loss, or the cost of a constant answer where that is lower: a bad start is no level to keep."""
    first = float(np.median(values[:3]))
    return float(np.fmin(first, _chance(run)))


def _chance(run: Run) -> float:
    """Cost of a constant answer under the one criterion watched, NaN where there is none or several."""
    known = [naive for history in run.watches.values() if np.isfinite(naive := constant_cost(history))]
    return known[0] if len(known) == 1 else math.nan


def _coming_back(values: curves.Values, level: curves.Values, low_at: int, tail: int) -> bool:
    peak = float(level[low_at:].max())
    way = (float(level[-1]) - float(level[low_at])) / (peak - float(level[low_at]))
    return way < COMING_BACK and curves.trend(values[-3 * tail :][-80:]) < -SIGMAS / 2


def _hit(
    subject: str, steps: NDArray[np.int64], values: curves.Values, crossing: int, tail: int, low: float, low_at: int,
    limit: float, broken: bool, rate: float,
) -> Hit:  # fmt: skip
    crossing = min(crossing, len(steps) - 1)
    fired = min(len(steps) - 1, crossing + tail - 1)
    now = float(np.median(values[-tail:]))
    then = " and is no longer finite" if broken else ""
    return Hit(
        subject=subject,
        **lasting(steps, fired, since=crossing),
        severity="critical",
        statistic="training loss",
        unit="unit of the loss",
        value=now,
        limit=limit,
        direction="above",
        message=(
            f"`{subject}` rose to {short(now)}{then}, after it had fallen to {short(low)} at step "
            f"{int(steps[low_at]):,}; it has stayed above {short(limit)} since step {int(steps[crossing]):,}."
        ),
        advice=_advice(int(steps[crossing]), int(steps[low_at]), rate),
        more={"lowest": low, "lowest_step": int(steps[low_at])},
    )


def _advice(step: int, lowest: int, rate: float) -> tuple[str, ...]:
    smaller = (
        f"a learning rate of {round_rate(rate / 5)} instead of {short(rate)}"
        if rate > 0
        else "a learning rate three to ten times smaller"
    )
    return (
        f"Go back to a checkpoint from about step {lowest:,}, with {smaller}.",
        "Clip gradients by norm: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).",
        f"Look at what the learning rate schedule did at step {step:,}; raise it more slowly.",
        f"Look at the batches just before step {step:,}.",
    )


def _plain(values: NDArray[np.float64], noise: float = 0.03) -> Run:
    noisy = values * (1 + noise * np.random.default_rng(0).standard_normal(len(values)))
    return Run("plain", scalars={"loss": Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])})


_STEPS = np.arange(400.0)
_FALL = 0.1 + 2.2 * np.exp(-_STEPS / 60)


def _up(at: int, to: float, until: int = 400) -> NDArray[np.float64]:
    """A healthy curve that rises to ``to`` from step ``at`` and is back after ``until``."""
    return np.where((at <= _STEPS) & (until > _STEPS), to, _FALL)


def _climbing() -> Run:
    """A watched loss that rises, of which the scalar is the negative."""
    network = Network(criterion="CrossEntropyLoss")
    rising = 2.3 + network.at / 20
    run = network.set(schema.LOSS, "", mean=rising, std=0.0, nan_count=0, inf_count=0).run()
    run.scalars["loss"] = Series([(int(i), float(i), -float(v)) for i, v in zip(network.at, rising, strict=True)])
    return run


def _nearly_learned() -> Run:
    """A classifier of ten classes, trained before, whose loss goes from 0.03 to 0.15."""
    network = Network(classes=10).absent(schema.LOSS, "")
    return network.loss(0.15 - 0.12 * np.exp(-network.at / 20), noise=0.02).run()


def _to_chance(start: float) -> Run:
    """A classifier of ten classes whose loss rises from ``start`` to 2.3, what a constant answer costs."""
    network = Network(classes=10).absent(schema.LOSS, "")
    return network.loss(2.3 - (2.3 - start) * np.exp(-network.at / 20), noise=0.02).run()


def _negative(criterion: str) -> Run:
    """A watched loss that falls from 0.7 to -10."""
    network = Network(criterion=criterion, classes=1)
    return network.set(schema.LOSS, "", mean=0.7 - network.at / 20, std=0.0, nan_count=0, inf_count=0).run()


def _opponents(generator: float, discriminator: float) -> Run:
    """Both begin at an even game, and come to these levels within thirty steps."""
    network, fading = Network(), np.exp(-np.arange(200) / 8)
    for name, start, end in (("G", 0.7, generator), ("D", 1.4, discriminator)):
        network.loss(np.asarray(end + (start - end) * fading), tag=f"loss/{name}", noise=0.02)
    return network.run()


def _rewards(curve: Any) -> Run:
    network = Network().loss(np.asarray(curve, np.float64), tag="reward", noise=0.02)
    return network.run()


def _means(*tail: float) -> Run:
    """A classifier of ten classes: means over twenty steps each, that fall to 0.4 and end in ``tail``."""
    network, means = Network(classes=10), [2.1, 1.5, 0.9, 0.7, 0.5, 0.4, *tail]
    network.scalars["loss/train"] = [(20 * i + 19, mean) for i, mean in enumerate(means)]
    return network.absent(schema.LOSS, "").run()


RULE = Rule(
    id="loss-diverging",
    healthy="Loss not diverging",
    ill="Loss diverging",
    group="loss",
    severity="critical",
    scope="run",
    check=check,
    options=(
        Option(
            "rise", 0.5, "share", "how much of the loss's drop, or of the first loss, may be lost again", "judgement"
        ),
    ),
    examples=(
        Example("rewards that fall: information", lambda: _rewards(-0.01 * np.arange(200)), ill=True, subject="reward"),
        Example("a discriminator that tells every fake", lambda: _opponents(9.0, 1e-3), ill=True, subject="loss/G"),
        Example("a strong discriminator", lambda: _opponents(3.0, 0.1), ill=False, outcome="NotApplicable"),
        Example("rewards that rise", lambda: _rewards(0.01 * np.arange(200)), ill=False, outcome="NotApplicable"),
        Example(
            "rewards that fall at first",
            lambda: _rewards(np.abs(0.02 * np.arange(200) - 1) - 1),
            ill=False,
            outcome="NotApplicable",
        ),
        Example("below 0, ever faster", lambda: _plain(0.5 - np.exp(_STEPS / 40), 0.0), ill=True, subject="loss"),
        Example("below 0, ever slower", lambda: _plain(200 * _FALL - 400, 0.0), ill=False, outcome="Passed"),
        Example("loses what it had learned", lambda: _plain(_up(250, 2.3)), ill=True, subject="loss", first_step=250),
        Example("four times its first value", lambda: _plain(1 + 3 * _STEPS / 400), ill=True, subject="loss"),
        Example("made harder from its start on", lambda: _plain(3 - _FALL / 2), ill=False, outcome="Passed"),
        Example("negatives added, up to chance", lambda: _to_chance(0.9), ill=False, outcome="Passed"),
        Example("trained before, and forgotten", lambda: _to_chance(0.3), ill=True, subject="loss/train"),
        Example("next to nothing, then a little more", _nearly_learned, ill=False, outcome="Passed"),
        Example("grows without bound", lambda: _plain(2.3 * 1.05**_STEPS), ill=True, subject="loss"),
        Example(
            "a few steps up, then NaN",
            lambda: _plain(np.array([2.3, 2.2, 2.1, 1.9, 9.0, 400.0, 1e6, np.nan, np.nan]), 0),
            ill=True,
            subject="loss",
            first_step=4,
        ),
        Example("three epochs at chance again", lambda: _means(2.4, 2.31, 2.3), ill=True, first_step=139),
        Example("two epochs at chance", lambda: _means(2.4, 2.3), ill=False, outcome="TooLittleData"),
        Example("on its way down again", lambda: _means(2.4, 2.3, 1.9), ill=False, outcome="TooLittleData"),
        Example("a cross-entropy below 0", lambda: _negative("BCEWithLogitsLoss"), ill=True, subject="loss"),
        Example("a squared error below 0", lambda: _negative("MSELoss"), ill=True, subject="loss"),
        Example("a cross-entropy with its sign turned", _climbing, ill=True, subject="loss", first_step=0),
        Example("a negative loss of one's own", lambda: _negative("EnergyLoss"), ill=False),
        Example("a negative loss", lambda: _plain(np.where(_STEPS < 300, -100 + 95 * _FALL / 2.3, 20.0)), ill=True),
        Example("regains three quarters", lambda: _plain(_up(250, 0.1 + 0.75 * 2.3)), ill=True, first_step=250),
        Example("regains a quarter", lambda: _plain(_up(250, 0.1 + 0.25 * 2.3)), ill=False, outcome="Passed"),
        Example("a spike that comes back", lambda: _plain(_up(250, 9, 280)), ill=False, outcome="Passed"),
        Example("a healthy curve", lambda: _plain(_FALL), ill=False, outcome="Passed"),
        Example("a very noisy healthy curve", lambda: _plain(_FALL, 0.6), ill=False, outcome="Passed"),
        Example(
            "a new task, learned in its turn",
            lambda: _plain(np.where(_STEPS < 300, _FALL, 0.1 + 3 * np.exp(-(_STEPS - 300) / 40))),
            ill=False,
            outcome="Passed",
        ),
        Example(
            "NaN out of the blue", lambda: _plain(np.where(_STEPS < 300, _FALL, np.nan)), ill=False, outcome="Passed"
        ),
        Example("five points", lambda: _plain(_FALL[:5]), ill=False, outcome="TooLittleData"),
        Example("a log without a loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=(
        "non-finite",
        "loss-not-decreasing",
        "diverging-weights",
        "gradient-spike",
        "update-ratio-too-high",
        "learning-rate-too-high",
    ),
)
