"""Every check, in the order in which they run: what takes a moment first, trainings last."""

from __future__ import annotations

from tb_nnhealth.sanity import (
    baselines,
    chance_loss,
    dependence,
    gradient_check,
    normalization,
    overfit,
    reach,
    regularization,
    relation,
)
from tb_nnhealth.sanity.base import Check

CHECKS: tuple[Check, ...] = (
    reach.FINITE,
    normalization.CHECK,
    chance_loss.CHECK,
    reach.REACHED,
    dependence.LEAK,
    dependence.CAUSALITY,
    gradient_check.CHECK,
    overfit.CHECK,
    baselines.CHECK,
    regularization.CHECK,
    relation.SHUFFLED,
    relation.RANDOM,
)
