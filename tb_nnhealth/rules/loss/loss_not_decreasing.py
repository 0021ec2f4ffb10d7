"""The training loss stands where it began, or where an answer that ignores the input would stand.

## What it detects
No gain of the training loss over its own noise from the start on; or, where the criterion is watched, a loss that is
no better than that of the best constant answer. A loss that falls slowly but surely is not reported.

## Why it matters
Nothing is being learned, and waiting does not change it. Every other number of such a run describes noise.

## How it is computed
The median of the best later third of the curve is compared with that of the first 1, 3 and 10 points, tenth and third.
The standard error of each comes from the point-to-point noise (MAD of differences / sqrt 2). It fires where no
comparison shows a gain beyond three standard errors and `gain` (share of the first loss), the last four fifths have no
falling trend (Mann-Kendall z above -4), and the noise is small enough that a gain of 10 % would have been seen. A
constant answer costs ln C nats for C classes, ln 2 for a binary cross-entropy, the variance of the targets for a
squared error; a loss within 2 % of it, or above, fires too, unless it is falling and has either passed it, or not come
near before its last third, and would be a tenth below it after three more runs of this length. Of many places in an
answer it is the variance about a mean for each. Where class indices are tokens, beside inputs of as many, it is at most
the entropy of the tokens asked for: what their frequencies cost. Models of sequences stand there for long before
attention sets in, so that it is for information up to step 2,000, but not where a token is asked for at every place and
less than half are those that are given there, or one or two places behind: a warning. A scalar that ends at half or
twice of what the criterion tells, or further off, is in another unit, and not compared with it. A loss that rises to
more than twice its start is left to the rule on diverging losses, and none is judged that label smoothing leaves hardly
anything to gain. At least `points` points are asked for, or twenty that are means over many steps (ten, where all of
them lie within 5 % of a constant answer's cost), or of so little noise that a gain of `gain` would show, or ten within
0.2 % of each other; of a scalar with fewer, 40 records of the criterion. With fewer than 100 points, over fewer than
500 steps, or 500 samples seen, it is for information. Points before the learning rate first exceeds 0 are left out. In
scalars alone an accuracy tells what a guess costs: at twelve evaluations or more, of little noise and without a rise, a
loss that stays at 0.95 to 1.1 of -ln(accuracy) is that of a guess among so many classes, wherever it began; information
in a run of fewer than 500 steps.

## What to try
1. Overfit one batch of a few samples. If that fails too, the fault is in the model or the loop, else in the data.
2. Check that gradients arrive and weights move: `zero_grad`, `backward`, `step`, `requires_grad`, the optimizer's
   parameters, a `detach()` on the way.
3. Check that inputs and labels still belong together after shuffling and augmentation.
4. Try learning rates ten times greater and smaller.
5. Take away what may hold it back: softmax before the loss, strong weight decay, saturated or dead layers.

## When it is harmless
A model that was trained before and starts at its floor (start the run's steps where the earlier run ended, or silence
the rule), losses against an opponent or an environment (recognised by their tags and left out), tasks that need a
long plateau before they are understood.

## References
- [Stanford CS231n: sanity checks and babysitting the learning process](https://cs231n.github.io/neural-networks-3/)
- [A recipe for training neural networks](https://karpathy.github.io/2019/04/25/recipe/)
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
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
from tb_nnhealth.rules.evidence import losses, tags
from tb_nnhealth.rules.evidence.tokens import unrelated
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.at_a_guess import at_a_guess
from tb_nnhealth.rules.loss.enough_told import (
    FEWEST_POINTS,
    LEARNED,
    all_records,
    arrives,
    constant_answer,
    flat,
    means_at,
    on_a_plateau_of_sequences,
    smoothed_away,
    warming_up,
    young,
)
from tb_nnhealth.rules.loss.gain_since_start import Gain, measure
from tb_nnhealth.rules.loss.judged_loss import averaged
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import percent, round_rate, short

RESOLVABLE = 0.10
"""A gain of this share of the first loss must have been visible above the noise."""
AT_CHANCE = 0.98
HARDLY = 0.94
"""Share of a constant answer's cost above which, a long run through, next to nothing was learned: information."""
ABOVE_CHANCE = 1.1
"""A falling loss beyond this share of a constant answer's is still on its way down to it."""
PRETRAINED = 0.7
"""A first loss below this share of a constant answer's was learned before this run."""
NOTHING_LEFT = 0.05
BELONG = (
    "Check that inputs and targets are of the same rows: for the next token, targets are the inputs shifted by one."
)
RISEN = 2.0
RESUMED = 10


