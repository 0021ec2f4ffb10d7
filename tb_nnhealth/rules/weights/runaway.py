"""Growth of weights and biases that goes on and on and brings nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run, Steps
from tb_nnhealth.rules.evidence.losses import criterion_loss, training_loss
from tb_nnhealth.rules.evidence.progress import Progress, progress
from tb_nnhealth.rules.evidence.tags import moving_target
from tb_nnhealth.rules.persistence import Episode, episodes

Mask = NDArray[np.bool_]
Sizes = NDArray[np.float64]

GAIN = 0.97
"""Share of the loss before below which growth has brought something."""
POINTS = 20
OPENING = 5
GOES_ON = 1.1
"""Growth in the second half of the time that shows that it has not come to rest."""
SET_IN = 1.1
"""Growth up to which it has not set in."""
HELD = 0.9


def keeps_growing(sizes: Sizes, window: int, factor: float) -> Mask:
    """Records by which ``sizes``, shape (records, n), grew ``factor``-fold within ``window``, half of it in each half.

    A jump grows in one half alone, and what settles grows less and less.
    """
    half = max(1, window // 2)
    grown = np.zeros(sizes.shape, bool)
    if len(sizes) > 2 * half:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            later, earlier = sizes[2 * half :] / sizes[half:-half], sizes[half:-half] / sizes[: -2 * half]
        grown[2 * half :] = (later >= np.sqrt(factor)) & (earlier >= np.sqrt(factor))
    return grown


def lasting(grown: Mask, judged: Mask, steps: Steps, window: int) -> list[Episode]:
    """Growth that held in ``HELD`` of ``window`` records, told from the record at which it set in."""
    found = []
    for episode in episodes(grown, judged, steps, window=window, share=HELD):
        first = max(0, episode.first - 2 * max(1, window // 2))
        found.append(replace(episode, first=first, first_step=int(steps[first])))
    return found


def without_bound(run: Run, history: History, sizes: Sizes, factor: float) -> list[Episode]:
    """Columns of ``sizes``, shape (records, n), that grow ``factor``-fold and on, as the loss falls without end.

    Such growth need not be exponential: where nothing bounds the objective, larger weights are a lower loss for ever.
    """
    curve = None if moving_target(run) else criterion_loss(history) or training_loss(run)
    values = curve.finite().values if curve is not None else np.empty(0)
    last = len(sizes) - 1
    if len(values) < 2 * POINTS or last < 2:
        return []
    if not _runs_off(values, float(np.median(values[:OPENING])), float(np.median(values[-POINTS:]))):
        return []
    half = int(np.searchsorted(history.steps, (history.steps[0] + history.steps[last]) / 2, "right")) - 1
    found = []
    for column in np.flatnonzero((sizes[last] >= factor * sizes[0]) & (sizes[last] >= GOES_ON * sizes[half])):
        grown = sizes[:, column] / sizes[0, column]
        fired = int(np.argmax(grown >= factor))
        first = int(np.flatnonzero(grown[: fired + 1] <= SET_IN)[-1])
        onset, told, end = (int(history.steps[i]) for i in (first, fired, last))
        found.append(Episode(int(column), onset, told, end, last - first + 1, True, first, fired, last))
    return found


def gained(run: Run, history: History, episode: Episode) -> bool | None:
    """Whether the loss fell while it grew; None where no loss tells. A loss that falls without end is no gain."""
    curve = None if moving_target(run) else criterion_loss(history) or training_loss(run)
    if curve is None:
        return None
    curve = curve.finite()
    first, last = np.searchsorted(curve.steps, (episode.first_step, episode.last_step))
    before, after = curve.values[max(0, first - POINTS) : first + 5], curve.values[max(0, last - POINTS) : last + 1]
    if not len(before) or not len(after):
        return None
    level, end = float(np.median(before)), float(np.median(after))
    if _runs_off(curve.values, level, end):
        return False
    return bool(end < level - (1 - GAIN) * abs(level))


def _runs_off(values: Sizes, level: float, end: float) -> bool:
    """Whether a loss has no lower bound: below zero, it falls faster and faster."""
    middle = float(np.median(values[len(values) // 2 - POINTS // 2 :][:POINTS]))
    return end < min(0.0, 2 * middle, -10 * abs(level)) and middle < 0


def severity(run: Run, history: History, episode: Episode) -> Severity | None:
    """None where the growth has brought a gain; information where nothing tells."""
    gain = gained(run, history, episode)
    if gain:
        return None
    seen = progress(run, history)
    if gain is None or seen is None:
        return "info"
    return "warning" if seen.now < 0 else _harm(seen)


def _harm(seen: Progress) -> Severity:
    if seen.learned:
        return "info"
    return "critical" if seen.diverged else "warning"
