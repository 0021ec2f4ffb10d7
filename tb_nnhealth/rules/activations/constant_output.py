"""The network gives every sample the same answer.

## What it detects
Predictions that do not depend on the sample, long after the start, while inputs and targets do vary and the loss stands
where the best constant answer would put it.

## Why it matters
Whatever lies between input and output has been cut: dead units, a vanished signal, inputs that are lost in
preprocessing, or targets that no longer belong to their inputs (shuffled, broadcast against the predictions), for
which a constant is indeed the best answer. The loss falls at first, as the network learns that constant, and looks
like learning.

## How it is computed
The standard deviation over the batch's samples at each position of the prediction, root mean square over the
positions. For logits and log-probabilities it counts as it is (unit: nats), for probabilities by their mean, for
regression it is divided by the same of the targets. It fires where it lies below `spread` in nine tenths of `records`
records and for 50 steps up to now, while the inputs' and targets' spread is above 0, and where the loss is within 3 %
of a constant answer's cost: the entropy of the class shares seen, by the criterion's class
weights and label smoothing, or ln C for C classes; the variance of the targets
for a mean squared error. Where that is not known, the loss must stand where it began. Where no targets
are told, as for embeddings, the spread is divided by the answers' own size, and must have been ten times as large at
first. It does not fire where the
answers come apart, or where the loss still falls and more than a quarter of what it gained was gained in the second
half of that time: the cost of a constant is soon learned, a network that is merely slow goes on.

Where no criterion is known, or one that compares embeddings, what the model returns is looked at, tensors of shape
(samples, numbers) alone: embeddings of 8 numbers or more that have become one (spread over their size from above 0.3 to
below 0.1, their mean less than 0.7 of it: a warning; information from half of the start and 0.2 on, and where they
began no further apart than 0.3 and come closer still, below 0.2, or lie below 0.1), and, for information, a result
whose spread has come below 0.05 of what it was at first, and of single numbers below a hundredth of their size; further
results also below a quarter where their size is below 0.05, as the codes of a VAE whose posterior has collapsed.

Critical where the loss stands where it began, and where the answers were the same to the last digit from the first
record on: what then lies before the output gets no gradient. Else a warning, as the constant itself was learned.

## What to try
1. A softmax or a normalization over a single output gives the same number for every sample: look at the last layers.
2. Follow the other findings, if any: dead units, vanishing activations and a high learning rate all end here.
3. Check that predictions and targets have the same shape: (N, 1) against (N,) broadcasts without an error.
4. Check that inputs belong to their targets after shuffling and preprocessing: look at a batch as the model gets it.
5. Train on a single batch until the loss is about 0; if that fails, the fault is in the network and not in the data.

## When it is harmless
In the first steps of a deep network; where the targets cannot be told from the inputs.

## References
- [37 Reasons why your Neural Network is not working, number
  2](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Karpathy, A Recipe for Training Neural Networks (input-independent
  baseline)](https://karpathy.github.io/2019/04/25/recipe/)
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.activations.alike_answers import (
    CLASSIFICATION,
    COLLAPSED,
    TARGETS_SPREAD,
    Curve,
    answers_differ,
    at_constant,
    collapsed,
    grows,
    inputs_and_targets_vary,
    still_falls,
)
from tb_nnhealth.rules.activations.collapsed_outputs import OF_EMBEDDINGS, collapsed_outputs
from tb_nnhealth.rules.base import (
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
from tb_nnhealth.rules.evidence.constant_answer import ABSOLUTE, constant_cost
from tb_nnhealth.rules.evidence.progress import Progress, progress
from tb_nnhealth.rules.evidence.tags import moving_target
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import closest, hit
from tb_nnhealth.rules.persistence import Episode, episodes, since_last_well, window_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

HELD, LEAST = 0.9, 6
"""Share of the records judged; how many where they lie apart."""
FEWEST_STEPS = 50
"""Steps for which the answers must have been the same: records lie close together at the start."""
NEEDS = "pass criterion= to watch(), or call writer.observe(inputs, targets, outputs, loss)"
ADVICE = (
    "Check that predictions and targets have the same shape: (N, 1) against (N,) broadcasts without an error.",
    "Check that inputs belong to their targets: look at a batch as the model gets it.",
    "Look for a dead or detached layer between input and output.",
    "Train on a single batch until the loss is about 0; if that fails, the fault is in the network.",
)


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if why := moving_target(case.run):
        return NotApplicable(why)
    spread = aligned(history.table(schema.SPREAD, schema.MEAN), ("prediction", "input", "target"))
    compared = np.isfinite(spread[:, 0]).any()
    if not compared and not history.rows(schema.OUTPUT):
        return CouldNotCheck(NEEDS) if not history.rows(schema.SPREAD) else NotApplicable("single samples in a batch")
    records = window_of(history.steps, int(case.options["records"]), LEAST)
    if len(history) < records:
        return TooLittleData(f"{len(history)} records so far, {records} needed")
    if not compared or history.layout.criterion.type in OF_EMBEDDINGS:
        hits = collapsed_outputs(history, records, ADVICE)
        return Ill(hits) if hits else Passed()
    differ, unit = answers_differ(history, spread)
    varied = inputs_and_targets_vary(history, spread)
    judged = np.isfinite(differ) & varied
    if not judged.any():
        return NotApplicable("inputs or targets do not vary within a batch")
    alone = not np.isfinite(spread[:, 2]).any() and history.layout.criterion.type not in CLASSIFICATION
    limit = float(case.options["spread"]) * (COLLAPSED if alone else 1.0)
    found = [
        since_last_well(episode, (differ < limit)[:, None], judged[:, None], history.steps)
        for episode in episodes((differ < limit)[:, None], judged[:, None], history.steps, window=records, share=HELD)
    ]
    seen = progress(case.run, history)
    cost = constant_cost(history)
    lasted = bool(found) and found[0].active and found[0].last_step - found[0].first_step >= FEWEST_STEPS
    slow = lasted and (grows(differ, judged, found[0]) or still_falls(case.run, history, found[0]))
    harms = collapsed(differ, judged, limit) if alone else at_constant(seen, cost)
    if unit == TARGETS_SPREAD and history.layout.criterion.type in ABSOLUTE:
        harms = seen is not None  # answers alike cost what a constant one does, whatever the targets' distribution
    if alone and lasted and harms and seen is not None:
        return Ill([_hit(found[0], differ, limit, unit, seen, math.nan)])
    if not lasted or slow or not harms:
        near = np.where(judged, differ, np.nan)[-records:, None].astype(np.float32)  # an untrained one's hardly differ
        return Passed(closest(near, limit, "below", ("",), history.steps[-records:], "spread of the predictions"))
    assert seen is not None
    told = _hit(found[0], differ, limit, unit, seen, cost)
    return Ill([replace(told, more={**told.more, GIVEN: True}) if _never_another(history) else told])


def _never_another(history: History) -> bool:
    """Whether the answer is one number, and the same to the last digit in every record: the last function makes it."""
    low, high = (history.table(schema.PREDICTION, name).values for name in (schema.MIN, schema.MAX))
    extremes = np.concatenate([values[:, :1][np.isfinite(values[:, :1])] for values in (low, high)])
    return bool(extremes.size and extremes.min() == extremes.max())


def _hit(episode: Episode, differ: Curve, limit: float, unit: str, seen: Progress, cost: float) -> Hit:
    stretch = differ[episode.first : episode.last + 1]
    value = float(np.nanmedian(stretch[stretch < limit]))
    best = "" if math.isnan(cost) else f"; the best constant answer costs {short(cost)}"
    return hit(
        episode,
        "",
        severity="critical" if seen.stuck or _by_construction(episode, differ) else "warning",
        statistic="prediction_spread_over_samples",
        unit=unit,
        value=value,
        limit=limit,
        direction="below",
        message=f"The predictions for different samples differ by {short(value)} ({unit}), inputs and targets by more."
        f" The loss is {short(seen.now)}{best}.",
        advice=ADVICE,
        more={"loss": seen.now, "constant_answer_costs": cost},
    )


def _by_construction(episode: Episode, differ: Curve) -> bool:
    """Whether the answers have never differed at all."""
    return episode.first == 0 and bool((differ[: episode.last + 1][np.isfinite(differ[: episode.last + 1])] == 0).all())


def _answers(spread: float | Curve, *, loss: float | None = 2.3026, criterion: str = "CrossEntropyLoss") -> Network:
    network = Network(criterion=criterion)
    network.add_row(schema.SPREAD, "prediction", mean=spread)
    network.add_row(schema.SPREAD, "input", mean=1.0).add_row(schema.SPREAD, "target", mean=2.8)
    return network if loss is None else network.set(schema.LOSS, "", mean=loss)


def _regression(spread: float, loss: float) -> Run:
    network = _answers(spread, loss=loss, criterion="MSELoss").set(schema.TARGET, "", std=2.8)
    network.layout.criterion.classes = 0
    return network.run()


def _imbalanced(spread: float, loss: float) -> Run:
    """Nine tenths of one class: a constant answer costs 0.325."""
    network = _answers(spread, loss=loss)
    network.layout.criterion.classes = 2
    return network.add_row(schema.CLASS, "0", mean=0.9).add_row(schema.CLASS, "1", mean=0.1).run()


def _weighted(loss: float) -> Run:
    """Nine tenths of one class, that counts for a ninth: a constant answer costs ln 2."""
    network = _answers(0.01, loss=loss)
    network.layout.criterion.classes = 2
    network.layout.criterion.class_weights.extend([1.0, 9.0])
    return network.add_row(schema.CLASS, "0", mean=0.9).add_row(schema.CLASS, "1", mean=0.1).run()


def _masks(spread: float, loss: float) -> Run:
    """A pixel in twenty is 1, and the loss is the sum over 32 masks of 10: a constant answer costs 0.1985 a pixel."""
    network = _answers(spread, loss=320 * loss, criterion="BCEWithLogitsLoss").set(schema.TARGET, "", mean=0.05)
    network.layout.criterion.reduction, network.layout.criterion.classes = "sum", 2
    return network.run()


def _mean_image(loss: float) -> Run:
    """Pictures of which a pixel is 0.3 on the whole: a constant answer costs 0.61, the mean picture 0.42."""
    network = _answers(0.002, loss=loss, criterion="BCELoss").set(schema.TARGET, "", mean=0.3)
    network.set(schema.PREDICTION, "", mean=0.3).add_row(schema.PLACES, "target", mean=0.42)
    network.layout.criterion.classes = 2
    return network.run()


def _slow() -> Run:
    """Answers as close together as at the start, and a loss that falls by a thousandth, evenly."""
    loss = np.asarray(2.3079 - 4e-5 * _T, np.float64)
    return _answers(0.014, loss=None).set(schema.LOSS, "", mean=loss).run()


def _the_constant_is_learned() -> Run:
    """The loss falls to the cost of a constant answer, ever more slowly."""
    loss = np.asarray(2.3026 + 0.04 * np.exp(-_T / 20), np.float64)
    return _answers(0.001, loss=None).set(schema.LOSS, "", mean=loss).run()


def _constant_inputs() -> Run:
    return _answers(0.0).set(schema.SPREAD, "input", mean=0.0).run()


_T = np.arange(200)


def _embeddings(spread: float | Curve) -> Run:
    """Answers of size 1 that no target is told for."""
    network = Network(criterion="")
    network.add_row(schema.SPREAD, "prediction", mean=spread).add_row(schema.SPREAD, "input", mean=1.0)
    return network.set(schema.PREDICTION, "", rms=1.0).run()


def _returns(*spread: float | Curve, numbers: int = 32) -> Run:
    """Results of the model, so many numbers of size 1 each, where no criterion is known."""
    network = Network(criterion="").add_row(schema.SPREAD, "input", mean=1.0)
    for i, each in enumerate(spread):
        place = str(i) if i else ""
        network.add_row(schema.SPREAD, f"output {place}".strip(), mean=each)
        network.add_row(schema.OUTPUT, place, (64, numbers), mean=0.1, rms=np.fmax(each, 0.03 if i else 1.0))
    return network.run()


def _triplets(spread: Curve) -> Run:
    """Embeddings of 10 numbers of size 1, compared with each other."""
    network = Network(criterion="TripletMarginLoss").add_row(schema.SPREAD, "prediction", mean=spread)
    network.add_row(schema.SPREAD, "input", mean=1.0).add_row(schema.SPREAD, "target", mean=spread)
    return network.set(schema.PREDICTION, "", mean=0.1, rms=1.0).run()


EXAMPLES = (
    Example("What the model returns becomes one", lambda: _returns(0.8 * np.exp(-_T / 20) + 0.01), True, ""),
    Example("Embeddings that come near to one", lambda: _returns(0.8 * np.exp(-_T / 20) + 0.13), True, ""),
    Example("Embeddings of a triplet loss become one", lambda: _triplets(0.8 * np.exp(-_T / 20) + 0.01), True, ""),
    Example("Embeddings of a triplet loss part", lambda: _triplets(0.4 + 0.5 * _T / 200), False, outcome="Passed"),
    Example("Embeddings that never part", lambda: _returns(0.08), True, ""),
    Example("A code that fades", lambda: _returns(0.8, 0.06 * np.exp(-_T / 50)), True, ""),
    Example("A code that is used", lambda: _returns(0.8, 0.06 + 0.9 * _T / 200), False, outcome="Passed"),
    Example("A result that shrinks to a tenth", lambda: _returns(1 - 0.9 * _T / 200), False, outcome="Passed"),
    Example("The same logits for every sample", lambda: _answers(1e-4).run(), True, "", 0),
    Example("From step 100 on", lambda: _answers(np.where(_T < 100, 1.0, 1e-3)).run(), True, "", 100),
    Example("The mean of the targets, learned", lambda: _regression(0.01, 7.84), True, "", 0),
    Example("The class shares, learned", lambda: _imbalanced(0.01, 0.33), True, "", 0),
    Example("Class weights, and their constant learned", lambda: _weighted(0.69), True, "", 0),
    Example("Class weights, and more learned than that", lambda: _weighted(0.5), False, outcome="Passed"),
    Example("The share of the masks, learned; a sum", lambda: _masks(0.01, 0.1985), True, "", 0),
    Example("More of the masks, from small differences", lambda: _masks(0.01, 0.17), False, outcome="Passed"),
    Example("The mean picture, learned", lambda: _mean_image(0.421), True, "", 0),
    Example("Better than the mean picture", lambda: _mean_image(0.39), False, outcome="Passed"),
    Example("The constant is learned, ever more slowly", _the_constant_is_learned, True, "", 0),
    Example("Embeddings that become one", lambda: _embeddings(0.8 * np.exp(-_T / 20) + 0.003), True, ""),
    Example("One number that becomes the same for all", lambda: _returns(np.exp(-_T / 20), numbers=1), True, ""),
    Example(
        "One number far from 0, apart", lambda: _returns(0.02 + np.exp(-_T / 9), numbers=1), False, outcome="Passed"
    ),
    Example("Embeddings that stay apart", lambda: _embeddings(0.8), False, outcome="Passed"),
    Example("Just below the limit", lambda: _answers(0.019).run(), True, "", 0),
    Example("Just above the limit", lambda: _answers(0.022).run(), False, outcome="Passed"),
    Example("A healthy network", lambda: _answers(3.0, loss=None).run(), False, outcome="Passed"),
    Example("Nearly constant at the start", lambda: _answers(0.001 * np.exp(_T / 10.0)).run(), False, outcome="Passed"),
    Example("Small differences that suffice", lambda: _answers(0.015, loss=1.2).run(), False, outcome="Passed"),
    Example("A network that is merely slow", _slow, False, outcome="Passed"),
    Example("Inputs that do not vary", _constant_inputs, False, outcome="NotApplicable"),
    Example("An older log", lambda: Network().run(), False, outcome="CouldNotCheck"),
)

RULE = Rule(
    id="constant-output",
    healthy="Answers depend on the sample",
    ill="The same answer for every sample",
    group="activations",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "spread",
            0.02,
            "nats, or share of the targets' spread",
            "difference between the answers to different samples",
            "probabilities that differ by a fiftieth; healthy trainings of ours reach 0.02 within 40 steps",
        ),
        Option(
            "records",
            10,
            "records",
            "records of which nine tenths must be ill, up to now",
            "deep networks start with nearly constant answers",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "dead-units",
        "loss-not-decreasing",
        "underfitting",
        "slow-start",
        "activation-mean-shift",
        "no-gradient",
        "update-ratio-too-low",
    ),
)