def check(case: Case) -> Outcome:
    told = _of_the_loss(case)
    if isinstance(told, (Passed, TooLittleData)) and (guess := at_a_guess(case.run)) is not None:
        return Ill([guess])
    return told


def _of_the_loss(case: Case) -> Outcome:
    if why := tags.moving_target(case.run):
        return NotApplicable(why)
    found = losses.training_loss(case.run)
    if found is None:
        return CouldNotCheck(losses.NEEDS)
    found, recorded = all_records(case.run, found)
    curve, rates = found.finite(), losses.learning_rate(case.run)
    moving = np.flatnonzero(rates[1] > 0) if rates is not None else np.zeros(0, np.int64)
    if rates is not None and len(moving) and moving[0] > 0:
        begun = curve.at_optimizer(case.run).steps >= rates[0][moving[0]]
        curve = losses.LossCurve(curve.subject, curve.steps[begun], curve.walls[begun], curve.values[begun])
    values, steps = curve.values, curve.steps
    chance = constant_answer(case.run, recorded=recorded)
    if smoothed_away(case.run, chance):
        return NotApplicable("label smoothing leaves the loss hardly anything to gain")
    if len(values) < FEWEST_POINTS and not flat(values) and not means_at(chance, case.run, curve):
        return TooLittleData(f"{len(values)} points of the training loss, {FEWEST_POINTS} are needed")
    begins = int(found.finite().steps[0])
    if begins > RESUMED * max(1, int(np.median(np.diff(steps)))):
        return NotApplicable(f"the loss begins at step {begins:,}: an earlier training goes on")
    if rates is not None and warming_up(rates[1]):
        return TooLittleData("the learning rate is still rising")
    first = float(np.median(values[:3]))
    if first < PRETRAINED * chance or (math.isnan(chance) and abs(first) < NOTHING_LEFT):
        return NotApplicable(f"the loss begins at {short(first)}, where little is left to gain")
    gain = measure(values, case.options["gain"])
    points = int(case.options["points"])
    of_means, is_young = averaged(case.run, curve, points), young(case.run, curve, values)
    enough = len(values) >= points or of_means
    third = values[-len(values) // 3 :]
    stands_there = chance <= gain.now <= ABOVE_CHANCE * chance and float(np.median(third)) <= ABOVE_CHANCE * chance
    stands_there = stands_there and line(third).end >= AT_CHANCE * chance  # else it falls past it
    on_its_way = gain.falling and not stands_there and arrives(values, chance, of_means=of_means and not is_young)
    below = gain.lowest + gain.luck < LEARNED * chance or on_its_way
    at_chance = (enough or recorded) and gain.last >= AT_CHANCE * chance and not below
    if (gain.rising or gain.last > RISEN * gain.lowest) and gain.last > RISEN * max(
        first, 0.0 if math.isnan(chance) else chance
    ):
        return NotApplicable("the loss rises: whether it diverges is another rule's question")
    hardly = enough and not is_young and HARDLY * chance <= gain.last and HARDLY * chance <= gain.now and not below
    if not at_chance and (gain.falling or gain.seen) and not hardly:
        return Passed()
    if not at_chance and not hardly and gain.upper >= (RESOLVABLE if enough else case.options["gain"]):
        return TooLittleData(f"noise of {percent(gain.noise / abs(first))} from point to point hides the trend")
    rate = float(rates[1].max()) if rates is not None and len(rates[1]) else math.nan
    hit = _hit(found.subject, steps, gain, chance if at_chance or hardly else math.nan, rate, case)
    plateau = on_a_plateau_of_sequences(case.run, curve.at_optimizer(case.run).steps)
    mild = ((is_young or plateau) and rate != 0) or (hardly and not at_chance)
    return Ill([replace(hit, severity="info") if mild else hit])


def _hit(
    subject: str, steps: NDArray[np.int64], gain: Gain, chance: float, rate: float, case: Case,
) -> Hit:  # fmt: skip
    at = min(len(steps), int(case.options["points"])) - 1
    told = f"`{subject}` stays at {short(gain.last)} over {len(steps):,} points"
    if math.isnan(chance):
        told += f": it gained {percent(max(0.0, gain.value))} of its first value, no more than its noise."
    else:
        better = "hardly" if gain.last < AT_CHANCE * chance else "no"
        told += f", {better} better than an answer that ignores the input ({chance:.3f})."
    if astray := any(unrelated(history) for history in case.run.watches.values()):
        told += " What it is asked for are neither the tokens that it is given there, nor those behind them."
    if rate == 0:
        told += " The learning rate is 0."
    advice: tuple[str, ...] = (
        "Overfit one batch of a few samples first: if that fails, the fault is in the model or the loop.",
        "Check that gradients arrive and weights move: backward, step, requires_grad, the optimizer's parameters.",
        "Check that inputs and labels still belong together after shuffling and augmentation.",
        f"Try learning rates {round_rate(10 * rate)} and {round_rate(rate / 10)}, ten times {short(rate)} and a tenth."
        if rate > 0
        else "Try learning rates ten times greater and ten times smaller.",
    )
    if astray:
        advice = (BELONG, *advice)
    return Hit(
        subject=subject,
        **lasting(steps, at),
        severity="warning" if math.isnan(chance) or astray else "critical",
        statistic="gain of the loss since the start",
        unit="share of the first loss",
        value=gain.value,
        limit=case.options["gain"],
        direction="below",
        message=told,
        advice=(("Set a learning rate above 0.", *advice[:-1]) if rate == 0 else advice),
        more={"first_loss": gain.first, "loss": gain.last, "noise": gain.noise}
        | ({"learning_rate": rate} if rate >= 0 else {})
        | ({} if math.isnan(chance) else {"constant_answer": chance}),
    )


def _plain(curve: NDArray[np.floating[Any]], noise: float, tag: str = "train_loss", step: int = 1) -> Run:
    rng = np.random.default_rng(0)
    values = curve + noise * rng.standard_normal(len(curve))
    return Run("plain", scalars={tag: Series([(i * step, float(i), float(v)) for i, v in enumerate(values)])})


def _watched(start: float, end: float, classes: int = 10) -> Run:
    """A watched classifier whose loss goes from ``start`` to ``end`` within ten steps and stays there."""
    return _told(Network(classes=classes), end + (start - end) * np.exp(-np.arange(200) / 3.0))


def _told(network: Network, curve: NDArray[np.float64]) -> Run:
    """A loss of 200 steps, logged and told by the criterion alike."""
    return network.set(schema.LOSS, "", mean=curve[network.at]).loss(curve, noise=0.01).run()


def _smoothed(smoothing: float) -> Run:
    """A classifier of ten classes at ln 10, that was given labels of so much smoothing."""
    network = Network(classes=10)
    network.layout.criterion.label_smoothing = smoothing
    return _told(network, math.log(10) * _ONES)


def _falls_past() -> Run:
    """A loss that nears a constant answer's cost at once and falls past it late, faster and faster."""
    at = np.arange(200) / 200
    return _told(Network(classes=10), 2.45 + 6 * np.exp(-20 * at) - 0.45 * at**4)


def _just_there() -> Run:
    """A loss that falls in a straight line, and reaches a constant answer's cost with its last points."""
    return _told(Network(classes=10), 2.32 + 20 * (1 - np.arange(200) / 200))


def _tokens(to: float, following: float) -> Run:
    """A model of 100 tokens, whose frequencies alone cost 3.1, asked for the next ones by such a share."""
    network = Network(classes=100)
    for subject, value in {"next": following, "same": 0.1, "after_next": 0.1, "asked": 1.0, "entropy": 3.1}.items():
        network.add_row(schema.TOKENS, subject, mean=value)
    return _told(network, to + (math.log(100) - to) * np.exp(-np.arange(200) / 3.0))


_ONES = np.ones(200)
_FALL = np.exp(-np.arange(200) / 40.0)


def _epochs_at_chance() -> Run:
    """Means over twenty steps each, which scatter by more than a gain of 2 % would show, of a classifier at ln 10."""
    rng, guess = np.random.default_rng(3), math.log(10)
    network = Network(steps=400)
    network.set(schema.LOSS, "", mean=guess * (1 + 0.2 * rng.standard_normal(len(network.at))))
    epochs, run = guess * (1 + 0.02 * rng.standard_normal(20)), network.run()
    run.scalars["loss/train"] = Series([(i, 20.0 * i + 19, float(v)) for i, v in enumerate(epochs)])
    return run


def _beside_accuracy(loss: NDArray[np.floating[Any]], accuracy: NDArray[np.floating[Any]]) -> Run:
    """Means over epochs, both with the noise of some hundred samples."""
    run, rng = _plain(loss, 0.01), np.random.default_rng(1)
    right = accuracy + 0.01 * rng.standard_normal(len(accuracy))
    run.scalars["val_acc"] = Series([(i, float(i), float(v)) for i, v in enumerate(right)])
    return run


def _sums() -> Run:
    """Forty epochs of a sum over 64 places, beside a criterion that tells their mean: 0.5 at first, 0.3 in the end."""
    network = Network(steps=1000, criterion="BCEWithLogitsLoss", classes=2)
    network.set(schema.LOSS, "", mean=0.3 + 0.2 * np.exp(-network.at / 300))
    means = [64 * (0.3 + 0.2 * math.exp(-i / 12)) for i in range(40)]
    network.scalars["loss/train"] = [(25 * i + 24, mean) for i, mean in enumerate(means)]
    return network.run()


def _warm_up_only() -> Run:
    run = _plain(2.3 * _ONES[:60], 0.01)
    run.scalars["lr"] = Series([(i, float(i), 1e-5 * i) for i in range(60)])
    return run


def _reinforced() -> Run:
    run = _plain(_ONES, 0.05, tag="train/loss")
    run.scalars["rollout/ep_rew_mean"] = Series([(i, float(i), float(i)) for i in range(200)])
    return run


RULE = Rule(
    id="loss-not-decreasing",
    healthy="Loss decreasing",
    ill="Loss not decreasing",
    group="loss",
    severity="critical",
    scope="run",
    check=check,
    options=(
        Option("gain", 0.02, "share of the first loss", "least fall of the loss that counts as one", "judgement"),
        Option("points", 50, "points", "points needed; fewer where the noise is small", "judgement"),
    ),
    examples=(
        Example("flat from the start", lambda: _plain(2.3 * _ONES, 0.03), ill=True, subject="train_loss", first_step=0),
        Example("thirty epochs at ln 2", lambda: _plain(0.6931 * _ONES[:30], 2e-4), ill=True, subject="train_loss"),
        Example(
            "falls from 30 to ln 10, and stays",
            lambda: _watched(30, 2.30),
            ill=True,
            subject="loss/train",
            first_step=0,
        ),
        Example("twenty means over an epoch each, at a constant answer", _epochs_at_chance, ill=True),
        Example(
            "thirty epochs, from 25 to a guess among ten, and one in ten is right",
            lambda: _beside_accuracy(2.32 + 22 * (np.arange(30) < 1), 0.1 + 0.2 * (np.arange(30) < 1)),
            ill=True,
            subject="train_loss",
        ),
        Example(
            "more and more are right",
            lambda: _beside_accuracy(2.32 + 22 * (np.arange(30) < 1), 0.08 + np.arange(30) / 800),
            ill=False,
            outcome="Passed",
        ),
        Example(
            "half are right, at a loss that tells more than a guess between two",
            lambda: _beside_accuracy(1.6 + 0.7 * (np.arange(30) < 1), 0.5 * _ONES[:30]),
            ill=False,
            outcome="Passed",
        ),
        Example("labels smoothed by nine tenths", lambda: _smoothed(0.9), ill=False, outcome="NotApplicable"),
        Example("labels smoothed by a tenth", lambda: _smoothed(0.1), ill=True, subject="loss/train"),
        Example("epochs' sums over the places of an answer", _sums, ill=False, outcome="Passed"),
        Example("has only just come down to a constant answer", _just_there, ill=False, outcome="Passed"),
        Example("falls past a constant answer late", _falls_past, ill=False, outcome="Passed"),
        Example("rises instead", lambda: _plain(1 + 0.1 * np.arange(200) / 200, 0.02), ill=True, subject="train_loss"),
        Example(
            "rises without bound",
            lambda: _plain(2.3 * 1.05 ** np.arange(200), 0.02),
            ill=False,
            outcome="NotApplicable",
        ),
        Example("below 0 and flat", lambda: _plain(-3 * _ONES, 0.02), ill=True, subject="train_loss"),
        Example("falls", lambda: _plain(2.3 * _FALL, 0.03), ill=False, outcome="Passed"),
        Example(
            "falls slowly but surely", lambda: _plain(2.3 - 1e-4 * np.arange(200), 0.003), ill=False, outcome="Passed"
        ),
        Example("the frequencies of tokens: information", lambda: _tokens(3.11, 1.0), ill=True),
        Example("targets of other rows than the inputs", lambda: _tokens(3.11, 0.1), ill=True),
        Example("below what their frequencies cost", lambda: _tokens(2.5, 1.0), ill=False, outcome="Passed"),
        Example("falls at once, then stays", lambda: _watched(2.3, 0.4), ill=False, outcome="Passed"),
        Example("falls from 0 to -80", lambda: _plain(80 * _FALL - 80, 0.5), ill=False, outcome="Passed"),
        Example(
            "3 % below the start",
            lambda: _plain(2.3 * (0.97 + 0.03 * (_FALL > 0.6)), 0.005),
            ill=False,
            outcome="Passed",
        ),
        Example("1 % below the start", lambda: _plain(2.3 * (0.99 + 0.01 * (_FALL > 0.6)), 0.005), ill=True),
        Example("noise that hides any trend", lambda: _plain(_ONES, 0.6), ill=False, outcome="TooLittleData"),
        Example("nine points", lambda: _plain(_ONES[:9], 0.0), ill=False, outcome="TooLittleData"),
        Example("ten points with noise", lambda: _plain(_ONES[:10], 0.01), ill=False, outcome="TooLittleData"),
        Example("twelve epochs without any change", lambda: _plain(_ONES[:12], 1e-4), ill=True, subject="train_loss"),
        Example(
            "twelve epochs, and 200 records at ln 10",
            lambda: _rarely_logged(),
            ill=True,
            subject="train_loss",
            first_step=0,
        ),
        Example("learning rate still warming up", _warm_up_only, ill=False, outcome="TooLittleData"),
        Example("an earlier training goes on", lambda: _resumed(), ill=False, outcome="NotApplicable"),
        Example("fine-tuned from near its floor", lambda: _watched(0.31, 0.30), ill=False, outcome="NotApplicable"),
        Example("nothing left to gain", lambda: _plain(0.01 * _ONES, 0.001), ill=False, outcome="NotApplicable"),
        Example("reinforcement learning", _reinforced, ill=False, outcome="NotApplicable"),
        Example(
            "an accuracy that stays",
            lambda: _plain(_ONES, 0.0, tag="Loss/valid_acc"),
            ill=False,
            outcome="CouldNotCheck",
        ),
    ),
    page=__doc__ or "",
    causes=("underfitting", "slow-start"),
)


def _rarely_logged() -> Run:
    network = Network(classes=10).set(schema.LOSS, "", mean=2.31)
    network.scalars["train_loss"] = [(int(step), 2.31 + 0.01 * (i % 3)) for i, step in enumerate(network.at[::17])]
    return network.run()


def _resumed() -> Run:
    run = _plain(2.3 * _ONES, 0.03)
    series = run.scalars["train_loss"]
    run.scalars["train_loss"] = Series([(s + 5000, s, v) for s, v in zip(series.steps, series.values, strict=True)])
    return run
