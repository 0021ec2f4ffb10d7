"""Where a noisy loss leaps above the level it had reached, and comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.rules.evidence import curves

Mask = NDArray[np.bool_]

LONG = 100
"""Points of any kind from which the median of five stands for a point, so that a single wild batch is no spike."""
OPENING = 0.05
"""Share of the run in which the loss may first go up."""
BACK = 0.5
"""Share of the limit below which a spike is over."""
RESTLESS = 3.0
RESTLESS_SHARE = 0.02
RESTLESS_TIMES = 3
"""Where more points than this share lie a third of the way up, outside of every spike and its tail, and lie there at
more separate times than these, the noise itself has that reach."""

BEYOND_RATIOS = 6.0
"""Height of a spike of points that stand for themselves, as a ratio, in robust sigmas of the ratios from one point to
the next. Where each is the loss of a single batch, and the task nearly solved, a costly sample is a leap of decades."""
WILD = 30.0
"""Height of a single wild point, in robust sigmas of the points before it."""
FAR_ABOVE = 3.0
"""Height of a single wild point over what had been gained since the start."""
RARE = 0.02
BEFORE = 20
AFTER = 8
"""Points before a wild one that tell what was usual, and after it that tell whether it did harm."""
HARMED = 4.0


@dataclass(frozen=True)
class Spike:
    """Indices of the first and last point above the limit and of the highest; ``peak`` is the loss there.

    ``level``: what the loss had been brought down to before.
    """

    first: int
    last: int
    at: int
    peak: float
    level: float


@dataclass(frozen=True)
class Search:
    """``limit``: height above the level reached that makes a spike, in the loss's unit; ``highest``: met so far."""

    spikes: list[Spike]
    limit: float
    highest: float
    smoothed: curves.Values


def find(
    steps: NDArray[np.int64], values: curves.Values, start: float, sigmas: float, lost: float, *, means: bool = False
) -> Search:
    """Spikes of ``values``, float64 of shape (n,), that lose the share ``lost`` of the gain since ``start``.

    The height is taken above the lowest level so far, and must also exceed its own median by ``sigmas`` times its
    robust scatter (MAD). ``steps``, of the same shape, tell what the run's opening is: points may lie closer there.
    ``means``: a point stands for itself, as a mean over many batches does; should it be of one, its ratios will tell.
    """
    n = len(values)
    smoothed = curves.smooth(values, 1 if means else 5)
    level = np.minimum.accumulate(curves.smooth(values, 5))
    height = smoothed - level
    limit = float(np.median(height)) + sigmas * curves.sigma(height)
    gained = start - level
    needed = np.maximum(limit, lost * gained)
    above = (height > needed) & (gained > 0)
    above[:2] = False
    above &= steps >= steps[0] + OPENING * (steps[-1] - steps[0])
    spans = _spans(above, height < BACK * needed)
    inside = np.zeros(n, bool)
    spikes = []
    for first, last, back in spans:
        inside[first : back + 1] = True
        at = first + int(np.argmax(smoothed[first : last + 1]))
        spikes.append(Spike(first, last, at, float(smoothed[at]), float(level[max(0, first - 1)])))
    usual_ratio = _usual_ratio(values) if means else 0.0
    spikes = [
        spike
        for spike, span in zip(spikes, spans, strict=True)
        if span[2] < n and not _usual(spike, BEYOND_RATIOS * usual_ratio)
    ]
    least = min((spike.peak - spike.level for spike in spikes), default=np.inf)
    if spikes and _restless(height > least / RESTLESS, inside):
        spikes = []
    shares = np.divide(height, needed, out=np.zeros(n), where=(gained > 0) & (needed > 1e-300))
    highest = float(shares.max(initial=0.0))
    return Search(spikes, limit, highest, smoothed)


def wild_points(values: curves.Values, start: float) -> list[Spike]:
    """Rare single points far above ``start`` after which the loss is raised for a while; float64 of shape (n,).

    They stand for batches that did harm: where the loss is back at once, its distribution merely has a long tail.
    """
    found, wild, at = [], 0, max(BEFORE, int(OPENING * len(values)))
    while at < len(values) - AFTER:
        if values[at] <= start:  # as nearly all points: spares their medians
            at += 1
            continue
        before = values[at - BEFORE : at]
        level, scatter = float(np.median(before)), curves.sigma(before)
        least = level + max(WILD * scatter, FAR_ABOVE * max(start - level, 0.0))
        if not values[at] > max(least, start):
            at += 1
            continue
        low = np.flatnonzero(values[at:] < least)
        end = at + (int(low[0]) if low.size else len(values) - at)
        wild += end - at
        after = values[end : end + AFTER]
        error = curves.ERROR_OF_MEDIAN * scatter * (len(after) ** -0.5 + BEFORE**-0.5) if len(after) else np.inf
        if len(after) == AFTER and float(np.median(after)) - level > HARMED * error:
            back = np.flatnonzero(curves.smooth(values[end:], 5) < level + HARMED * error)
            peak = at + int(np.argmax(values[at:end]))
            if back.size:
                found.append(Spike(at, end + int(back[0]), peak, float(values[peak]), level))
        at = end + AFTER
    return found if wild <= RARE * len(values) + 1 else []


def _spans(above: Mask, back: Mask) -> list[tuple[int, int, int]]:
    """First and last point above, and the first at which the loss is back (n where it is not), for each spike."""
    n, found, i = len(above), [], 0
    starts = np.flatnonzero(above)
    while (rest := starts[starts >= i]).size:
        first = int(rest[0])
        returned = np.flatnonzero(back[first:])
        end = first + int(returned[0]) if returned.size else n
        last = first + int(np.flatnonzero(above[first:end])[-1])
        found.append((first, last, end))
        i = end
    return found


def _usual_ratio(values: curves.Values) -> float:
    """Robust scatter of a point's logarithm, by the differences from one to the next; 0 where not all are positive."""
    return curves.sigma(np.diff(np.log(values))) / math.sqrt(2) if (values > 0).all() else 0.0


def _usual(spike: Spike, ratio: float) -> bool:
    """Whether ``spike`` rises by no more than ``ratio``, a logarithm."""
    return spike.level > 0 and math.log(spike.peak / spike.level) <= ratio


def _restless(up: Mask, inside: Mask) -> bool:
    """Whether the loss is ``up`` often and at many times apart from spikes (``inside``) and what adjoins them."""
    n = len(up)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], up, [False])).astype(np.int8)))
    apart = [
        (a, b)
        for a, b in zip(edges[::2], edges[1::2], strict=True)
        if a >= n // 10 and not inside[max(0, a - 1) : b + 1].any()
    ]
    outside = n - n // 10 - int(inside[n // 10 :].sum())
    return len(apart) > RESTLESS_TIMES and sum(b - a for a, b in apart) > RESTLESS_SHARE * max(1, outside)
