"""Which steps are measured, so that the cost stays within the budget."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median

OPENING = 10
"""First steps, measured one and all where the cadence is ours to choose."""
CLOSE_RECORDS, CLOSE_STEPS = 64, 8
"""Records in the beginning that look at the batch closely, one and all; and how many steps later ones lie apart."""
_LEAST_HISTOGRAM_EVERY, _MOST_HISTOGRAM_EVERY = 10, 100
_HISTOGRAM_SHARE = 0.25
"""What histograms may cost on average, as a share of what the statistics do."""
GRACE, MOST_GRACE = 0.25, 1.0
"""Seconds of measuring that any run may cost: a short one would otherwise end before it was looked at. Of processor
time, so that on a machine that others keep busy a run is looked at no less than on one of its own. A longer run pays
them back: while it stands above its budget, measuring is planned for ``_REPAYING`` of it."""
GRACE_RECORDS = 40
"""Where so many records take longer, the grace is as long as they take, at most ``MOST_GRACE``."""
_GRACE_SPACING = 40
"""Within the grace a step is measured whenever the run has grown by one part in this."""
_GRACE_REACH = 100
"""What is left of the grace is made to last until the run is this many times as long: where measuring is slow, the
opening would otherwise use all of it."""
_RESERVE = 0.5
"""Share of the budget that is planned for. The rest is for what our clocks do not see, the caches that a training finds
cold in a measured step and behind it (a fifth of what measuring took, up to as much again), and for what nobody
foresees."""
_REPAYING = 0.25
_SPIKE = 5
"""A step that takes this many times what is usual for its kind was held up by something else (a garbage collection,
page faults, another process, a validation): the excess is not reckoned as ours, nor as the training's."""
_SPIKE_KNOWN = 3
_MOST_EVERY = 1_000_000


