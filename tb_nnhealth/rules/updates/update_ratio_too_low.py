"""Steps so small that the weights hardly change.

## What it detects
Weight matrices whose update per optimizer step is less than a hundred-thousandth of the weights' norm while the loss
has not been learned: all of them (the learning rate is too low), or one layer far below the others.

## Why it matters
At a ratio of 1e-5 it takes a hundred thousand steps to change a weight by its own size. The loss falls so slowly that
the run looks flat, and time and money go into a network that stays where it was initialized.

## How it is computed
For each weight matrix, the L2 norm of the change made by one optimizer step over the L2 norm of the weights (no unit,
per step), below `min` in half of `window` records. Where the loss stands still at the level of a constant answer, a
tenfold greater ratio counts as too low as well, over at least 100 records. Records in which the learning rate is 0,
or below three tenths of the greatest it has had, are not judged: that is warm-up or annealing. Embeddings, of which a
batch touches few rows, and updates of exactly zero (see frozen-parameters) are not judged either, nor layers that wait
for one that started at zero, where steps are as large as gradients are (all but Adam and its like).

A warning; for information only where the loss is falling nonetheless, or began far below that of a constant answer,
as it does in fine-tuning, or where no criterion tells what a constant answer costs and the ratio is above a tenth of
`min`.

## What to try
1. Raise the learning rate to where the ratio is about 1e-3; the finding names that rate.
2. If only the first layers are concerned, look for vanishing gradients: their remedy is initialization, normalization
   or residual connections, not the learning rate.
3. Check that the loss is not divided twice (by the batch size and by the number of accumulation steps).
4. In half precision, check that updates are not lost to rounding: keep a float32 master copy of the weights.

## When it is harmless
In fine-tuning with a deliberately small learning rate, at the end of a schedule, and once the loss is almost zero.

## References
- [CS231n, Learning: ratio of weights to updates](https://cs231n.github.io/neural-networks-3/#ratio)
- [Smith 2015, Cyclical Learning Rates (range test)](https://arxiv.org/abs/1506.01186)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.derive import UPDATE_RATIO_HEALTHY
from tb_nnhealth.history import Floats, Run
from tb_nnhealth.rules.base import (
    GIVEN,
    Case,
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
from tb_nnhealth.rules.evidence.asleep import asleep
from tb_nnhealth.rules.evidence.progress import Progress, progress
from tb_nnhealth.rules.evidence.weights import Mask, Weights, weights_of
from tb_nnhealth.rules.hits import closest, hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes, share_of, window_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import round_rate, short

TARGET = 1e-3
SCHEDULED = 0.3
"""Share of the greatest learning rate so far below which a schedule is at work."""
STUCK_FACTOR = 10.0
STUCK_RECORDS = 100
WAKING = 10.0
APART = 100.0
"""Times that the greatest learning rate of a network exceeds a group's own, from where that is the reason."""
SCALE_FREE = {"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Lion"}
ADADELTA = 0.01
"""Learning rate up to which Adadelta, made to do without one (1.0), is held down by it (Zeiler 2012)."""
FULL_STEP = 0.1
"""Update of an element over the learning rate, from where such an optimizer steps as far as its rate lets it."""
UNKNOWN_FACTOR = 0.1
"""Share of the limit above which a ratio is no warning where nobody can tell learning from fine-tuning."""

