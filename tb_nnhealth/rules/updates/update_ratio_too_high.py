"""A step changes the weights by a large part of themselves.

## What it detects
Weight matrices whose update per optimizer step is more than a tenth of the weights' norm for a while, or half of it
within a few steps. Biases, gains and other vectors are small or start at zero and are not judged.

## Why it matters
A gradient tells which way is down near the present weights only. A step of a tenth of the weights' norm leaves that
neighbourhood: what earlier layers and later layers have learned of each other no longer fits, the loss jumps or
diverges, rectifiers are pushed into their dead region, squashing units into saturation. Healthy training changes the
weights by about a thousandth per step.

## How it is computed
For each weight matrix, the L2 norm of the change made by one optimizer step over the L2 norm of the weights (no unit,
per step). Three conditions:

- **sustained**: the ratio exceeds `max` in half of `window` records. The first `opening` steps are not counted, for
  Adam's first steps are large by construction.
- **at once**: the change exceeds `jump` in three of five records, relative to the smallest norm that the weights had
  in the last 20 records, so that weights which have already been blown up cannot hide it. Weights that are NaN or
  infinite right after such a step count as one more.
- **in the end**: steps above 1e-2 have made the weights more than `grown` times as large as they were at the start,
  in three of five records, and the loss has not fallen to half.

Weights that start at or near zero (a zero-initialized branch, LoRA's B) are measured against half the scale of
default initialization, 1/√(3 fan-in), instead.

Critical where the change exceeds the weights themselves, or the loss diverges or does not move; a warning where the
loss has fallen to less than half nonetheless, and for information only below a quarter, or where the ratio stayed
below twice its limit, unless steps larger than the weights themselves go on to the end. So it is where
only steps among the first `opening` exceed `jump`, as Adagrad's do, the weights are at most three times as large after
them, and the loss has come down at all. Where a single matrix is
trained, embeddings apart (linear regression, a new head on frozen features, a bag of words), no other layer suffers:
information only, unless the loss diverges or does not move. Steps at learning rate 0 are not judged, nor are L-BFGS,
whose line search chooses its own step, and Rprop, which makes it longer as long as the signs stay.

## What to try
1. Lower the learning rate to where the ratio is between 1e-3 and 1e-2; the finding names that rate.
2. Warm the learning rate up over the first hundreds of steps.
3. Clip the gradients' norm (`torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)`), if single batches cause it.
4. If only one layer is concerned, look at its initialization: weights that start too small make every step large.

## When it is harmless
In the first steps of Adam, in small networks under plain SGD that learn quickly, and in weights followed by a
normalization layer, which grow until the steps are small in proportion. In all of these the loss falls.

## References
- [CS231n, Learning: ratio of weights to updates](https://cs231n.github.io/neural-networks-3/#ratio)
- [Karpathy, A Recipe for Training Neural Networks](https://karpathy.github.io/2019/04/25/recipe/)
- [Goyal et al. 2017, Accurate, Large Minibatch SGD (warm-up)](https://arxiv.org/abs/1706.02677)
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, Run
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
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
from tb_nnhealth.rules.evidence.steps import AT_ONCE
from tb_nnhealth.rules.evidence.weights import weights_of
from tb_nnhealth.rules.hits import closest
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.updates.large_steps import at_once, outgrown, sustained

SMALLEST_SCALE = 0.5
"""Share of the default initialization's scale below which weights count as starting from zero."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history, options = case.history, case.options
    if not history.rows(schema.UPDATE):
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    everything = weights_of(history)
    weights = everything.only(everything.matrix & everything.trained)
    if not weights.names:
        return NotApplicable("no weight matrix is trained by a watched optimizer")
    if weights.choose_own_steps(history.layout):
        return NotApplicable("the optimizer chooses the length of its steps itself, as L-BFGS and Rprop do")
    if len(history) < AT_ONCE:
        return TooLittleData(f"{len(history)} records so far, {AT_ONCE} needed")

    scale = SMALLEST_SCALE * weights.natural_rms
    ratio = np.asarray(weights.update / np.fmax(weights.weight, scale), np.float32)
    moving = np.isfinite(weights.update) & ~(weights.lr == 0)
    settled = moving & (weights.steps >= weights.steps[0] + options["opening"])[:, None]
    limit = options.per_subject("max", weights.names)
    jump_limit = options.per_subject("jump", weights.names)
    seen = progress(case.run, history)
    found = [
        *outgrown(weights, scale, options["grown"], seen),
        *sustained(weights, ratio, settled, limit, int(options["window"]), seen),
        *at_once(history, weights, scale, moving, jump_limit, int(options["opening"]), seen),
    ]
    if found:
        return Ill(list({hit.subject: hit for hit in found}.values()))  # the last way that concerns a matrix tells it
    counted = np.where(settled, ratio, np.nan)
    return Passed(closest(counted, float(limit.min()), "above", weights.names, weights.steps, "update : weight ratio"))


