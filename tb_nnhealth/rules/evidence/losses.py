"""The training loss of a run as a curve, from its scalars or else from the watched criterion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.phases import Phase
from tb_nnhealth.rules.evidence import curves, tags
from tb_nnhealth.rules.evidence.axes import optimizer_steps
from tb_nnhealth.rules.evidence.once import once

CRITERION = "loss"
"""Subject of a loss that no scalar tells."""
ENOUGH_POINTS = 40
"""A scalar with fewer points gives way to the criterion's record, where that is longer."""
FEWEST_MEANS = 10
"""Points of a scalar that may tell more than more records: means over an epoch scatter less than single batches."""
SAME_UNIT = 2.0
"""Times by which the two may differ at the end: a loss divided or weighted once more is in another unit."""
LATE = 0.8
"""Share of the run's steps from which its end is told."""
BEGINNING = 3
"""First points of a curve that tell where it began."""
NEEDS = 'log it: writer.add_scalar("loss/train", loss, step), or pass criterion= to watch()'


@dataclass(frozen=True)
class LossCurve:
    """``steps`` int64, ``walls`` (s) and ``values`` float64, all of shape (n,); values may be NaN or infinite."""

    subject: str
    steps: NDArray[np.int64]
    walls: NDArray[np.float64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def evened(self) -> LossCurve:
        """Points about as far apart as half of the run's are: records lie close together at its start.

        What is asked of shares of a run, of its opening or of its last half, then has nothing to do with the cadence.
        The first three points are kept as they are, for they tell where the loss began; one of each later interval.
        """
        if len(self) < 2 * BEGINNING:
            return self
        apart = np.sort(np.diff(self.steps))
        usual = int(apart[np.searchsorted(np.cumsum(apart), apart.sum() / 2)])
        interval = (self.steps - self.steps[0]) // max(usual, 1)
        keep = np.concatenate(([True], np.diff(interval) > 0))
        keep[:BEGINNING] = True
        return LossCurve(self.subject, self.steps[keep], self.walls[keep], self.values[keep])

    def at_optimizer(self, run: Run) -> LossCurve:
        """The same curve over the optimizer's steps, where its own count epochs, samples or tokens."""
        return LossCurve(self.subject, optimizer_steps(run, self.steps, self.walls), self.walls, self.values)

    def finite(self) -> LossCurve:
        keep = np.isfinite(self.values)
        return LossCurve(self.subject, self.steps[keep], self.walls[keep], self.values[keep])


@once
def training_loss(run: Run) -> LossCurve | None:
    """The loss that training lowers, or None where the log has none, or several and none of the whole."""
    scalar = scalar_loss(run, "train")
    if scalar is not None and len(scalar) >= ENOUGH_POINTS:
        return scalar
    recorded = [curve.evened() for history in run.watches.values() if (curve := criterion_loss(history)) is not None]
    if len(recorded) != 1 or (scalar is not None and _tells_more(scalar.finite(), recorded[0].finite())):
        return scalar
    if scalar is not None:
        return LossCurve(scalar.subject, recorded[0].steps, recorded[0].walls, recorded[0].values)
    return recorded[0]


def _tells_more(scalar: LossCurve, recorded: LossCurve) -> bool:
    """Whether the scalar tells the course more closely, as means over many steps do; of two units, the longer one does.

    Few points tell no noise.
    """
    if len(scalar) < FEWEST_MEANS or len(recorded) < FEWEST_MEANS:
        return len(scalar) >= len(recorded)
    ends = [abs(float(np.median(c.values[-max(3, len(c) // 5) :]))) for c in (scalar, recorded)]
    if not max(ends) < SAME_UNIT * min(ends):
        return len(scalar) >= len(recorded)
    errors = [curves.noise(c.values[len(c) // 3 :]) / np.sqrt(len(c)) for c in (scalar, recorded)]
    return bool(errors[0] < errors[1] or (errors[0] == errors[1] and len(scalar) >= len(recorded)))


@once
def in_another_unit(run: Run) -> bool:
    """Whether the training loss ends elsewhere than the watched criterion: a sum, a root, or more terms than that one.

    What an answer costs under the criterion then tells nothing of its level.
    """
    told = training_loss(run)
    recorded = [curve for history in run.watches.values() if (curve := criterion_loss(history)) is not None]
    if told is None or len(recorded) != 1:
        return False
    ends = []
    for curve in (told.at_optimizer(run).finite(), recorded[0].finite()):
        late = curve.values[curve.steps >= LATE * curve.steps[-1]] if len(curve) else curve.values
        if not len(late):
            return False
        ends.append(abs(float(np.median(late))))
    return not max(ends) < SAME_UNIT * min(ends) if max(ends) > 0 else False


@once
def scalar_loss(run: Run, phase: Phase) -> LossCurve | None:
    found = tags.main_loss(run, phase)
    if found is None:
        return None
    tag, series = found
    return LossCurve(tag, series.steps, series.walls, series.values)


@once
def comparable_validation(run: Run) -> LossCurve | None:
    """The validation loss in the unit of training's; None for sums over a batch, of whatever size it is."""
    summed = any(history.layout.criterion.reduction == "sum" for history in run.watches.values())
    return None if summed else scalar_loss(run, "val")


@once
def criterion_loss(history: History) -> LossCurve | None:
    """What the watched criterion returned, record by record; a record in which it was not called is left out."""
    statistics = (schema.MEAN, schema.NAN_COUNT, schema.INF_COUNT)
    value, nan, inf = (history.table(schema.LOSS, name).values for name in statistics)
    if not value.shape[1] or not len(history):
        return None
    values = value[:, 0].astype(np.float64)
    bad = np.nan_to_num(nan[:, 0]) + np.nan_to_num(inf[:, 0]) > 0
    seen = np.isfinite(values) | bad
    values = np.where(bad, np.where(np.nan_to_num(nan[:, 0]) > 0, np.nan, np.inf), values)
    if not seen.any():
        return None
    return LossCurve(CRITERION, history.steps[seen], history.walls[seen], values[seen])


@once
def learning_rate(run: Run) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Optimizer steps and the greatest learning rate of any group, from the first watch that recorded it.

    A scalar that was logged at more steps than there are records tells it more closely.
    """
    logged = [
        (optimizer_steps(run, series.steps, series.walls), series.values)
        for _, series in tags.series_of(run, "lr")
        if len(series)
    ]
    recorded = _recorded_rate(run)
    if logged and (recorded is None or len(logged[0][0]) > len(recorded[0])):
        return logged[0]
    return recorded


def _recorded_rate(run: Run) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    for history in run.watches.values():
        rates = history.table(schema.LEARNING_RATE, schema.MEAN)
        if len(rates) and len(rates.steps) and not np.isnan(rates.values).all():
            known = ~np.isnan(rates.values).all(axis=1)
            return rates.steps[known], np.nanmax(rates.values[known], axis=1).astype(np.float64)
    return None
