"""The training loss swings up and down by more than it gains.

## What it detects
A loss that, once its opening is over, goes up and down by a large part of all that it has gained, without falling on
the whole. Swings are told from the noise of small batches by their order in time: they hang together over many
steps, or turn at every step.

## Why it matters
The steps lead from one side of the valley to the other instead of down. Where the last step happens to fall decides
how good the network is.

## How it is computed
Of the last half of the curve, at most 400 medians, a straight line is taken away. The swing is the distance from the
10th to the 90th percentile of what is left after a running median (a fortieth of the stretch), in the loss's unit.
It fires where the swing exceeds `swing` (share of what had been gained since the start) and `beyond` times the most
that the same values give in twenty random orders, where it repeats itself regularly, where points as far apart as
the smoothing reaches are correlated above 0.5, or where neighbours are anti-correlated below -0.5 and the swing
without smoothing is as large; and where the fall over the stretch is less than half of the swing. Not judged are
runs whose learning rate rises in the stretch. Information where the rhythm is regular (batches that come in the same
order each epoch), or where little had been gained.

## What to try
1. Lower the learning rate three- to tenfold; the finding names the present one where it was recorded.
2. Lower the momentum, or Adam's beta1.
3. Larger batches, or gradients accumulated over several.
4. A regular rhythm: shuffle the data (`DataLoader(shuffle=True)`).

## When it is harmless
Tasks that take turns (multi-task, several data sets in a fixed order) swing with their turns: log one loss for each.

## References
- [Stanford CS231n: the loss function](https://cs231n.github.io/neural-networks-3/#loss)
- [Gradient descent on neural networks typically occurs at the edge of stability](https://arxiv.org/abs/2103.00065)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import Case, Closest, Example, Hit, Ill, NotApplicable, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.judged_loss import judged_loss, rate_at, untrained
from tb_nnhealth.rules.loss.stretches import Line, line
from tb_nnhealth.rules.loss.swings import Swings, swings
from tb_nnhealth.rules.wording import round_rate, short

FEWEST_POINTS = 48
MEDIANS = 400
RAISED = 1.5
TURNING = -0.5
"""Correlation of neighbours below which a loss turns at every step."""
HANGS_TOGETHER = 0.5
LITTLE = 0.2
"""Share of the first loss below which a gain is too small to measure swings by."""


def check(case: Case) -> Outcome:
    curve = judged_loss(case.run, FEWEST_POINTS)
    if not isinstance(curve, losses.LossCurve):
        return curve
    steps, values = curves.blocks(curve.steps, curve.values, MEDIANS)
    half = len(values) // 2
    rates = rate_at(case.run, steps[half:])
    if np.isfinite(rates).all() and (rates > RAISED * np.minimum.accumulate(np.where(rates > 0, rates, np.inf))).any():
        return NotApplicable("the learning rate itself goes up and down")
    stretch, trend = values[half:], line(values[half:])
    found = swings(stretch - np.linspace(trend.start, trend.end, len(stretch)))
    start = untrained(case.run, values)
    gained = max(0.0, start - float(np.median(stretch)))
    turning = found.neighbours < TURNING
    size = max(found.slow, found.raw) if turning else found.slow
    limit = max(case.options["swing"] * gained, 0.1 * LITTLE * abs(start))
    hangs = found.period > 0 or found.later > HANGS_TOGETHER
    in_time = turning or hangs or found.slow > case.options["beyond"] * found.shuffled
    if not in_time or size <= limit or trend.fall > size / 2 or (trend.surely_rises and -trend.fall > size):
        share = min(1.0, size / limit) if in_time and limit > 0 else 0.0
        return Passed(Closest(share, curve.subject, int(steps[half]), "swing of the loss"))
    regular = found.period if found.period and not turning else 0
    little = gained < LITTLE * abs(start)
    every = int(np.median(np.diff(steps[half:])))
    rate = float(rates[-1]) if np.isfinite(rates).all() else float("nan")
    return Ill(
        [_hit(curve.subject, steps[half:], found, trend, size, limit, gained, regular * every, little, rate, case)]
    )


def _hit(
    subject: str, steps: NDArray[np.int64], found: Swings, trend: Line, size: float, limit: float, gained: float,
    rhythm: int, little: bool, rate: float, case: Case,
) -> Hit:  # fmt: skip
    how = "turns at nearly every point" if found.neighbours < TURNING else "swings slowly"
    message = (
        f"`{subject}` {how}, by {short(size)} since step {int(steps[0]):,}, while it "
        + (f"fell by {short(trend.fall)}" if trend.fall > 0 else "did not fall")
        + f" on the whole and had gained {short(gained)} before."
    )
    batch = case.history.layout.batch_size if case.history is not None else 0
    advice = [
        f"Lower the learning rate from {short(rate)} to about {round_rate(rate / 5)}."
        if rate > 0
        else "Lower the learning rate three- to tenfold.",
        f"Take larger batches than {batch}, or accumulate gradients over several." if batch else "Take larger batches.",
        "Lower the momentum, or Adam's beta1.",
    ]
    if rhythm:
        message += f" It repeats itself every {rhythm:,} steps: the batches seem to come in the same order each time."
        advice.insert(0, "Shuffle the data anew in each epoch: DataLoader(shuffle=True).")
    return Hit(
        subject=subject,
        **lasting(steps, -1),
        severity="info" if rhythm or little else "warning",
        statistic="swing of the loss",
        unit="unit of the loss",
        value=size,
        limit=limit,
        direction="above",
        message=message,
        advice=tuple(advice),
        more={"gained": gained, "share_of_gain": size / gained if gained > 0 else float("inf"), "period": rhythm}
        | ({"learning_rate": rate} if rate > 0 else {})
        | {"noise_in_random_order": found.shuffled},
    )


_STEPS = np.arange(400.0)
_FALL = 0.3 + 2.0 * np.exp(-_STEPS / 30)


def _plain(values: curves.Values, noise: float = 0.05, rates: curves.Values | None = None) -> Run:
    rng = np.random.default_rng(0)
    noisy = values + noise * rng.standard_normal(len(values))
    scalars = {"loss": Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])}
    if rates is not None:
        scalars["lr"] = Series([(i, float(i), float(v)) for i, v in enumerate(rates)])
    return Run("plain", scalars=scalars)


def _wander(size: float) -> curves.Values:
    """Irregular slow swings of about ``size``, from white noise smoothed over thirty steps."""
    rng = np.random.default_rng(3)
    slow = np.convolve(rng.standard_normal(460), np.hanning(31), "same")[30:430]
    low, high = np.percentile(slow[200:], (10, 90))
    return np.asarray(_FALL + np.clip(_STEPS / 40, 0, 1) * size * slow / (high - low))


def _turning(size: float) -> curves.Values:
    return np.asarray(_FALL + size / 2 * (-1.0) ** _STEPS)


def _cycles() -> Run:
    rates = 1e-3 * (1.1 + np.sin(_STEPS / 12))
    return _plain(_FALL + 0.7 * np.sin(_STEPS / 12), rates=rates)


def _fine_tuned() -> Run:
    return _plain(_wander(1.0) * 0.1 + 1.5, 0.01)


RULE = Rule(
    id="loss-oscillating",
    healthy="Loss without large swings",
    ill="Loss oscillating",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("swing", 0.5, "share of what had been gained", "swing that counts", "judgement"),
        Option("beyond", 1.3, "1", "swing relative to that of the same values in random order", "permutation test"),
    ),
    examples=(
        Example("swings slowly", lambda: _plain(_wander(1.4)), ill=True, subject="loss", first_step=200),
        Example("turns at every step", lambda: _plain(_turning(1.6)), ill=True, subject="loss", first_step=200),
        Example("an eighth above the limit", lambda: _plain(_wander(1.12)), ill=True, subject="loss"),
        Example("well below the limit", lambda: _plain(_wander(0.7)), ill=False, outcome="Passed"),
        Example("the same data order each epoch: information", lambda: _plain(_FALL + 0.9 * np.sin(_STEPS / 4)), True),
        Example("little gained, data that drift: information", _fine_tuned, ill=True),
        Example("noise as large as the gain", lambda: _plain(_FALL, 1.0), ill=False, outcome="Passed"),
        Example("swings while it falls", lambda: _plain(3 - _STEPS / 150 + 0.4 * np.sin(_STEPS / 9)), ill=False),
        Example("a healthy curve", lambda: _plain(_FALL), ill=False, outcome="Passed"),
        Example("a learning rate that cycles", _cycles, ill=False, outcome="NotApplicable"),
        Example("forty epochs", lambda: _plain(_turning(1.6)[:40]), ill=False, outcome="TooLittleData"),
        Example("no loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=(
        "loss-spike",
        "slow-start",
        "prediction-jitter",
        "underfitting",
    ),
)
