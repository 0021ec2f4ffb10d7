"""Stretches in which an optimizer steps and not one parameter of the model has a gradient.

Three ways lead there: the gradients are cleared between ``backward()`` and ``step()``; ``backward()`` is not called;
or all parameters were frozen, or cut off from the loss, and stayed so. In each of them the weights stand still: a
gradient that is applied where it is not measured is not missing.

``arrived``, of shape (records, parameters), says throughout where a parameter had a finite gradient above 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, History, Run
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.evidence.weights import Mask, Weights, aligned
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode

FEWEST_RECORDS, LONG = 3, 20
"""Records and steps that suffice where all parameters are without: sparse records span many steps."""
ROUNDING = 1e-6
"""Relative difference up to which two measurements of the same weights may part."""


def cleared(run: Run, history: History, weights: Weights, arrived: Mask, records: int) -> Hit | None:
    """Up to the newest record, gradients reach the outputs of modules that hold parameters, and no parameter.

    For at least ``records`` records, or ``FEWEST_RECORDS`` over ``LONG`` steps.
    """
    stretch = _reached_in_vain(history, weights, arrived, records)
    if stretch is None:
        return None
    seen = progress(run, history)
    zero = bool(np.isfinite(weights.gradient[stretch.fired]).any())
    given = not zero and stretch.first == 0 and bool(np.isfinite(weights.weight).all())  # NaN takes gradients later
    return _hit(stretch, records, zero=zero, learned=seen is not None and seen.learned, given=given)


def without_backward(history: History, weights: Weights, arrived: Mask, records: int) -> Hit | None:
    """In the whole log the optimizer steps at a rate above 0, and no parameter ever has a gradient or moves."""
    seen = np.isfinite(history.table(schema.GRADIENT, schema.NAN_COUNT).values).any()
    rates = history.table(schema.LEARNING_RATE, schema.MEAN).values  # told where an optimizer steps
    still = not _moves(weights.weight).any()
    if arrived.any() or seen or not still or not np.isfinite(rates).any() or (weights.lr == 0).all():
        return None
    stretch = _stretch(weights, 0, records - 1)
    return replace(
        _hit(stretch, records, given=True),
        message=f"In {stretch.count} records the optimizer stepped, and no parameter had a gradient or changed:"
        " backward() is not called on this model's loss before step(), or what it found is cleared before.",
        advice=(
            "Call loss.backward() between zero_grad() and step(), in this order.",
            "Take the loss as the criterion returns it: .item(), .detach() and torch.tensor(...) cut it off.",
            "Check that the model given to the optimizer is the one that backward() goes through.",
        ),
    )


def left_frozen(history: History, weights: Weights, arrived: Mask, records: int) -> Hit | None:
    """Parameters had gradients, and none has any more, though the optimizer goes on stepping at a rate above 0.

    None where there was no gradient before, the stretch since has no more than ``LONG`` records, a weight moves in it,
    or gradients of exactly zero are still measured: those are ``cleared``, if anything.
    """
    some = np.flatnonzero(arrived.any(axis=1))
    if not some.size or len(arrived) - some[-1] <= LONG:
        return None
    first = int(some[-1]) + 1
    rates = history.table(schema.LEARNING_RATE, schema.MEAN).values[first:]
    absent = not np.isfinite(weights.gradient[first:]).any()
    stepping = np.isfinite(rates).any(axis=1).mean(dtype=np.float64) > 0.5 if rates.shape[1] else False
    if _moves(weights.weight[first:]).any() or not absent or not stepping or (rates == 0).all():
        return None
    stretch = _stretch(weights, first, first + LONG - 1)
    return replace(
        _hit(stretch, records),
        message=f"From step {stretch.first_step:,} on no parameter has a gradient, though the optimizer goes on"
        " stepping: they were frozen, or cut off from the loss, and nobody has taken that back.",
        advice=(
            "Look for requires_grad_(False) without its way back: call requires_grad_(True) before these steps.",
            "Look for no_grad() or eval-only code that is entered and not left.",
        ),
    )


def _reached_in_vain(history: History, weights: Weights, arrived: Mask, records: int) -> Episode | None:
    modules = list(dict.fromkeys(p.module for p in weights.parameters))
    outputs = aligned(history.table(schema.ACTIVATION_GRADIENT, schema.RMS), modules)
    reached = (np.nan_to_num(outputs) > 0).any(axis=1)
    still = np.concatenate(([True], ~_moves(weights.weight).any(axis=1)))
    off = (weights.lr == 0).all(axis=1)
    lost = reached & ~arrived.any(axis=1) & ~off
    lost[1:] &= still[1:] | ~lost[:-1]
    first = len(lost) - int(np.argmin(lost[::-1])) if not lost.all() else 0
    steps = weights.steps
    count = len(lost) - first
    if count < records and (count < FEWEST_RECORDS or steps[-1] - steps[first] < LONG):
        return None
    return _stretch(weights, first, first + min(records, count) - 1)


def _moves(weight: Floats) -> Mask:
    """Which weights changed from record to record by more than ``ROUNDING``, shape (records - 1, n)."""
    return np.asarray(np.abs(np.diff(weight, axis=0)) > ROUNDING * weight[:-1])


def _stretch(weights: Weights, first: int, fired: int) -> Episode:
    """From record ``first`` to the newest one."""
    steps, last = weights.steps, len(weights.steps) - 1
    return Episode(
        0, int(steps[first]), int(steps[fired]), int(steps[last]), last - first + 1, True, first, fired, last
    )


def _hit(
    stretch: Episode, records: int, *, zero: bool = False, learned: bool = False, given: bool = False
) -> Hit:  # fmt: skip
    """``zero``: gradients were measured, all of them 0; ``learned``: the loss has fallen all the same.

    ``given``: it is the loop's doing, and no symptom.
    """
    return hit(
        stretch,
        "",
        severity="warning" if learned else "critical",
        statistic="records_without_gradient",
        unit="records",
        value=float(stretch.count),
        limit=float(records),
        direction="above",
        healthy=(0.0, 0.0),
        message=f"From step {stretch.first_step:,} on no parameter has a gradient{' but zero' if zero else ''} when the"
        " optimizer steps, and no weight changes, though the backward pass reaches the modules' outputs: the gradients"
        " are cleared or lost between backward() and step().",
        advice=(
            "Call zero_grad() before backward() or after step(), never between them.",
            "Look at what is done to the gradients before step(): hooks, clipping, masks, .grad set to None or zero.",
            "Check that the model given to the optimizer is the one that backward() goes through.",
        ),
        more={"share_of_weights": 1.0, "absent": not zero, **({GIVEN: True} if given else {})},
        rank=1e9,
    )
