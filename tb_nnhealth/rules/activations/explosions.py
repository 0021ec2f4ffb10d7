"""Of several ways in which a layer's activations exceed a limit, the one that began first, as the finding on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.derive import ACTIVATION_STD_HEALTHY
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Floats, Steps
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.progress import Progress
from tb_nnhealth.rules.evidence.weights import Mask
from tb_nnhealth.rules.hits import hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.wording import short

FAR = 100.0
"""Times the limit from which an explosion is critical, whatever the loss does."""


@dataclass(frozen=True)
class Explosion:
    """One way: ``values``, standard deviations over what they are ``compared_with``, exceed ``limits``.

    ``values``, no unit, and ``ill``, which says where they do: shape (records, modules); ``limits``: shape (modules,).
    It counts in ``share`` of ``window`` records. ``harmful``: it made the first loss so large that it did harm, even
    where the loss has been learned since.
    """

    ill: Mask
    values: Floats
    limits: NDArray[np.float64]
    compared_with: str
    advice: tuple[str, ...]
    window: int = 5
    share: float = 0.6
    harmful: bool = False


def first_explosions(
    ways: Iterable[Explosion], names: Sequence[str], steps: Steps, measured: Mask, seen: Progress | None
) -> list[Hit]:
    """One hit for each module that explodes: the way that began first, of several the one furthest beyond its limit.

    ``names`` of the modules; ``measured``, shape (records, modules): where there is a standard deviation to judge;
    ``seen``: how far the loss has come, None where it is not known.
    """
    hits: dict[str, Hit] = {}
    for way in ways:
        for episode in episodes(way.ill, measured, steps, window=way.window, share=way.share):
            found = _hit(names[episode.column], episode, way, seen)
            earlier = hits.get(found.subject)
            if earlier is None or _order(found) > _order(earlier):
                hits[found.subject] = found
    return list(hits.values())


def _order(found: Hit) -> tuple[int, float]:
    return -found.first_step, found.value / found.limit


def _severity(excess: float, harmful: bool, seen: Progress | None) -> Severity:
    if seen is not None and seen.learned:
        return "warning" if harmful else "info"
    return "critical" if excess > FAR or (seen is not None and (seen.diverged or seen.stuck)) else "warning"


def _hit(name: str, episode: Episode, way: Explosion, seen: Progress | None) -> Hit:
    value, limit = worst(way.values, episode, "above"), float(way.limits[episode.column])
    return hit(
        episode,
        name,
        severity=_severity(value / limit, way.harmful, seen),
        statistic="activation_std",
        unit="1",
        value=value,
        limit=limit,
        direction="above",
        healthy=ACTIVATION_STD_HEALTHY,
        message=f"The standard deviation of `{name}` reaches {short(value)} times {way.compared_with}"
        f" from step {episode.first_step} on; the limit is {short(limit)}.",
        advice=way.advice,
        more={"compared_with": way.compared_with},
        rank=-float(episode.column),
    )
