"""Weights that receive a gradient and a learning rate, and do not change.

## What it detects
Parameters held by an optimizer whose update is exactly zero, in every element, record after record, though their
gradient and the learning rate are not.

## Why it matters
The optimizer runs, the loss is computed, nothing is learned. Either something takes the step back (weights written
over by an old copy, a projection, an optimizer that steps on other tensors), or the step is smaller than the spacing
of the number format, as it is with bfloat16 weights and a usual learning rate, and rounding takes it away.

## How it is computed
The root mean square of the weights after the step minus those before is 0, or the weights' statistics before the next
step are the same as before this one, in `records` records running in which the gradient's is above 0 and the learning
rate is above 0 (and above 1e-4 of its greatest value), and the gradient not below 1e-5 of its greatest (an optimizer
with a tolerance has arrived, as L-BFGS has when it stops after steps that changed the weights). A step that a gradient
scaler skipped has no update and does not count. Whether rounding explains it: the learning rate (times the gradient,
for plain gradient descent) is less than half the spacing of the format at the weights' size.

Critical for a weight matrix; a warning where rounding explains it; for information for vectors, such as a
normalization's gains at 1 in bfloat16. A vector whose step is below the spacing of float32 is not told at all: it is
a bias that its normalization subtracts again.

For information also weight matrices whose `requires_grad` is off: those that trained before, and those that have
rested since the start at the scale of a fresh initialization (PyTorch's default, He's, Xavier's, 0.02), where all that
rest do. And embeddings that rest from the start and whose numbers are as if drawn at random: evenly from an interval
about 0, or of a standard deviation that embeddings are initialized with, without the long tails of learned ones.

## What to try
1. Look for code that writes the weights after or within the step: loading a checkpoint, an exponential average copied
   back, weight clipping, a custom optimizer.
2. Keep float32 weights and use autocast for the arithmetic (`torch.autocast`), instead of `model.bfloat16()`.
3. Raise the learning rate, if the step is below the spacing of float32: the finding names both.
4. If it is meant to rest, freeze it: `parameter.requires_grad_(False)`.

## When it is harmless
For gains and biases of models trained in pure bfloat16 with stochastic rounding elsewhere, and in layers whose
gradient has vanished (see vanishing-gradients, the cause in that case).

## References
- [37 Reasons why your Neural Network is not working, number
  23](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Micikevicius et al. 2017, Mixed Precision Training (master weights)](https://arxiv.org/abs/1710.03740)
- [Zamirai et al. 2020, Revisiting BFloat16 Training](https://arxiv.org/abs/2010.06192)
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    ASIDE,
    GIVEN,
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
from tb_nnhealth.rules.evidence.weights import Mask, Weights, aligned, at_bounds, weights_of
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode, episodes, window_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.updates.resting_weights import resting
from tb_nnhealth.rules.wording import short

HALF_SPACING = {"bfloat16": 2.0**-9, "float16": 2.0**-12, "float32": 2.0**-25, "float64": 2.0**-54}
"""Half the distance between neighbouring numbers of a format, relative to the number; the least over its binade."""
HALF = ("bfloat16", "float16")
SHOWING = 1e-5
"""Update : weight ratio from which a step shows in the float32 statistics of the weights."""
ADAM_EPS = 1e-8
CONVERGED = 1e-5
"""Share of its greatest gradient below which a parameter has come to rest."""
DECAYED = 1e-4
"""Share of its greatest value below which a learning rate is as good as 0."""
LEAST = 6
"""Records where they lie apart."""
PLAIN = ("SGD", "ASGD")
"""Optimizers whose step is the gradient times the learning rate; that of others is about the learning rate."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.layout.optimizers:
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    asleep = resting(history)
    everything = weights_of(history)
    weights = everything.only(everything.trained)
    if not weights.names:
        return NotApplicable("no parameter is trained by a watched optimizer")
    records = window_of(history.steps, int(case.options["records"]), LEAST)
    if len(history) < records:
        return TooLittleData(f"{len(history)} records so far, {records} needed")
    judged = (weights.gradient > 0) & np.isfinite(weights.update) & ~(weights.lr == 0) & ~_converged(history, weights)
    judged &= ~_decayed(weights)
    if not judged.any():
        return Ill(asleep) if asleep else NotApplicable("no step was made with a gradient and a learning rate above 0")
    back = taken_back(history, weights) & ~at_bounds(history, weights.names)
    found = episodes((weights.update == 0) | back, judged, weights.steps, window=records, share=1.0)
    optimizers = [o.type for o in history.layout.optimizers]
    hits = [_hit(weights, episode, optimizers, records) for episode in found]
    hits = [h for h in hits if h.severity != "info" or not h.more["lost"] or h.more["dtype"] in HALF]
    hits += asleep
    return Ill(hits) if hits else Passed()


def _decayed(weights: Weights) -> Mask:
    """Where a schedule has taken the learning rate away: what is left of a step is lost to rounding, as it is meant."""
    return np.asarray(weights.lr < DECAYED * np.fmax.accumulate(weights.lr, axis=0))


