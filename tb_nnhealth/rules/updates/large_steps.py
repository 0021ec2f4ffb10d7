"""Weight matrices that optimizer steps change by a large part of themselves, and whether the loss suffers.

Three ways: for a while, at once, and many small steps that add up. Ratios are root mean square over root mean square
of a matrix (the same as of L2 norms), float32 of shape (records, n). ``seen`` is how far the loss has come, None where
it is not known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.derive import UPDATE_RATIO_HEALTHY
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Floats, History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.progress import STUCK, Progress
from tb_nnhealth.rules.evidence.steps import AT_ONCE, better_rate, carried_away, leap_into_nothing, relative_to_before
from tb_nnhealth.rules.evidence.weights import Mask, Weights
from tb_nnhealth.rules.hits import hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.wording import short

CARRYING = 1e-2
"""Update : weight ratio of steps that can carry the weights away."""
WELL_LEARNED = 0.25
"""Share of its start below which the loss says that large steps did no harm."""
GROWN = 3.0
NEAR = 2.0
"""Times the limit, up to which they did none where the loss has been learned at all."""
ADVICE = (
    "Warm the learning rate up over the first few hundred steps.",
    "Clip the gradients: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).",
)


def sustained(
    weights: Weights, ratio: Floats, judged: Mask, limit: NDArray[np.float64], window: int, seen: Progress | None
) -> list[Hit]:
    """``ratio``, the update : weight ratio, exceeds ``limit``, shape (n,), in half of ``window`` records."""
    found = episodes(ratio > limit, judged, weights.steps, window=window)
    return [_hit(weights, episode, ratio, float(limit[episode.column]), seen) for episode in found]


def at_once(
    history: History,
    weights: Weights,
    scale: NDArray[np.float64],
    moving: Mask,
    limit: NDArray[np.float64],
    opening: int,
    seen: Progress | None,
) -> list[Hit]:
    """Updates over the smallest weights of late, or ``scale``, exceed ``limit`` in three of ``AT_ONCE`` records.

    Weights that are no longer finite right after such a step count as one more. ``moving``: records of a step at a
    learning rate above 0, shape (records, n); ``scale`` and ``limit``: shape (n,). ``opening``: steps that are large by
    construction under Adam and Adagrad.
    """
    jump = relative_to_before(weights, scale)
    leap = jump > limit
    broken = leap_into_nothing(history, weights, leap)
    found = episodes(leap | broken, moving | broken, weights.steps, window=AT_ONCE, share=0.6)
    opened = int(weights.steps[0]) + opening
    hits = []
    for episode in found:
        opens = not episode.active and episode.last_step < opened and not _blown_up(weights, episode)
        hits.append(_hit(weights, episode, jump, float(limit[episode.column]), seen, opens=opens))
    return hits


def outgrown(weights: Weights, scale: NDArray[np.float64], limit: float, seen: Progress | None) -> list[Hit]:
    """Steps above ``CARRYING`` made the weights ``limit`` times as large as at the start, and the loss is not learned.

    None are told where the loss is not known, or is a score that began below zero. ``scale``, shape (n,): the least
    that counts as the weights at the start.
    """
    if seen is None or seen.learned or not seen.start > 0:
        return []
    growth = np.asarray(weights.weight / np.fmax(weights.initial_rms, scale), np.float32)
    found = carried_away(weights, growth, limit, CARRYING)
    return [_outgrown(weights, episode, growth, limit, seen) for episode in found]


def _blown_up(weights: Weights, episode: Episode) -> bool:
    """Whether the steps left the weights more than ``GROWN`` times as large as they were."""
    during = weights.weight[episode.first : episode.last + 2, episode.column]
    return not float(np.nanmax(during)) <= GROWN * float(during[0])


def _alone(weights: Weights) -> bool:
    """Whether at most one matrix is trained that is no table to look up rows in."""
    return bool((~weights.sparse).sum() <= 1)


def _severity(
    value: float, limit: float, alone: bool, seen: Progress | None, *, goes_on: bool, opens: bool = False
) -> Severity:
    """``goes_on``: steps larger than the weights themselves are still made at the end.

    ``opens``: only the first steps were large, and they have not blown the weights up.
    """
    if alone and (seen is None or not (seen.diverged or seen.stuck)):
        return "info"
    if seen is not None and seen.learned:
        harmless = seen.fell_below(WELL_LEARNED) or value < NEAR * limit
        return "info" if harmless and not goes_on else "warning"
    if opens and seen is not None and seen.fell_below(STUCK):
        return "info"
    if value > 1 or (seen is not None and (seen.diverged or seen.stuck)):
        return "critical"
    return "warning"


def _hit(
    weights: Weights, episode: Episode, values: Floats, limit: float, seen: Progress | None, *, opens: bool = False
) -> Hit:
    name = weights.names[episode.column]
    value = worst(values, episode, "above")
    onset = float(values[episode.first, episode.column])
    lr, first, more = better_rate(weights, episode, onset)
    cause = f"Learning rate {short(lr)} gives updates" if np.isfinite(lr) else "The optimizer makes updates"
    outcome = ""
    if seen is not None and seen.learned:
        outcome = f" {seen.outcome} nonetheless."
    return hit(
        episode,
        name,
        severity=_severity(value, limit, _alone(weights), seen, goes_on=episode.active and value > 1, opens=opens),
        statistic="update_ratio",
        unit="per step",
        value=value,
        limit=limit,
        direction="above",
        healthy=UPDATE_RATIO_HEALTHY,
        message=f"{cause} of {short(onset)} of the weights' norm per step in `{name}` from step {episode.first_step}"
        f" (at most {short(value)}); 1e-3 is usual, {short(limit)} the limit.{outcome}",
        advice=(first, *ADVICE),
        more=more,
        rank=value,
    )


def _outgrown(weights: Weights, episode: Episode, growth: Floats, limit: float, seen: Progress) -> Hit:
    name = weights.names[episode.column]
    value = worst(growth, episode, "above")
    stretch = weights.ratio[episode.first : episode.last + 1, episode.column]
    usual = float(np.nanmedian(stretch[stretch > 0]))
    lr, first, more = better_rate(weights, episode, usual)
    by = f"at learning rate {short(lr)} " if np.isfinite(lr) else ""
    return hit(
        episode,
        name,
        severity="critical" if value > 2 * limit else _severity(0.0, limit, _alone(weights), seen, goes_on=False),
        statistic="weight_growth",
        unit="1",
        value=value,
        limit=limit,
        direction="above",
        healthy=(0.5, 3),
        message=f"Updates of {short(usual)} of the weights' norm per step {by}have made `{name}` {short(value)} times"
        " as large as it was, and the loss has not been learned; 1e-3 per step is usual.",
        advice=(first, *ADVICE),
        more=more,
        rank=value,
    )
