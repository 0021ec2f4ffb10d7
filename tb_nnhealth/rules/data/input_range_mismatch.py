"""In evaluation the model is given inputs of another range than in training.

## What it detects
Evaluations whose inputs have another standard deviation or mean than those of training: normalized here and not
there, 0 to 1 against 0 to 255, statistics of another data set.

## Why it matters
The network is judged, and later used, on numbers that it has never seen. The validation loss says nothing of what was
learned, and looks like overfitting.

## How it is computed
Mean and standard deviation (unit: the input's own) of the floating point input: medians over the training records
against medians over the evaluations seen, the first batch of each. It fires after two evaluations, where the
standard deviations differ by more than `ratio`, or the means by more than `offset` times the smaller standard
deviation, or both by more than 0.65 of that way, and where no single training record is as far off. Where each
evaluation from some step on lies beyond the limits of the three training records before it, only what was measured
since then is compared: the one or the other has changed on the way. A forward pass before the first step is left out.
Forward passes without gradients in train mode count as well, but not where each step has one: those are a teacher's, or
of samples that the model makes.

For information where the standard deviations differ by less than `ratio`, the loss has been learned, and validation
has gained as much of it but for a quarter: the data lie elsewhere, as later years of a growing series do, and the
network answers there too (it normalizes each sample, or looks at differences).

## What to try
1. Use one function for what training and evaluation have in common: type, scale, mean and standard deviation; only
   augmentation belongs to training alone.
2. Compute mean and standard deviation on the training data, store them with the weights, and use them everywhere.
3. If both are scaled alike, the data were split in their order: shuffle before the split.
4. Compare a batch of each: `print(x.dtype, x.min(), x.max(), x.mean(), x.std())`.

## When it is harmless
Augmentation, dropout on inputs and noise change the spread by less than twice. An evaluation on data that are meant to
lie outside of the training range (extrapolation) may be reported.

## References
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Stanford CS231n: data preprocessing](https://cs231n.github.io/neural-networks-2/#datapre)
- [Rules of machine learning: training-serving skew](https://developers.google.com/machine-learning/guides/rules-of-ml)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    Case,
    Closest,
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
from tb_nnhealth.rules.data.batch_rows import INPUTS_LINE, Curve, number
from tb_nnhealth.rules.evidence import losses, tags
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

EVALUATIONS = 2
FEWEST_RECORDS = 5
NEAR = 3
"""Training records that stand beside an evaluation."""
BEHIND = 0.25
"""Share of what the training loss has fallen by that validation may lack where it holds."""
BOTH = 0.65
"""Where scale and offset are both off, this share of their limits is enough: -1 to 1 against 0 to 1."""

ADVICE = (
    "Use the same scaling, mean and standard deviation for training and evaluation; only augmentation may differ.",
    "Compare a batch of each right before the model: print(x.dtype, x.min(), x.max(), x.mean(), x.std()).",
    "If both are scaled alike, the data were split in their order: shuffle before the split.",
)


HOLDS = " The validation loss is as low there."
MOVED = (
    "Nothing has to be done where the data are meant to move, as those of later years.",
    "Else use the same mean for training and evaluation, or shuffle before the split.",
)


@dataclass(frozen=True)
class Scales:
    """Mean and standard deviation of one input, in training records and in evaluations, each of shape (records,)."""

    mean: Curve
    std: Curve
    evaluated_mean: Curve
    evaluated_std: Curve
    steps: NDArray[np.int64]
    """Steps of the evaluations."""
    trained: NDArray[np.int64]
    """Steps of the training records."""

    def since(self, step: int) -> Scales:
        """Only what was measured after ``step``."""
        of, at = self.trained > step, self.steps > step
        return Scales(
            self.mean[of], self.std[of], self.evaluated_mean[at], self.evaluated_std[at], self.steps[at],
            self.trained[of],
        )  # fmt: skip


def check(case: Case) -> Outcome:
    history = case.history
    if history is None or not history.rows(schema.INPUT):
        return CouldNotCheck(INPUTS_LINE)
    if why := tags.moving_target(case.run):
        return NotApplicable(why)
    if not history.rows(schema.EVALUATION_INPUT):
        return NotApplicable("no forward pass without gradients has been seen")
    subjects = [
        subject
        for row, subject in zip(history.rows(schema.INPUT), history.subjects(schema.INPUT), strict=True)
        if history.layout.rows[row].dtype.startswith(("float", "bfloat"))
    ]
    scales = {subject: _scales(history, subject) for subject in subjects}
    scales = {subject: one for subject, one in scales.items() if len(one.std) and len(one.steps)}
    if not subjects:
        return NotApplicable("the inputs are no floating point numbers")
    enough = {s: one for s, one in scales.items() if len(one.std) >= FEWEST_RECORDS and len(one.steps) >= EVALUATIONS}
    if not enough:
        most = max((len(one.steps) for one in scales.values()), default=0)
        return TooLittleData(f"{most} evaluations seen, {EVALUATIONS} are needed beside {FEWEST_RECORDS} records")
    hits, nearest = [], Closest(0.0, "input", int(history.steps[-1]), "range of evaluation inputs")
    for subject, whole in enough.items():
        one = _parted(whole, case.options["ratio"], case.options["offset"])
        ratio, offset = _ratio(one), _offset(one)
        share = _share(ratio, offset, case.options["ratio"], case.options["offset"])
        name = "input" + (f".{subject}" if subject else "")
        if share > 1 and not _seen_in_training(one):
            hit = _hit(name, one, ratio, offset, case.options["ratio"], case.options["offset"])
            moved = max(ratio, 1 / ratio) < case.options["ratio"] and _holds_there(case.run, history)
            hits.append(replace(hit, severity="info", message=hit.message + HOLDS, advice=MOVED) if moved else hit)
        elif share > nearest.share:
            nearest = Closest(min(1.0, share), name, int(one.steps[-1]), "range of evaluation inputs")
    return Ill(hits) if hits else Passed(nearest)


def _scales(history: History, subject: str) -> Scales:
    mean, std = (number(history, schema.INPUT, subject, name) for name in (schema.MEAN, schema.STD))
    other_mean, other_std = (
        number(history, schema.EVALUATION_INPUT, subject, name) for name in (schema.MEAN, schema.STD)
    )
    trained = np.isfinite(mean) & (std > 0)
    evaluated = np.isfinite(other_mean) & (other_std > 0)
    evaluated[:1] = False  # before the first step: a summary of the model, a trial forward
    steps = history.steps
    return Scales(
        mean[trained], std[trained], other_mean[evaluated], other_std[evaluated], steps[evaluated], steps[trained]
    )


def _parted(one: Scales, most: float, farthest: float) -> Scales:
    """What was measured since training and evaluation came apart on the way; all of it where they did not.

    They part where each evaluation from some step on lies beyond the limits of the training records just before it.
    """
    apart = len(one.steps)
    while apart > 0:
        before = one.trained <= one.steps[apart - 1]
        near = Scales(
            one.mean[before][-NEAR:], one.std[before][-NEAR:], one.evaluated_mean[apart - 1 : apart],
            one.evaluated_std[apart - 1 : apart], one.steps[:0], one.trained[:0],
        )  # fmt: skip
        if not len(near.std) or _share(_ratio(near), _offset(near), most, farthest) <= 1:
            break
        apart -= 1
    if not 0 < apart <= len(one.steps) - EVALUATIONS:
        return one
    late = one.since(int(one.steps[apart - 1]))
    # the records in between are of both sides: those since the first evaluation that parted are of one
    sure = one.since(int(one.steps[apart]) - 1)
    return sure if len(sure.std) >= FEWEST_RECORDS else late if len(late.std) >= FEWEST_RECORDS else one


def _ratio(one: Scales) -> float:
    """Standard deviation in evaluation : in training."""
    return float(np.median(one.evaluated_std) / np.median(one.std))


def _offset(one: Scales) -> float:
    """Distance of the means in units of the smaller standard deviation."""
    least = min(float(np.median(one.std)), float(np.median(one.evaluated_std)))
    return abs(float(np.median(one.evaluated_mean) - np.median(one.mean))) / least


def _share(ratio: float, offset: float, most: float, farthest: float) -> float:
    """How far on the way to the limits: above 1 beyond one of them."""
    scale, shift = abs(math.log(ratio)) / math.log(most), offset / farthest
    return max(scale, shift, min(scale, shift) / BOTH)


def _seen_in_training(one: Scales) -> bool:
    """Whether some training batch was as far off as the evaluations: inputs with heavy tails, of changing scale."""
    std, mean = np.median(one.evaluated_std), np.median(one.evaluated_mean)
    return bool(one.std.min() <= std <= one.std.max() and one.mean.min() <= mean <= one.mean.max())


def _holds_there(run: Run, history: History) -> bool:
    """Whether validation has gained of the loss what training has."""
    seen, validation = progress(run, history), losses.scalar_loss(run, "val")
    if seen is None or not seen.learned or math.isnan(seen.now) or validation is None or not len(validation.finite()):
        return False
    late = float(np.median(validation.finite().values[-NEAR:]))
    return late - seen.now < BEHIND * (seen.start - seen.now)


def _hit(name: str, one: Scales, ratio: float, offset: float, most: float, farthest: float) -> Hit:
    by_scale = abs(math.log(ratio)) / math.log(most) >= offset / farthest
    value, limit = (max(ratio, 1 / ratio), most) if by_scale else (offset, farthest)
    if value < limit:
        limit = most**BOTH if by_scale else BOTH * farthest
    mean, std = float(np.median(one.mean)), float(np.median(one.std))
    other_mean, other_std = float(np.median(one.evaluated_mean)), float(np.median(one.evaluated_std))
    return Hit(
        subject=name,
        **lasting(one.steps, EVALUATIONS - 1),
        severity="warning",
        statistic="ratio of the standard deviations" if by_scale else "distance of the means : standard deviation",
        unit="1",
        value=value,
        limit=limit,
        direction="above",
        healthy=(1.0, 1.5) if by_scale else (0.0, 0.5),
        message=(
            f"Training inputs have mean {short(mean)} and standard deviation {short(std)}, those of {len(one.steps)} "
            f"evaluations {short(other_mean)} and {short(other_std)}: they are scaled differently"
            + ("." if by_scale else ", or lie elsewhere.")
        ),
        advice=ADVICE,
        more={"mean": mean, "std": std, "evaluation_mean": other_mean, "evaluation_std": other_std},
    )


def _evaluated(mean: float, std: float, *, times: int = 4, trained_on: Curve | float = 1.0) -> Network:
    """Training inputs of mean 0.02 and std ``trained_on``; evaluations every 40 steps of the mean and std given."""
    network = Network(steps=40 * times + 20)
    network.set(schema.INPUT, "", std=trained_on)
    held = network.at % 40 == 39
    network.add_row(schema.EVALUATION_INPUT, "", (32, 64), mean=np.where(held, mean, np.nan))
    return network.set(schema.EVALUATION_INPUT, "", std=np.where(held, std, np.nan))


def _later_years(validation: float) -> Run:
    """Evaluations on fewer years, that lie elsewhere; the training loss falls from 2.3 to 0.1."""
    network = _evaluated(2.4, 0.6)
    fall = 0.1 + 2.2 * np.exp(-network.at / 20)
    network.set(schema.LOSS, "", mean=fall).loss(fall).loss(validation * fall, "loss/val")
    return network.run()


def _tokens() -> Run:
    network = _evaluated(900.0, 400.0)
    for row in network.layout.rows:
        if row.kind == schema.INPUT:
            row.dtype = "int64"
    return network.run()


_CHANGED_MIDWAY = np.where(np.arange(340) < 150, 1.0, 6.0)


def _tails() -> Curve:
    return np.exp(np.random.default_rng(0).standard_normal(180))


RULE = Rule(
    id="input-range-mismatch",
    healthy="Training and evaluation inputs alike",
    ill="Evaluation inputs scaled differently",
    group="data",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option(
            "ratio", 3.0, "1", "greatest ratio of the standard deviations",
            "MNIST's pixels against normalized ones: 3.2, ImageNet's: 4.4; augmentation stays below 1.5",
        ),
        Option("offset", 2.0, "smaller standard deviation", "greatest distance of the means", "judgement"),
    ),
    examples=(
        Example("pixels from 0 to 255", lambda: _evaluated(33.0, 78.0).run(), ill=True, subject="input", first_step=39),
        Example("pixels from 0 to 1", lambda: _evaluated(0.13, 0.31).run(), ill=True, subject="input"),
        Example("0 to 1 against -1 to 1", lambda: _evaluated(0.8, 0.5).run(), ill=False, outcome="Passed"),
        Example("shifted and scaled", lambda: _evaluated(1.4, 0.5).run(), ill=True, subject="input"),
        Example("later years, where it holds: information", lambda: _later_years(1.5), ill=True, subject="input"),
        Example("later years, where it does not", lambda: _later_years(9.0), ill=True, subject="input"),
        Example("the same mean and std", lambda: _evaluated(0.0, 1.0).run(), ill=False, outcome="Passed"),
        Example("noise in training alone", lambda: _evaluated(0.0, 0.7).run(), ill=False, outcome="Passed"),
        Example("just below the limit", lambda: _evaluated(0.0, 2.95).run(), ill=False, outcome="Passed"),
        Example("just above the limit", lambda: _evaluated(0.0, 3.05).run(), ill=True, subject="input"),
        Example(
            "heavy tails", lambda: _evaluated(0.02, 4.0, trained_on=_tails()).run(), ill=False, outcome="Passed"
        ),
        Example(
            "training inputs change midway",
            lambda: _evaluated(0.0, 1.0, times=8, trained_on=_CHANGED_MIDWAY).run(),
            ill=True,
            subject="input",
            first_step=159,
        ),
        Example("token numbers", _tokens, ill=False, outcome="NotApplicable"),
        Example("one evaluation", lambda: _evaluated(33.0, 78.0, times=1).run(), ill=False, outcome="TooLittleData"),
        Example("never evaluated", lambda: Network().run(), ill=False, outcome="NotApplicable"),
    ),
    page=__doc__ or "",
    causes=(
        "overfitting", "constant-output", "over-regularized",
    ),
)  # fmt: skip
