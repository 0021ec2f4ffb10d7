"""How far the training loss has come, for rules that ask whether an oddity does harm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.evidence.constant_answer import constant_cost
from tb_nnhealth.rules.evidence.losses import LossCurve, criterion_loss, training_loss
from tb_nnhealth.rules.evidence.once import once
from tb_nnhealth.rules.evidence.rewards import Gain, earned
from tb_nnhealth.rules.evidence.tags import moving_target
from tb_nnhealth.rules.evidence.weights import weights_of
from tb_nnhealth.rules.wording import short

OPENING = 5
CLOSING = 20
CLOSING_SHARE = 0.2
FEWEST_CLOSING = 5
LEARNED = 0.5
"""A loss below this share of where it began, or of what a constant answer would cost, has been learned from."""
LEAP = 2.0
STUCK = 0.97
UNLEARNED = 0.95
"""Share of a constant answer's cost above which few points tell that nothing was learned."""
ENOUGH = 30
FEWEST_MEANS, STEPS_OF_MEANS = 8, 100
VERY_SURE = 6.0
"""First loss over a constant answer's cost from which large answers have done harm, however soon it was repaired."""
FEWEST_CLASSES = 5
AT_A_GUESS = 0.05
"""Distance from ln C, relative, within which a loss begins at a guess among C classes."""
SAME = 0.05
"""Median difference, relative, up to which a scalar tells the criterion's own loss."""


@dataclass(frozen=True)
class Progress:
    """``start`` and ``now``: medians of the first and the last points (see ``_start``); ``points``: how many there are.

    ``naive``: what the best constant answer would cost, NaN where unknown; ``finite``: share of the last points
    that are finite. ``taken``: steps of the optimizer from the first point to the last. ``gain``: the reward that has
    risen, where the loss's own level tells nothing; the numbers of the loss are NaN then.
    """

    start: float
    now: float
    points: int
    naive: float
    finite: float
    taken: int = 0
    gain: Gain | None = None

    @property
    def enough(self) -> bool:
        """Whether there are points enough, or few that are means over many steps, as those of epochs are."""
        return self.points >= ENOUGH or (self.points >= FEWEST_MEANS and self.taken >= STEPS_OF_MEANS)

    @property
    def learned(self) -> bool:
        """The loss has fallen so far that whatever was odd has not stopped the network from learning."""
        return self.fell_below(LEARNED)

    def fell_below(self, share: float) -> bool:
        """The loss is less than ``share`` of where it began, and of what a constant answer costs; or rewards rose."""
        if self.gain is not None:
            return True
        floor = self.start if math.isnan(self.naive) else min(self.start, self.naive)
        return self.finite > 0.9 and floor > 0 and self.enough and self.now < share * floor

    @property
    def stuck(self) -> bool:
        """The loss stands where it began, or above, and a constant answer would cost no more.

        Fewer points tell it too, where they span many steps and a constant answer's cost is known.
        """
        high = math.isnan(self.naive) or self.now > 0.8 * self.naive
        told = self.points >= ENOUGH or (self.enough and self.now > UNLEARNED * self.naive)
        return told and self.start > 0 and high and not self.now < STUCK * self.start

    @property
    def diverged(self) -> bool:
        return self.finite < 0.5 or (self.start > 0 and self.now > 2 * self.start)

    @property
    def outcome(self) -> str:
        """What has been learned, a sentence without its end."""
        if self.gain is not None:
            return f"`{self.gain.tag}` has risen from {short(self.gain.first)} to {short(self.gain.last)}"
        return f"The loss has fallen from {short(self.start)} to {short(self.now)}"

    @property
    def fine_tuning(self) -> bool:
        """The loss began well below that of a constant answer: the weights had been trained before."""
        return self.start < LEARNED * self.naive


@once
def progress(run: Run, history: History) -> Progress | None:
    """The progress of the loss that goes with ``history``; None where none was logged, or its level tells nothing.

    Where the loss moves with the policy, rewards that have risen tell that the network learns.
    """
    if moving_target(run):
        gain = earned(run)
        return None if gain is None else Progress(math.nan, math.nan, 0, math.nan, 1.0, gain=gain)
    curve = _longer(criterion_loss(history), training_loss(run))
    if curve is None or not len(curve):
        return None
    finite = np.isfinite(curve.values)
    if not finite.any():
        return Progress(math.nan, math.nan, len(curve), naive_of(run, history), 0.0)
    values = curve.values[finite]
    return Progress(
        start=_start(values),
        now=float(np.median(values[-_closing(curve.steps[finite]) :])),
        points=len(values),
        naive=naive_of(run, history),
        finite=float(finite[-_closing(curve.steps) :].mean()),
        taken=int(np.ptp(curve.at_optimizer(run).steps)),
    )


