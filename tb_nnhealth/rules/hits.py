"""From an episode of one subject to the hit that a rule reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from tb_nnhealth.findings import Direction, Severity
from tb_nnhealth.history import Floats, Steps
from tb_nnhealth.rules.base import Closest, Hit
from tb_nnhealth.rules.persistence import Episode


def hit(
    episode: Episode,
    subject: str,
    *,
    severity: Severity,
    statistic: str,
    unit: str,
    value: float,
    limit: float,
    direction: Direction,
    message: str,
    advice: Sequence[str],
    healthy: tuple[float, float] | None = None,
    more: Mapping[str, Any] | None = None,
    rank: float = 0.0,
) -> Hit:
    return Hit(
        subject=subject,
        first_step=episode.first_step,
        fired_step=episode.fired_step,
        last_step=episode.last_step,
        count=episode.count,
        active=episode.active,
        severity=severity,
        statistic=statistic,
        unit=unit,
        value=value,
        limit=limit,
        direction=direction,
        message=message,
        advice=tuple(advice),
        healthy=healthy,
        more=more or {},
        rank=rank,
    )


class When(TypedDict):
    """The fields of a hit that tell of time."""

    first_step: int
    fired_step: int
    last_step: int
    count: int
    active: bool


def lasting(steps: Steps, fired: int, *, since: int = 0) -> When:
    """What holds at all of ``steps`` from the place ``since`` to the newest, and was certain at the place ``fired``."""
    return When(
        first_step=int(steps[since]),
        fired_step=int(steps[fired]),
        last_step=int(steps[-1]),
        count=len(steps) - since,
        active=True,
    )


def at_start(step: int, lasts_to: int | None = None) -> When:
    """What the first record, at ``step``, tells by itself; ``lasts_to``: the newest step of what still holds."""
    last = step if lasts_to is None else lasts_to
    return When(first_step=step, fired_step=step, last_step=last, count=1, active=lasts_to is not None)


def worst(values: Floats, episode: Episode, direction: Direction) -> float:
    """The extreme finite value of the episode's column from its first to its last record."""
    stretch = values[episode.first : episode.last + 1, episode.column]
    stretch = stretch[np.isfinite(stretch)]
    if not stretch.size:
        return float("nan")
    return float(stretch.max() if direction == "above" else stretch.min())


def closest(
    values: Floats, limit: float, direction: Direction, subjects: Sequence[str], steps: Any, what: str
) -> Closest | None:
    """How near ``values``, shape (records, subjects), came to ``limit``; None where nothing was measured."""
    usable = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    if not usable.size or np.isnan(usable).all():
        return None
    flat = int(np.nanargmax(usable) if direction == "above" else np.nanargmin(usable))
    record, column = divmod(flat, usable.shape[1])
    value = float(usable[record, column])
    share = value / limit if direction == "above" else limit / value
    return Closest(min(1.0, share), subjects[column], int(steps[record]), what)
