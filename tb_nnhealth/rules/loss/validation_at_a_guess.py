"""A validation loss that never is below what a guess costs, while training learns next to nothing."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.loss.settled import Rest

EVALUATIONS = 8
HARDLY, AT_A_GUESS = 0.9, 0.985
"""Shares of a constant answer's cost above which training and validation have learned nothing that holds."""
LUCKY = 0.1
"""Share of the evaluations that may be below."""
NOTHING_HOLDS = " What is learned does not hold for other data: validation never was below what a guess costs."
BELONG = "Check that inputs and labels belong to each other: look at ten samples and their labels as the network does."


def validation_at_a_guess(run: Run, end: Rest) -> bool:
    """Whether training has hardly come below a constant answer's cost, and validation at no evaluation."""
    validation = losses.comparable_validation(run)
    seen = np.zeros(0) if validation is None else validation.finite().values
    if not end.known or len(seen) < EVALUATIONS or end.share < HARDLY:
        return False
    return float(np.quantile(seen, LUCKY)) > AT_A_GUESS * end.untrained
