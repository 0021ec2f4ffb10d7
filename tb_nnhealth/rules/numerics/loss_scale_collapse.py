"""The gradient scaler's scale falls and falls: the gradients overflow whatever it is.

## What it detects
A loss scale below 1, and one that is halved so often that more than a tenth of the steps are skipped.

## Why it matters
A gradient scaler halves its scale, and skips the step, whenever a gradient is infinite or NaN. A scale that has found
its level does so once in thousands of steps. Where it falls without end, the gradients are not too large for float16
but broken: the loss itself is NaN or infinite, and no step is made any more. Training goes on and learns nothing.

## How it is computed
From the scaler's scale, as recorded or as logged under a name such as `loss_scale` or `amp/scale` (no unit). Between
two records the scale falls by halvings, and each is a skipped step. Its first fall from the start, at most 16
halvings without a rest, is its calibration and does not count. It fires where the scale lies below `lowest` in three
records, or where skipped steps make up more than `skipped` of a window of at least 20 steps and there are four or more.
Where every step is skipped from the first on, the watch looks for the scaler itself after twelve calls of the model;
where there are several, it must be given to it.

Critical where the scale is below `lowest` and the loss has not been learned; skipping
alone is a warning, and information where the loss has been learned nonetheless.

## What to try
1. Look for the first NaN or infinite value (the finding non-finite names it): a logarithm or a division by zero, a
   mask.
2. Run the overflowing part in float32: `with torch.autocast("cuda", enabled=False)`.
3. Use bfloat16, which needs no scaler.
4. Clip gradients after `scaler.unscale_(optimizer)`, and lower the learning rate.

## When it is harmless
In the first steps, while the scale comes down from 65,536 to where it belongs.

## References
- [Micikevicius et al. 2017, Mixed Precision Training](https://arxiv.org/abs/1710.03740)
- [PyTorch, Automatic Mixed Precision](https://pytorch.org/docs/stable/amp.html#gradient-scaling)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run, Series
from tb_nnhealth.phases import parts
from tb_nnhealth.rules.base import (
    Case,
    Closest,
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
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent, short

Values = NDArray[np.float64]

CALIBRATION = 16
"""Halvings from the start that lead from 65,536 to 1."""
WINDOW = 20
FEWEST = 4
BELOW = 3
SCALE_WORDS = frozenset(("scale", "scaler"))
SCALED_WORDS = frozenset(("loss", "grad", "gradient", "amp", "scaler", "fp16"))
LARGE = 64.0
"""A logged scale that never reaches this is more likely the weight of a term of the loss."""
ADVICE = (
    "Look for the first NaN or infinite value: a logarithm or division by zero, or a mask of -inf.",
    'Run the part that overflows in float32: with torch.autocast("cuda", enabled=False).',
    "Use bfloat16, which needs no scaler.",
    "Clip gradients after scaler.unscale_(optimizer), and lower the learning rate.",
)


@dataclass(frozen=True)
class Scale:
    """The scale over time: ``steps`` int64 and ``values``, both of shape (n,)."""

    subject: str
    steps: NDArray[np.int64]
    values: Values


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    scale = recorded_scale(case.run) or logged_scale(case.run)
    if scale is None:
        if any(map(_computes_in_float16, case.run.watches.values())):
            return CouldNotCheck("writer.watch(model, optimizer, scaler=scaler)")
        return NotApplicable("no gradient scaler is in use")
    if len(scale.values) < 2 * BELOW:
        return TooLittleData(f"{len(scale.values)} values of the scale so far, {2 * BELOW} are needed")
    seen = progress(case.run, case.history) if case.history is not None else None
    low = np.flatnonzero(scale.values < case.options["lowest"])
    if len(low) >= BELOW:
        return Ill([_too_low(scale, low, case.options["lowest"], seen)])
    share, where = skipped_share(scale)
    if share > case.options["skipped"]:
        return Ill([_skipping(scale, where, share, case.options["skipped"], seen)])
    return Passed(
        Closest(share / case.options["skipped"], scale.subject, int(scale.steps[-1]), "share of skipped steps")
    )


def _computes_in_float16(history: History) -> bool:
    return any(row.kind == schema.ACTIVATION and row.dtype == "float16" for row in history.layout.rows)


def recorded_scale(run: Run) -> Scale | None:
    for history in run.watches.values():
        values = history.table(schema.LOSS_SCALE, schema.MEAN).values
        known = np.isfinite(values[:, 0]) & (values[:, 0] > 0) if values.shape[1] else np.zeros(0, bool)
        if known.any():
            return Scale("", history.steps[known], values[known, 0].astype(np.float64))
    return None


def logged_scale(run: Run) -> Scale | None:
    """A scalar that is named as a scaler's scale, and moves as one: by powers of two, from a large number."""
    for tag, series in run.scalars.items():
        words = set(parts(tag))
        if not (words & SCALE_WORDS and words & SCALED_WORDS):
            continue
        known = np.isfinite(series.values) & (series.values > 0)
        values = series.values[known]
        exponents = np.log2(values)
        if len(values) and values.max() >= LARGE and np.allclose(exponents, np.round(exponents), atol=1e-3):
            return Scale(tag, series.steps[known], values)
    return None


def halvings(scale: Scale) -> Values:
    """Halvings from each value to the next, shape (n,), 0 for the first; those of the calibration are left out."""
    fallen = np.concatenate(([0.0], np.fmax(0.0, -np.diff(np.log2(scale.values)))))
    rest = np.flatnonzero(fallen[1:] == 0)
    opening = int(rest[0]) + 1 if len(rest) else len(fallen)
    if fallen[:opening].sum() <= CALIBRATION:
        fallen[:opening] = 0.0
    return fallen