class Cadence:
    """Counts steps and chooses those to measure.

    ``spend`` takes the time that our own hooks used in the current step; ``end`` closes the step; ``background`` tells
    what other threads have used for us, which is laid on the records evenly. The bare step
    time is the median over recent steps of their wall time less ours, so that a pause (a validation, a checkpoint)
    does not move it; what a record costs is a median as well. A run may cost the greater of ``budget`` and of the
    grace. With ``asynchronous``, where
    hooks only queue work for a device, the cost is at least what measured steps take longer than others. With
    ``aligned`` the steps from one to the next are a power of two and count from zero, so that of two cadences the
    quicker one measures every step that the slower one does.
    """

    def __init__(self, every: int | None, budget: float, *, asynchronous: bool = False, aligned: bool = False) -> None:
        self._given, self._budget, self._asynchronous = every, budget, asynchronous
        self._aligned = aligned
        self.every = every or 1
        self.histogram_every = _LEAST_HISTOGRAM_EVERY
        self.index = 0
        """Steps ended so far: the number of the current step."""
        self.bare = 0.0
        """Seconds that a step takes without us; 0 while unknown. Known anew after each measured step."""
        self.cost = 0.0
        """Seconds that measuring one step takes, histograms aside; 0 while unknown."""
        self._spent = self._total_spent = self._background = 0.0
        self._grace_used = 0.0
        self.trained = 0.0
        """Seconds of the run, ours and pauses aside."""
        self._last_end: float | None = None
        self._last_busy: float | None = None
        self._bare: deque[float] = deque(maxlen=65)
        self._bare_beside: deque[float] = deque(maxlen=65)
        self._costs: deque[float] = deque(maxlen=9)
        self._walls: deque[float] = deque(maxlen=9)
        self._histogram_costs: deque[float] = deque(maxlen=5)
        self._usual = self._usual_counted = math.inf
        """Seconds that our hooks use in a measured step without histograms, and in one with them; inf while unknown."""
        self._records = 0
        self._measuring = self._average = math.inf
        """Seconds that a record takes with its share of the histograms; and with its share of the background work."""
        self._next = 0
        self._next_histogram = 0
        self._next_close = 0

    @property
    def measured(self) -> bool:
        """Whether the current step is measured."""
        if self._given is not None:
            return self.index % self._given == 0
        return self.index < OPENING or self.index >= self._next

    @property
    def counted(self) -> bool:
        """Whether the current step, if measured, also takes histograms."""
        return self._records >= self._next_histogram

    @property
    def close(self) -> bool:
        """Whether the current step, if measured, is looked at closely: what changes slowly is recorded as well."""
        return self._records < CLOSE_RECORDS or self.index >= self._next_close

    def spend(self, seconds: float) -> None:
        self._spent += seconds

    def background(self, seconds: float) -> None:
        """``seconds`` in all that the writer's thread has worked for us: it holds the interpreter's lock meanwhile."""
        self._background = seconds

    def interrupt(self) -> None:
        """The time since the last step says nothing: the capture was paused."""
        self._last_end = None
        self._spent = 0.0

    def end(self, now: float, *, measured: bool, busy: float | None = None) -> None:
        """Closes the current step at the time ``now`` (seconds, any origin) and moves on to the next.

        ``busy``: processor time of this thread so far; without it the thread counts as never kept waiting.
        """
        counted = self.counted
        wall = None if self._last_end is None else now - self._last_end
        own = self._without_spike(measured, counted)
        self._grace_used += own * self._share_on_processor(wall, busy)
        self._last_end, self._last_busy = now, busy
        self._total_spent += own
        if wall is not None:
            bare = max(0.0, wall - self._spent)
            (self._bare_beside if measured else self._bare).append(bare)
            self.trained += min(bare, _SPIKE * self.bare) if self.bare > 0 else bare
        if measured:
            self._measured(wall, counted)
        self._spent = 0.0
        self.index += 1

    def _share_on_processor(self, wall: float | None, busy: float | None) -> float:
        """Of the step's time the share in which this thread ran; 1 while unknown, and beside a device."""
        if self._asynchronous or not wall or busy is None or self._last_busy is None:
            return 1.0
        return min(1.0, max(0.0, (busy - self._last_busy) / wall))

    def _without_spike(self, measured: bool, counted: bool) -> float:
        """What our hooks used in the current step, as far as it can be ours."""
        usual = self._usual_counted if measured and counted else self._usual
        return usual if self._spent > _SPIKE * usual else self._spent

    def _measured(self, wall: float | None, counted: bool) -> None:
        if self._records:  # the first record reads the model's structure as well, which happens once
            if counted:
                self._histogram_costs.append(self._spent)
                self._usual_counted = _usual(self._histogram_costs)
            else:
                self._costs.append(self._spent)
                self._usual = _usual(self._costs)
                if wall is not None:
                    self._walls.append(wall)
        if self.close:
            self._next_close = self.index + CLOSE_STEPS
        self._records += 1
        if counted:
            self._next_histogram = self._records - 1 + self.histogram_every
        self.bare = self._bare_time()
        if self._costs:
            self.cost = self._cost_of_a_record()
            self._choose()
        interval = self.interval
        self._next = (self.index // interval + 1) * interval if self._aligned else self.index + interval

    def _choose(self) -> None:
        cost = self.cost
        extra = max(0.0, _median(self._histogram_costs, 3 * cost) - cost)
        wanted = math.ceil(extra / (_HISTOGRAM_SHARE * cost)) if cost > 0 else 0
        self.histogram_every = min(max(wanted, _LEAST_HISTOGRAM_EVERY), _MOST_HISTOGRAM_EVERY)
        self._measuring = cost + extra / self.histogram_every
        self._average = self._measuring + self._background / max(self._records, OPENING)
        if self._given is None and self.bare > 0:
            least = 2 if self._asynchronous else 1  # without steps to compare with, a device's cost would stay unseen
            planned = (_REPAYING if self.overhead > self._budget else _RESERVE) * self._budget
            wanted = math.ceil(self._average / (planned * self.bare))
            self.every = self._step_between(min(max(least, wanted), _MOST_EVERY))

    @property
    def grace(self) -> float:
        """Seconds of processor time that this run may cost, whatever its length."""
        return min(max(GRACE, GRACE_RECORDS * self._measuring), MOST_GRACE)

    @property
    def interval(self) -> int:
        """Steps from this measured one to the next: ``every``, or fewer while the run has cost less than the grace."""
        average = self._measuring * (self._grace_used / self._total_spent if self._total_spent else 1.0)
        left = self.grace - self._grace_used
        if self._given is None and average <= left:
            growth = _GRACE_REACH ** (average / left) - 1
            least = max(2 if self._asynchronous else 1, int(self.index * max(growth, 1 / _GRACE_SPACING)))
            return min(self.every, self._step_between(least))
        return self.every

    def _step_between(self, wanted: int) -> int:
        """``wanted``, or the next power of two where steps are to be aligned."""
        return 1 << (wanted - 1).bit_length() if self._aligned and self._given is None else wanted

    def _bare_time(self) -> float:
        return _median(self._bare if len(self._bare) >= 5 else [*self._bare, *self._bare_beside], 0.0)

    def _cost_of_a_record(self) -> float:
        own = _median(self._costs, 0.0)
        if self._asynchronous and len(self._walls) >= 5 and len(self._bare) >= 5:
            return max(own, _median(self._walls, 0.0) - self.bare)
        return own

    @property
    def overhead(self) -> float:
        """What capture has cost so far as a share of the time that the run took without it; 0 while unknown."""
        if self.trained <= 0:
            return 0.0
        in_steps = max(self._total_spent, self.cost * self._records if self._asynchronous else 0.0)
        return (in_steps + self._background) / self.trained

    @property
    def reason(self) -> str:
        """Why this cadence, one sentence."""
        if self._given is not None:
            return f"every={self._given} was given."
        if self.index < OPENING or not self._costs or self.bare <= 0:
            return f"The first {OPENING} steps are always measured."
        told = (
            f"Measuring a step takes {1000 * self._average:.2f} ms and a bare step {1000 * self.bare:.2f} ms, "
            f"so one step in {self.every} is measured to stay within {self._budget:.1%}"
        )
        if self.interval < self.every:
            told += f"; more often until measuring has cost {self.grace:.2g} s"
        elif self.overhead > self._budget and self.every > 1:
            told += f"; for now that is about a quarter as often, because the run has cost {self.overhead:.1%} so far"
        return f"{told}; histograms come with one record in {self.histogram_every}."


def _usual(costs: Sequence[float]) -> float:
    return median(costs) if len(costs) >= _SPIKE_KNOWN else math.inf


def _median(values: Iterable[float], otherwise: float) -> float:
    known = list(values)
    return median(known) if known else otherwise
