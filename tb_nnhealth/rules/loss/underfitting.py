"""Training and validation loss have both come to rest close to what knowing nothing would cost.

## What it detects
A run that learned something, stopped improving, and ended with a poor training loss, while validation is no worse.
It is not the data that lack: the network, or its training, cannot express more.

## Why it matters
More data and more regularization make it no better. Where the training loss is poor, the first thing to change is
capacity or optimization, not generalization.

## How it is computed
The level of the training loss over its last third, as a share of the cost of a constant answer (known from the watched
criterion, else the first loss), exceeds `poor` and is below 0.98 (above, nothing was learned: loss-not-decreasing). A
line through the last half falls, with two standard errors, by less than a quarter of what had been gained; or, where
the cost of a constant answer is known, so slowly that the loss would stay above `poor` for another run of this length.
The validation loss, where it is logged, is not above the training loss by more than a fifth and three sigma of its
noise, nor below 0.7 of it, nor below `poor` itself: training is then made harder than the task. At least `points`
points. A warning for a cross-entropy over three classes or more; information for two classes, regression and losses
whose constant answer is not known, where noise in the targets may leave no more to be learned, for more than `classes`
classes, or an answer for each of the tokens given, as in language models, where the targets were not seen, so that
there may be such an answer, and where a logged accuracy is more than 0.4 of the way from a guess to all right: wrong
labels may be what is left.

A loss that still falls, so slowly, is a warning as well where eight evaluations or more were all above 0.985 of what a
constant answer costs, and training itself is above 0.9 of it: nothing has been learned that holds for other data.

Where the cost of a constant answer is known, a loss at rest above `resting` is told for information, unless a logged
accuracy is above 0.9: more steps or more data would not lower it.

A last layer of fewer inputs than a binary number for each class needs digits is enough to tell from a level above
`narrow`; information where the loss still falls.

A network whose layers follow each other with nothing but linear maps between them (read from the autograd graph), none
of them narrower than what goes in and comes out, is one linear map: told where the loss ends above a quarter of the
untrained level, a warning above half of it.

## What to try
1. Train a network of twice the width, or of more layers; check that non-linearities stand between the layers.
2. Check that it can overfit one batch: if not, the fault is in the model or the loop.
3. Take regularization away: weight decay, dropout, augmentation, label smoothing.
4. Another learning rate, and more steps.
5. Better features: what the labels depend on may not be in the inputs.

## When it is harmless
Where the targets are mostly noise (clicks, prices), a loss near that of a constant answer is all that can be had.

## References
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Stanford CS231n: train and validation accuracy](https://cs231n.github.io/neural-networks-3/#accuracy)
- [A recipe for training neural networks: overfit](https://karpathy.github.io/2019/04/25/recipe/)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run, Series
from tb_nnhealth.rules.base import Case, Closest, Example, Hit, Ill, NotApplicable, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.judged_loss import judged_loss
from tb_nnhealth.rules.loss.linear_network import linear_network
from tb_nnhealth.rules.loss.settled import Rest, accuracies, rest
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.loss.validation_at_a_guess import BELONG, NOTHING_HOLDS, validation_at_a_guess
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import apart, percent, short

LEARNED_SOMETHING = 0.98
WORSE = 1.2
STAYS_POINTS = 150
BETTER = 0.7
"""Validation loss over training loss below which the network has learned, and training is made harder than the task."""
CROSS_ENTROPIES = ("CrossEntropyLoss", "NLLLoss")
GOOD_ACCURACY = 0.6
"""Training accuracy from which a high loss is one of calibration or smoothed labels."""
NEARLY_ALL = 0.9
OFTEN_RIGHT = 0.4
"""Share of the way from a guess to all right, above which wrong labels may be all that is left."""


def check(case: Case) -> Outcome:
    if (whole := _one_linear_map(case)) is not None:
        return Ill([whole])
    curve = judged_loss(case.run, int(case.options["points"]))
    if not isinstance(curve, losses.LossCurve):
        return curve
    logged = losses.training_loss(case.run)
    if logged is not None and not np.isfinite(logged.values[-1]):
        return NotApplicable("the loss is no longer finite: what it came to before is not where it rests")
    end = rest(case.run, curve.values)
    if math.isnan(end.share):
        return NotApplicable("the loss is not positive: its level tells nothing of what is left to learn")
    poor = case.options["poor"]
    overfitted = end.validation > WORSE * end.training + 3 * end.validation_noise
    easier = end.validation < BETTER * end.training - 3 * end.validation_noise
    training_accuracy, validation_accuracy = accuracies(case.run)
    accurate = training_accuracy > GOOD_ACCURACY
    narrow, otherwise = _too_narrow(case.history), overfitted or accurate or easier
    if narrow is not None and case.options["narrow"] < end.share < LEARNED_SOMETHING and not otherwise:
        return Ill([_bottleneck(curve, end, case.options["narrow"], narrow)])
    few = len(curve) < case.options["points"]  # one in many steps: where it rests is told, and not for a warning
    stays = end.known and (few or len(curve) >= STAYS_POINTS) and curve_stays(curve.values, poor * end.untrained)
    held_up = end.validation <= poor * end.untrained  # dropout is what keeps the training loss up
    if not poor < end.share < LEARNED_SOMETHING or not (end.rests or stays) or otherwise or held_up:
        best = float(np.fmax(training_accuracy, validation_accuracy))
        if end.known and end.rests and not otherwise and not best > NEARLY_ALL:
            resting = case.options["resting"]
            if resting < end.share < LEARNED_SOMETHING:
                return Ill([_hit(curve, end, resting, False, (training_accuracy, validation_accuracy), case.history)])
        share = min(1.0, end.share / poor) if end.rests and not otherwise and not held_up else 0.0
        return Passed(Closest(share, curve.subject, int(curve.steps[-1]), "training loss at the end"))
    # A loss that still falls, however slowly, may be all right in a training that is cut short.
    nothing_holds = stays and not few and validation_at_a_guess(case.run, end)
    told = end.known and (end.rests or nothing_holds) and not few  # what comes next in a sequence has its own entropy
    classes, right = _classes(case.run), float(np.fmax(training_accuracy, validation_accuracy))
    known = told and classes in range(3, int(case.options["classes"]) + 1) and _one_answer_each(case.run)
    known = known and not right > 1 / classes + OFTEN_RIGHT * (1 - 1 / classes)
    found = _hit(curve, end, poor, known, (training_accuracy, validation_accuracy), case.history)
    if nothing_holds:
        found = replace(found, message=found.message + NOTHING_HOLDS, advice=(BELONG, *found.advice))
    return Ill([found])


def _one_linear_map(case: Case) -> Hit | None:
    told = losses.training_loss(case.run)
    return None if told is None or len(case.run.watches) != 1 else linear_network(case.run, case.history, told)


def curve_stays(values: curves.Values, level: float) -> bool:
    """Whether a loss that goes on as in its last half is above ``level`` even after another run of this length."""
    half = line(values[len(values) // 2 :])
    return half.end - 2 * (half.fall + 2 * half.error) > level


def _too_narrow(history: History | None) -> tuple[str, int, int] | None:
    """Name, inputs and classes of a last layer that has too few inputs to write each class in binary; else None."""
    if history is None or history.layout.criterion.type not in CROSS_ENTROPIES:
        return None
    classes = int(history.layout.criterion.classes)
    called = [m.name for m in history.layout.modules if m.called]
    heads = [p for p in history.layout.parameters if len(p.shape) == 2 and p.shape[0] == classes and p.module in called]
    matrices = sum(len(p.shape) > 1 for p in history.layout.parameters)
    if not heads or matrices < 2 or classes < 3 or 2 ** heads[-1].shape[1] >= classes:
        return None
    return heads[-1].name, int(heads[-1].shape[1]), classes


def _bottleneck(curve: losses.LossCurve, end: Rest, limit: float, narrow: tuple[str, int, int]) -> Hit:
    name, width, classes = narrow
    since = len(curve) - len(curve) // 3
    return Hit(
        subject=curve.subject,
        first_step=int(curve.steps[0]),
        fired_step=int(curve.steps[-1]),
        last_step=int(curve.steps[-1]),
        count=len(curve) - since,
        active=True,
        severity="warning" if end.rests else "info",
        statistic="training loss over the untrained level",
        unit="1",
        value=end.share,
        limit=limit,
        direction="above",
        message=(
            f"`{name}` tells {classes} classes apart by {width} number{'s' if width > 1 else ''}, and "
            f"`{curve.subject}` is at {short(end.training)}, {percent(end.share)} of the untrained level: the"
            " network is too narrow there."
        ),
        advice=(
            f"Give the layer before `{name}` at least {classes} outputs.",
            "Make the network larger, wider first.",
        ),
        more={"loss": end.training, "untrained": end.untrained, "inputs": width, "classes": classes},
    )


def _classes(run: Run) -> int:
    """Classes of the one watched cross-entropy, 0 where there is none."""
    criteria = [history.layout.criterion for history in run.watches.values() if history.layout.criterion.type]
    return int(criteria[0].classes) if len(criteria) == 1 and criteria[0].type in CROSS_ENTROPIES else 0


def _one_answer_each(run: Run) -> bool:
    """Whether the targets were seen, and are not the tokens of a text, with an answer at each of its places."""
    watches = run.watches.values()
    return any(h.rows(schema.TARGET) for h in watches) and not any(h.rows(schema.TOKENS) for h in watches)


def _hit(
    curve: losses.LossCurve, end: Rest, poor: float, known: bool, accuracy: Sequence[float], history: History | None
) -> Hit:
    since = len(curve) - len(curve) // 3
    against = "a constant answer's" if end.known else "where it began"
    rests_at, guess = apart(end.training, end.untrained)
    told = (
        f"`{curve.subject}` rests at {rests_at}, {percent(end.share)} of {against} ({guess})"
        f", since step {int(curve.steps[since]):,}"
    )
    told += f"; validation is at {short(end.validation)}." if np.isfinite(end.validation) else "."
    if np.isfinite(accuracy[0]):
        told += f" The training accuracy is {percent(accuracy[0])}."
    size = _parameters(history)
    advice = (
        f"Make the network larger (it has {size:,} parameters), wider first." if size else "Make the network larger.",
        "Check that non-linearities stand between the layers, and that it can overfit one batch of a few samples.",
        "Take weight decay, dropout and augmentation away, and see whether the training loss falls.",
    )
    return Hit(
        subject=curve.subject,
        **lasting(curve.steps, -1, since=since),
        severity="warning" if known else "info",
        statistic="training loss over the untrained level",
        unit="1",
        value=end.share,
        limit=poor,
        direction="above",
        message=told,
        advice=advice,
        more={"loss": end.training, "untrained": end.untrained}
        | ({"validation_loss": end.validation} if np.isfinite(end.validation) else {})
        | ({"training_accuracy": accuracy[0]} if np.isfinite(accuracy[0]) else {}),
    )


def _parameters(history: History | None) -> int:
    if history is None:
        return 0
    return int(sum(np.prod(p.shape, dtype=np.float64) for p in history.layout.parameters if p.trainable))


_STEPS = np.arange(200.0)


def _curve(to: float, start: float = 2.3) -> curves.Values:
    return np.asarray(to + (start - to) * np.exp(-_STEPS / 15))


def _watched(
    to: float, *, classes: int = 10, gap: float = 1.0, criterion: str = "CrossEntropyLoss", accuracy: float = math.nan
) -> Run:
    network = Network(classes=classes, criterion=criterion)
    network.loss(_curve(to, math.log(classes)))
    network.loss(gap * _curve(to, math.log(classes))[::10], tag="loss/val")
    if not math.isnan(accuracy):
        network.loss(np.full(20, accuracy), tag="accuracy/val")
    return network.run()


def _hardly(validation: float) -> Run:
    """A training loss that falls by 4 % of ln 10, evenly, of ten classes."""
    network = Network(classes=10).loss(math.log(10) * (1 - 0.04 * _STEPS / 200))
    network.loss(np.full(20, validation), tag="loss/val")
    return network.run()


def _bottled(width: int, to: float) -> Run:
    """A last layer of ten classes and ``width`` inputs."""
    network = Network(classes=10)
    network.layout.parameters[-2].shape[:] = (10, width)
    return network.loss(_curve(to, math.log(10))).run()


def _plain(values: curves.Values, accuracy: float | None = None) -> Run:
    noisy = values * (1 + 0.02 * np.random.default_rng(0).standard_normal(len(values)))
    scalars = {"loss/train": Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])}
    if accuracy is not None:
        scalars["accuracy/train"] = Series([(i, float(i), accuracy) for i in range(len(values))])
    return Run("plain", scalars=scalars)


def _linear(end: float, *, narrow: int = 0, but: int = -1) -> Run:
    """Layers with only linear maps between them, whose loss comes down to ``end``; one of them may be narrow."""
    network = Network()
    for i, module in enumerate(network.layout.modules):
        module.nonlinearity, module.linear = "", i != but
    if narrow:
        next(p for p in network.layout.parameters if p.name == network.weight(2)).shape[0] = narrow
    return network.loss(_curve(end)).run()


def _twelve_means() -> Run:
    """Means over twenty-five steps each of a classifier of ten classes, which still fall a little."""
    network = Network(steps=300, classes=10).absent(schema.LOSS, "")
    network.scalars["loss/train"] = [(25 * i + 24, 2.2 + 0.1 * math.exp(-i / 5)) for i in range(12)]
    return network.run()


def _targets_unseen() -> Run:
    network = Network(classes=10).loss(_curve(1.7, math.log(10)))
    next(row for row in network.layout.rows if row.kind == schema.TARGET).kind = schema.OUTPUT
    return network.run()


def _tokens() -> Run:
    network = Network(classes=60).loss(_curve(1.7) * math.log(60) / math.log(10))
    return network.add_row(schema.TOKENS, "next", mean=1.0).run()


RULE = Rule(
    id="underfitting",
    healthy="Training loss well below chance",
    ill="Underfitting",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("poor", 0.6, "share of the untrained level", "level at rest above which it is poor", "judgement"),
        Option("resting", 0.4, "share of the untrained level", "level at rest that is told", "judgement"),
        Option("narrow", 0.3, "share of the untrained level", "the same before a last layer too narrow", "judgement"),
        Option("points", 60, "points", "points needed", "judgement"),
        Option("classes", 100, "classes", "most classes of which a loss may be expected to near 0", "judgement"),
    ),
    examples=(
        Example("rests at three quarters of ln 10", lambda: _watched(1.7), ill=True, subject="loss/train"),
        Example("just above the limit", lambda: _watched(1.45), ill=True, subject="loss/train"),
        Example("just below the limit: information", lambda: _watched(1.3), ill=True, subject="loss/train"),
        Example("just above two fifths of ln 10: information", lambda: _watched(0.95), ill=True),
        Example("the same, nearly always right", lambda: _watched(0.95, accuracy=0.95), ill=False, outcome="Passed"),
        Example("just below two fifths of ln 10", lambda: _watched(0.9), ill=False, outcome="Passed"),
        Example("twelve means, and next to nothing learned: information", _twelve_means, ill=True),
        Example("two classes: information", lambda: _watched(0.6, classes=2), ill=True),
        Example("scalars alone: information", lambda: _plain(_curve(1.7)), ill=True, subject="loss/train"),
        Example("an answer for each token: information", _tokens, ill=True),
        Example("targets that were not seen: information", _targets_unseen, ill=True),
        Example("a vocabulary: information", lambda: _watched(6.0, classes=10000), ill=True),
        Example("often right, as wrong labels allow: information", lambda: _watched(1.7, accuracy=0.6), ill=True),
        Example("two numbers for ten classes", lambda: _bottled(2, 0.9), ill=True, subject="loss/train"),
        Example("four numbers for ten classes", lambda: _bottled(4, 0.9), ill=False, outcome="Passed"),
        Example("two numbers, and learned", lambda: _bottled(2, 0.4), ill=False, outcome="Passed"),
        Example("six layers that are one linear map", lambda: _linear(1.3), ill=True, subject="layers.0"),
        Example("one linear map, which is enough", lambda: _linear(0.4), ill=False, outcome="Passed"),
        Example("of low rank, on purpose: information", lambda: _linear(1.3, narrow=8), True, "loss/train"),
        Example("linear but for one layer: information", lambda: _linear(1.3, but=3), True, "loss/train"),
        Example("learned", lambda: _watched(0.2), ill=False, outcome="Passed"),
        Example("dropout, validation below the limit: information", lambda: _watched(1.6, gap=0.8), True),
        Example("validation is worse", lambda: _watched(1.7, gap=1.5), ill=False, outcome="Passed"),
        Example("validation never below a guess", lambda: _hardly(2.31), ill=True, subject="loss/train"),
        Example("validation a little below it: information", lambda: _hardly(2.24), ill=True, subject="loss/train"),
        Example("still falling", lambda: _plain(2.3 - _STEPS / 300), ill=False, outcome="Passed"),
        Example("accurate for all that", lambda: _plain(_curve(1.7), 0.8), ill=False, outcome="Passed"),
        Example("nothing learned at all", lambda: _watched(2.3), ill=False, outcome="Passed"),
        Example("NaN at the end", lambda: _plain(np.append(_curve(1.7), math.nan)), ill=False, outcome="NotApplicable"),
        Example("below 0", lambda: _plain(-_STEPS), ill=False, outcome="NotApplicable"),
        Example("forty steps", lambda: _plain(_curve(1.7)[:40]), ill=False, outcome="TooLittleData"),
        Example("no loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=("constant-output", "loss-not-decreasing", "update-ratio-too-low"),  # of a network that is one linear map
)
