"""Numbers leave the range or the resolution of the low precision that they are kept in.

## What it detects
Weights, activations or gradients in float16, bfloat16 or float8 that are about to overflow, of which many are too
small for the format, or whose updates are lost to rounding; and a gradient scaler without any low precision to scale
for.

## Why it matters
float16 ends at 65,504 and loses resolution below 6e-5, float8 far earlier; bfloat16 has range but only eight bits of
resolution. What overflows becomes infinite and then NaN. What is too small becomes zero: a gradient that was there is
gone. A weight in bfloat16 does not change by less than a 256th of itself: the optimizer steps and nothing happens.

## How it is computed
For rows whose tensor has such a format:

- **overflow**: the largest absolute value is above half of the format's largest, in three of ten records (gradients
  only where no scaler moves them there on purpose; the format's very ends, used as masks, do not count);
- **underflow**: more than `underflow` of the values that are not zero lie below the format's smallest normal number,
  in the last three histograms (activations, weights, gradients that no scaler scales);
- **gradients gone**: without a scaler, the gradient by the last module's output is zero in more than 75 % of its
  elements in float16 or float8, in half of ten records;
- **lost updates**: more than `lost` of a weight's elements do not change in a step, though fewer than half as many
  have a gradient of zero and the learning rate is above 0, in half of all records;
- **autocast not applied**: a gradient scaler has a scale, and no activation has a low precision.

Overflow and missing autocast are warnings. Underflow, gradients gone and lost updates are information, and warnings
where the loss has not fallen by a fifth.

## What to try
1. Run forward and loss under `torch.autocast("cuda", dtype=torch.float16)` (or bfloat16), weights in float32.
2. With float16 scale the loss: `torch.amp.GradScaler()`, `scaler.scale(loss).backward()`, `scaler.step(optimizer)`,
   `scaler.update()`.
3. Prefer bfloat16 to float16 where values are large: it has the range of float32.
4. For weights in bfloat16, keep float32 master weights, or round stochastically.

## When it is harmless
Where the loss falls all the same. At the end of a schedule, as the learning rate goes to zero, updates are lost in any
precision.

## References
- [Micikevicius et al. 2017, Mixed Precision Training](https://arxiv.org/abs/1710.03740)
- [Zamirai et al. 2020, Revisiting BFloat16 Training](https://arxiv.org/abs/2010.06192)
- [Micikevicius et al. 2022, FP8 Formats for Deep Learning](https://arxiv.org/abs/2209.05433)
- [NVIDIA Transformer Engine, precision debug
  tools](https://docs.nvidia.com/deeplearning/transformer-engine/user-guide/debug.html)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Direction, Severity
from tb_nnhealth.history import Floats, History, Run
from tb_nnhealth.rules.base import (
    Case,
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
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.evidence.weights import Weights, aligned, weights_of
from tb_nnhealth.rules.hits import hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.octaves import share_below
from tb_nnhealth.rules.wording import percent, short


@dataclass(frozen=True)
class Format:
    """``largest`` finite number; ``normal``: exponent of the smallest normal one."""

    largest: float
    normal: int


FORMATS = {
    "float16": Format(65504.0, -14),
    "bfloat16": Format(3.3895e38, -126),
    "float8_e4m3fn": Format(448.0, -6),
    "float8_e4m3fnuz": Format(240.0, -7),
    "float8_e5m2": Format(57344.0, -14),
    "float8_e5m2fnuz": Format(57344.0, -15),
}
FORWARD = (schema.WEIGHT, schema.ACTIVATION, schema.PREDICTION)
BACKWARD = (schema.GRADIENT, schema.ACTIVATION_GRADIENT)
CALLED = {
    schema.WEIGHT: "The weights of",
    schema.GRADIENT: "The gradient of",
    schema.ACTIVATION: "The outputs of",
    schema.ACTIVATION_GRADIENT: "The gradient by the outputs of",
    schema.PREDICTION: "The predictions",
}
NEAR = 0.5
GONE = 0.75
LAST = 3
AUTOCAST_RECORDS = 3
HALF = ("bfloat16", "float16")
FALLEN = 0.8
RANGE_ADVICE = (
    'Run forward and loss under torch.autocast("cuda", dtype=torch.bfloat16), which has the range of float32.',
    "With float16 scale the loss: torch.amp.GradScaler(), scaler.scale(loss).backward(), scaler.step(optimizer).",
    "Normalize what feeds this layer, so that its numbers lie around 1.",
)
LOST_ADVICE = (
    "Keep the weights in float32 and use torch.autocast for the arithmetic, instead of model.bfloat16().",
    "Or keep float32 master weights in the optimizer, or round stochastically.",
)
AUTOCAST_ADVICE = (
    'Run forward and loss under autocast: with torch.autocast("cuda"): loss = criterion(model(x), y).',
    "Check that the context covers the model's call, and that enabled= is not False.",
    "Without low precision leave the scaler out: it costs time and skips steps.",
)


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    scales = history.table(schema.LOSS_SCALE, schema.MEAN).values
    scaled = np.isfinite(scales[:, 0]) if scales.shape[1] else np.zeros(len(history), bool)
    low = [row for row in history.layout.rows if row.dtype in FORMATS]
    if not low and not scaled.any():
        return NotApplicable("nothing is kept in low precision")
    if not len(history):
        return TooLittleData("no records so far")
    seen = progress(case.run, history)
    mild: Severity = "info" if seen is None or seen.fell_below(FALLEN) else "warning"
    hits = _autocast_missing(history, scaled)
    for kind in (*FORWARD, *(() if scaled.any() else BACKWARD)):
        hits += _overflowing(history, kind)
        hits += _underflowing(history, kind, case.options["underflow"], mild)
    if not scaled.any():
        hits += _gradient_gone(history, mild)
    hits += _lost_updates(history, case.options["lost"], mild)
    return Ill(hits) if hits else Passed()


def _formats(history: History, kind: str) -> tuple[tuple[str, ...], list[str]]:
    rows = [history.layout.rows[i] for i in history.rows(kind)]
    low = [row for row in rows if row.dtype in FORMATS]
    return tuple(row.subject for row in low), [row.dtype for row in low]


def _autocast_missing(history: History, scaled: NDArray[np.bool_]) -> list[Hit]:
    """A scaler at work, and not one module whose output has a low precision."""
    activations = [history.layout.rows[i].dtype for i in history.rows(schema.ACTIVATION)]
    if not activations or any(dtype in FORMATS for dtype in activations) or scaled.sum() < AUTOCAST_RECORDS:
        return []
    at = np.flatnonzero(scaled)
    first, fired, last = int(at[0]), int(at[AUTOCAST_RECORDS - 1]), int(at[-1])
    steps = [int(history.steps[i]) for i in (first, fired, last)]
    episode = Episode(0, steps[0], steps[1], steps[2], len(at), last >= len(history) - 2, first, fired, last)
    return [
        hit(
            episode,
            "",
            severity="warning",
            statistic="modules_in_low_precision",
            unit="modules",
            value=0.0,
            limit=0.0,
            direction="below",
            message=f"A gradient scaler is in use, and none of {len(activations)} modules' outputs has a low precision:"
            " autocast is not applied.",
            advice=AUTOCAST_ADVICE,
            rank=1e9,
        )
    ]


def _overflowing(history: History, kind: str) -> list[Hit]:
    names, dtypes = _formats(history, kind)
    if not names:
        return []
    largest = np.array([FORMATS[dtype].largest for dtype in dtypes])
    ends = [np.abs(aligned(history.table(kind, statistic), names)) for statistic in (schema.MIN, schema.MAX)]
    size = np.fmax(*(np.where(end >= 0.999 * largest, np.nan, end) for end in ends)).astype(np.float32)
    found = episodes(size > NEAR * largest, np.isfinite(size), history.steps, window=10, share=0.3)
    return [
        _hit(
            kind, names[e.column], e, "largest_absolute_value", "1", worst(size, e, "above"),
            NEAR * float(largest[e.column]), "above", "warning",
            f"reach {short(worst(size, e, 'above'))}; {dtypes[e.column]} ends at {short(float(largest[e.column]))}.",
            RANGE_ADVICE,
        )
        for e in found
    ]  # fmt: skip


def _underflowing(history: History, kind: str, limit: float, severity: Severity) -> list[Hit]:
    names, dtypes = _formats(history, kind)
    hits = []
    for name, dtype in zip(names, dtypes, strict=True):
        normal = FORMATS[dtype].normal
        steps, counts = history.histograms(kind, name)
        measured = counts.sum(axis=1) > 0
        steps, counts = steps[measured], counts[measured]
        if normal < schema.EXPONENT_LOW or len(steps) < LAST:
            continue
        shares = np.array([share_below(of, normal) for of in counts[-LAST:]])
        if not (shares > limit).all():
            continue
        first, last = int(steps[-LAST]), int(steps[-1])
        episode = Episode(0, first, last, last, LAST, True, 0, 0, 0)
        hits.append(
            _hit(
                kind, name, episode, "share_below_smallest_normal", "share of elements that are not zero",
                float(shares.max()), limit, "above", severity,
                f"lie below the smallest normal number of {dtype} in {percent(float(shares[-1]))} of the elements that"
                " are not zero.",
                (RANGE_ADVICE[1], RANGE_ADVICE[0], RANGE_ADVICE[2]),
            )
        )  # fmt: skip
    return hits


def _gradient_gone(history: History, severity: Severity) -> list[Hit]:
    """Where the gradient sets out, in a narrow format, it is zero already."""
    names, dtypes = _formats(history, schema.ACTIVATION_GRADIENT)
    called = [m.name for m in history.layout.modules if m.name in names]
    if not called or dtypes[names.index(called[-1])] == "bfloat16":
        return []
    dtype = dtypes[names.index(called[-1])]
    gone = aligned(history.table(schema.ACTIVATION_GRADIENT, schema.ZERO_SHARE), called[-1:])
    return [
        _hit(
            schema.ACTIVATION_GRADIENT, called[-1], e, "share_of_zeros", "share of elements", worst(gone, e, "above"),
            GONE, "above", severity,
            f"is exactly 0 in {percent(worst(gone, e, 'above'))} of its elements: it is too small for {dtype}.",
            (RANGE_ADVICE[1], RANGE_ADVICE[0]),
        )
        for e in episodes(gone > GONE, np.isfinite(gone), history.steps, window=10)
    ]  # fmt: skip


def _lost_updates(history: History, limit: float, severity: Severity) -> list[Hit]:
    everything = weights_of(history)
    low = np.array([p.dtype in HALF for p in everything.parameters], bool)
    weights = everything.only(everything.trained & everything.matrix & ~everything.sparse & low)
    if not weights.names or not len(history):
        return []
    still, silent = (
        aligned(history.table(kind, schema.ZERO_SHARE), weights.names) for kind in (schema.UPDATE, schema.GRADIENT)
    )
    judged = np.isfinite(still) & np.isfinite(silent) & (weights.gradient > 0) & ~(weights.lr == 0)
    ill = (still > limit) & (silent < still / 2)
    enough = ill.sum(axis=0) > 0.5 * judged.sum(axis=0)
    found = [e for e in episodes(ill, judged, history.steps, window=10) if enough[e.column]]
    return [_lost(weights, e, still, limit, severity) for e in found]


def _lost(weights: Weights, episode: Episode, still: Floats, limit: float, severity: Severity) -> Hit:
    column = episode.column
    stretch = still[episode.first : episode.last + 1, column]
    dtype, value = weights.parameters[column].dtype, float(np.nanmax(stretch))
    rate = float(weights.lr[episode.first, column])
    at_rate = f" at learning rate {short(rate)}" if rate > 0 else ""
    return _hit(
        schema.WEIGHT, weights.names[column], episode, "share_without_change", "share of elements", value, limit,
        "above", severity,
        f"do not change in a step{at_rate} in {percent(float(np.nanmedian(stretch)))} of the elements: the update is"
        f" below the resolution of {dtype}.",
        LOST_ADVICE,
    )  # fmt: skip


def _hit(
    kind: str, subject: str, episode: Episode, statistic: str, unit: str, value: float, limit: float,
    direction: Direction, severity: Severity, told: str, advice: Sequence[str],
) -> Hit:  # fmt: skip
    named = f" `{subject}`" if subject else ""
    return hit(
        episode,
        subject,
        severity=severity,
        statistic=statistic,
        unit=unit,
        value=value,
        limit=limit,
        direction=direction,
        message=f"{CALLED[kind]}{named} {told}",
        advice=advice,
        more={"kind": kind},
        rank=value / limit,
    )


def _half(kind: str, subject: str, dtype: str = "float16", *, loss: float | None = 2.3) -> Network:
    network = Network()
    for row in network.layout.rows:
        if (row.kind, row.subject) == (kind, subject):
            row.dtype = dtype
    return network if loss is None else network.set(schema.LOSS, "", mean=loss)


def _large(value: float, dtype: str = "float16", *, scaler: bool = False, kind: str = schema.ACTIVATION) -> Run:
    network = _half(kind, "layers.3", dtype).set(kind, "layers.3", max=value)
    return (network.add_row(schema.LOSS_SCALE, "", mean=65536.0) if scaler else network).run()


def _small(std: float, *, loss: float | None = 2.3) -> Run:
    values = std * np.random.default_rng(0).standard_normal(4096)
    network = _half(schema.GRADIENT, "layers.1.weight", loss=loss)
    return network.histogram(schema.GRADIENT, "layers.1.weight", values).run()


def _gone(share: float, dtype: str = "float16") -> Run:
    network = _half(schema.ACTIVATION_GRADIENT, "layers.5", dtype)
    network.set(schema.ACTIVATION_GRADIENT, "layers.5", zero_share=share)
    return network.run()


def _rounded(share: float, *, loss: float | None = 2.3, since: int = 0, gradient: float = 0.0) -> Run:
    network = _half(schema.WEIGHT, "layers.2.weight", "bfloat16", loss=loss)
    next(p for p in network.layout.parameters if p.name == "layers.2.weight").dtype = "bfloat16"
    network.set(schema.GRADIENT, "layers.2.weight", zero_share=gradient)
    still = np.where(np.arange(200) >= since, share, 0.1)
    return network.set(schema.UPDATE, "layers.2.weight", zero_share=still).run()


def _scaler(*, autocast: bool) -> Run:
    network = Network().add_row(schema.LOSS_SCALE, "", mean=65536.0)
    for row in network.layout.rows:
        if autocast and (row.kind, row.subject) == (schema.ACTIVATION, "layers.1"):
            row.dtype = "float16"
    return network.run()


EXAMPLES = (
    Example("Outputs of 50,000 in float16", lambda: _large(5e4), True, "layers.3", 0),
    Example("Just above half of float16's end", lambda: _large(33000), True, "layers.3", 0),
    Example("Just below", lambda: _large(32000), False, outcome="Passed"),
    Example("Outputs of 300 in float8", lambda: _large(300, "float8_e4m3fn"), True, "layers.3", 0),
    Example("Outputs of 50,000 in bfloat16", lambda: _large(5e4, "bfloat16"), False, outcome="Passed"),
    Example("A mask at float16's end", lambda: _large(65504.0), False, outcome="Passed"),
    Example(
        "Gradients scaled up by a scaler", lambda: _large(5e4, scaler=True, kind=schema.ACTIVATION_GRADIENT), True, ""
    ),
    Example("Gradients too small for float16", lambda: _small(1e-5), True, "layers.1.weight", 0),
    Example("Gradients large enough", lambda: _small(2e-3), False, outcome="Passed"),
    Example("No gradient left in float16", lambda: _gone(0.98), True, "layers.5", 0),
    Example("Half of the gradient zero", lambda: _gone(0.5), False, outcome="Passed"),
    Example("No gradient left in bfloat16", lambda: _gone(0.98, "bfloat16"), False, outcome="Passed"),
    Example("Nine tenths of the updates lost in bfloat16", lambda: _rounded(0.9), True, "layers.2.weight", 0),
    Example("Two fifths lost", lambda: _rounded(0.4), False, outcome="Passed"),
    Example("Lost at the end of a schedule", lambda: _rounded(0.9, since=150), False, outcome="Passed"),
    Example("Units whose gradient is zero", lambda: _rounded(0.6, gradient=0.55), False, outcome="Passed"),
    Example("A scaler without autocast", lambda: _scaler(autocast=False), True, "", 0),
    Example("A scaler with autocast", lambda: _scaler(autocast=True), False, outcome="Passed"),
    Example("Everything in float32", lambda: Network().run(), False, outcome="NotApplicable"),
)

RULE = Rule(
    id="low-precision-range",
    healthy="Numbers within their precision",
    ill="Numbers beyond their precision",
    group="numerics",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option(
            "underflow",
            0.05,
            "share of elements that are not zero",
            "elements below the format's smallest normal number",
            "Transformer Engine's debug tools; Micikevicius et al. 2017, figure 3",
        ),
        Option(
            "lost",
            0.5,
            "share of elements",
            "elements of a weight that do not change in a step",
            "half of a layer at rest",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "non-finite",
        "update-ratio-too-low",
        "frozen-parameters",
        "loss-not-decreasing",
        "slow-start",
        "underfitting",
        "no-gradient",
        "vanishing-gradients",
        "constant-output",
        "learning-rate-too-low",
        "constant-output",
    ),
)
