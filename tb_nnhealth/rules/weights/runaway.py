"""Growth of weights and biases that goes on and on and brings nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run, Steps
from tb_nnhealth.rules.evidence.curves import blocks, smooth, trend
from tb_nnhealth.rules.evidence.losses import criterion_loss, training_loss
from tb_nnhealth.rules.evidence.progress import Progress, progress
from tb_nnhealth.rules.evidence.tags import moving_target
from tb_nnhealth.rules.persistence import Episode, episodes

Mask = NDArray[np.bool_]
Sizes = NDArray[np.float64]

GAIN = 0.97
"""Share of the loss before below which growth has brought something."""
POINTS, FEWEST = 20, 3
OPENING = 5
GOES_ON = 1.1
"""Growth in the second half of the time that shows that it has not come to rest."""
LEARNED = 0.8
"""Share of its start that the loss must have come below before it rises: a loss that never fell has another cause."""
SECOND_HALF, EACH_QUARTER = 1.5, 1.05
RECORDS = 12
BLOCKS, RISES = 100, 3.0
"""Mann-Kendall's z of so many medians from which a loss rises."""
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
    points = min(POINTS, len(values) // 4)
    if points < FEWEST or last < 2:
        return []
    if not _runs_off(values, float(np.median(values[: min(OPENING, points)])), float(np.median(values[-points:]))):
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


def swelling(run: Run, history: History, sizes: Sizes, factor: float) -> list[Episode]:
    """Columns of ``sizes``, shape (records, n), that grow on and on through the second half as the loss rises again.

    They are told from where the loss turned: what they grew before was of use. Such growth need not be exponential:
    under Adam a penalty of the wrong sign adds as much in each step. They must grow by ``SECOND_HALF`` there, by
    ``EACH_QUARTER`` in each quarter of it, and ``factor`` squared in all.
    """
    curve = None if moving_target(run) else training_loss(run) or criterion_loss(history)
    last = len(sizes) - 1
    if curve is None or last < RECORDS:
        return []
    curve = curve.finite().at_optimizer(run)
    first_step, last_step = int(history.steps[0]), int(history.steps[last])
    late = curve.values[curve.steps >= (first_step + last_step) / 2]
    if len(late) < POINTS or not trend(blocks(np.arange(len(late)), late, BLOCKS)[1]) > RISES:
        return []
    level = smooth(curve.values, max(5, len(curve) // 20))
    lowest = int(np.argmin(level))
    if not level[lowest] < LEARNED * float(np.median(curve.values[:OPENING])):
        return []
    turned = int(np.searchsorted(history.steps[: last + 1], curve.steps[lowest], "right")) - 1
    marks = first_step + (last_step - first_step) * np.array([0.5, 0.625, 0.75, 0.875, 1.0])
    at = np.searchsorted(history.steps[: last + 1], marks, "right") - 1
    if len(np.unique(at)) < len(at):
        return []
    on = (sizes[at[1:]] >= EACH_QUARTER * sizes[at[:-1]]).all(axis=0)
    found = []
    for column in np.flatnonzero(
        on & (sizes[last] >= SECOND_HALF * sizes[at[0]]) & (sizes[last] >= factor**2 * sizes[0])
    ):
        grown = sizes[:, column] / sizes[0, column]
        first = max(int(np.flatnonzero(grown <= SET_IN)[-1]), turned)
        fired = max(first, int(np.argmax(grown >= factor**2)))
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
    points = min(POINTS, max(1, len(values) // 4))
    middle = float(np.median(values[len(values) // 2 - points // 2 :][:points]))
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
