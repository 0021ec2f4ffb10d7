"""Samples known by heart: validation stands on a poor level, and the training loss falls on far below it."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.wording import short

FEWEST_POINTS = 10
FEWEST_EVALUATIONS = 4
"""Evaluations that are enough where none is better than a constant answer: for a warning if training is twice as good,
for information if validation has risen as well."""
UNLEARNED = 0.05
"""Share of the untrained level above which something is left that validation shows to be unlearned."""
HALVED = 0.5
NO_BETTER, BETTER = 0.98, 0.95
"""Shares of a constant answer's cost above which validation has never been, and below which training is."""
HARDLY_BETTER, TIMES_MORE = 0.92, 3.0
"""Share of it above which validation has hardly been, and what training has gained over what validation has."""
ANOTHER_UNIT = 0.5
"""Share of a constant answer's cost below which a training loss begins in another unit, or was learned before."""
ABOUT = 0.1
"""How near to its last level validation has arrived where it stands."""


def by_heart(val: losses.LossCurve, train: losses.LossCurve, untrained: float, limit: float) -> Hit | None:
    """The finding on a generalization gap that grows by the training loss alone; ``limit``: validation : training."""
    if len(val) < FEWEST_POINTS or len(train) < FEWEST_POINTS or not untrained > 0:
        return None
    end, now = _tail(val.values), _tail(train.values)
    arrived = int(np.argmax(val.values <= (1 + ABOUT) * end))
    then = max(3, arrived * len(train) // len(val))
    early = _tail(train.values[: then + 3])
    middle = len(val) // 2
    falls = line(val.values[middle:]).surely_falls or end < (1 - ABOUT / 2) * float(
        np.median(val.values[middle : middle + 3])
    )
    if falls or not now > 0 or end < max(limit * now, UNLEARNED * untrained) or now > HALVED * early:
        return None
    return Hit(
        subject=val.subject,
        **lasting(val.steps, -1, since=middle),
        severity="info",
        statistic="validation loss over training loss",
        unit="1",
        value=end / now,
        limit=limit,
        direction="above",
        message=(
            f"`{val.subject}` has stood at {short(end)} since step {int(val.steps[middle]):,}, while the training loss "
            f"went on falling to {short(now)}, {short(end / now)} times less: samples are learned by heart."
        ),
        advice=(
            "Add data or augmentation.",
            "Add weight decay, dropout or label smoothing, or make the network smaller.",
            f"Stop earlier: nothing was gained after step {int(val.steps[middle]):,}.",
        ),
        more={"training_loss": now},
    )


def nothing_holds(val: losses.LossCurve, train: losses.LossCurve, chance: float) -> Hit | None:
    """The finding on a validation loss that was never, or hardly, better than a constant answer's, where the training
    loss is.

    ``chance``: what a constant answer costs, NaN where that is not known.
    """
    if len(val) < FEWEST_EVALUATIONS or len(train) < FEWEST_POINTS or not chance > 0:
        return None
    now, end, best = _tail(train.values), _tail(val.values), float(curves.smooth(val.values, 3).min())
    few, never = len(val) < FEWEST_POINTS, best >= NO_BETTER * chance
    sure = never and (not few or now < HALVED * chance)
    if few and not (val.values.min() >= NO_BETTER * chance and (sure or val.values[-1] > val.values[0])):
        return None
    if float(np.median(train.values[:3])) < ANOTHER_UNIT * chance or not now < BETTER * chance:
        return None
    hardly = best >= HARDLY_BETTER * chance and chance - now > TIMES_MORE * (chance - best)
    if not (never or hardly) or not line(train.values[len(train) // 3 :]).surely_falls:
        return None
    return Hit(
        subject=val.subject,
        **lasting(val.steps, -1),
        severity="warning" if sure else "info",
        statistic="validation loss over a constant answer's",
        unit="1",
        value=end / chance,
        limit=NO_BETTER if never else HARDLY_BETTER,
        direction="above",
        message=(
            f"`{val.subject}` was {'never' if never else 'hardly'} better than an answer that ignores the input"
            f" ({short(chance)}), and is {short(end)}, while the training loss fell to {short(now)}: labels are learned"
            f" by heart, and {'nothing' if never else 'little'} else is."
        ),
        advice=(
            "Check that inputs and labels of the training set belong together: look at a few samples.",
            "Check that validation is prepared, and its labels are numbered, as in training.",
            "Add data or augmentation.",
        ),
        more={"training_loss": now, "constant_answer": chance},
    )


def _tail(values: curves.Values) -> float:
    return float(np.median(values[-max(3, len(values) // 8) :]))
