"""Shares of the answers where a sample has many: pixels of a mask, tags of words, labels that may all be true."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Case, Hit, Ill
from tb_nnhealth.rules.data.batch_rows import is_integer, number, shape_of
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.evidence.losses import criterion_loss
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.wording import percent, short

RECORDS = 10
BINARY = ("BCEWithLogitsLoss", "BCELoss")
LATE = 20
LEARNED = 0.2
"""Share of ln 2 below which the loss shows that the one answer has been learned."""
PADDED, ALIKE, FEWEST_OF_TOKENS = 0.5, 0.2, 5
"""Share of one token from which it may be padding, how far its shares among targets and inputs may differ, and the
fewest records that tell.
"""


def of_elements(case: Case, limit: float) -> Ill | None:
    """For information: nearly all answers of the batches are the same one. None where they are not, or not known."""
    history = case.history
    if history is None or tags.moving_target(case.run):
        return None
    if not _many(history):
        return None
    if (padded := _padding(history)) is not None:
        return padded
    if (one := _one_answer(history)) is not None:
        return one
    share, what = _of_no(history) if history.layout.criterion.type in BINARY else _of_class(history)
    seen = np.flatnonzero(np.isfinite(share))
    if len(seen) < RECORDS or not limit < (most := float(np.median(share[seen]))) < 1:
        return None
    steps = history.steps[seen]
    told = f"{percent(most)} of all answers asked for are {what}: the loss is mostly of them."
    if _never_yes(history):
        told += " No element is ever answered with yes."
    return Ill(
        [
            Hit(
                subject="target",
                **lasting(steps, RECORDS - 1),
                severity="info",
                statistic="share of the most frequent answer",
                unit="share of elements",
                value=most,
                limit=limit,
                direction="above",
                message=told,
                advice=(
                    "Where it is padding, leave it out of the loss: ignore_index=, or a mask.",
                    "Weigh the rare answers: pos_weight=, weight=, a focal or Dice loss.",
                    "Judge by recall, or by the overlap of what is rare.",
                ),
            )
        ]
    )


def _padding(history: History) -> Ill | None:
    """For information: most tokens asked for are one and the same, which fills as much of the inputs."""
    asked, given = (number(history, schema.TOKENS, subject) for subject in ("common", "common_given"))
    seen = np.flatnonzero(np.isfinite(asked))
    if len(seen) < FEWEST_OF_TOKENS:
        return None
    most, too = float(np.median(asked[seen])), float(np.median(given[seen]))
    if not PADDED < most < 1 or abs(most - too) > ALIKE:
        return None
    steps = history.steps[seen]
    return Ill(
        [
            Hit(
                subject="target",
                first_step=int(steps[0]),
                fired_step=int(steps[FEWEST_OF_TOKENS - 1]),
                last_step=int(history.steps[-1]),
                count=len(steps),
                active=True,
                severity="info",
                statistic="share of the most frequent answer",
                unit="share of elements",
                value=most,
                limit=PADDED,
                direction="above",
                message=f"{percent(most)} of the tokens asked for are one and the same, as of those given: where it is "
                "padding, the loss is mostly of that.",
                advice=(
                    "Leave padding out of the loss: CrossEntropyLoss(ignore_index=…) with the padding's number.",
                    "Or put -100 in the place of the targets that are padding.",
                ),
            )
        ]
    )


def _one_answer(history: History) -> Ill | None:
    """For information: yes, or no, is asked for each time, and has been learned."""
    low, high = (number(history, schema.TARGET, "", name) for name in (schema.MIN, schema.MAX))
    seen = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    curve = criterion_loss(history)
    if history.layout.criterion.type not in BINARY or len(seen) < RECORDS or curve is None:
        return None
    answer, steps = float(low[seen[0]]), history.steps[seen]
    constant = answer in (0.0, 1.0) and bool((low[seen] == answer).all() and (high[seen] == answer).all())
    losses = curve.finite().values[-LATE:]
    if not constant or not len(losses) or not float(np.median(losses)) < LEARNED * math.log(2):
        return None
    return Ill(
        [
            Hit(
                subject="target",
                **lasting(steps, RECORDS - 1),
                severity="info",
                statistic="share of the most frequent answer",
                unit="share of elements",
                value=1.0,
                limit=1.0,
                direction="above",
                message=f"Every answer asked for is {'yes' if answer else 'no'}, in all {len(seen)} batches looked at,"
                f" and the loss is {short(float(np.median(losses)))}: nothing of the input is needed for it.",
                advice=(
                    "Look at how the labels are made: a comparison (>= for >), a filter, a column that is filled.",
                    "Where there are only examples of yes, draw others to tell them from (negative sampling).",
                    "The difference of two scores of which one should be higher is asked like that on purpose.",
                ),
            )
        ]
    )


def _many(history: History) -> bool:
    """Whether a sample has several answers, the tokens of a sequence laid end to end among them."""
    target, inputs = shape_of(history, schema.TARGET) or (), shape_of(history, schema.INPUT) or ()
    elements = math.prod(target)
    return len(target) > 1 or (is_integer(history, schema.TARGET) and len(inputs) > 1 and elements == math.prod(inputs))


def _of_no(history: History) -> tuple[NDArray[np.float64], str]:
    """Share of zeros in targets of 0 and 1, whose mean square is their mean; NaN for others."""
    mean, rms = (number(history, schema.TARGET, "", name) for name in (schema.MEAN, schema.RMS))
    binary = np.abs(rms**2 - mean) < 1e-3 * np.maximum(mean, 1e-6)
    return np.where(binary, 1 - mean, np.nan), "no"


def _of_class(history: History) -> tuple[NDArray[np.float64], str]:
    """Share of zeros in class indices: what pads a text or fills a mask is 0 by custom."""
    if not is_integer(history, schema.TARGET):
        return np.full(len(history), np.nan), ""
    return number(history, schema.TARGET, "", schema.ZERO_SHARE), "class 0"


def _never_yes(history: History) -> bool:
    """Whether the highest logit of each of the last records is below 0, though there was a yes among the targets."""
    if history.layout.criterion.type != "BCEWithLogitsLoss":
        return False
    highest, asked = (number(history, kind, "", schema.MAX)[-LATE:] for kind in (schema.PREDICTION, schema.TARGET))
    return bool(len(highest) and (highest < 0).all() and (asked == 1).all())
