"""The model's input is far from mean 0 and standard deviation 1.

## What it detects
Inputs on a scale far from 1 (pixels from 0 to 255, raw physical units), a mean that dwarfs the spread, or values
scaled down to almost nothing.

## Why it matters
The first layer multiplies its gradient by the input: at 0 to 255 a learning rate that suits every other layer is four
orders of magnitude too large for the first one. An offset makes all its weights move together. Initializations assume
inputs of variance 1.

## How it is computed
Mean, standard deviation and RMS of each floating point input (unit: the input's own), over ten records. It fires
where the RMS exceeds `rms`, or where |mean| exceeds `offset` standard deviations and the mean is above 1, or where
the RMS is below `least`, in most of them. Left out are integers (token numbers), inputs that are mostly zero
(one-hot, counts), masks, vectors with one number a sample beside a larger input (time steps), models whose first
layer is an embedding or a normalization, and models whose first layer answers as to a normalized input (they
normalize inside).

## What to try
1. Subtract the mean and divide by the standard deviation of the training data, per feature or channel; the same
   numbers for validation and in production.
2. Images: `x.float() / 255`, then the data set's mean and standard deviation.
3. Skewed positive features (prices, counts): take the logarithm first.
4. Where the data cannot be touched, begin the model with a `BatchNorm` layer.

## When it is harmless
Where the first layer is followed by a normalization its scale is undone; that is reported as information. Pixels from
0 to 1 are fine, and so are heavy tails.

## References
- [Stanford CS231n: data preprocessing](https://cs231n.github.io/neural-networks-2/#datapre)
- [Efficient BackProp, section 4.3](http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf)
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Direction
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    Case,
    Closest,
    CouldNotCheck,
    Example,
    Ill,
    NotApplicable,
    Option,
    Options,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.data.input_scale import Scale, scale_of
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import episodes
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

WINDOW = 10
FEWEST_RECORDS = 3
NORMALIZED_INSIDE = 0.1
"""A first layer that answers with less than this share of what its weights would make of the input was given less."""
BOUNDED = ("RNN", "LSTM", "GRU")
"""First layers whose answer stays below 1, whatever they are given: it tells of no normalization."""
EMBEDDING = ("Embedding", "EmbeddingBag")
ADVICE = (
    "Subtract the mean and divide by the standard deviation of the training data, per feature or channel.",
    "Images: x.float() / 255, then the data set's mean and standard deviation.",
    "Use the same numbers for validation and in production.",
    "Where the data cannot be touched, begin the model with a BatchNorm layer.",
)


def check(case: Case) -> Outcome:
    history = case.history
    if history is None or not history.rows(schema.INPUT):
        return CouldNotCheck("call writer.watch(model, optimizer), or writer.observe(inputs=x)")
    scale = scale_of(history)
    if not scale.rows:
        return NotApplicable("no input holds dense floating point features")
    if not any(len(p.shape) > 1 for p in history.layout.parameters):
        return NotApplicable("no layer sums over the input")
    first = _first_layer(history)
    if first is not None and (first.type in EMBEDDING or "Norm" in first.type):
        return NotApplicable(f"the first layer is of type {first.type}")
    seen = np.isfinite(scale.rms)
    if len(history) < FEWEST_RECORDS or not seen.any():
        return TooLittleData(f"{len(history)} records, {FEWEST_RECORDS} are needed")
    if _normalized_inside(history, first, scale):
        return NotApplicable("the model normalizes its input itself")
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.abs(scale.mean) / scale.std
    kinds = {
        "rms": scale.rms > case.options["rms"],
        "offset": (offset > case.options["offset"]) & (np.abs(scale.mean) > 1) & (scale.std > 0),
        "least": (scale.rms < case.options["least"]) & (scale.rms > 0),
    }
    ill = np.any(list(kinds.values()), axis=0)
    window = min(WINDOW, len(history))
    found = episodes(ill, seen, history.steps, window=window, share=0.6)
    if not found:
        worst = float(np.nanmax(scale.rms))
        share = min(1.0, math.log1p(worst) / math.log1p(case.options["rms"]))
        return Passed(Closest(share, "input", int(history.steps[0]), "RMS of the input"))
    hits = []
    for episode in found:
        column = episode.column
        kind = next(
            kind for kind, ill_of_kind in kinds.items() if ill_of_kind[episode.fired, column] or kind == "least"
        )
        subject = "input" + (f".{name}" if (name := history.layout.rows[scale.rows[column]].subject) else "")
        undone = first.name if first is not None and first.normalized else None
        numbers = _numbers(scale, offset, kind, column, case.options)
        told = f"The input has mean {short(numbers.mean)} and standard deviation {short(numbers.std)}{numbers.told}."
        if undone is not None:
            told += f" The normalization after `{undone}` undoes most of the harm."
        hits.append(
            hit(
                episode,
                subject,
                severity="warning" if undone is None else "info",
                statistic=numbers.statistic,
                unit=numbers.unit,
                value=numbers.value,
                limit=numbers.limit,
                direction=numbers.direction,
                healthy=numbers.healthy,
                message=told,
                advice=ADVICE,
                more={"mean": numbers.mean, "std": numbers.std},
            )
        )
    return Ill(hits)


def _first_layer(history: History) -> Any:
    """The first layer that may take numbers: an embedding beside it takes another input, of integers."""
    rows = [history.layout.rows[row] for row in history.rows(schema.INPUT)]
    beside = any(row.dtype.startswith(("int", "uint")) for row in rows)
    layers = [m for m in history.layout.modules if not (beside and m.type in EMBEDDING)]
    return next(iter(layers), None)


@dataclass(frozen=True)
class _Numbers:
    mean: float
    std: float
    statistic: str
    unit: str
    value: float
    limit: float
    direction: Direction
    healthy: tuple[float, float]
    told: str


def _numbers(scale: Scale, offset: NDArray[np.float64], kind: str, column: int, options: Options) -> _Numbers:
    mean, std = float(np.nanmedian(scale.mean[:, column])), float(np.nanmedian(scale.std[:, column]))
    if kind == "offset":
        value = float(np.nanmedian(offset[:, column]))
        return _Numbers(
            mean,
            std,
            "|mean| : std",
            "1",
            value,
            options["offset"],
            "above",
            (0.0, 3.0),
            ": the offset dwarfs the spread",
        )
    value = float(np.nanmedian(scale.rms[:, column]))
    if kind == "rms":
        told = f", {short(value)} times the scale that layers are initialized for"
        return _Numbers(mean, std, "RMS of the input", "input's unit", value, options["rms"], "above", (0.1, 3.0), told)
    told = ": so small that the network hardly sees it"
    return _Numbers(mean, std, "RMS of the input", "input's unit", value, options["least"], "below", (0.1, 3.0), told)


def _normalized_inside(history: History, first: Any, scale: Scale) -> bool:
    """Whether the first layer's first output is far smaller than its weights would make of the input."""
    if first is None or len(scale.rows) != 1 or any(kind in first.type for kind in BOUNDED):
        return False
    weight = next((p for p in history.layout.parameters if p.module == first.name and p.fan_in > 0), None)
    outputs = history.table(schema.ACTIVATION, schema.RMS)
    if weight is None or first.name not in outputs.subjects:
        return False
    output = outputs.values[:, outputs.subjects.index(first.name)]
    both = np.flatnonzero(np.isfinite(output) & np.isfinite(scale.rms[:, 0]))
    if not both.size:
        return False
    expected = weight.initial_rms * math.sqrt(weight.fan_in) * scale.rms[both[0], 0]
    return bool(output[both[0]] < NORMALIZED_INSIDE * expected)


