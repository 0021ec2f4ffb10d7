"""Where the learning rate was lowered for good, and what the loss did before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tb_nnhealth.rules.evidence import curves
from tb_nnhealth.rules.loss.stretches import Line, line

FEWEST = 8
"""Points that a stretch before or after needs."""
AT_ONCE = 0.02
"""Share of the run within which a fall of the rate is a step of its schedule."""


@dataclass(frozen=True)
class Drop:
    """``at``: index of the first point at the lower rate; ``high``, ``low``: the rates on both sides.

    ``earlier``, ``before`` and ``after``: lines through stretches of equal length, one after the other, of which the
    last begins at ``at``; ``length``: their points. ``expected``: the fall that the last would have had at the mean
    rate of the other two, had the fall per unit of learning rate gone on shrinking as before; 0 where there was none.
    """

    at: int
    high: float
    low: float
    earlier: Line
    before: Line
    after: Line
    length: int
    expected: float


def drops(values: curves.Values, rates: curves.Values, factor: float) -> list[Drop]:
    """The drops of ``rates`` by ``factor`` or more that are never taken back; both float64 of shape (n,).

    A drop is a step of a schedule, or, where there is none, the point where a slow decay has come to the square of
    ``factor`` below the greatest rate.
    """
    n = len(values)
    if not np.isfinite(rates).all() or not (rates > 0).any():
        return []
    width = max(1, int(AT_ONCE * n))
    highest_after = np.maximum.accumulate(rates[::-1])[::-1]
    found = []
    i = width
    while i < n:
        if rates[i - width] > 0 and highest_after[i] * factor <= rates[i - width]:
            at = i - width + int(np.argmax(rates[i - width : i + 1] * factor <= rates[i - width]))
            found.append((at, float(rates[i - width]), float(highest_after[at])))
            i = at + 2 * width
        i += 1
    greatest = float(rates.max())
    low = np.flatnonzero(highest_after * factor**2 <= greatest)
    if not found and low.size and low[0] > 0:
        found = [(int(low[0]), greatest, float(rates[low[0]]))]
    return [drop for at, high, low_ in found if (drop := _drop(values, rates, at, high, low_)) is not None]


def _drop(values: curves.Values, rates: curves.Values, at: int, high: float, low: float) -> Drop | None:
    length = min(at // 2, len(values) - at)
    if length < FEWEST:
        return None
    second, third = slice(at - length, at), slice(at, at + length)
    first = slice(at - 2 * length, at - length)
    earlier, before = line(values[first]), line(values[second])
    rate_earlier, rate_before = float(rates[first].mean()), float(rates[second].mean())
    expected = 0.0
    if before.surely_falls and rate_before > 0:
        speed, was = before.fall / rate_before, earlier.fall / max(rate_earlier, 1e-300)
        shrinking = min(1.0, speed / was) if was > 0 else 1.0
        expected = speed * shrinking * (rate_earlier + rate_before) / 2
    return Drop(at, high, low, earlier, before, line(values[third]), length, expected)
