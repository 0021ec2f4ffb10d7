"""What the best answer that is the same for every sample costs under the watched criterion.

The one place that knows it: rules that ask whether anything has been learned all measure by this.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.evidence.losses import criterion_loss
from tb_nnhealth.rules.evidence.once import once
from tb_nnhealth.rules.evidence.targets import Targets, targets_of, usual_square
from tb_nnhealth.rules.evidence.weights import aligned

CROSS_ENTROPIES = ("CrossEntropyLoss", "NLLLoss")
BINARY = ("BCEWithLogitsLoss", "BCELoss")
ABSOLUTE = ("L1Loss", "SmoothL1Loss", "HuberLoss")
BEGINS_AT_A_GUESS = (0.7, 2.0)
"""Shares of ln C between which the first values of a function of class indices tell a mean cross-entropy."""
OPENING = 5
NOTHING = 1e-9
"""Cost in nats, or variance of the targets over their mean square, up to which a constant answer costs nothing."""


@once
def constant_cost(history: History) -> float:
    """In the unit of the loss; NaN where it is not known, or nothing.

    Targets that are all alike ask for no answer: the residual of an equation is compared with zeros, the difference of
    two scores with ones, the first of many similarities is the one asked for. What such a loss costs an untrained
    network, they do not tell.

    Classes: the entropy of their shares among the labels seen, with the criterion's class weights and label smoothing;
    ln C for C classes where no shares were seen. Binary: that of the share of positives, or of the targets' mean; of
    targets with many places, that of the mean at each (``schema.PLACES``), as a mean image answers. For a mean squared
    error the variance of the targets, of those with many places about the mean at each; at most their standard
    deviation for absolute errors. A sum over the batch is so many times that. A function that is given class indices
    (``observe``) is taken for a mean cross-entropy where its first value is near that of a guess: a sum over the batch
    or another function of the same arguments begins elsewhere.
    """
    criterion: Any = history.layout.criterion
    if not criterion.type:
        return _guess_of_a_function(history, int(criterion.classes))
    if criterion.reduction not in ("", "mean", "sum"):
        return math.nan
    summed = criterion.reduction == "sum"
    times = _answers_in_a_batch(history) if summed else 1.0
    if criterion.type in CROSS_ENTROPIES:
        return times * _unless_nothing(_of_classes(history, summed=summed))
    if criterion.type in BINARY:
        return times * _unless_nothing(_of_two(history))
    targets = targets_of(history)
    if criterion.type not in ("MSELoss", *ABSOLUTE) or targets is None:
        return math.nan
    variance = targets.variance
    if not variance > NOTHING * (variance + float(np.square(targets.mean).mean())):
        return math.nan
    if criterion.type == "MSELoss":
        return times * min(variance, _about_places(history, targets))
    return times * _absolute(math.sqrt(variance), criterion.type)


def _about_places(history: History, targets: Targets) -> float:
    """Variance about a mean for each place of a sample, as the mean image's pixels; infinite where it is not known."""
    rows = history.rows(schema.TARGET)
    shape = tuple(history.layout.rows[rows[0]].shape) if rows else ()
    spread = aligned(history.table(schema.SPREAD, schema.MEAN), ("target",))[:, 0].astype(np.float64)
    spread = spread[np.isfinite(spread)]
    if not spread.size or shape[0] < 2 or math.prod(shape[1:]) < 2:
        return math.inf
    within = usual_square(spread) * float(shape[0] / (shape[0] - 1))  # of few samples, the mean is their own
    return within + targets.between


def _unless_nothing(entropy: float) -> float:
    return entropy if entropy > NOTHING else math.nan