LEAST = 8
"""Records where they lie apart."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.UPDATE):
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    everything = weights_of(history)
    weights = everything.matrices_in_depth()
    if not weights.names:
        return NotApplicable("no weight matrix is trained by a watched optimizer")
    usual = int(case.options["window"])
    window = window_of(history.steps, usual, LEAST)
    if len(history) < window:
        return TooLittleData(f"{len(history)} records so far, {window} needed")

    ratio, types = weights.ratio, weights.optimizer_types(history.layout)
    judged = np.isfinite(ratio) & (ratio > 0) & full_rate(weights.lr)
    if not types & SCALE_FREE:
        judged &= ~asleep(weights)
    if not judged.any():
        return NotApplicable("no step was made at full learning rate")
    seen = progress(case.run, history)
    limit = case.options.per_subject("min", weights.names)
    untaught = seen is not None and seen.stuck and seen.points >= STUCK_RECORDS and not np.isnan(seen.naive)
    if untaught and float(np.nanmedian(np.where(judged, ratio, np.nan))) < STUCK_FACTOR * limit.min():
        limit = limit * STUCK_FACTOR
    found = episodes(ratio < limit, judged, weights.steps, window=window, share=share_of(window, usual))
    found = [episode for episode in found if not _waking(ratio / weights.lr, judged, episode)]
    if not found:
        near = closest(
            np.where(judged, ratio, np.nan),
            float(limit.max()),
            "below",
            weights.names,
            weights.steps,
            "update : weight ratio",
        )
        return Passed(near)
    typical = float(np.nanmedian(np.where(judged, ratio, np.nan)))
    return Ill([_hit(weights, episode, ratio, float(limit[episode.column]), typical, seen, types) for episode in found])


def _waking(ratio: Floats, judged: Mask, episode: Episode) -> bool:
    """Whether the steps at one learning rate grow tenfold: a branch behind gains that start at zero wakes slowly."""
    at = np.flatnonzero(judged[episode.first : episode.last + 1, episode.column]) + episode.first
    third = len(at) // 3 + 1
    early, late = (np.median(ratio[part, episode.column]) for part in (at[:third], at[-third:]))
    return bool(episode.active and late > WAKING * early)


def full_rate(lr: Floats) -> NDArray[np.bool_]:
    """Where the learning rate, shape (records, n), is not 0 nor far below the greatest so far; unknown is full."""
    so_far = np.fmax.accumulate(lr, axis=0)
    return np.isnan(lr) | ((lr > 0) & (lr >= SCHEDULED * so_far))


def _of_the_rate(weights: Weights, column: int, types: set[str]) -> bool:
    """Whether the steps are as small as the program set them: the rate of the group, or of an optimizer that divides
    each gradient by its own size. Then no gradient, however small, is their cause.
    """
    if np.nanmax(weights.lr[-1]) >= APART * weights.lr[-1, column]:
        return True
    if types == {"Adadelta"} and np.nanmax(weights.lr[:, column]) <= ADADELTA:
        return True
    with_rate = weights.update[:, column] / weights.lr[:, column]
    return types <= SCALE_FREE and bool(np.nanmedian(with_rate) > FULL_STEP)


def _harmless(seen: Progress | None) -> str:
    if seen is None:
        return ""
    if seen.fine_tuning:
        return f" The loss began at {short(seen.start)}, far below a constant answer's: trained weights need no more."
    if seen.learned:
        return f" {seen.outcome} nonetheless."
    return ""


def _hit(
    weights: Weights,
    episode: Episode,
    ratio: Floats,
    limit: float,
    typical: float,
    seen: Progress | None,
    types: set[str],
) -> Hit:
    name = weights.names[episode.column]
    value = worst(np.where(ratio > 0, ratio, np.nan), episode, "below")
    stretch = ratio[episode.first : episode.last + 1, episode.column]
    usual = float(np.nanmedian(stretch[stretch > 0]))
    lr = float(weights.lr[episode.last, episode.column])
    alone = usual < 0.01 * typical
    more: dict[str, Any] = {"median_of_layers": typical}
    if _of_the_rate(weights, episode.column, types):
        more[GIVEN] = True
    advice: list[str] = []
    if np.isfinite(lr) and lr > 0 and not alone:
        better = lr * TARGET / usual
        more |= {"learning_rate": lr, "learning_rate_to_try": better}
        advice.append(f"Raise the learning rate from {short(lr)} towards {round_rate(better)}, in steps of ten.")
    if alone:
        advice.append(
            f"Look at the gradient that reaches `{name}`: the other layers move {short(typical / usual)} times as fast."
        )
    advice += [
        "Check that the loss is not divided twice (by batch size and by accumulation steps).",
        "Normalize the inputs and targets, so that gradients have a usable size.",
    ]
    at_rate = f" at learning rate {short(lr)}" if np.isfinite(lr) else ""
    harmless = _harmless(seen)
    known = seen is not None and not np.isnan(seen.naive)
    return hit(
        episode,
        name,
        severity="info" if harmless or (not known and usual > UNKNOWN_FACTOR * limit) else "warning",
        statistic="update_ratio",
        unit="per step",
        value=value,
        limit=limit,
        direction="below",
        healthy=UPDATE_RATIO_HEALTHY,
        message=f"A step changes `{name}` by {short(usual)} of its norm{at_rate}; 1e-3 is usual,"
        f" {short(limit)} the limit.{harmless}",
        advice=advice,
        more=more,
        rank=-float(np.log(usual)),
    )


def _scaled(factor: float | NDArray[np.float64], *layers: int, **options: object) -> Network:
    network = Network(**options)  # type: ignore[arg-type]
    for i in layers or range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), factor)
    return network


def _flat(network: Network) -> Network:
    network.set(schema.LOSS, "", mean=np.full(len(network.at), np.log(network.classes)))
    return network


def _annealed() -> Run:
    rate = np.maximum(1e-6, 0.5 * (1 + np.cos(np.pi * np.arange(200) / 199)))
    network = _scaled(0.1 * rate)
    network.set(schema.LEARNING_RATE, "0.0", mean=1e-3 * rate)
    return network.run()


def _fine_tuned() -> Run:
    network = _scaled(1e-3)
    network.set(schema.LOSS, "", mean=0.02)
    return network.run()


EXAMPLES = (
    Example("Learning rate a thousand times too low", lambda: _flat(_scaled(1e-3, lr=1e-6)).run(), True, first_step=0),
    Example(
        "One layer lags by five orders of magnitude", lambda: _flat(_scaled(1e-5, 1)).run(), True, "layers.1.weight", 0
    ),
    Example("Just below the limit", lambda: _flat(_scaled(8e-3, 2)).run(), True, "layers.2.weight"),
    Example(
        "Slow, with a loss that stands at chance for 200 steps",
        lambda: _flat(_scaled(3e-2, lr=3e-5)).run(),
        True,
        first_step=0,
    ),
    Example("Fine-tuning: information only", _fine_tuned, True),
    Example("A usual learning rate", lambda: Network().run(), False, outcome="Passed"),
    Example("Just above the limit", lambda: _scaled(1.3e-2, 2).run(), False, outcome="Passed"),
    Example("Annealed to nothing", _annealed, False, outcome="Passed"),
)

RULE = Rule(
    id="update-ratio-too-low",
    healthy="Updates large enough to learn",
    ill="Updates too small",
    group="updates",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option("min", 1e-5, "per step", "update : weight ratio, sustained", "a hundredth of the 1e-3 of CS231n"),
        Option("window", 20, "records", "records of which half must lie below min", "a few batches of noise"),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "loss-not-decreasing",
        "slow-start",
        "learning-rate-too-low",
        "underfitting",
        "frozen-parameters",
        "still-improving",
        "constant-output",
    ),
    statistic="update-ratio",
)