def skipped_share(scale: Scale) -> tuple[float, tuple[int, int]]:
    """The greatest share of skipped steps over ``WINDOW`` steps or more, and the places where that begins and ends."""
    total = np.cumsum(halvings(scale))
    worst, where = 0.0, (0, 0)
    for end in range(1, len(total)):
        begin = int(np.searchsorted(scale.steps, scale.steps[end] - WINDOW, side="right")) - 1
        if begin < 0:
            continue
        skipped, steps = float(total[end] - total[begin]), int(scale.steps[end] - scale.steps[begin])
        if skipped >= FEWEST and skipped / steps > worst:
            worst, where = min(1.0, skipped / steps), (begin, end)
    return worst, where


def _too_low(scale: Scale, low: NDArray[np.int64], limit: float, seen: Progress | None) -> Hit:
    learned = seen is not None and seen.learned and seen.finite > 0.9
    first, value = int(low[0]), float(scale.values.min())
    return Hit(
        subject=scale.subject,
        first_step=int(scale.steps[first]),
        fired_step=int(scale.steps[low[BELOW - 1]]),
        last_step=int(scale.steps[low[-1]]),
        count=len(low),
        active=bool(low[-1] == len(scale.values) - 1),
        severity="warning" if learned else "critical",
        statistic="loss_scale",
        unit="1",
        value=value,
        limit=limit,
        direction="below",
        healthy=(1.0, 65536.0 * 2),
        message=f"The gradient scaler's scale has fallen from {short(float(scale.values[0]))} to {short(value)}: the"
        " gradients are not finite at any scale, and their steps are skipped.",
        advice=ADVICE,
    )


def _skipping(scale: Scale, where: tuple[int, int], share: float, limit: float, seen: Progress | None) -> Hit:
    begin, end = where
    learned: Severity = "info" if seen is not None and seen.learned else "warning"
    return Hit(
        subject=scale.subject,
        first_step=int(scale.steps[begin]),
        fired_step=int(scale.steps[end]),
        last_step=int(scale.steps[end]),
        count=end - begin,
        active=end == len(scale.values) - 1,
        severity=learned,
        statistic="skipped_steps",
        unit="share of steps",
        value=share,
        limit=limit,
        direction="above",
        healthy=(0.0, 0.01),
        message=f"The gradient scaler skipped about {percent(share)} of the steps from {int(scale.steps[begin]):,}"
        f" to {int(scale.steps[end]):,}: its scale fell from {short(float(scale.values[begin]))} to"
        f" {short(float(scale.values[end]))}.",
        advice=ADVICE,
    )


def _scaled(values: Values, *, every: int = 1, loss: float | None = None) -> Run:
    network = Network(steps=len(values) * every, every=every).add_row(schema.LOSS_SCALE, "", mean=values)
    return (network if loss is None else network.set(schema.LOSS, "", mean=loss)).run()


def _logged(tag: str, values: Values) -> Run:
    return Run("plain", scalars={tag: Series([(i, float(i), float(v)) for i, v in enumerate(values)])})


def _in_float16() -> Run:
    network = Network()
    for row in network.layout.rows:
        if row.kind == schema.ACTIVATION:
            row.dtype = "float16"
    return network.run()


_T = np.arange(200.0)
_ENDLESS = np.exp2(16 - _T)
_CALIBRATED = np.exp2(np.where(_T < 100, np.maximum(16 - _T, 10), 11))


def _every(period: int) -> Values:
    """Halved once in ``period`` steps from step 20 on."""
    return np.asarray(np.exp2(40 - np.floor(np.maximum(_T - 20, 0) / period)), np.float64)


EXAMPLES = (
    Example("Halved in every step", lambda: _scaled(_ENDLESS, loss=2.3), True, "", 17),
    Example("Halved from step 100 on", lambda: _scaled(np.exp2(16 - np.maximum(_T - 100, 0))), True, "", 117),
    Example("A tenth of the steps and more skipped", lambda: _scaled(_every(5), loss=2.3), True, ""),
    Example("A scalar of another writer", lambda: _logged("amp/loss_scale", _ENDLESS), True, "amp/loss_scale", 17),
    Example("Seldom recorded", lambda: _scaled(np.exp2(16 - _T[:60]), every=5, loss=2.3), True, ""),
    Example("One step in twelve skipped", lambda: _scaled(_every(12)), False, outcome="Passed"),
    Example("Down to its level at the start", lambda: _scaled(_CALIBRATED), False, outcome="Passed"),
    Example("At 1, and no lower", lambda: _scaled(0 * _T + 1.0), False, outcome="Passed"),
    Example(
        "The weight of a term of the loss",
        lambda: _logged("kl_loss_scale", 0.5 + 0 * _T),
        False,
        outcome="NotApplicable",
    ),
    Example("Five values", lambda: _scaled(_ENDLESS[:5]), False, outcome="TooLittleData"),
    Example("float16, and no scaler seen", _in_float16, False, outcome="CouldNotCheck"),
    Example("No scaler", lambda: Network().run(), False, outcome="NotApplicable"),
)

RULE = Rule(
    id="loss-scale-collapse",
    healthy="Loss scale has found its level",
    ill="Loss scale collapsing",
    group="numerics",
    severity="critical",
    scope="run",
    check=check,
    options=(
        Option(
            "lowest",
            1,
            "1",
            "scale below which gradients overflow without being scaled up",
            "DeepSpeed's and Apex' least scale",
        ),
        Option(
            "skipped",
            0.1,
            "share of steps",
            "steps skipped since the calibration",
            "a settled scaler skips one in 2,000",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "update-ratio-too-low",
        "frozen-parameters",
        "loss-not-decreasing",
        "slow-start",
        "underfitting",
        "constant-output",
        "learning-rate-too-low",
    ),
)