def _given(mean: float, std: float, *, zeros: float = 0.0, answer: float | None = None, records: int = 200) -> Network:
    """An input of the given mean and std; ``answer``: RMS of the first layer's output, else what its weights make."""
    network = Network(steps=records)
    rms = math.hypot(mean, std)
    network.set(schema.INPUT, "", mean=mean, std=std, rms=rms, min=mean - 2 * std, max=mean + 2 * std, zero_share=zeros)
    return network.set(schema.ACTIVATION, "layers.0", rms=math.sqrt(2) * rms if answer is None else answer)


def _no_matrix() -> Run:
    """A factor that logits are divided by, as for calibration."""
    network = _given(-8.0, 14.0)
    for parameter in network.layout.parameters:
        parameter.shape[:] = [1]
    return network.run()


def _integers() -> Run:
    network = _given(120.0, 60.0)
    for row in network.layout.rows:
        if row.kind == schema.INPUT:
            row.dtype = "int64"
    return network.run()


def _into_an_lstm() -> Run:
    network = _given(0.0, 3e4, answer=0.7)
    network.layout.modules[0].type = "LSTM"
    return network.run()


def _cell_state_carried() -> Run:
    network = _given(0.0, 1.0)
    network.layout.modules[0].type = "LSTM"
    for place, std in (("1.0", 0.3), ("1.1", 25.0)):
        low, high = -3 * std, 3 * std
        network.add_row(schema.INPUT, place, (2, 32, 64), mean=0.0, std=std, rms=std, min=low, max=high, zero_share=0.0)
    return network.run()


