"""Regularization holds the network back: it does poorly on its own training data.

## What it detects
A training loss that has come to rest at a poor level while either weight decay has shrunk the weights to a fraction
of their initial scale, or pulls at them as strongly as the data do, or dropout takes nearly everything away, or
training is worse than validation throughout, by clearly more than noise.

## Why it matters
Regularization costs training loss and is to repay in validation loss. Where the training loss stays near that of a
constant answer, nothing is left to generalize from.

## How it is computed
The level of the training loss over its last third, as a share of the untrained level (the cost of a constant answer
where the criterion is watched, else the first loss), exceeds `poor`, and a line through that third falls by less
than 5 % of the level. Then one of:

- **decay**: the optimizer's weight decay is at least `decay`, and the root mean square of half of the weight
  matrices is below `shrunk` of what it was at the start; steps after the last record are reckoned with the decay.
  The same without weight decay: a penalty in the loss, or a bound, holds the weights down.
- **balance**: the decay's part of a step, learning rate × weight decay × ‖w‖, is above `balance` of ‖Δw‖, median over
  the matrices and the second half of the records: the gradient only makes good what the decay takes. A level above
  `little` suffices; below `poor` it is information. Not above one and a half of the untrained level: decay pulls
  towards a constant answer, never beyond; nor where learning rate × weight decay × steps is below 0.3: what has had no
  time to take anything is in balance with nothing.
- **dropout**: modules set more than `dropped` of their inputs to zero, as their probability says, or the zeros before
  and behind them.
- **gap**: the validation loss lies below the training loss by `gap` (share of the training loss) and three sigma of
  both noises, over its last third and in four fifths of its points since the middle. That is information where the
  training loss is below 0.8 of the untrained level or its cost of a constant answer is not known.

At least `points` points of the training loss, or a dozen where less than a twentieth is left of every weight matrix.

## What to try
1. Lower the weight decay tenfold; the finding names the one in force. AdamW: 0.01 to 0.1; SGD: 1e-4 to 5e-4.
2. Lower dropout's probability, to 0.1 in hidden layers; take it out of convolutions.
3. Milder augmentation, mixup and label smoothing.
4. Exempt biases and normalization layers from weight decay.

## When it is harmless
Dropout, augmentation and mixup make training somewhat harder than validation in many good runs: there the training
loss is not poor.

## References
- [37 reasons why your network is not working, numbers 13 and 30](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Decoupled weight decay regularization](https://arxiv.org/abs/1711.05101)
- [Dropout: a simple way to prevent neural networks from overfitting](https://jmlr.org/papers/v15/srivastava14a.html)
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run, Series
from tb_nnhealth.rules.base import (
    Case,
    Closest,
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
from tb_nnhealth.rules.evidence import curves
from tb_nnhealth.rules.evidence.dropout import dropped
from tb_nnhealth.rules.evidence.losses import LossCurve
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.judged_loss import judged_loss
from tb_nnhealth.rules.loss.settled import Rest, rest
from tb_nnhealth.rules.loss.shrunk_weights import (
    Decay,
    decay_in_force,
    decayed,
    held_down,
    in_balance,
    shrinks_from,
    shrunk,
)
from tb_nnhealth.rules.loss.validation_below_training import validation_below_training, validation_gap
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import names, percent, short

FEWEST_POINTS = 12
"""Points of the loss that are enough where next to nothing is left of any weight matrix."""
CRUSHED, UNTAUGHT = 0.05, 0.95
"""Share of their initial scale below which weights carry no signal, and of a constant answer's cost."""
IN_BALANCE = 0.3
"""How often decay alone would have divided the weights by e: after less, nothing is in balance with it."""
NO_WORSE = 1.5
"""Share of the untrained level up to which decay, which pulls towards a constant answer, may hold the loss."""
ALONE, HARDLY_SHRUNK = 0.95, 0.8
"""Part of a step from which decay works alone, on weights that it hardly shrinks: there is no gradient to balance."""


