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
- **lost updates**: more than `lost` of a weight's elements whose gradient is not zero do not change in a step, though
  the learning rate is above 0, in half of all records;
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

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import (
    Case,
    Example,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.numerics.format_range import FORMATS, gradient_gone, overflowing, underflowing
from tb_nnhealth.rules.numerics.lost_updates import lost_updates
from tb_nnhealth.rules.numerics.missing_autocast import missing_autocast
from tb_nnhealth.rules.synthetic import Network

FORWARD = (schema.WEIGHT, schema.ACTIVATION, schema.PREDICTION)
BACKWARD = (schema.GRADIENT, schema.ACTIVATION_GRADIENT)
"""Kinds that a gradient scaler moves through the range on purpose."""
FALLEN = 0.8
"""Share of its start below which the loss says that what is too small does no harm."""


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
    hits = missing_autocast(history, scaled)
    for kind in (*FORWARD, *(() if scaled.any() else BACKWARD)):
        hits += overflowing(history, kind)
        hits += underflowing(history, kind, case.options["underflow"], mild)
    if not scaled.any():
        hits += gradient_gone(history, mild)
    hits += lost_updates(history, case.options["lost"], mild)
    return Ill(hits) if hits else Passed()


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
    Example("Two fifths lost, and rows in no batch", lambda: _rounded(0.7, gradient=0.5), False, outcome="Passed"),
    Example("Lost in the rows that a batch holds", lambda: _rounded(0.8, gradient=0.4), True, "layers.2.weight", 0),
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