def _of_classes(history: History, *, summed: bool) -> float:
    """Per sample. A mean is over the samples' weights, so that the weights are shares themselves."""
    criterion: Any = history.layout.criterion
    if criterion.classes < 2:
        return math.nan
    smoothing = float(criterion.label_smoothing)
    shares = class_shares(history, int(criterion.classes))
    weights = np.array(criterion.class_weights or [1.0] * len(shares))
    if not len(shares) or len(weights) != len(shares) or not np.isfinite(weights).all():
        weighted = summed and len(criterion.class_weights)
        return math.nan if weighted else math.log(criterion.classes)
    asked = weights * ((1 - smoothing) * shares + smoothing / len(shares))
    return _entropy(asked / (1.0 if summed else float((weights * shares).sum())))


def _of_two(history: History) -> float:
    """Per element, of a mean over elements."""
    weights = np.array(list(history.layout.criterion.class_weights) or [1.0, 1.0])
    shares = class_shares(history, 2)
    if not len(shares):
        targets = targets_of(history)
        mean = math.nan if targets is None else float(targets.mean.mean())
        shares = np.array([1 - mean, mean]) if 0 <= mean <= 1 else np.array([])
    if len(weights) != 2 or not np.isfinite(weights).all():
        return math.nan
    if not (weights == 1).all():
        return _entropy(weights * shares) if len(shares) else math.nan
    return float(np.fmin(_entropy(shares) if len(shares) else math.log(2), _at_places(history)))


def _at_places(history: History) -> float:
    """Per element, of an answer for each place; NaN where it was not measured."""
    told = aligned(history.table(schema.PLACES, schema.MEAN), ("target",))[:, 0]
    told = told[np.isfinite(told)]
    return float(told.mean(dtype=np.float64)) if told.size else math.nan


def class_shares(history: History, classes: int) -> NDArray[np.float64]:
    """Shares of the classes among the labels seen, shape (classes,) with sum 1; empty where they were not all told."""
    table = history.table(schema.CLASS, schema.MEAN)
    told = np.isfinite(table.values).any(axis=1)
    if not told.any() or not set(table.subjects) <= {str(index) for index in range(classes)}:
        return np.array([])
    shares = np.zeros(classes)
    shares[[int(subject) for subject in table.subjects]] = np.nan_to_num(table.values[told]).mean(axis=0)
    return shares / shares.sum() if 0.9 < shares.sum() < 1.1 else np.array([])


def _entropy(masses: NDArray[np.float64]) -> float:
    """Least of -Σ m log q over probabilities q, for masses m that need not sum to 1."""
    present = masses[masses > 0]
    return float(-(present * np.log(present / present.sum())).sum())


def _answers_in_a_batch(history: History) -> float:
    """How many terms a sum over a batch has; NaN where that is not known."""
    criterion: Any = history.layout.criterion
    if criterion.type in CROSS_ENTROPIES:
        counts = aligned(history.table(schema.LABELS, schema.MEAN), ("samples",))
        if np.isfinite(counts).any():
            return float(np.nanmedian(counts))
    rows = history.rows(schema.PREDICTION)
    if not rows:
        return math.nan
    elements = float(np.prod(history.layout.rows[rows[0]].shape, dtype=np.float64))
    return elements / criterion.classes if criterion.type in CROSS_ENTROPIES and criterion.classes else elements


def _absolute(std: float, criterion: str) -> float:
    """The most that the mean of targets of standard deviation ``std`` can cost under a loss that grows in proportion.

    Their distribution is not known: half of them at each end cost that much, normal ones a fifth less.
    """
    return std if criterion == "L1Loss" else 0.5 * std**2 if std < 1 else std - 0.5


def _guess_of_a_function(history: History, classes: int) -> float:
    """ln C where the observed loss begins there (``BEGINS_AT_A_GUESS``), else NaN."""
    curve = criterion_loss(history) if classes > 1 else None
    if curve is None:
        return math.nan
    opening = curve.values[:OPENING]
    opening = opening[np.isfinite(opening)]
    guess = math.log(classes)
    low, high = BEGINS_AT_A_GUESS
    return guess if opening.size and low * guess < float(np.median(opening)) < high * guess else math.nan