def check(case: Case) -> Outcome:
    limit, history = case.options, case.history
    curve = judged_loss(case.run, int(limit["points"]))
    few = isinstance(curve, TooLittleData) and _nothing_left(history)
    if few and isinstance(enough := judged_loss(case.run, FEWEST_POINTS), LossCurve):
        curve = enough
    if not isinstance(curve, LossCurve):
        return curve
    end = rest(case.run, curve.values)
    if math.isnan(end.share):
        return NotApplicable("the loss is not positive: its level tells nothing of what is left to learn")
    decay, gap = decay_in_force(history, int(curve.steps[-1])), validation_gap(case.run, end)
    decay = decay if decay is not None and decay.value >= limit["decay"] else None
    taken = dropped(history) if history is not None else {}
    held = decay is not None and decay.left < limit["shrunk"]
    high = end.share > limit["poor"]
    poor = high and not end.falls
    if poor and held and decay is not None:
        return Ill([decayed(curve, end, decay, limit["shrunk"], shrinks_from(history))])
    left = shrunk(history)
    if left is not None and ((poor and left.left < limit["shrunk"]) or _crushed(left, end)):
        return Ill([held_down(curve, end, left, limit["shrunk"], shrinks_from(history))])
    if high and max(taken.values(), default=0.0) > limit["dropped"]:
        return Ill([_unless_it_falls(_dropped(curve, end, taken, limit["dropped"]), end)])
    alone = decay is not None and decay.balance > ALONE and decay.left > HARDLY_SHRUNK
    if (
        decay is not None
        and not alone
        and decay.balance > limit["balance"]
        and decay.pulled > IN_BALANCE
        and limit["little"] < end.share < NO_WORSE
        and not end.falls
    ):
        return Ill([in_balance(curve, end, decay, limit["balance"], poor=poor)])
    if high and gap > limit["gap"]:
        layout = history.layout if history is not None else None
        return Ill([_unless_it_falls(validation_below_training(curve, end, gap, limit["gap"], layout), end)])
    share = min(1.0, end.share / limit["poor"]) if gap > limit["gap"] or held else 0.0
    return Passed(Closest(share, curve.subject, int(curve.steps[-1]), "training loss at the end"))


def _nothing_left(history: History | None) -> bool:
    """Whether every trained matrix, two and more, has been crushed."""
    left = shrunk(history)
    return left is not None and left.most < CRUSHED


def _crushed(left: Decay, end: Rest) -> bool:
    """Whether next to nothing is left of the weights, and the loss is a constant answer's: a loss that holds a penalty
    falls with the weights, whatever the task. What such an answer costs may be unknown: then nothing of any matrix.
    """
    if end.known:
        return left.left < CRUSHED and end.share > UNTAUGHT
    return left.most < CRUSHED and not left.normalized and not end.falls


def _unless_it_falls(hit: Hit, end: Rest) -> Hit:
    """For information where the training loss still comes down: it is slow rather than held up."""
    return replace(hit, severity="info") if end.falls else hit


def _dropped(curve: LossCurve, end: Rest, taken: dict[str, float], limit: float) -> Hit:
    """``taken``: share of its inputs that each dropout module sets to zero, by the module's name."""
    most = max(taken, key=taken.__getitem__)
    return Hit(
        subject=curve.subject,
        **lasting(curve.steps, -1),
        severity="warning",
        statistic="share of inputs dropped",
        unit="share of elements",
        value=taken[most],
        limit=limit,
        direction="above",
        message=(
            f"`{most}` drops {percent(taken[most])} of its inputs, and `{curve.subject}` rests at "
            f"{short(end.training)}, {percent(end.share)} of the untrained level."
        ),
        advice=(
            f"Lower the dropout in {names(list(taken))} to 0.1 to 0.5.",
            "Check whether a probability of keeping was given: `torch.nn.Dropout(p)` takes that of dropping.",
        ),
        more={"loss": end.training, "untrained": end.untrained, "dropout": most},
    )


_STEPS = np.arange(200.0)


def _curve(to: float) -> curves.Values:
    return np.asarray(to + (2.3 - to) * np.exp(-_STEPS / 15))


def _decaying(left: float, to: float = 2.25, decay: float = 0.3) -> Run:
    network = Network()
    network.layout.optimizers[0].groups[0].weight_decay = decay
    for i in range(network.depth):
        network.scale(schema.WEIGHT, network.weight(i), left + (1 - left) * np.exp(-_STEPS / 20))
    return network.loss(_curve(to)).run()


def _few_points(left: float) -> Run:
    """A loss of twenty points, and weights of which so much is left."""
    network = Network()
    for i in range(network.depth):
        network.scale(schema.WEIGHT, network.weight(i), left + (1 - left) * np.exp(-_STEPS / 20))
    network.scalars["loss/train"] = [(5 * i, 2.3) for i in range(20)]
    return network.absent(schema.LOSS, "").run()


def _penalized(left: float) -> Run:
    """A loss that holds a penalty falls with the weights, down to the cost of a constant answer."""
    network = Network()
    for i in range(network.depth):
        network.scale(schema.WEIGHT, network.weight(i), left + (1 - left) * np.exp(-_STEPS / 30))
    return network.loss(2.3 + 20 * np.exp(-_STEPS / 45)).run()


def _gapped(to: float, below: float, *, watched: bool = True, noise: float = 0.02) -> Run:
    network = Network()
    network.loss(_curve(to), noise=noise)
    network.loss(below * _curve(to)[::10], tag="loss/val", noise=noise)
    run = network.run()
    return run if watched else Run("plain", scalars=run.scalars)


def _balanced(part: float, to: float = 1.1, *, rate: float = 0.1) -> Run:
    """A decay whose part of each step is ``part``."""
    network = Network(lr=rate)
    network.layout.optimizers[0].groups[0].weight_decay = 0.1
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), 100 * rate / part)
    return network.loss(_curve(to)).run()


