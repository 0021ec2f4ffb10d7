"""Whether the points of a loss tell enough, and of how much training, to say that it stands."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.evidence.constant_answer import constant_cost
from tb_nnhealth.rules.evidence.tokens import cost_of_frequencies
from tb_nnhealth.rules.loss.stretches import line

FEWEST_POINTS = 20
FEWEST_FLAT = 10
"""Points that are enough where they hardly differ: a loss logged once an epoch by a training that learns nothing."""
FLAT = 2e-3
"""Range of such points, as a share of their size."""
MEAN_OVER, AT_CHANCE = 10, 0.05
"""Steps that each of them stands for at least, and distance from a constant answer's cost, relative."""
FEWEST_RECORDS = 40
"""Records of the criterion that stand for a scalar of too few points."""
YOUNG_POINTS, YOUNG_STEPS = 100, 500
"""Points and steps below which it is for information: attention and recurrences often begin on a plateau as long."""
YOUNG_SAMPLES = 500
"""The same, whatever the points and steps: batches of a single sample have shown no more than a small data set once."""
LEARNED = 0.9
"""A loss that was once below this share of a constant answer's has been lower, whatever became of it."""
ARRIVES, ARRIVES_POINTS = 3.0, 150
"""Lengths of the run so far within which a falling loss must have learned something, and points that tell, where they
are no means over many steps."""
PLATEAU_STEPS = 2000
"""Steps for which models of sequences stand at what the tokens' frequencies cost before attention sets in."""
WARMING_UP = 1.02


def all_records(run: Run, curve: losses.LossCurve) -> tuple[losses.LossCurve, bool]:
    """The criterion's own records where ``curve`` has few points; whether they are taken."""
    told = [c for history in run.watches.values() if (c := losses.criterion_loss(history)) is not None]
    if len(curve) >= FEWEST_POINTS or len(told) != 1 or len(told[0]) < FEWEST_RECORDS:
        return curve, False
    return replace(told[0], subject=curve.subject), True


def flat(values: curves.Values) -> bool:
    return len(values) >= FEWEST_FLAT and bool(np.ptp(values) < FLAT * np.abs(values).min())


def means_at(chance: float, run: Run, curve: losses.LossCurve) -> bool:
    """Whether points that stand for many steps each lie at a constant answer's cost, one and all."""
    taken = curve.at_optimizer(run).steps
    many = len(curve) >= FEWEST_FLAT and taken[-1] - taken[0] >= MEAN_OVER * len(curve)
    return bool(many and np.abs(curve.values / chance - 1).max() < AT_CHANCE)


def young(run: Run, curve: losses.LossCurve, values: curves.Values) -> bool:
    taken = curve.at_optimizer(run).steps
    steps = int(taken[-1] - taken[0])
    batch = max((int(history.layout.batch_size) for history in run.watches.values()), default=0)
    return (len(values) < YOUNG_POINTS and steps < YOUNG_STEPS) or 0 < batch * steps < YOUNG_SAMPLES


def arrives(values: curves.Values, chance: float, *, of_means: bool) -> bool:
    """Whether a loss that goes on as in its last half will be below a constant answer's within a few runs' length."""
    half = line(values[len(values) // 2 :])
    left = half.end - LEARNED * chance
    few = len(values) < ARRIVES_POINTS and not of_means
    return math.isnan(chance) or few or left <= 2 * ARRIVES * (half.fall + 2 * half.error)


def constant_answer(run: Run, *, recorded: bool) -> float:
    """Cost of a constant answer under the one criterion watched, NaN where there is none or several.

    NaN, too, where the loss judged is in another unit, unless it is the criterion's own (``recorded``).
    """
    if not recorded and losses.in_another_unit(run):
        return math.nan
    known = [naive for history in run.watches.values() if not math.isnan(naive := constant_cost(history))]
    return known[0] if len(known) == 1 else math.nan


def answer_of_frequencies(run: Run) -> float:
    """What an answer costs that knows how frequent each token is, and nothing else; NaN where it is not known."""
    known = [cost for history in run.watches.values() if not math.isnan(cost := cost_of_frequencies(history))]
    return known[0] if len(known) == 1 else math.nan


def smoothed_away(run: Run, chance: float) -> bool:
    """Whether label smoothing asks for answers so unsure that the right ones cost hardly less than a constant one."""
    told = [h.layout.criterion for h in run.watches.values() if h.layout.criterion.label_smoothing]
    if len(told) != 1 or told[0].classes < 2:
        return False
    other = told[0].label_smoothing / told[0].classes
    asked = np.append(np.full(told[0].classes - 1, other), 1 - (told[0].classes - 1) * other)
    return bool(-(asked * np.log(asked, where=asked > 0, out=np.zeros_like(asked))).sum() > LEARNED * chance)


def warming_up(rates: curves.Values) -> bool:
    """Whether the learning rate is at its highest so far and was lower three quarters of the way ago."""
    return bool(rates[-1] >= rates.max() and rates[-1] > WARMING_UP * rates[(3 * len(rates)) // 4])