def _normalized_after() -> Run:
    network = _given(33.0, 78.0)
    network.layout.modules[0].normalized = True
    return network.run()


RULE = Rule(
    id="unnormalized-input",
    healthy="Input normalized",
    ill="Input not normalized",
    group="data",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option("rms", 10, "input's unit", "highest RMS", "0 to 255 gives about 80, standardized data 1"),
        Option("offset", 10, "|mean| : std", "greatest offset of a mean above 1", "judgement"),
        Option("least", 5e-3, "input's unit", "lowest RMS", "0 to 1 divided by 255 again gives about 2e-3"),
    ),
    examples=(
        Example("pixels from 0 to 255", lambda: _given(33.0, 78.0).run(), ill=True, subject="input", first_step=0),
        Example("a large offset", lambda: _given(8.0, 0.3).run(), ill=True, subject="input", first_step=0),
        Example("divided by 255 twice", lambda: _given(5e-4, 1.2e-3).run(), ill=True, subject="input"),
        Example("normalized after the first layer", _normalized_after, ill=True, subject="input"),
        Example("just too large", lambda: _given(0.0, 10.5).run(), ill=True, subject="input"),
        Example("just small enough", lambda: _given(0.0, 9.5).run(), ill=False, outcome="Passed"),
        Example("pixels from 0 to 1", lambda: _given(0.13, 0.31).run(), ill=False, outcome="Passed"),
        Example("standardized", lambda: Network().run(), ill=False, outcome="Passed"),
        Example("white images", lambda: _given(0.97, 0.08).run(), ill=False, outcome="Passed"),
        Example("a model without weight matrices", _no_matrix, ill=False, outcome="NotApplicable"),
        Example("token numbers", _integers, ill=False, outcome="NotApplicable"),
        Example("counts of words", lambda: _given(0.4, 12.0, zeros=0.97).run(), ill=False, outcome="NotApplicable"),
        Example(
            "a model that divides by 255 itself",
            lambda: _given(33, 78, answer=0.5).run(),
            ill=False,
            outcome="NotApplicable",
        ),
        Example(
            "normalization as the first layer",
            lambda: _given(33, 78).add_module("norm", "BatchNorm1d", first=True).run(),
            ill=False,
            outcome="NotApplicable",
        ),
        Example("an LSTM, whose answer is bounded", _into_an_lstm, ill=True, subject="input"),
        Example("an LSTM's cell state, carried on", _cell_state_carried, ill=False, outcome="Passed"),
        Example("one record", lambda: _given(33, 78, records=1).run(), ill=False, outcome="TooLittleData"),
    ),
    page=__doc__ or "",
    causes=(
        "initial-loss-off",
        "exploding-activations",
        "activation-mean-shift",
        "vanishing-activations",
        "constant-output",
        "saturated-units",
        "dead-units",
        "exploding-gradients",
        "vanishing-gradients",
        "gradient-spike",
        "update-ratio-too-high",
        "update-ratio-too-low",
        "loss-not-decreasing",
        "loss-diverging",
        "poor-init-scale",
        "non-finite",
        "constant-output",
        "slow-start",
        "learning-rate-too-high",
        "loss-oscillating",
        "underfitting",
        "loss-spike",
        "no-gradient",
    ),
)
