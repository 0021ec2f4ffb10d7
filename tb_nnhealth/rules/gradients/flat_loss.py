"""A loss that stands well above zero while every gradient is exactly zero: it no longer depends on the weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.evidence.losses import criterion_loss, training_loss
from tb_nnhealth.rules.evidence.weights import Mask, Weights
from tb_nnhealth.rules.persistence import Episode, episodes, window_of
from tb_nnhealth.rules.wording import short

WINDOW, LEAST, HELD = 10, 5, 0.8
LEFT = 0.2
"""Share of its first value above which a loss has something left to lose."""
OPENING, CLOSING = 3, 8
FEWEST_EVER = 20
"""Records from the first one on in which no gradient but zero was ever seen."""


def flat_loss(run: Run, history: History, weights: Weights) -> Hit | None:
    """The finding on the model ("") up to the newest record; None for a hinge loss that has come to 0, as it should.

    A loss that was 0 from its first value on has not come there.

    Where the loss moves with an opponent, its level tells nothing: no gradient must ever have come.

    A backward pass that reaches the modules' outputs loses its gradients on the way: that is another finding.
    """
    if tags.moving_target(run):
        found = [e for e in _without_any(history, weights, 1.0) if e.first == 0 and e.count >= FEWEST_EVER]
        return _never(_hit(found[0], math.nan, 1.0)) if found else None
    found = _without_any(history, weights, HELD)
    if not found:
        return None
    episode = found[0]
    told = (curve.finite() for curve in (criterion_loss(history), training_loss(run)) if curve is not None)
    # A loss that is read back from its gradient is not told where that is zero.
    curve = next((each for each in told if len(each) >= OPENING and each.steps[-1] >= episode.first_step), None)
    if curve is None:
        return None
    first = float(np.median(curve.values[:OPENING]))
    now = float(np.median(curve.values[curve.steps >= episode.first_step][-CLOSING:]))
    if not curve.values.any():
        return _of_nothing(_hit(episode, now, HELD)) if episode.first == 0 else None
    return _hit(episode, now, HELD) if now > LEFT * first > 0 else None


def _without_any(history: History, weights: Weights, share: float) -> list[Episode]:
    """Stretches up to the newest record in which every gradient that is told is exactly zero."""
    told = np.isfinite(weights.gradient)
    reached = np.asarray((np.nan_to_num(history.table(schema.ACTIVATION_GRADIENT, schema.RMS).values) > 0).any(axis=1))
    zero = (~told | (weights.gradient == 0)).all(axis=1, keepdims=True) & ~reached[:, None]
    judged = told.any(axis=1, keepdims=True) & ~(weights.lr == 0).all(axis=1, keepdims=True) & _finite(history)
    window = window_of(weights.steps, WINDOW, LEAST)
    return [e for e in episodes(zero, judged, weights.steps, window=window, share=share) if e.active]


def _finite(history: History) -> Mask:
    """Records, shape (records, 1), in which no gradient holds a NaN or infinity: what else it holds tells nothing."""
    nan, inf = (history.table(schema.GRADIENT, name).values for name in (schema.NAN_COUNT, schema.INF_COUNT))
    bad = (np.nan_to_num(nan) + np.nan_to_num(inf) > 0).any(axis=1, keepdims=True)
    return np.asarray(~bad)


def _of_nothing(told: Hit) -> Hit:
    return replace(
        told,
        severity="critical",
        message=f"The loss is exactly 0 in all {told.count} records, from the first step on, and no parameter has a"
        " gradient but zero: the loss asks for nothing.",
        advice=(
            "CTCLoss(zero_infinity=True) makes 0 of targets that do not fit: as many time steps as labels are needed,"
            " and one more for each pair of equal neighbours.",
            "Look at the mask, the weights and the targets that the loss is given: print(target.unique(), mask.sum()).",
        ),
        more={**told.more, GIVEN: True},
    )


def _never(told: Hit) -> Hit:
    return replace(
        told,
        severity="critical",
        message=f"In all {told.count} records every parameter has a gradient, and it is exactly zero: what is"
        " differentiated does not depend on this model.",
        advice=(
            "Look for a .detach(), a no_grad() or a factor of zero between the model's output and the loss.",
            "A generator is trained through the discriminator: detach its samples for the discriminator's loss alone.",
        ),
        more={"share_of_weights": 1.0, "absent": False, GIVEN: True},
    )


def _hit(episode: Episode, now: float, share: float) -> Hit:
    return Hit(
        subject="",
        first_step=episode.first_step,
        fired_step=episode.fired_step,
        last_step=episode.last_step,
        count=episode.count,
        active=True,
        severity="warning",
        statistic="records_without_gradient",
        unit="records",
        value=float(episode.count),
        limit=share * min(WINDOW, episode.count),
        direction="above",
        healthy=(0.0, 0.0),
        message=f"From step {episode.first_step:,} on the gradient of every parameter is exactly zero, in"
        f" {episode.count} records, though the loss is {short(now)}: it no longer depends on the weights.",
        advice=(
            "Look at what the loss is made of for targets of another coding (0 and 1 where -1 and 1 are meant), masks"
            " that leave nothing, and answers cut off by clamp or a rectifier.",
            "Print the loss of single samples: those that cost the most give no gradient.",
        ),
        more={"loss": now, "share_of_weights": 1.0, "absent": False},
        rank=1e9,
    )
