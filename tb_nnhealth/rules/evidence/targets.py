"""How the targets of a regression spread: within a batch, and from batch to batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.evidence import curves

HEAVY = 4.0
"""Mean variance over the median one from which the targets have heavy tails."""


@dataclass(frozen=True)
class Targets:
    """``mean`` and ``std`` of the targets of each batch seen, float64 of shape (batches,), and its record's index."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    records: NDArray[np.int64]

    @property
    def within(self) -> float:
        """Usual variance within a batch; the mean one where a few batches hold most of it, as under heavy tails."""
        return usual_square(self.std)

    @property
    def between(self) -> float:
        """Variance of the batches' means: of its two estimates, the usual and the robust one, the smaller."""
        return min(float(self.mean.var()), curves.sigma(self.mean) ** 2) if len(self.mean) > 1 else 0.0

    @property
    def variance(self) -> float:
        """Of all targets: batches in an order, or of one sample, tell little of it within themselves."""
        return self.within + self.between


def usual_square(std: NDArray[np.float64]) -> float:
    """Of standard deviations, the median squared; the mean square where a few of them hold most of it."""
    usual, mean = float(np.median(std)) ** 2, float(np.square(std).mean())
    return mean if mean > HEAVY * usual else usual


def targets_of(history: History) -> Targets | None:
    """The targets of the watched criterion, None where none were measured."""
    mean, std = (history.table(schema.TARGET, name).values.astype(np.float64) for name in (schema.MEAN, schema.STD))
    if not mean.shape[1]:
        return None
    seen = np.isfinite(mean[:, 0]) & np.isfinite(std[:, 0])
    return Targets(mean[seen, 0], std[seen, 0], np.flatnonzero(seen)) if seen.any() else None
