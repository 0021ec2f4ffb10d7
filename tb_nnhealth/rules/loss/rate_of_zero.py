"""A learning rate that has been zero in every record: the optimizer steps, and nothing is trained."""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.evidence.weights import weights_of
from tb_nnhealth.rules.hits import lasting

FEWEST_RECORDS, FEWEST_STEPS = 5, 50
"""A warm-up may begin at zero; it does not stay there."""


def rate_of_zero(run: Run) -> Hit | None:
    """The finding on the first watch whose every group has had a rate of zero since the start, though gradients come.

    An adversary, or a part that rests while another is trained, may well do so.
    """
    if tags.moving_target(run) or len(run.watches) != 1:
        return None
    (history,) = run.watches.values()
    rates = history.table(schema.LEARNING_RATE, schema.MEAN).values
    told = np.flatnonzero(np.isfinite(rates).any(axis=1))
    if len(told) < FEWEST_RECORDS or np.nan_to_num(rates).any():
        return None
    steps = history.steps[told]
    since = steps[0] + FEWEST_STEPS
    if steps[-1] < since or not _asked_for(history):
        return None
    fired = max(FEWEST_RECORDS - 1, int(np.searchsorted(steps, since)))
    return Hit(
        subject="learning rate",
        **lasting(steps, fired),
        severity="warning",
        statistic="learning rate",
        unit="1",
        value=0.0,
        limit=0.0,
        direction="below",
        message=f"The learning rate has been 0 from step {int(steps[0]):,} to step {int(steps[-1]):,}, in all groups:"
        " the optimizer steps, and no weight changes.",
        advice=(
            "Print scheduler.get_last_lr(): a factor that is divided as integers, or a warm-up that counts epochs"
            " while step() is called per batch, stays at 0.",
            "Where a schedule begins at 0, begin it at step + 1.",
        ),
        more={"learning_rate": 0.0, GIVEN: True},
    )


def _asked_for(history: History) -> bool:
    """Whether the weights have gradients to follow, and have not moved all the same."""
    weights = weights_of(history)
    weights = weights.only(weights.trained)
    if not weights.names or not (np.nan_to_num(weights.gradient) > 0).any():
        return False
    return not (np.nan_to_num(weights.update) > 0).any()
