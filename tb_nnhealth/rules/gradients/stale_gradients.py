"""Gradients are not cleared between steps: each step applies the sum of all gradients so far.

## What it detects
A loop without `optimizer.zero_grad()`, or with one that reaches other parameters, or only every few steps.

## Why it matters
`backward()` adds to the gradients that are there. Where nobody clears them, every step goes along the sum of all
gradients since the start: a momentum without end, which overshoots, swings and often diverges. Nothing raises an error,
and on easy tasks the loss falls all the same, only worse.

## How it is computed
The capture notes, for each measured step, whether a backward pass since the last step began with cleared gradients
(None or zero). The value is 1 where none did. Gradient accumulation clears them once before each step and has 0. It
fires where two records in succession have 1, or `share` of ten records do. In the first step there is nothing to clear.
Of each optimizer four weights are looked at; where some are cleared, and one is not in nine of ten records, that one
is told.

Critical where the loss diverges or stands still; else a warning, for the fact is exact.

## What to try
1. Call `optimizer.zero_grad()` before `loss.backward()`, once for each `optimizer.step()`.
2. Where gradients are accumulated, clear them right after `optimizer.step()`, not every N-th step of a different count.
3. Check that `zero_grad()` is called on the optimizer that steps (or on the model), not on another one.

## When it is harmless
Where code of your own decays the gradients on purpose instead of clearing them.

## References
- [PyTorch, Zeroing out gradients](https://pytorch.org/tutorials/recipes/recipes/zeroing_out_gradients.html)
- [Jiang et al. 2025, TrainCheck: training with confidence](https://arxiv.org/abs/2506.14813)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
    Example,
    Hit,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence.progress import Progress, progress
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import names as quoted

AT_ONCE = 2
WINDOW, ALL = 10, 0.9
"""Records, and share of them in which a parameter's gradient must be carried over where those of others are not."""
ADVICE = (
    "Call optimizer.zero_grad() before loss.backward(), once for each optimizer.step().",
    "Where gradients are accumulated over batches, clear them right after optimizer.step().",
    "Check that zero_grad() is called on the optimizer that steps, and that it holds these parameters.",
)

OF_PARTS = (
    "Call zero_grad() on the optimizer that steps, or on the whole model, not on a part of it.",
    "Check that the parameters of zero_grad() are those of step(): a head that was exchanged, groups that were added.",
)


def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.layout.optimizers:
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    table = history.table(schema.CARRIED, schema.MEAN)
    if "" not in table.subjects:
        return CouldNotCheck("record the run with writer.watch(model, optimizer) of this version")
    carried = aligned(table, ("",))
    judged = np.isfinite(carried)
    if not judged.any():
        return NotApplicable("no backward pass was seen to begin")
    if judged.sum() < AT_ONCE:
        return TooLittleData(f"{int(judged.sum())} records so far, {AT_ONCE} needed")
    ill = carried >= 0.5
    found = episodes(ill, judged, history.steps, window=AT_ONCE, share=1.0) or episodes(
        ill, judged, history.steps, window=WINDOW, share=case.options["share"]
    )
    if not found:
        apart = tuple(subject for subject in table.subjects if subject)
        return _of_parts(history, aligned(table, apart), apart, progress(case.run, history))
    return Ill([_hit(found[0], int(judged[found[0].first :].sum()), progress(case.run, history))])


def _of_parts(
    history: History, carried: NDArray[np.float32], subjects: Sequence[str], seen: Progress | None
) -> Outcome:
    """Of parameters whose gradients are carried over where those of others are cleared."""
    found = episodes(carried >= 0.5, np.isfinite(carried), history.steps, window=WINDOW, share=ALL)
    if not found:
        return Passed()
    first = min(found, key=lambda episode: episode.first)
    names = [subjects[column] for column in sorted({episode.column for episode in found})]
    return Ill(
        [
            hit(
                first,
                subjects[first.column],
                severity=_severity(seen),
                statistic="records_with_carried_gradients",
                unit="records",
                value=float(first.count),
                limit=float(min(first.count, WINDOW)),
                direction="above",
                healthy=(0.0, 0.0),
                message=f"In {first.count} records since step {first.first_step:,} the gradient of"
                f" {quoted(names)} was not cleared, while those of other parameters of the optimizer were: each step"
                " applies it once more. Of each optimizer four parameters are looked at.",
                advice=OF_PARTS,
            )
        ]
    )