def _converged(history: History, weights: Weights) -> Mask:
    """Where an optimizer with a tolerance of its own takes no further step: nothing is left of a gradient, or a line
    search that has moved the weights before finds nothing lower.
    """
    arrived = weights.gradient < CONVERGED * np.fmax.accumulate(weights.gradient, axis=0)
    if weights.choose_own_steps(history.layout):
        arrived |= np.logical_or.accumulate(weights.update > 0, axis=0) & (weights.update == 0)
    return np.asarray(arrived)


def taken_back(history: History, weights: Weights) -> Mask:
    """Records whose step changed the weights, and after which they were as before it; shape (records, n).

    The record before the next one tells: all its statistics of the weights are the same, though the update was large
    enough to show in them.
    """
    same = np.ones(weights.weight.shape, bool)
    for statistic in (schema.RMS, schema.MEAN, schema.STD, schema.MIN, schema.MAX):
        values = aligned(history.table(schema.WEIGHT, statistic), weights.names)
        same[:-1] &= values[1:] == values[:-1]
    same[-1:] = same[-2:-1]
    return np.asarray(same & (weights.ratio > SHOWING))


def _expected_step(weights: Weights, episode: Episode, optimizer: str) -> float:
    """What the optimizer should have moved a weight by, as far as its learning rate tells; NaN where it does not."""
    stretch = slice(episode.first, episode.last + 1)
    lr = (
        float(np.nanmedian(weights.lr[stretch, episode.column]))
        if np.isfinite(weights.lr[stretch, episode.column]).any()
        else np.nan
    )
    gradient = float(np.nanmedian(weights.gradient[stretch, episode.column]))
    return lr * gradient if optimizer in PLAIN else lr * gradient / (gradient + ADAM_EPS)


def _hit(weights: Weights, episode: Episode, optimizers: list[str], records: int) -> Hit:
    column = episode.column
    name, parameter = weights.names[column], weights.parameters[column]
    step = _expected_step(
        weights, episode, optimizers[parameter.optimizer] if parameter.optimizer < len(optimizers) else ""
    )
    size = float(weights.weight[episode.fired, column])
    number_format = parameter.dtype if parameter.dtype in HALF_SPACING else "float32"
    spacing = HALF_SPACING[number_format] * size
    reverted = bool(weights.update[episode.fired, column] > 0)
    lost = not reverted and bool(step < 4 * spacing)
    gradient = float(weights.gradient[episode.fired, column])
    severity: Severity = "info" if not weights.matrix[column] else "warning" if lost else "critical"
    why = (
        f" A step of about {short(step)} on weights of {short(size)} is lost to rounding in {number_format}."
        if lost
        else " Each step is taken back before the next one."
        if reverted
        else ""
    )
    rounding = (
        "Keep the weights in float32 and use torch.autocast for the arithmetic."
        if parameter.dtype in HALF
        else f"Raise the learning rate: {short(step)} is below the spacing of {number_format} at {short(size)}.",
    )
    writing = (
        "Look for code that writes the weights after the step: a checkpoint, an average copied back, clipping,"
        " a custom optimizer.",
        "Check that the optimizer was built from this model's parameters, after moving or wrapping it.",
    )
    return hit(
        episode,
        name,
        severity=severity,
        statistic="records_without_change",
        unit="records",
        value=float(episode.count),
        limit=float(records),
        direction="above",
        healthy=(0.0, 0.0),
        message=f"`{name}` has a gradient (root mean square {short(gradient)}) and a learning rate above 0, and has not"
        f" changed in {episode.count} records.{why}",
        advice=(*rounding, *writing) if lost else writing,
        more={"expected_step": step, "half_spacing": spacing, "dtype": parameter.dtype, "lost": lost}
        | ({GIVEN: True} if reverted else {})
        | ({} if weights.matrix[column] else {ASIDE: True}),
        rank=(1e9 if weights.matrix[column] else 0.0) + float(np.log(weights.numel[column])),
    )


def _still(name: str, since: int = 0, until: int = 200) -> Network:
    network = Network()
    kept = network.get(schema.UPDATE, name, schema.RMS)
    kept[since:until] = 0.0
    return network.set(schema.UPDATE, name, rms=kept)


def _taken_back(layer: int) -> Run:
    network = Network()
    return network.set(schema.WEIGHT, network.weight(layer), rms=0.2, mean=0.0, std=0.2, min=-0.6, max=0.7).run()


def _clipped_to_bounds(layer: int) -> Run:
    """All elements of a weight lie at the ends of the range that it is clipped to after each step."""
    network = Network()
    return network.set(schema.WEIGHT, network.weight(layer), rms=0.01, mean=0.0, std=0.01, min=-0.01, max=0.01).run()


def _rounded() -> Run:
    network = Network(lr=1e-4)
    for parameter in network.layout.parameters:
        parameter.dtype = "bfloat16"
        network.set(schema.UPDATE, parameter.name, rms=0.0)
    return network.run()