def _network(factor: float | Floats, layer: int = 3, **options: object) -> Network:
    network = Network(**options)  # type: ignore[arg-type]
    return network.scale(schema.UPDATE, network.weight(layer), factor)  # type: ignore[arg-type]


def _from(step: int, factor: float, steps: int = 200) -> Floats:
    return np.where(np.arange(steps) >= step, factor, 1.0).astype(np.float32)


def _too_high_from_the_start() -> Run:
    network = Network(lr=0.3)
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), 2000.0 if i == 2 else 1000.0)
    network.set(schema.LOSS, "", mean=7.0)
    return network.run()


def _stands(network: Network) -> Run:
    return network.set(schema.LOSS, "", mean=1.9).run()


def _learned_nonetheless() -> Run:
    return _network(_from(30, 200.0)).set(schema.LOSS, "", mean=2.3 * np.exp(-np.arange(200) / 40)).run()


def _blown_up() -> Run:
    """Weights that grow 30-fold in ten steps: the plain ratio soon looks harmless again."""
    network, growth = Network(lr=0.5), np.ones(200)
    growth[3:13], growth[13:] = np.exp(np.linspace(0.34, 3.4, 10)), 30.0
    change = np.abs(np.diff(growth, append=30.0))
    change[change == 0] = 1e-3 * 30
    for i in range(network.depth):
        network.scale(schema.WEIGHT, network.weight(i), growth)
        network.scale(schema.UPDATE, network.weight(i), (1200 if i == 4 else 1000) * change)
    return network.set(schema.LOSS, "", mean=2.31).run()


def _carried_away(grown: float, loss: float) -> Run:
    """Adam under a learning rate that rises slowly: never a large step in proportion, but the weights grow and grow."""
    network, t = Network(lr=0.3), np.arange(200)
    growth = 1 + (grown - 1) * np.clip((t - 50) / 100, 0, 1)
    network.scale(schema.WEIGHT, network.weight(3), growth)
    network.scale(schema.UPDATE, network.weight(3), 40 * growth)
    return network.set(schema.LOSS, "", mean=np.linspace(2.3, loss, 200)).run()


def _leaps(steps: int) -> Run:
    """Weights that are not finite a few steps after the start, which large ``steps`` may have brought about."""
    network = Network(lr=0.01)
    for i in range(network.depth):
        large = np.where(np.arange(200) < steps, 1e4, 1.0)
        network.scale(schema.UPDATE, network.weight(i), 1.5 * large if i == 1 else large)
        network.spoil(schema.WEIGHT, network.weight(i), 2, nan=4096)
        network.absent(schema.UPDATE, network.weight(i), 2)
    return network.run()


def _far_to_go() -> Run:
    """A linear regression on targets of hundreds: the weights are soon a hundred times larger, and there they stay."""
    network = _network(np.where(np.arange(200) < 15, 2000.0, 1.0).astype(np.float32), 0, depth=1)
    return network.set(schema.LOSS, "", mean=2.3 * (0.6 + 0.4 * np.exp(-np.arange(200) / 10))).run()


