"""The terms that a loss is the sum of, as they are logged beside each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import Run, Series
from tb_nnhealth.phases import parts
from tb_nnhealth.rules.evidence import curves, tags
from tb_nnhealth.schema import is_users_scalar

NOT_A_TERM = frozenset(
    ("loss", "losses", "epoch", "step", "batch", "avg", "average", "mean", "smooth", "ema", "running")
)
WHOLE = frozenset(("total", "sum", "full", "overall", "all", "combined", "objective"))
FEWEST_POINTS = 20
EXPLAINED = 0.02
"""Share of the total that the terms, each times a constant, may leave unexplained."""

TO_ROUNDING = 1e-5
MOST_TERMS = 8


@dataclass(frozen=True)
class Terms:
    """``tags`` and ``values``, float64 of shape (points, terms), at common ``steps``.

    ``weighted``: each times its weight in the total, where the total is logged and is such a sum; else as logged.
    ``known``: whether that is so.
    """

    tags: tuple[str, ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    weighted: NDArray[np.float64]
    known: bool


def loss_terms(run: Run) -> Terms | None:
    """The training loss's terms, where at least two are logged over common steps."""
    found: dict[str, Series] = {}
    total: Series | None = None
    for tag, series in run.scalars.items():
        role = tags.role(tag, run.name)
        if role.metric != "loss" or role.phase == "val" or len(series) < FEWEST_POINTS:
            continue
        if _words(tag):
            found[tag] = series
        elif total is None or len(series) > len(total):
            total = series
    if total is None:  # the whole may bear the name of its method
        for whole in found.values():
            if (terms := _of_an_exact_sum(run, whole)) is not None:
                return terms
    if len(found) < 2:
        return _of_an_exact_sum(run, total)
    steps = _common([*found.values()])
    if len(steps) < FEWEST_POINTS:
        return None
    values = np.stack([_at(series, steps) for series in found.values()], axis=1)
    keep = np.isfinite(values).all(axis=1)
    steps, values = steps[keep], values[keep]
    if len(steps) < FEWEST_POINTS:
        return None
    weights = _weights(values, steps, total)
    if weights is None and all(tags.role(tag, run.name).term in tags.ERRORS for tag in found):
        return None
    weighted = values if weights is None else values * weights
    return Terms(tuple(found), steps, values, weighted, weights is not None)


def _of_an_exact_sum(run: Run, total: Series | None) -> Terms | None:
    """Terms whose tags call them no losses, but of which the total is the sum, each times a constant."""
    if total is None or len(total) < FEWEST_POINTS:
        return None
    found = {
        tag: series
        for tag, series in run.scalars.items()
        if series is not total
        and is_users_scalar(tag)
        and (role := tags.role(tag, run.name)).metric in (None, "loss")
        and role.phase != "val"
        and len(series) >= FEWEST_POINTS
        and np.array_equal(series.steps, total.steps)
    }
    if not 2 <= len(found) <= MOST_TERMS:
        return None
    values = np.stack([series.values for series in found.values()], axis=1).astype(np.float64)
    keep = np.isfinite(values).all(axis=1) & np.isfinite(total.values)
    if keep.sum() < FEWEST_POINTS:
        return None
    weights = _weights(values[keep], total.steps[keep], total, TO_ROUNDING)
    if weights is None or (weights > 0).sum() < 2:
        return None
    used = np.flatnonzero(weights > 0)
    values = values[keep][:, used]
    return Terms(tuple(list(found)[i] for i in used), total.steps[keep], values, values * weights[used], True)


def _words(tag: str) -> list[str]:
    """Words of a tag that name one term of the loss."""
    words = [word for word in parts(tag) if word not in NOT_A_TERM and tags.role(word).phase is None]
    return [] if set(words) & WHOLE else words


def _common(series: list[Series]) -> NDArray[np.int64]:
    steps = series[0].steps
    for other in series[1:]:
        steps = np.intersect1d(steps, other.steps)
    return steps


def _at(series: Series, steps: NDArray[np.int64]) -> curves.Values:
    place = np.clip(np.searchsorted(series.steps, steps), 0, len(series) - 1)
    return np.where(series.steps[place] == steps, series.values[place], np.nan)


def _weights(
    values: NDArray[np.float64], steps: NDArray[np.int64], total: Series | None, unexplained: float = EXPLAINED
) -> curves.Values | None:
    """What each term is multiplied by in ``total``; None where it is not logged, or no such sum."""
    if total is None:
        return None
    whole = _at(total, steps)
    seen = np.isfinite(whole)
    if seen.sum() < FEWEST_POINTS:
        return None
    scale = np.maximum(np.abs(values[seen]).max(axis=0), 1e-300)
    weights, *_ = np.linalg.lstsq(values[seen] / scale, whole[seen], rcond=1e-8)
    weights = weights / scale
    off = np.abs(values[seen] @ weights - whole[seen])
    explained = float(np.median(off)) <= unexplained * float(np.median(np.abs(whole[seen])))
    return weights if explained and (weights >= 0).all() else None