def _with_dropout(share: float, to: float = 2.25, *, drops: float = 0.0, measured: bool = True) -> Run:
    """``share`` of a dropout's inputs becomes zero; ``drops``: the probability that is known of it."""
    network = Network(nonlinearity="")
    zeros = {"layers.2": 0.5, "layers.3": 1 - 0.5 * (1 - share)}
    for layer, zero_share in zeros.items():
        network.set(schema.ACTIVATION, layer, zero_share=zero_share if measured else math.nan)
    network.layout.modules[3].type, network.layout.modules[3].drops = "Dropout", drops
    return network.loss(_curve(to)).run()


def _negative() -> Run:
    return Run("plain", scalars={"loss": Series([(i, float(i), -float(i)) for i in range(200)])})


RULE = Rule(
    id="over-regularized",
    healthy="Regularization in proportion",
    ill="Over-regularized",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("poor", 0.5, "share of the untrained level", "level at rest above which it is poor", "judgement"),
        Option("decay", 0.01, "1", "least weight decay that counts", "AdamW's default"),
        Option("shrunk", 0.3, "share of the initial scale", "weights that are held down", "judgement"),
        Option("balance", 0.25, "1", "decay's part of a step", "healthy trainings of ours: below 0.12"),
        Option("little", 0.3, "share of the untrained level", "level at rest for a decay in balance", "judgement"),
        Option("dropped", 0.7, "share of elements", "inputs that dropout sets to zero", "usual are 0.1 to 0.5"),
        Option("gap", 0.25, "share of the training loss", "validation below training", "judgement"),
        Option("points", 60, "points", "points needed", "judgement"),
    ),
    examples=(
        Example("weights decayed to a twentieth", lambda: _decaying(0.05), ill=True, subject="loss/train"),
        Example("to just below the limit", lambda: _decaying(0.27), ill=True, subject="loss/train"),
        Example("to just above the limit", lambda: _decaying(0.33), ill=False, outcome="Passed"),
        Example("twenty points, and nothing left of the weights", lambda: _few_points(0.01), ill=True),
        Example("twenty points, and a tenth left", lambda: _few_points(0.1), ill=False, outcome="TooLittleData"),
        Example("decayed, and learned", lambda: _decaying(0.05, to=0.2), ill=False, outcome="Passed"),
        Example("shrunk without weight decay", lambda: _decaying(0.05, decay=0.0), ill=True, subject="loss/train"),
        Example(
            "shrunk without weight decay, and learned",
            lambda: _decaying(0.05, to=0.2, decay=0.0),
            ill=False,
            outcome="Passed",
        ),
        Example("crushed by a penalty, and still falling", lambda: _penalized(0.005), ill=True, subject="loss/train"),
        Example("half of them left, and still falling", lambda: _penalized(0.5), ill=False, outcome="Passed"),
        Example("the decay takes what the gradient gives", lambda: _balanced(0.4), ill=True, subject="loss/train"),
        Example("a tenth of a step", lambda: _balanced(0.1), ill=False, outcome="Passed"),
        Example("in balance, far above the untrained level", lambda: _balanced(0.4, 6.0), False, outcome="Passed"),
        Example("in balance, for a hundredth of its time", lambda: _balanced(0.4, rate=1e-3), False, outcome="Passed"),
        Example("in balance, and learned", lambda: _balanced(0.4, to=0.3), ill=False, outcome="Passed"),
        Example("dropout of 0.95", lambda: _with_dropout(0.95), ill=True, subject="loss/train", first_step=0),
        Example("dropout set to 0.95", lambda: _with_dropout(0.95, drops=0.95, measured=False), ill=True),
        Example(
            "dropout set to 0.5, on what a mask took away",
            lambda: _with_dropout(0.95, drops=0.5),
            ill=False,
            outcome="Passed",
        ),
        Example("dropout of 0.5, behind a rectifier", lambda: _with_dropout(0.5), ill=False, outcome="Passed"),
        Example("dropout of 0.95, and learned", lambda: _with_dropout(0.95, 0.4), ill=False, outcome="Passed"),
        Example("training far worse than validation", lambda: _gapped(2.0, 0.6), ill=True, subject="loss/train"),
        Example("scalars alone: information", lambda: _gapped(2.0, 0.6, watched=False), ill=True),
        Example("dropout in a run that learns", lambda: _gapped(0.6, 0.6), ill=False, outcome="Passed"),
        Example("a gap of a tenth", lambda: _gapped(2.0, 0.9), ill=False, outcome="Passed"),
        Example("validation as poor as training", lambda: _gapped(2.0, 1.0), ill=False, outcome="Passed"),
        Example("a loss below 0", _negative, ill=False, outcome="NotApplicable"),
        Example("no loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=(
        "underfitting",
        "loss-not-decreasing",
        "vanishing-activations",
        "vanishing-gradients",
        "constant-output",
        "dead-units",
        "learning-rate-too-high",
        "update-ratio-too-high",
        "activation-mean-shift",
        "no-gradient",
        "update-ratio-too-low",
        "learning-rate-too-low",
        "slow-start",
        "still-improving",
    ),
)
