"""How much the answers to different samples differ, and whether it harms that they hardly do."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, History, Run
from tb_nnhealth.rules.evidence.curves import blocks, trend
from tb_nnhealth.rules.evidence.losses import criterion_loss, training_loss
from tb_nnhealth.rules.evidence.progress import Progress
from tb_nnhealth.rules.persistence import Episode

Curve = NDArray[np.float64]

NEAR_CONSTANT = 0.97
"""Share of a constant answer's cost from which the loss has learned nothing more than it."""
GROWING = 1.5
"""Growth of the spread from the first half of the time to the second that tells of a network on its way."""
FALLING = -3.0
"""Mann-Kendall's z from which a loss falls."""
BLOCKS = 100
STILL_GAINED = 0.25
OPENING, COLLAPSED, COLLAPSE = 3, 2.5, 10.0
CLASSIFICATION = ("CrossEntropyLoss", "NLLLoss", "BCEWithLogitsLoss", "BCELoss", "MultiMarginLoss")
PROBABILITIES = ("BCELoss",)
LEAST_VARIATION = 1e-4
"""Spread of inputs, relative to their size, below which they are constant themselves."""
TARGETS_SPREAD = "share of the targets' spread"


def answers_differ(history: History, spread: Floats) -> tuple[Curve, str]:
    """How much the answers differ between samples, shape (records,), and its unit."""
    criterion = history.layout.criterion.type
    answers = spread[:, 0].astype(np.float64)
    if criterion not in CLASSIFICATION and np.isfinite(spread[:, 2]).any():
        return answers / spread[:, 2], TARGETS_SPREAD
    if criterion not in CLASSIFICATION:
        size = history.table(schema.PREDICTION, schema.RMS).values
        size = size[:, 0].astype(np.float64) if size.shape[1] else np.full(len(answers), np.nan)
        return answers / size, "share of the answers' size"
    probable = history.table(schema.PREDICTION, schema.PROBABILITY_SHARE).values
    mean = history.table(schema.PREDICTION, schema.MEAN).values
    if not mean.shape[1]:
        return answers, "nats"
    as_shares: NDArray[np.bool_] = np.full(len(answers), criterion in PROBABILITIES)
    if probable.shape[1]:
        as_shares |= probable[:, 0] > 0.5
    return np.asarray(np.where(as_shares, answers / np.fmax(np.abs(mean[:, 0]), 1e-12), answers)), "nats"


def inputs_and_targets_vary(history: History, spread: Floats) -> NDArray[np.bool_]:
    """Records in which different samples have different inputs and targets, shape (records,); true where unknown."""
    size = history.table(schema.INPUT, schema.RMS).values
    largest = np.max(np.where(np.isfinite(size), size, 0.0), axis=1, initial=0.0)
    inputs = np.isnan(spread[:, 1]) | (spread[:, 1] > LEAST_VARIATION * largest)
    targets = np.isnan(spread[:, 2]) | (spread[:, 2] > 0)
    return np.asarray(inputs & targets)


def grows(differ: Curve, judged: NDArray[np.bool_], episode: Episode) -> bool:
    """Whether the answers come apart, slowly: the network is on its way."""
    stretch = differ[episode.first : episode.last + 1][judged[episode.first : episode.last + 1]]
    half = len(stretch) // 2
    return bool(np.median(stretch[half:]) > GROWING * np.median(stretch[:half]))


def still_falls(run: Run, history: History, episode: Episode) -> bool:
    """Whether the loss goes on falling through the second half of the episode, much as it did in the first."""
    curve = training_loss(run) or criterion_loss(history)
    if curve is None:
        return False
    curve = curve.finite()
    within = curve.values[(curve.steps >= episode.first_step) & (curve.steps <= episode.last_step)]
    if len(within) < 8:
        return False
    eighth, half = len(within) // 8, len(within) // 2
    about_middle = within[half - eighth // 2 : half + eighth // 2 + 1]
    start, middle, end = (float(np.median(part)) for part in (within[:eighth], about_middle, within[-eighth:]))
    late = blocks(np.arange(half), within[-half:], BLOCKS)[1]
    return trend(late) < FALLING and middle - end > STILL_GAINED * (start - end) > 0


def at_constant(seen: Progress | None, cost: float) -> bool:
    """Whether the loss is no better than a constant answer's."""
    if seen is None or seen.finite < 0.5:
        return False
    return seen.stuck if math.isnan(cost) else seen.now > NEAR_CONSTANT * cost


def collapsed(differ: Curve, judged: NDArray[np.bool_], limit: float) -> bool:
    """Whether answers that no target is told for have differed before, and by far more."""
    opening = differ[judged][:OPENING]
    return bool(np.median(opening) > COLLAPSE * limit)
