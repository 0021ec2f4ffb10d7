"""Samples known by heart: validation stands on a poor level, and the training loss falls on far below it."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.wording import short

FEWEST_POINTS = 10
UNLEARNED = 0.05
"""Share of the untrained level above which something is left that validation shows to be unlearned."""
HALVED = 0.5
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
        first_step=int(val.steps[middle]),
        fired_step=int(val.steps[-1]),
        last_step=int(val.steps[-1]),
        count=len(val) - middle,
        active=True,
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


def _tail(values: curves.Values) -> float:
    return float(np.median(values[-max(3, len(values) // 8) :]))