def untold(run: Run, come: Progress | None) -> bool:
    """Whether nothing tells yet if the network learns: the loss moves with a policy or an opponent, no reward rose.

    Networks of agents and critics that learn well have many silent and saturated units (Sokar et al. 2023).
    """
    return come is None and bool(moving_target(run))


def _closing(steps: NDArray[np.int64]) -> int:
    """How many points are the last: at most ``CLOSING``, and of the last ``CLOSING_SHARE`` of the steps.

    Sparse records reach far back.
    """
    late = int((steps >= steps[-1] - CLOSING_SHARE * (steps[-1] - steps[0])).sum())
    return min(CLOSING, max(FEWEST_CLOSING, late))


def _longer(recorded: LossCurve | None, logged: LossCurve | None) -> LossCurve | None:
    """The criterion's own record, or the scalar that was logged where the record is too short to tell.

    Records lie close together at the start: the last of them may be early ones. A longer scalar that tells the same
    loss is therefore preferred.
    """
    if recorded is None or logged is None:
        return logged if recorded is None else recorded
    short = len(recorded) < ENOUGH <= len(logged)
    return logged if short or (len(logged) > len(recorded) and _same(recorded, logged)) else recorded


def _same(recorded: LossCurve, logged: LossCurve) -> bool:
    """Whether both tell the same numbers at the steps that they share."""
    _, a, b = np.intersect1d(recorded.steps, logged.steps, return_indices=True)
    with np.errstate(invalid="ignore"):
        apart = np.abs(recorded.values[a] - logged.values[b]) / np.abs(recorded.values[a])
    apart = apart[np.isfinite(apart)]
    return len(apart) >= OPENING and float(np.median(apart)) < SAME


def _start(values: NDArray[np.float64]) -> float:
    """The median of the first points; the very first where the next have leapt far above it: no way to begin.

    Of few points, such as means over epochs, fewer are the opening: the loss falls far within five of them.
    """
    opening = float(np.median(values[: max(1, min(OPENING, len(values) // FEWEST_MEANS))]))
    return float(values[0]) if opening > LEAP * values[0] > 0 else opening


def first_loss_above(history: History) -> float:
    """The first loss over what a constant answer costs; NaN where either is not known, or that answer costs nothing."""
    curve, cost = criterion_loss(history), constant_cost(history)
    return float(curve.values[0]) / cost if curve is not None and cost > 0 else math.nan


@once
def naive_of(run: Run, history: History) -> float:
    """``constant_cost``; where no criterion tells it, ln C if the logged loss begins there, C the outputs' width."""
    known = constant_cost(history)
    if not math.isnan(known) or history.layout.criterion.type or len(run.watches) > 1:
        return known
    curve, width = training_loss(run), _output_width(history)
    if curve is None or width < FEWEST_CLASSES:
        return math.nan
    first = float(np.median(curve.values[:OPENING]))
    return math.log(width) if abs(first / math.log(width) - 1) < AT_A_GUESS else math.nan


def _output_width(history: History) -> int:
    """Units of the last trained weight matrix in forward order, 0 where there is none."""
    matrices = weights_of(history).matrices_in_depth()
    return int(matrices.parameters[-1].shape[0]) if matrices.names else 0


def _guess_of_order_one(history: History) -> float:
    """What the first answers cost under a mean squared error, where that is no more than their own scale of about one.

    Networks of default initialization answer with numbers of order one: targets of a hundredth cost them a hundred
    times their variance at first, and gradients in proportion to that are no cliff. 0 for other criteria.
    """
    curve = criterion_loss(history) if history.layout.criterion.type == "MSELoss" else None
    if curve is None:
        return 0.0
    opening = curve.values[:OPENING]
    opening = opening[np.isfinite(opening)]
    return min(1.0, float(np.median(opening))) if opening.size else 0.0


def loss_scale(run: Run, history: History) -> tuple[float, bool]:
    """What counts as a large change of the loss, and whether it is the cost of a constant answer.

    That of the first answers counts where the targets are far smaller than they, and the greatest finite loss so far
    where the targets move. Where no constant answer is known that loss stands in; NaN where there is none, or one that
    opponents or an environment move.
    """
    naive, moving = constant_cost(history), bool(moving_target(run))
    curve = criterion_loss(history) or training_loss(run)
    finite = np.zeros(0) if curve is None else np.abs(curve.values[np.isfinite(curve.values)])
    greatest = float(np.max(finite, initial=0.0))
    if not math.isnan(naive):
        return max(naive, _guess_of_order_one(history), greatest if moving else 0.0), True
    return (math.nan if moving or not greatest else greatest), False
