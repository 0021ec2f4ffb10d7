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
  `little` suffices; below `poor` it is information.
- **dropout**: modules set more than `dropped` of their inputs to zero, as the zeros before and behind them tell.
- **gap**: the validation loss lies below the training loss by `gap` (share of the training loss) and three sigma of
  both noises, over its last third and in four fifths of its points since the middle. That is information where the
  training loss is below 0.8 of the untrained level or its cost of a constant answer is not known.

At least `points` points of the training loss.

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
from dataclasses import dataclass, replace

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run, Series
from tb_nnhealth.rules.base import Case, Closest, Example, Hit, Ill, NotApplicable, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.evidence.dropout import dropped
from tb_nnhealth.rules.evidence.weights import weights_of
from tb_nnhealth.rules.loss.judged_loss import judged_loss
from tb_nnhealth.rules.loss.settled import Rest, rest
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import names, percent, round_rate, short

VERY_POOR = 0.8
THROUGHOUT = 0.8
SHRINKING = 0.8
TYPICAL_DECAY = {"AdamW": 0.01, "NAdam": 0.01, "Lion": 0.1}


@dataclass(frozen=True)
class Decay:
    """The weight decay in force, and what it left of the weights: ``left``, over their initial scale.

    ``balance``: the decay's part of a step over the whole step; NaN where it is not known.
    """

    value: float
    optimizer: str
    left: float
    subject: str
    balance: float


def check(case: Case) -> Outcome:
    curve = judged_loss(case.run, int(case.options["points"]))
    if not isinstance(curve, losses.LossCurve):
        return curve
    end = rest(case.run, curve.values)
    if math.isnan(end.share):
        return NotApplicable("the loss is not positive: its level tells nothing of what is left to learn")
    decay, gap = _decay(case.history, int(curve.steps[-1])), _gap(case.run, end)
    taken = dropped(case.history) if case.history is not None else {}
    held = decay is not None and decay.value >= case.options["decay"] and decay.left < case.options["shrunk"]
    poor = end.share > case.options["poor"] and not end.falls
    if poor and held and decay is not None:
        return Ill([_decayed(curve, end, decay, case)])
    if poor and (shrunk := _shrunk(case.history)) is not None and shrunk.left < case.options["shrunk"]:
        return Ill([_held_down(curve, end, shrunk, case)])
    if poor and max(taken.values(), default=0.0) > case.options["dropped"]:
        return Ill([_dropped(curve, end, taken, case)])
    balanced = decay is not None and decay.value >= case.options["decay"] and decay.balance > case.options["balance"]
    if balanced and decay is not None and end.share > case.options["little"] and not end.falls:
        return Ill([_pulled(curve, end, decay, case)])
    if poor and gap > case.options["gap"]:
        return Ill([_hidden(curve, end, gap, case)])
    share = min(1.0, end.share / case.options["poor"]) if gap > case.options["gap"] or held else 0.0
    return Passed(Closest(share, curve.subject, int(curve.steps[-1]), "training loss at the end"))


