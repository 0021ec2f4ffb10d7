"""The weights of a layer are distributed unlike those of most trained layers.

## What it detects
Weight matrices with a few elements far larger than all the others (heavy tails), or all of whose elements have nearly
the same size (two humps).

## Why it matters
Initial weights are normal or even, and training keeps most layers close to a bell. A few huge elements often come from
steps that were too large, from features of very different scale, or from outlier units, and they make low precision
and quantization hard. Two humps tell of weights pressed against a clipping range.

## How it is computed
Kurtosis (fourth moment over the square of the second, about 0, without zeros; no unit), from histograms by octaves: 3
for a normal distribution, 1.8 for an even one. It fires above `heavy` or below `humps` in each of the last three
histograms. Only matrices of at least `elements` elements that are not zero are judged, and neither embeddings nor
recurrent weights, whose gates are uneven by nature, nor weights rounded to one size. It is information only.

## What to try
1. Look at the layer's inputs: features of very different scale ask for large single weights. Normalize them.
2. Lower the learning rate or clip gradients, if the tails grew in a few steps.
3. Use weight decay, which keeps single weights from growing.

## When it is harmless
Nearly always, while the network learns. Sparse training, pruning and weight clipping cause it on purpose.

## References
- [37 Reasons why your Neural Network is not working, number
  33](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Dettmers et al. 2022, LLM.int8() (outlier features)](https://arxiv.org/abs/2208.07339)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run, Steps
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
from tb_nnhealth.rules.evidence.weights import weights_of
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.octaves import by_exponent, kurtosis
from tb_nnhealth.rules.wording import short

LAST = 3
RECURRENT = ("LSTM", "GRU", "RNN")
ONE_SIZE = 0.999
"""Share of the elements in one octave from which they were rounded to one size, as binary and ternary weights are."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.WEIGHT):
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    names = _judged(history, int(case.options["elements"]))
    if not names:
        return NotApplicable("no large trained weight matrix outside embeddings and recurrent layers")
    heavy = case.options.per_subject("heavy", names)
    humps = case.options.per_subject("humps", names)
    hits, enough = [], False
    steps, recent = recent_kurtosis(history, names, case.options["elements"])
    for name, above, below, values in zip(names, heavy, humps, recent.T, strict=True):
        if len(values) < LAST or np.isnan(values).any():
            continue
        enough = True
        if (values > above).all():
            hits.append(_hit(name, steps, float(values[-1]), float(above), heavy=True))
        elif (values < below).all():
            hits.append(_hit(name, steps, float(values[-1]), float(below), heavy=False))
    if hits:
        return Ill(hits)
    return Passed() if enough else TooLittleData(f"{LAST} histograms of a weight matrix are needed")


def _judged(history: History, elements: int) -> tuple[str, ...]:
    weights = weights_of(history)
    types = {m.name: m.type for m in history.layout.modules}
    return tuple(
        name
        for i, name in enumerate(weights.names)
        if weights.trained[i]
        and weights.matrix[i]
        and not weights.sparse[i]
        and weights.numel[i] >= elements
        and not any(part in types.get(weights.parameters[i].module, "") for part in RECURRENT)
    )


def recent_kurtosis(history: History, names: Sequence[str], elements: float) -> tuple[Steps, NDArray[np.float64]]:
    """Steps of the last histograms, at most ``LAST``, and the kurtosis of each weight at them, shape (steps, names).

    NaN where a histogram cannot be judged: too few elements, one of them not finite, or nearly all of one size.
    """
    steps, counts = history.last_histograms(schema.WEIGHT, names, LAST)
    of = by_exponent(counts)
    total = of.sum(axis=-1)
    judged = (counts[..., -1] == 0) & (total >= elements) & (of.max(axis=-1) < ONE_SIZE * total)
    return steps, np.where(judged, kurtosis(counts), np.nan)


def _hit(name: str, steps: Steps, value: float, limit: float, *, heavy: bool) -> Hit:
    what = "a few elements are far larger than all the others" if heavy else "nearly all elements have the same size"
    return Hit(
        subject=name,
        **lasting(steps, -1),
        severity="info",
        statistic="kurtosis",
        unit="1",
        value=value,
        limit=limit,
        direction="above" if heavy else "below",
        healthy=(1.5, 10.0),
        message=f"The weights of `{name}` have a kurtosis of {short(value)}, a normal distribution has 3: {what}.",
        advice=(
            "Look at the scale of the layer's inputs, and normalize them.",
            "Lower the learning rate or clip gradients, if this came about in a few steps.",
            "Use weight decay, which keeps single weights from growing.",
        ),
        rank=abs(math.log(value / 3)),
    )


def _weights(draw: str, layer: int = 2, *, type_: str = "Linear") -> Network:
    network, noise = Network(), np.random.default_rng(0)
    for i in range(network.depth):
        network.histogram(schema.WEIGHT, network.weight(i), 0.2 * noise.standard_normal(4096))
    values = {
        "student": noise.standard_t(1.5, 4096),
        "slightly heavy": noise.standard_t(6, 4096),
        "even": noise.uniform(-1, 1, 4096),
        "humps": np.where(noise.random(4096) < 0.92, 1.5, 0.5) * np.where(noise.random(4096) < 0.5, -1, 1),
        "binary": np.where(noise.random(4096) < 0.5, -0.1, 0.1),
        "pruned": np.where(noise.random(4096) < 0.9, 0, noise.standard_normal(4096)),
    }[draw]
    network.layout.modules[layer].type = type_
    return network.histogram(schema.WEIGHT, network.weight(layer), values)


def _outliers(size: float) -> Run:
    """Four elements of 4,096 stand out, each ``size`` times the standard deviation of the others."""
    values = np.random.default_rng(1).standard_normal(4096)
    values[:4] = size
    return Network().histogram(schema.WEIGHT, "layers.2.weight", values).run()


EXAMPLES = (
    Example("Heavy tails", lambda: _weights("student").run(), True, "layers.2.weight", 0),
    Example("Two humps", lambda: _weights("humps").run(), True, "layers.2.weight", 0),
    Example("Four outliers: just above the limit", lambda: _outliers(18.0), True, "layers.2.weight", 0),
    Example("Four outliers: just below", lambda: _outliers(12.0), False, outcome="Passed"),
    Example("Bells", lambda: _weights("slightly heavy").run(), False, outcome="Passed"),
    Example("Even, as initialized by default", lambda: _weights("even").run(), False, outcome="Passed"),
    Example("Pruned to a tenth", lambda: _weights("pruned").run(), False, outcome="Passed"),
    Example("Binary by design", lambda: _weights("binary").run(), False, outcome="Passed"),
    Example("Gates of a recurrent layer", lambda: _weights("student", type_="LSTM").run(), False, outcome="Passed"),
    Example("Without histograms", lambda: Network().run(), False, outcome="TooLittleData"),
    Example("Small matrices", lambda: Network(width=8).run(), False, outcome="NotApplicable"),
)

RULE = Rule(
    id="non-gaussian-weights",
    healthy="Weights distributed as usual",
    ill="Unusual distribution of weights",
    group="weights",
    severity="info",
    scope="watch",
    check=check,
    options=(
        Option("heavy", 40, "1", "kurtosis from which the tails are heavy", "healthy trainings of ours stay below 20"),
        Option(
            "humps", 1.3, "1", "kurtosis below which there are two humps", "1.8 where even, 1 where all have one size"
        ),
        Option(
            "elements", 1000, "elements", "elements from which a matrix is judged", "the kurtosis of fewer is chance"
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
)