def _zero_initialized() -> Run:
    """LoRA's B under Adam: starts at zero, and its first steps are many times its own size."""
    network, t = Network(), np.arange(200)
    rms = 1e-3 * np.sqrt(t)
    network.set(schema.WEIGHT, network.weight(5), rms=rms, zero_share=(t == 0).astype(float))
    network.set(schema.UPDATE, network.weight(5), rms=1e-3)
    network.layout.parameters[10].initial_rms = 0.0
    return network.run()


def _opening_of_adam() -> Run:
    return _network(np.maximum(1.0, 300 * 0.8 ** np.arange(200)).astype(np.float32)).run()


def _bias_only() -> Run:
    network = Network()
    return network.scale(schema.UPDATE, "layers.3.bias", 500.0).run()


EXAMPLES = (
    Example("Learning rate far too high from the start", _too_high_from_the_start, True, "layers.2.weight", 0),
    Example(
        "One layer's updates grow to a fifth of its weights",
        lambda: _stands(_network(_from(100, 200.0))),
        True,
        "layers.3.weight",
        100,
    ),
    Example("Weights blown up within ten steps", _blown_up, True, "layers.4.weight", 2),
    Example("Carried away in small steps", lambda: _carried_away(12.0, 2.2), True, "layers.3.weight", 69),
    Example(
        "Weights grow twelvefold, and the loss is learned", lambda: _carried_away(12.0, 0.3), False, outcome="Passed"
    ),
    Example("Weights grow fourfold", lambda: _carried_away(4.0, 2.2), False, outcome="Passed"),
    Example("Above the limit, but the loss falls: information only", _learned_nonetheless, True, "layers.3.weight", 30),
    Example("Just above the limit", lambda: _stands(_network(_from(60, 120.0))), True, "layers.3.weight"),
    Example("Not finite after two large steps", lambda: _leaps(2), True, "layers.1.weight", 0),
    Example("Not finite after usual steps", lambda: _leaps(0), False, outcome="Passed"),
    Example("Far to go at first: information only", _far_to_go, True, "layers.0.weight", 0),
    Example("A usual learning rate", lambda: Network().run(), False, outcome="Passed"),
    Example("Just below the limit", lambda: _network(_from(60, 85.0)).run(), False, outcome="Passed"),
    Example("Adam's large first steps", _opening_of_adam, False, outcome="Passed"),
    Example("Weights that start at zero", _zero_initialized, False, outcome="Passed"),
    Example("Only a bias changes quickly", _bias_only, False, outcome="Passed"),
)

RULE = Rule(
    id="update-ratio-too-high",
    healthy="Updates in proportion to the weights",
    ill="Updates too large",
    group="updates",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "max",
            0.1,
            "per step",
            "update : weight ratio, sustained",
            "100 × the 1e-3 of CS231n; healthy trainings of ours stay below 0.1",
        ),
        Option(
            "jump",
            0.5,
            "per step",
            "update relative to the weights of 20 records ago, at once",
            "healthy trainings of ours stay below 0.3, diverging ones exceed 0.6",
        ),
        Option(
            "window",
            20,
            "records",
            "records of which half must exceed max",
            "longest transient of healthy trainings of ours",
        ),
        Option(
            "grown",
            5,
            "1",
            "growth of the weights since the start, while steps exceed 1e-2 and the loss is not learned",
            "healthy trainings of ours that had not learned stay below 3, failing ones exceed 5.5",
        ),
        Option(
            "opening", 20, "steps", "first steps in which max is not applied", "Adam's bias correction at beta1 = 0.9"
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "exploding-activations",
        "exploding-gradients",
        "vanishing-gradients",
        "no-gradient",
        "dead-units",
        "saturated-units",
        "non-finite",
        "diverging-weights",
        "diverging-bias",
        "constant-output",
        "loss-diverging",
        "loss-not-decreasing",
        "loss-spike",
        "loss-oscillating",
        "gradient-spike",
        "learning-rate-too-high",
        "frozen-parameters",
        "update-ratio-too-low",
        "vanishing-activations",
        "underfitting",
        "prediction-jitter",
        "over-regularized",
    ),
    statistic="update-ratio",
)
