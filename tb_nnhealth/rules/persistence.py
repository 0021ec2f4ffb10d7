"""When a condition has held for long enough to be reported, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import Steps


@dataclass(frozen=True)
class Episode:
    """The time in which one subject was ill. ``column`` is its index in the table judged."""

    column: int
    first_step: int
    fired_step: int
    last_step: int
    count: int
    active: bool
    first: int
    """Index of the record at ``first_step``."""
    fired: int
    last: int


APART = 2
"""Times as many steps as a window has records after which fewer records tell as much."""
MOST = 0.75
"""Share of a window of few records that must be ill where half of a long one suffices."""


def window_of(steps: Steps, usual: int, least: int) -> int:
    """Records to be asked for in place of ``usual``, those of a run measured in every step; at least ``least``.

    A window outlasts an opening, and noise that hangs together: both count in steps. Where records lie apart, each
    is of other batches, and fewer of them span ``APART`` times ``usual`` steps. The usual distance is the median one.
    """
    if len(steps) < 2:
        return usual
    apart = max(1.0, float(np.median(np.diff(steps))))
    return int(min(usual, max(least, np.ceil(APART * usual / apart))))


def share_of(window: int, usual: int) -> float:
    """Share of ``window`` records that must be ill, where half of ``usual`` would do."""
    return 0.5 if window >= usual else MOST


def episodes(
    ill: NDArray[np.bool_],
    judged: NDArray[np.bool_],
    steps: Steps,
    *,
    window: int,
    share: float = 0.5,
) -> list[Episode]:
    """The episode of each column in which ``ill`` held for at least ``share`` of ``window`` judged records.

    ``ill`` and ``judged`` have the shape (records, subjects); a record that is not judged (missing,
    not applicable) counts neither way. Several episodes of one column are told as one, from the
    first onset to the last record that was ill in one of them. ``active`` says that the condition still
    holds over the last ``window`` judged records.
    """
    found: list[Episode] = []
    needed = max(1, int(np.ceil(share * window)))
    for column in np.flatnonzero((ill & judged).sum(axis=0) >= needed):
        at = np.flatnonzero(judged[:, column])
        if len(at) < window:
            continue
        bad = ill[at, column].astype(np.int64)
        total = np.concatenate(([0], np.cumsum(bad)))
        held = np.zeros(len(at), bool)
        held[window - 1 :] = (total[window:] - total[:-window]) >= needed
        if not held.any():
            continue
        fired = int(np.argmax(held))
        in_episode = bad.astype(bool) & _near(held, window)
        first = int(np.argmax(in_episode))
        last = int(len(in_episode) - 1 - np.argmax(in_episode[::-1]))
        found.append(
            Episode(
                column=int(column),
                first_step=int(steps[at[first]]),
                fired_step=int(steps[at[fired]]),
                last_step=int(steps[at[last]]),
                count=int(in_episode.sum()),
                active=bool(held[-1]),
                first=int(at[first]),
                fired=int(at[fired]),
                last=int(at[last]),
            )
        )
    return found


def since_last_well(
    episode: Episode, ill: NDArray[np.bool_], judged: NDArray[np.bool_], steps: Steps, well: int = 3
) -> Episode:
    """``episode`` told from the end of the last ``well`` judged records running that were not ill.

    For what counts only as it is now: an earlier time of the same, and gone since, is not where it began.
    """
    at = np.flatnonzero(judged[: episode.last + 1, episode.column])
    bad = ill[at, episode.column]
    good = np.flatnonzero(np.convolve(~bad, np.ones(well), "valid") == well)
    if not episode.active or not len(good) or not bad[good[-1] + well :].any():
        return episode
    later = at[good[-1] + well :][bad[good[-1] + well :]]
    if later[0] <= episode.first:
        return episode
    fired = max(int(later[0]), min(episode.last, int(later[0]) + episode.fired - episode.first))
    return replace(
        episode, first_step=int(steps[later[0]]), fired_step=int(steps[fired]), count=len(later), first=int(later[0]),
        fired=fired,
    )  # fmt: skip


def _near(held: NDArray[np.bool_], window: int) -> NDArray[np.bool_]:
    """Records that lie in the window of some record at which the condition was held."""
    at = np.flatnonzero(held)
    reach = np.zeros(len(held) + 1, np.int64)
    np.add.at(reach, np.maximum(0, at - window + 1), 1)
    np.add.at(reach, at + 1, -1)
    return np.cumsum(reach[:-1]) > 0
