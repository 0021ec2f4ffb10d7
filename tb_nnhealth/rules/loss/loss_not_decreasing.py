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
less than half are those that are given there, one before, or one or two behind: a warning. Where half of the sequences
asked for, or more, come next in another sequence of the batch, and the loss is above 0.9 of what frequencies cost, it
is critical once the run has 100 steps and the loss rests (a last half that falls by less than 2 % of that cost), else
information. A scalar that ends at half or
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

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
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
    PLATEAU_STEPS,
    all_records,
    answer_of_frequencies,
    arrives,
    constant_answer,
    flat,
    means_at,
    smoothed_away,
    warming_up,
    young,
)
from tb_nnhealth.rules.loss.gain_since_start import Gain, measure
from tb_nnhealth.rules.loss.judged_loss import averaged
from tb_nnhealth.rules.loss.loss_not_decreasing_examples import EXAMPLES
from tb_nnhealth.rules.loss.mispaired_tokens import mispaired_tokens
from tb_nnhealth.rules.loss.stretches import line
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
    if not isinstance(told, NotApplicable) and (mixed_up := mispaired_tokens(case.run)) is not None:
        severities = [mixed_up.severity, *(hit.severity for hit in (told.hits if isinstance(told, Ill) else ()))]
        return Ill([replace(mixed_up, severity=max(severities, key=SEVERITIES.index))])
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
    frequencies = math.nan if losses.in_another_unit(case.run) else answer_of_frequencies(case.run)
    if of_frequencies := float(np.median(third)) <= ABOVE_CHANCE * frequencies:
        chance = float(np.fmin(chance, frequencies))
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
    astray = of_frequencies and any(unrelated(history) for history in case.run.watches.values())
    hit = _hit(found.subject, steps, gain, chance if at_chance or hardly else math.nan, rate, case, astray=astray)
    taken = curve.at_optimizer(case.run).steps
    plateau = of_frequencies and not astray and int(taken[-1] - taken[0]) < PLATEAU_STEPS
    mild = ((is_young or plateau) and rate != 0) or (hardly and not at_chance)
    return Ill([replace(hit, severity="info") if mild else hit])


def _hit(
    subject: str, steps: NDArray[np.int64], gain: Gain, chance: float, rate: float, case: Case, *, astray: bool,
) -> Hit:  # fmt: skip
    """``astray``: what the model is asked for has nothing to do with what it is given."""
    at = min(len(steps), int(case.options["points"])) - 1
    told = f"`{subject}` stays at {short(gain.last)} over {len(steps):,} points"
    if math.isnan(chance):
        told += f": it gained {percent(max(0.0, gain.value))} of its first value, no more than its noise."
    else:
        better = "hardly" if gain.last < AT_CHANCE * chance else "no"
        told += f", {better} better than an answer that ignores the input ({chance:.3f})."
    if astray:
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
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=("underfitting", "slow-start"),
)