def _severity(seen: Progress | None) -> Severity:
    return "critical" if seen is not None and (seen.diverged or seen.stuck) else "warning"


def _hit(episode: Episode, records: int, seen: Progress | None) -> Hit:
    return hit(
        episode,
        "",
        severity=_severity(seen),
        statistic="records_with_carried_gradients",
        unit="records",
        value=float(episode.count),
        limit=float(min(episode.count, AT_ONCE)),
        direction="above",
        healthy=(0.0, 0.0),
        message=f"In {episode.count} of {records} records since step {episode.first_step:,} no backward pass began with"
        " cleared gradients: each step applies those of the steps before it once more.",
        advice=ADVICE,
    )


def _carried(values: NDArray[Any], *, loss: float | None = None) -> Run:
    network = Network(steps=len(values)).add_row(schema.CARRIED, "", mean=values)
    if loss is not None:
        network.set(schema.LOSS, "", mean=loss)
    return network.run()


def _in_part(values: NDArray[Any]) -> Run:
    """The gradients of one layer, where another's are cleared."""
    network = Network(steps=len(values)).add_row(schema.CARRIED, "", mean=0.0)
    return network.add_row(schema.CARRIED, network.weight(2), mean=values).run()


_T = np.arange(200)

EXAMPLES = (
    Example("Never cleared", lambda: _carried(1.0 * (_T > 0)), True, "", 1),
    Example("Never cleared, and the loss stands", lambda: _carried(1.0 * (_T > 0), loss=2.4), True, "", 1),
    Example("Forgotten from step 80 on", lambda: _carried(1.0 * (_T >= 80)), True, "", 80),
    Example("Cleared every fourth step", lambda: _carried(1.0 * (_T % 4 > 0)), True, "", 1),
    Example("Cleared every other step", lambda: _carried(1.0 * (_T % 2)), True, "", 1),
    Example("Two records in succession", lambda: _carried(1.0 * ((_T == 50) | (_T == 51))), True, "", 50),
    Example("A single record", lambda: _carried(1.0 * (_T == 50)), False, outcome="Passed"),
    Example("One record in five", lambda: _carried(1.0 * (_T % 5 == 2)), False, outcome="Passed"),
    Example("The head's alone are cleared", lambda: _in_part(1.0 * (_T > 0)), True, Network().weight(2), 1),
    Example("A layer left out of a step now and then", lambda: _in_part(1.0 * (_T % 3 == 0)), False, outcome="Passed"),
    Example("A healthy network", lambda: _carried(0.0 * _T), False, outcome="Passed"),
    Example(
        "Not measured in half of the records", lambda: _carried(np.where(_T % 2, np.nan, 0.0)), False, outcome="Passed"
    ),
    Example("An older log", lambda: Network().run(), False, outcome="CouldNotCheck"),
)

RULE = Rule(
    id="stale-gradients",
    healthy="Gradients cleared before each step",
    ill="Gradients never cleared",
    group="gradients",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "share",
            0.4,
            "share of records",
            "records among ten in which gradients were carried over",
            "clearing every other step gives a half, an accident a tenth",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "exploding-gradients",
        "gradient-spike",
        "update-ratio-too-high",
        "learning-rate-too-high",
        "diverging-weights",
        "diverging-bias",
        "exploding-activations",
        "dead-units",
        "saturated-units",
        "constant-output",
        "vanishing-gradients",
        "no-gradient",
        "non-finite",
        "loss-diverging",
        "loss-spike",
        "loss-oscillating",
        "loss-not-decreasing",
        "slow-start",
        "underfitting",
        "prediction-jitter",
    ),
)
