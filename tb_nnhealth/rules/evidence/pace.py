"""How fast the weights of a watch move on the whole: the update : weight ratio over all matrices, step by step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.evidence.once import once
from tb_nnhealth.rules.evidence.steps import TARGET
from tb_nnhealth.rules.evidence.weights import Weights, aligned, weights_of
from tb_nnhealth.rules.wording import round_rate, short

SMALLEST_SCALE = 0.5
"""Share of the default initialization's scale below which weights count as starting from zero."""
SCHEDULED = 0.3
"""Share of the greatest learning rate below which a schedule is at work, and steps are small on purpose."""
LONG_AVERAGE = 20


@dataclass(frozen=True)
class Pace:
    """``ratio``: ‖Δw‖ / ‖w‖ per step, float64 of shape (records, matrices), NaN where not measured or at a rate of 0.

    ``typical``: its median over the matrices, record by record; ``usual``: over the records at full rate as well, one
    for each matrix. ``rate``: greatest learning rate, NaN where unknown. ``grown``: the weights over their scale at
    the start, at the end of the log.
    """

    names: tuple[str, ...]
    steps: NDArray[np.int64]
    ratio: NDArray[np.float64]
    typical: NDArray[np.float64]
    usual: NDArray[np.float64]
    rate: float
    grown: NDArray[np.float64]

    @property
    def sustained(self) -> NDArray[np.float64]:
        """``typical`` as the median of each record and the nineteen before it, NaN where fewer were measured."""
        padded = np.concatenate((np.full(LONG_AVERAGE - 1, np.nan), self.typical))
        windows = np.lib.stride_tricks.sliding_window_view(padded, LONG_AVERAGE)
        enough = np.isfinite(windows).sum(axis=1) >= LONG_AVERAGE // 2
        result = np.full(len(self.typical), np.nan)
        if enough.any():
            result[enough] = np.nanmedian(windows[enough], axis=1)
        return result

    def better_rate(self, ratio: float) -> str:
        """The end of an advice that names the learning rate at which ``ratio`` would be ``steps.TARGET``."""
        if not self.rate > 0 or not ratio > 0:
            return ""
        return f"from {short(self.rate)} to about {round_rate(self.rate * TARGET / ratio)}"


@once
def pace(history: History | None, *, tables: bool = False) -> Pace | None:
    """The pace of the trained weight matrices, embeddings apart; None where no updates were recorded.

    ``tables``: where there are only embeddings, the pace of those of their rows that a step changes.
    """
    if history is None or not len(history) or not history.rows(schema.UPDATE):
        return None
    everything = weights_of(history)
    weights = everything.only(everything.matrix & everything.trained & ~everything.sparse)
    if tables and not weights.names:
        weights = everything.only(everything.matrix & everything.trained)
        touched = 1 - aligned(history.table(schema.UPDATE, schema.ZERO_SHARE), weights.names)
        by_rows = weights.update / np.sqrt(np.where(touched > 0, touched, np.nan))
        weights = replace(weights, update=by_rows.astype(np.float32))
    if not weights.names or weights.choose_own_steps(history.layout):
        return None
    with np.errstate(all="ignore"):
        scale = np.fmax(weights.weight, SMALLEST_SCALE * weights.natural_rms)
        ratio = np.where(weights.lr == 0, np.nan, weights.update / scale).astype(np.float64)
    ratio[~np.isfinite(ratio)] = np.nan
    seen = ~np.isnan(ratio).all(axis=1)
    if not seen.any():
        return None
    typical = np.full(len(ratio), np.nan)
    typical[seen] = np.nanmedian(ratio[seen], axis=1)
    return Pace(
        weights.names, weights.steps, ratio, typical, _usual(ratio, weights), _greatest(weights), _grown(weights)
    )


def _usual(ratio: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    so_far = np.fmax.accumulate(np.nan_to_num(weights.lr), axis=0)
    full = np.isnan(weights.lr) | (weights.lr >= SCHEDULED * so_far)
    judged = np.where(full, ratio, np.nan)
    usual = np.full(ratio.shape[1], np.nan)
    some = ~np.isnan(judged).all(axis=0)
    usual[some] = np.nanmedian(judged[:, some], axis=0)
    return usual


def _greatest(weights: Weights) -> float:
    known = weights.lr[np.isfinite(weights.lr)]
    return float(known.max()) if known.size else float("nan")


def _grown(weights: Weights) -> NDArray[np.float64]:
    start = np.fmax(weights.initial_rms, SMALLEST_SCALE * weights.natural_rms)
    last = np.full(len(weights.names), np.nan)
    tail = weights.weight[-5:].astype(np.float64)
    some = ~np.isnan(tail).all(axis=0)
    last[some] = np.nanmedian(tail[:, some], axis=0)
    with np.errstate(all="ignore"):
        return np.asarray(last / start)
