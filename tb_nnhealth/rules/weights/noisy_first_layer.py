"""The filters of the first convolution still look like noise after training.

## What it detects
A first convolution whose filters have neighbouring pixels that know nothing of each other, as random numbers do, at the
end of a long training.

## Why it matters
On images, sound and other smooth signals a trained first layer finds edges, blobs and waves: its filters become smooth.
Filters that stay noisy tell of a layer that has not learned (a learning rate too low, gradients that do not arrive,
frozen by mistake), of inputs whose pixels were shuffled, or of too little regularization.

## How it is computed
The correlation of horizontally and vertically neighbouring pixels of the filters, mean over filters, each of equal
weight (no unit): 0 for random numbers, near 1 for smooth ones. It fires where it is below `smoothness` in each of the
last three records that measured it and has not risen by as much since the start, after `steps` steps for filters of
five by five or larger; for smaller ones, which have few neighbours, after five times as many. It is information only.

## What to try
1. Look at the filters: `writer.add_images("filters", model.conv1.weight)`.
2. Check that the layer learns: its update : weight ratio is about 1e-3.
3. Train longer or with a larger learning rate; add weight decay.
4. Look at the inputs as the model gets them: are neighbouring pixels still neighbours?

## When it is harmless
For inputs that are no images, such as tables or game boards, and where the loss is as good as it gets.

## References
- [CS231n, Visualizing first-layer weights](https://cs231n.github.io/neural-networks-3/#vis)
- [Zeiler and Fergus 2013, Visualizing and Understanding Convolutional Networks](https://arxiv.org/abs/1311.2901)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Run
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
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

LAST = 3
LARGE = 5
SMALL_FILTERS = 5
"""How many times longer filters with few neighbouring pixels must have been trained."""
FEWEST_FILTERS = 4


def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    table = history.table(schema.SMOOTHNESS, schema.MEAN)
    if not table.subjects:
        if not history.layout.optimizers:
            return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
        return NotApplicable("the first convolution has no filters of three by three or larger")
    name, values = table.subjects[0], table.values[:, 0]
    parameter = next((p for p in history.layout.parameters if p.name == name), None)
    if parameter is None or not parameter.trainable or len(parameter.shape) < 4 or parameter.shape[0] < FEWEST_FILTERS:
        return NotApplicable("the first convolution is not trained, or has hardly any filters")
    at = np.flatnonzero(np.isfinite(values))
    needed = case.options["steps"] * (1 if min(parameter.shape[2:]) >= LARGE else SMALL_FILTERS)
    trained = int(history.steps[-1] - history.steps[0]) if len(history) else 0
    if trained < needed or len(at) <= LAST:
        return TooLittleData(f"{trained} steps so far, {needed:.0f} needed")
    limit = case.options.of("smoothness", name)
    end, start = values[at[-LAST:]], float(np.median(values[at[:3]]))
    if (end < limit).all() and float(np.median(end)) < start + limit:
        return Ill([_hit(name, history.steps[at[-LAST:]], float(end.max()), limit, start)])
    return Passed()


def _hit(name: str, steps: NDArray[np.int64], value: float, limit: float, start: float) -> Hit:
    return Hit(
        subject=name,
        **lasting(steps, -1),
        severity="info",
        statistic="smoothness",
        unit="1",
        value=value,
        limit=limit,
        direction="below",
        healthy=(0.3, 1.0),
        message=f"Neighbouring pixels of the filters of `{name}` correlate by {short(value)} after"
        f" {int(steps[-1]):,} steps ({short(start)} at the start): they still look like noise.",
        advice=(
            "Look at the filters as images, and at the inputs as the model gets them.",
            "Check that the layer learns: its update : weight ratio should be about 1e-3.",
            "Train longer or with a larger learning rate, and add weight decay.",
        ),
        more={"start": start},
    )


def _filters(curve: NDArray[np.float64], *, kernel: int = 5, steps: int = 4000, trainable: bool = True) -> Run:
    """A first convolution whose filters' smoothness follows ``curve``, shape (steps / 20,)."""
    network = Network(steps=steps, every=20)
    first = network.layout.parameters[0]
    del first.shape[:]
    first.shape.extend((16, 1, kernel, kernel))
    first.trainable = trainable
    return network.add_row(schema.SMOOTHNESS, first.name, mean=curve).run()


_T = np.arange(200.0)
_NOISE = 0.03 * np.sin(_T)

EXAMPLES = (
    Example("Still noise after 4,000 steps", lambda: _filters(_NOISE), True, "layers.0.weight"),
    Example("Just below the limit", lambda: _filters(0.09 + 0 * _T), True, "layers.0.weight"),
    Example("Just above the limit", lambda: _filters(0.11 + 0 * _T), False, outcome="Passed"),
    Example("Become smooth", lambda: _filters(0.6 * (1 - np.exp(-_T / 50))), False, outcome="Passed"),
    Example("Became smoother, from less than noise", lambda: _filters(-0.3 + 0.0018 * _T), False, outcome="Passed"),
    Example("Early in training", lambda: _filters(_NOISE[:20], steps=400), False, outcome="TooLittleData"),
    Example("Three by three", lambda: _filters(_NOISE, kernel=3), False, outcome="TooLittleData"),
    Example("Frozen", lambda: _filters(_NOISE, trainable=False), False, outcome="NotApplicable"),
    Example("No convolution", lambda: Network().run(), False, outcome="NotApplicable"),
)

RULE = Rule(
    id="noisy-first-layer",
    healthy="First filters smooth",
    ill="First filters look like noise",
    group="weights",
    severity="info",
    scope="watch",
    check=check,
    options=(
        Option(
            "smoothness",
            0.1,
            "1",
            "correlation of neighbouring pixels",
            "three standard errors of 16 random filters of five by five",
        ),
        Option(
            "steps",
            1000,
            "steps",
            "steps after which filters should be smooth",
            "judgement; five times as many below five by five",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
)
