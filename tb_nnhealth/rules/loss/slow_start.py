"""The loss stood still for long before it began to fall, and then fell quickly.

## What it detects
A plateau at the first level that takes a large part of the run, followed by a fall that is quick beside it.

## Why it matters
The network spent this time undoing its initialization: weights too small pass no signal and no gradient, copies of
one unit have to part first, saturated units have to come back. A better start would have saved the whole plateau.

## How it is computed
The loss is reduced to at most 400 medians and smoothed. The plateau ends where, for good, it has lost a tenth of its
whole fall. It fires where the plateau takes `plateau` of the run and at least `points` points, half of the whole fall
follows within half of the plateau's length, the loss on the plateau keeps within a tenth of the whole fall (and so
does not fall first and wait then), and the whole fall is at least a fifth of the first loss and ten times the noise
of the medians. A warning where the plateau takes twice `plateau` and 50 points, the loss has come to rest, and the run
has gone on for half of the plateau's length since half of the fall; else information. Not judged is a
plateau during which the learning rate rose to more than three times its value, nor a loss that began far below a
constant answer's.

## What to try
1. Initialize by the layer's fan (Kaiming for ReLU, Xavier for tanh), or by `tb_nnhealth.init.lsuv_(model, batch)`.
2. Normalization layers, or residual connections, in deep networks.
3. A greater learning rate, where the update : weight ratio on the plateau is below 1e-4; the finding names it.
4. ReLU or GELU in place of sigmoid and tanh; forget gate bias of 1 in an LSTM.

## When it is harmless
Some tasks have a plateau of their own (parity, copying, associative recall): no start avoids it.

## References
- [Stanford CS231n: babysitting the learning process](https://cs231n.github.io/neural-networks-3/#baby)
- [All you need is a good init](https://arxiv.org/abs/1511.06422)
- [Exact solutions to the nonlinear dynamics of learning in deep linear networks](https://arxiv.org/abs/1312.6120)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import Case, Closest, Example, Hit, Ill, NotApplicable, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.evidence.pace import pace
from tb_nnhealth.rules.loss.judged_loss import chance, judged_loss, rate_at
from tb_nnhealth.rules.loss.stretches import FEWEST, line
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent, round_rate, short

FEWEST_POINTS = 24
MEDIANS = 400
LEAVES = 0.1
"""Share of the whole fall that the plateau may vary by, and with whose loss it ends."""
QUICK = 0.5
WORTHWHILE = 0.2
CLEAR = 10.0
RATE_ROSE = 3.0
PRETRAINED = 0.7
SLOW_PACE = 1e-4
AFTERWARDS = 0.5
"""Times the plateau's length that the run must have gone on since half of the fall: the plateau's share shrinks."""
STILL = 0.1
"""Share of its level, or of all it has gained, that a loss falls by in the last fifth of the run if it still falls."""
TARGET = 1e-3


@dataclass(frozen=True)
class Plateau:
    """``length``: index of its end; ``half_way``: where half of the fall was done; ``level``, ``low``: loss."""

    length: int
    half_way: int
    level: float
    low: float
    noise: float
    spread: float


LONG_POINTS = 50
"""Points that a plateau must have for a warning: a short one is a great share of a run that has only begun."""


def check(case: Case) -> Outcome:
    curve = judged_loss(case.run, FEWEST_POINTS)
    if not isinstance(curve, losses.LossCurve):
        return curve
    steps, values = curves.blocks(curve.steps, curve.values, MEDIANS)
    found = _plateau(values)
    if found is None:
        return Passed()
    if found.level < PRETRAINED * chance(case.run):
        return NotApplicable(f"the loss begins at {short(found.level)}, far below a constant answer's: trained before")
    share, fall = found.length / len(values), found.level - found.low
    raw_points = int(np.searchsorted(curve.steps, steps[found.length]))
    clear = fall > max(WORTHWHILE * abs(found.level), CLEAR * found.noise)
    level = found.spread <= 2 * LEAVES * fall
    quick = found.half_way - found.length <= QUICK * found.length
    if not (clear and level and quick) or share < case.options["plateau"] or raw_points < case.options["points"]:
        near = min(1.0, share / case.options["plateau"]) if clear and level and quick else 0.0
        return Passed(Closest(near, curve.subject, int(steps[found.length]), "plateau at the start"))
    rates = rate_at(case.run, steps[: found.length + 1])
    if np.isfinite(rates).all() and rates[-1] > RATE_ROSE * rates[rates > 0].min(initial=np.inf):
        return NotApplicable("the learning rate was warmed up during the plateau")
    long = share >= 2 * case.options["plateau"] and raw_points >= LONG_POINTS
    over = len(values) - found.half_way >= AFTERWARDS * found.length and not _falls_on(values, found)
    return Ill([_hit(curve.subject, steps, found, share, case, "warning" if long and over else "info")])


def _falls_on(values: curves.Values, found: Plateau) -> bool:
    """Whether the loss is still on its way down: the plateau's share of the run is known once it has come to rest."""
    last = line(values[-max(FEWEST, len(values) // 5) :])
    return last.surely_falls and last.fall > STILL * min(abs(last.start), found.level - found.low)


def _plateau(values: curves.Values) -> Plateau | None:
    """The stretch at the start before the loss falls for good; None where it does not fall."""
    n = len(values)
    smoothed = curves.smooth(values, max(3, n // 40))
    low = float(smoothed[-max(1, n // 10) :].min())
    level = float(np.median(values[: max(3, n // 20)]))
    if not level > low:
        return None
    above = np.flatnonzero(smoothed > level - LEAVES * (level - low))
    half = np.flatnonzero(smoothed > level - 0.5 * (level - low))
    length = int(above[-1]) + 1 if above.size else 0
    if not 0 < length < n:
        return None
    stretch = smoothed[:length]
    spread = float(np.percentile(stretch, 95) - np.percentile(stretch, 5)) if length > 2 else 0.0
    return Plateau(length, min(int(half[-1]) + 1, n - 1), level, low, curves.noise(values), spread)


def _hit(subject: str, steps: NDArray[np.int64], found: Plateau, share: float, case: Case, severity: Severity) -> Hit:
    end = int(steps[found.length])
    limit = case.options["plateau"]
    advice = [
        "Initialize by the layer's fan (Kaiming for ReLU, Xavier for tanh), or tb_nnhealth.init.lsuv_(model, batch).",
        "Normalization layers or residual connections, if the network is deep.",
    ]
    told = (
        f"`{subject}` stood at {short(found.level)} for {end - int(steps[0]):,} steps, {percent(share)} of the run, "
        f"then fell to {short(found.low)}, half of it within {int(steps[found.half_way]) - end:,} steps."
    )
    more: dict[str, float] = {"level": found.level, "loss": found.low, "plateau_steps": end - int(steps[0])}
    moved = pace(case.history)
    if moved is not None:
        on_it = moved.typical[moved.steps < end]
        on_it = on_it[np.isfinite(on_it) & (on_it > 0)]
        if on_it.size:
            usual = float(np.median(on_it))
            more["update_ratio"] = usual
            told += f" A step changed the weights by {short(usual)} of their norm on the plateau."
            if usual < SLOW_PACE and moved.rate > 0:
                to = round_rate(moved.rate * TARGET / usual)
                advice.insert(0, f"Raise the learning rate from {short(moved.rate)} towards {to}.")
    return Hit(
        subject=subject,
        first_step=int(steps[0]),
        fired_step=int(steps[found.half_way]),
        last_step=end,
        count=found.length,
        active=False,
        severity=severity,
        statistic="plateau at the start",
        unit="share of the run",
        value=share,
        limit=limit,
        direction="above",
        message=told,
        advice=tuple(advice),
        more=more,
    )


_STEPS = np.arange(400.0)


def _curve(plateau: int, time: float = 20.0, to: float = 0.2) -> curves.Values:
    """2.3 for ``plateau`` steps, then a sigmoid's fall to ``to`` within a few times ``time``."""
    return np.asarray(to + (2.3 - to) / (1 + np.exp((_STEPS - plateau - 2.2 * time) / time)))


def _plain(values: curves.Values, noise: float = 0.03, rates: curves.Values | None = None) -> Run:
    noisy = values + noise * np.random.default_rng(0).standard_normal(len(values))
    scalars = {"loss": Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])}
    if rates is not None:
        scalars["lr"] = Series([(i, float(i), float(v)) for i, v in enumerate(rates)])
    return Run("plain", scalars=scalars)


def _watched() -> Run:
    network = Network(steps=400, lr=1e-4)
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), 0.05)
    return network.loss(_curve(230)).run()


_EPOCHS = np.array([2.3] * 14 + [1.9, 0.9, 0.5, 0.4] + [0.3] * 12)

RULE = Rule(
    id="slow-start",
    healthy="Learning from the start",
    ill="Slow start",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("plateau", 0.2, "share of the run", "longest plateau; twice that is a warning", "judgement"),
        Option("points", 8, "points", "least points of the plateau", "judgement"),
    ),
    examples=(
        Example("two thirds of the run at ln 10", lambda: _plain(_curve(250)), ill=True, subject="loss", first_step=0),
        Example("in tiny steps", _watched, ill=True, subject="loss/train", first_step=0),
        Example("fourteen epochs of thirty", lambda: _plain(_EPOCHS), ill=True, subject="loss", first_step=0),
        Example("a quarter of the run: information", lambda: _plain(_curve(100)), ill=True, subject="loss"),
        Example("an eighth of the run", lambda: _plain(_curve(45, 8.0)), ill=False, outcome="Passed"),
        Example("falls at once", lambda: _plain(0.2 + 2.1 * np.exp(-_STEPS / 60)), ill=False, outcome="Passed"),
        Example("falls in a straight line", lambda: _plain(2.3 - _STEPS / 200), ill=False, outcome="Passed"),
        Example(
            "falls, waits, and falls again",
            lambda: _plain(_curve(250) + 1.2 * np.exp(-_STEPS / 10)),
            ill=False,
            outcome="Passed",
        ),
        Example("never falls", lambda: _plain(2.3 + 0 * _STEPS), ill=False, outcome="Passed"),
        Example("hidden by noise", lambda: _plain(_curve(250), 1.0), ill=False, outcome="Passed"),
        Example(
            "the rate is warmed up",
            lambda: _plain(_curve(250), rates=1e-6 * (1 + _STEPS)),
            ill=False,
            outcome="NotApplicable",
        ),
        Example("ten epochs", lambda: _plain(_EPOCHS[:10]), ill=False, outcome="TooLittleData"),
        Example("no loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=("underfitting",),
)