def _decay(history: History | None, last_step: int) -> Decay | None:
    """The greatest weight decay, and the matrix that stands for the median of what is left of its weights."""
    if history is None or not len(history):
        return None
    everything = weights_of(history)
    weights = everything.only(everything.matrix & everything.trained)
    decays = []
    for parameter in weights.parameters:
        optimizers = history.layout.optimizers
        known = 0 <= parameter.optimizer < len(optimizers)
        groups = optimizers[parameter.optimizer].groups if known else []
        decays.append(groups[parameter.group].weight_decay if 0 <= parameter.group < len(groups) else 0.0)
    judged = np.array(decays) > 0 if decays else np.zeros(0, bool)
    if not judged.any():
        return None
    with np.errstate(all="ignore"):
        left = np.nan_to_num(weights.weight[-1] / weights.initial_rms, nan=np.inf, posinf=np.inf)[judged]
    rates = np.nan_to_num(weights.lr[-1])[judged] * np.array(decays)[judged]
    ahead = np.exp(-rates * max(0, last_step - int(weights.steps[-1])))
    left = np.where(left < SHRINKING, left * ahead, left)  # as the decay goes on where no record tells
    order = np.argsort(left)
    middle = int(order[len(order) // 2])
    at = int(np.flatnonzero(judged)[middle])
    kind = history.layout.optimizers[weights.parameters[at].optimizer].type
    late = len(weights.steps) // 2
    with np.errstate(all="ignore"):
        part = (weights.lr * np.array(decays) * weights.weight / weights.update)[late:, judged]
    part = np.where(np.isfinite(part), part, np.nan)[:, ~np.isnan(part).all(axis=0)]
    balance = float(np.median(np.nanmedian(part, axis=0))) if part.size else math.nan
    return Decay(float(decays[at]), kind, float(left[middle]), weights.names[at], balance)


def _shrunk(history: History | None) -> Decay | None:
    """What is left of most weight matrices, whatever made them small; None where no optimizer is watched."""
    if history is None or not len(history):
        return None
    everything = weights_of(history)
    weights = everything.only(everything.matrix & everything.trained)
    with np.errstate(all="ignore"):
        left = np.nan_to_num(weights.weight[-1] / weights.initial_rms, nan=np.inf, posinf=np.inf)
    if len(left) < 2:
        return None
    middle = int(np.argsort(left)[len(left) // 2])
    return Decay(0.0, "", float(left[middle]), weights.names[middle], math.nan)


def _held_down(curve: losses.LossCurve, end: Rest, shrunk: Decay, case: Case) -> Hit:
    return replace(
        _decayed(curve, end, shrunk, case),
        message=(
            f"`{shrunk.subject}` and half of the other weight matrices have shrunk to {short(shrunk.left)} of their "
            f"initial scale or less, and `{curve.subject}` rests at {short(end.training)}, {percent(end.share)} of the "
            "untrained level."
        ),
        advice=(
            "Weaken what holds the weights down: a penalty in the loss, a bound that they are clamped to.",
            "A penalty is the sum over all weights: divide it by their number, or take a factor of 1e-4.",
        ),
    )


def _gap(run: Run, end: Rest) -> float:
    """How far validation lies below training, as a share of training's; 0 where it does not throughout."""
    validation = losses.scalar_loss(run, "val")
    if validation is None or not np.isfinite(end.validation):
        return 0.0
    values = validation.finite().values
    since = values[len(values) // 2 :]
    below = (since < end.training).mean()
    sure = end.training - end.validation > 3 * math.hypot(end.noise / 3, end.validation_noise)
    return (end.training - end.validation) / end.training if below >= THROUGHOUT and sure else 0.0


def _decayed(curve: losses.LossCurve, end: Rest, decay: Decay, case: Case) -> Hit:
    typical = TYPICAL_DECAY.get(decay.optimizer, 5e-4)
    better = min(typical, decay.value / 10)
    return Hit(
        subject=curve.subject,
        first_step=int(curve.steps[0]),
        fired_step=int(curve.steps[-1]),
        last_step=int(curve.steps[-1]),
        count=len(curve),
        active=True,
        severity="warning",
        statistic="weights over their initial scale",
        unit="1",
        value=decay.left,
        limit=case.options["shrunk"],
        direction="below",
        message=(
            f"Weight decay {short(decay.value)} ({decay.optimizer}) holds `{decay.subject}` at {short(decay.left)} of "
            f"its initial scale, and `{curve.subject}` rests at {short(end.training)}, {percent(end.share)} of the "
            "untrained level."
        ),
        advice=(
            f"Lower the weight decay from {short(decay.value)} to about {round_rate(better)}.",
            "Exempt biases and normalization layers from it.",
        ),
        more={
            "weight_decay": decay.value,
            "loss": end.training,
            "untrained": end.untrained,
            "parameter": decay.subject,
        },
    )


def _pulled(curve: losses.LossCurve, end: Rest, decay: Decay, case: Case) -> Hit:
    return replace(
        _decayed(curve, end, decay, case),
        severity="warning" if end.known and end.share > case.options["poor"] else "info",
        statistic="decay's part of a step",
        value=decay.balance,
        limit=case.options["balance"],
        direction="above",
        message=(
            f"Weight decay {short(decay.value)} ({decay.optimizer}) makes {percent(decay.balance)} of a step: what the "
            f"gradient gives, it takes. `{curve.subject}` rests at {short(end.training)}, {percent(end.share)} of the "
            "untrained level."
        ),
    )


def _dropped(curve: losses.LossCurve, end: Rest, taken: dict[str, float], case: Case) -> Hit:
    most = max(taken, key=taken.__getitem__)
    return Hit(
        subject=curve.subject,
        first_step=int(curve.steps[0]),
        fired_step=int(curve.steps[-1]),
        last_step=int(curve.steps[-1]),
        count=len(curve),
        active=True,
        severity="warning",
        statistic="share of inputs dropped",
        unit="share of elements",
        value=taken[most],
        limit=case.options["dropped"],
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


def _hidden(curve: losses.LossCurve, end: Rest, gap: float, case: Case) -> Hit:
    since = len(curve) - len(curve) // 3
    layout = case.history.layout if case.history is not None else None
    dropouts = [m.name for m in layout.modules if "Dropout" in m.type] if layout is not None else []
    known = end.known and end.share > VERY_POOR
    return Hit(
        subject=curve.subject,
        first_step=int(curve.steps[since]),
        fired_step=int(curve.steps[-1]),
        last_step=int(curve.steps[-1]),
        count=len(curve) - since,
        active=True,
        severity="warning" if known else "info",
        statistic="validation below training",
        unit="share of the training loss",
        value=gap,
        limit=case.options["gap"],
        direction="above",
        message=(
            f"`{curve.subject}` rests at {short(end.training)}, {percent(end.share)} of the untrained level, while "
            f"validation is at {short(end.validation)}, {percent(gap)} lower: training is made harder than the task."
        ),
        advice=(
            f"Lower the dropout in {names(dropouts)}."
            if dropouts
            else "Lower dropout's probability, to 0.1 in hidden layers.",
            "Milder augmentation, mixup and label smoothing.",
            "Check that both losses have the same terms: a penalty may be part of the training loss alone.",
        ),
        more={"loss": end.training, "validation_loss": end.validation, "untrained": end.untrained},
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


def _gapped(to: float, below: float, *, watched: bool = True, noise: float = 0.02) -> Run:
    network = Network()
    network.loss(_curve(to), noise=noise)
    network.loss(below * _curve(to)[::10], tag="loss/val", noise=noise)
    run = network.run()
    return run if watched else Run("plain", scalars=run.scalars)


def _balanced(part: float, to: float = 1.1) -> Run:
    """A decay whose part of each step is ``part``."""
    network = Network(lr=0.1)
    network.layout.optimizers[0].groups[0].weight_decay = 0.1
    for i in range(network.depth):
        network.scale(schema.UPDATE, network.weight(i), 10 / part)
    return network.loss(_curve(to)).run()


def _with_dropout(share: float, to: float = 2.25) -> Run:
    network = Network(nonlinearity="")
    network.set(schema.ACTIVATION, "layers.2", zero_share=0.5).set(
        schema.ACTIVATION, "layers.3", zero_share=1 - 0.5 * (1 - share)
    )
    network.layout.modules[3].type = "Dropout"
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
        Example("decayed, and learned", lambda: _decaying(0.05, to=0.2), ill=False, outcome="Passed"),
        Example("shrunk without weight decay", lambda: _decaying(0.05, decay=0.0), ill=True, subject="loss/train"),
        Example(
            "shrunk without weight decay, and learned",
            lambda: _decaying(0.05, to=0.2, decay=0.0),
            ill=False,
            outcome="Passed",
        ),
        Example("the decay takes what the gradient gives", lambda: _balanced(0.4), ill=True, subject="loss/train"),
        Example("a tenth of a step", lambda: _balanced(0.1), ill=False, outcome="Passed"),
        Example("in balance, and learned", lambda: _balanced(0.4, to=0.3), ill=False, outcome="Passed"),
        Example("dropout of 0.95", lambda: _with_dropout(0.95), ill=True, subject="loss/train", first_step=0),
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