def _asleep(*layers: int, since: int = 0, scale: float | None = None, small: int = -1) -> Run:
    """Layers without ``requires_grad`` from a record on, at the default initialization's scale or another.

    The layer ``small`` has so few elements that its scale is one by chance.
    """
    network = Network()
    for layer in layers:
        name = network.weight(layer)
        parameter = next(p for p in network.layout.parameters if p.name == name)
        parameter.trainable = False
        network.absent(schema.GRADIENT, name, since).absent(schema.UPDATE, name, since)
        network.set(schema.WEIGHT, name, rms=scale or 1 / np.sqrt(3 * network.width))
        if layer == small:
            parameter.shape[:] = (4, 4)
            network.set(schema.WEIGHT, name, rms=0.5)
    return network.run()


def _table(largest: float, rms: float) -> Run:
    """A frozen embedding of 500 rows beside a network that trains."""
    network = Network().add_module("words", "Embedding", first=True)
    network.layout.parameters.add(name="words.weight", module="words", shape=[500, 16], dtype="float32", optimizer=-1)
    network.add_row(schema.WEIGHT, "words.weight", (500, 16), rms=rms, mean=0.0, min=-largest, max=largest)
    return network.run()


def _warm_up() -> Run:
    network = _still("layers.2.weight", until=50)
    rate = np.where(np.arange(200) < 50, 0.0, 1e-3)
    return network.set(schema.LEARNING_RATE, "0.0", mean=rate).run()


def _scheduled_away() -> Run:
    network = _still("layers.2.weight", since=100)
    rate = np.where(np.arange(200) < 100, 1e-3, 1e-9)
    return network.set(schema.LEARNING_RATE, "0.0", mean=rate).run()


def _line_search(since: int) -> Run:
    """L-BFGS, which makes no step from a record on."""
    network = Network()
    network.layout.optimizers[0].type = "LBFGS"
    for parameter in network.layout.parameters:
        network.set(schema.UPDATE, parameter.name, rms=np.where(np.arange(200) < since, 1e-3, 0.0))
    return network.run()


def _skipped() -> Run:
    network = Network()
    for parameter in network.layout.parameters:
        network.absent(schema.UPDATE, parameter.name, since=0)
    return network.run()


EXAMPLES = (
    Example("Written back after each step", lambda: _still("layers.2.weight").run(), True, "layers.2.weight", 0),
    Example("Stepped, and written back before the next step", lambda: _taken_back(3), True, "layers.3.weight", 0),
    Example("At the ends of a range that it is clipped to", lambda: _clipped_to_bounds(3), False, outcome="Passed"),
    Example("From step 70 on", lambda: _still("layers.4.weight", since=70).run(), True, "layers.4.weight", 70),
    Example("Lost to rounding in bfloat16", _rounded, True, first_step=0),
    Example("Ten records: just enough", lambda: _still("layers.1.weight", 30, 40).run(), True, "layers.1.weight", 30),
    Example("A bias: information only", lambda: _still("layers.2.bias").run(), True, "layers.2.bias", 0),
    Example("Put to rest at step 60, never woken", lambda: _asleep(1, since=60), True, "layers.1.weight", 60),
    Example("At rest at a fresh initialization", lambda: _asleep(0, 1), True, "layers.0.weight", 0),
    Example("Trained elsewhere and put to rest", lambda: _asleep(0, 1, scale=0.09), False, outcome="Passed"),
    Example("An embedding at rest, drawn evenly", lambda: _table(0.25, 0.25 / 3**0.5), True, "words.weight", 0),
    Example("An embedding at rest, drawn normally", lambda: _table(4.0, 1.0), True, "words.weight", 0),
    Example("Learned vectors at rest, with long tails", lambda: _table(7.0, 1.0), False, outcome="Passed"),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("Nine records: not enough", lambda: _still("layers.1.weight", 30, 39).run(), False, outcome="Passed"),
    Example("Learning rate 0 in warm-up", _warm_up, False, outcome="Passed"),
    Example("A schedule has taken the rate away", _scheduled_away, False, outcome="Passed"),
    Example("A line search that never moves a weight", lambda: _line_search(0), True, first_step=0),
    Example("A line search that has arrived", lambda: _line_search(60), False, outcome="Passed"),
    Example("At rest beside a matrix too small to tell", lambda: _asleep(0, 1, small=1), True, "layers.0.weight", 0),
    Example("Every step skipped by the gradient scaler", _skipped, False, outcome="NotApplicable"),
)

RULE = Rule(
    id="frozen-parameters",
    healthy="Every trained weight moves",
    ill="Weights that do not move",
    group="updates",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "records",
            10,
            "records",
            "records running without a change",
            "one might be a coincidence of rounding; ten are none",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "loss-not-decreasing",
        "underfitting",
        "slow-start",
        "learning-rate-too-low",
        "still-improving",
    ),
    statistic="update-ratio",
)
