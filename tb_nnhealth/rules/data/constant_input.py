"""The model's input is the same number everywhere, or every sample of a batch is the same sample.

## What it detects
Inputs whose elements are all equal (zeros, a padding token), and batches whose samples are copies of each other.

## Why it matters
What does not differ from sample to sample cannot tell them apart: the network learns the mean of the targets, at best.
From an input of zeros the first layer's weights get no gradient at all.

## How it is computed
Minimum and maximum of each input (unit: the input's own), and the standard deviation over the samples of a batch at
each position, root mean square over the positions, divided by the standard deviation of all elements (unit: 1). It
fires where, in four records in a row, minimum and maximum of every input are the same (of inputs of fewer than eight
numbers in every record, and at distances without a common factor), or the ratio is at most `least` for a batch of two
samples or more. It is information where the loss has fallen below half of what a constant answer
costs all the same. Features that are all zero count as constant beside inputs of integers (the edges of a graph, places
in a table, labels) and single numbers as well, where nothing has been learned.

An `Embedding` of four rows or more whose gradient is zero in all rows but one, in nearly all records, is always asked
for the same index where an input of integers never changes (a warning where little was learned).
One of several inputs of sequences of features that is the same number throughout is told for information.
Samples of a batch that have one target of several numbers, in a regression, are told for information, and so are pairs
of embeddings that all have one and the same target (`CosineEmbeddingLoss`).

## What to try
1. Look at a batch right before the model: `print(x.shape, x.min(), x.max(), x.std(0).mean())`.
2. Check types: dividing an integer tensor by 255 with `//`, or casting 0 to 1 to `uint8`, leaves zeros.
3. Check that the data set indexes by its argument, and that the loader fills what it returns.
4. Check masks and augmentation: a mask of zeros, a crop outside of the image, brightness 0.

## When it is harmless
Where the network is a table of parameters that needs no input (a learned constant, a density), a dummy is handed in.

## References
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [A recipe for training neural networks: visualize just before the net](https://karpathy.github.io/2019/04/25/recipe/)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
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
from tb_nnhealth.rules.data.batch_rows import INPUTS_LINE, Curve, number, shape_of
from tb_nnhealth.rules.data.constant_input_examples import EXAMPLES
from tb_nnhealth.rules.data.one_row import one_row
from tb_nnhealth.rules.evidence.constant_answer import ABSOLUTE
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.evidence.tags import moving_target
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.wording import short

WINDOW = 4
FEWEST_ELEMENTS = 8
"""Of an input, below which a sample of zeros and ones may be the same throughout, and records meet it again."""
FEATURES = 2
"""Dimensions of a mask or of a state; more are a sequence of features."""
ADVICE = (
    "Look at a batch right before the model: print(x.shape, x.min(), x.max(), x.std(0).mean()).",
    "Check types: an integer division by 255, or a cast of 0 to 1 to an integer, leaves zeros.",
    "Check that the data set uses the index that it is asked for.",
)


def check(case: Case) -> Outcome:
    history = case.history
    if history is None or not history.rows(schema.INPUT):
        return CouldNotCheck(INPUTS_LINE)
    elements = [int(np.prod(history.layout.rows[row].shape, dtype=np.int64)) for row in history.rows(schema.INPUT)]
    if max(elements) < 2:
        return NotApplicable("the input is a single number")
    flat, seen = _flat(history)
    if seen.sum() < WINDOW:
        return TooLittleData(f"{int(seen.sum())} records of the input, {WINDOW} are needed")
    ratio = _spread_ratio(history)
    learns = progress(case.run, history)
    learned = learns is not None and learns.learned
    if max(elements) < FEWEST_ELEMENTS and not _never_differs(history, flat, seen):
        flat = np.zeros_like(flat)
    if not learned:
        flat = flat | _zeros_beside_numbers(history)
    if found := _held(flat, seen, history):
        return Ill([_constant(found[0], history, "info" if learned else "critical")])
    if found := _held((ratio <= case.options["least"]) & ~flat, np.isfinite(ratio), history):
        return Ill([_copies(found[0], history, ratio, case.options["least"], "info" if learned else "warning")])
    hits = one_row(history, learns) + _further(history) + _same_target(case.run, history) + _pairs_alike(history)
    return Ill(hits) if hits else Passed()


def _further(history: History) -> list[Hit]:
    """For information: one of several inputs is the same number throughout, though it has features for each sample."""
    rows = [history.layout.rows[row] for row in history.rows(schema.INPUT)]
    low, high = (history.table(schema.INPUT, name).values for name in (schema.MIN, schema.MAX))
    hits = []
    for i, row in enumerate(rows):
        sequence = len(row.shape) > FEATURES and row.shape[0] == history.layout.batch_size > 1
        if not i or not sequence or not row.dtype.startswith(("float", "bfloat")):
            continue
        seen = np.isfinite(low[:, i])
        if not ((low == high)[:, i] | ~seen).all():
            continue
        for episode in _held(low[:, i] == high[:, i], seen, history)[:1]:
            value = float(high[episode.fired, i])
            told = f"Every element of the input `{row.subject}`, of shape {tuple(row.shape)}, is {short(value)}"
            hits.append(
                hit(
                    episode, f"input.{row.subject}", severity="info", statistic="range of the input",
                    unit="input's unit", value=0.0, limit=0.0, direction="below",
                    message=f"{told}: nothing can be told from it.",
                    advice=(
                        "A decoder that is taught is given the target, shifted by one: target[:, :-1].",
                        "Where it stands for a state that is still empty, all is well.",
                    ),
                    more={"element": value},
                )
            )  # fmt: skip
    return hits


def _same_target(run: Run, history: History) -> list[Hit]:
    """For information: the samples of a batch have one target, of several numbers that differ.

    A discriminator is given one answer for all that is true, and another for all that is not.
    """
    if moving_target(run):
        return []
    spread, std = number(history, schema.SPREAD, "target"), number(history, schema.TARGET, "", schema.STD)
    shape = shape_of(history, schema.TARGET) or ()
    seen = np.isfinite(spread) & (std > 0)
    if len(shape) < 2 or shape[0] < 2 or history.layout.criterion.type not in ("MSELoss", *ABSOLUTE):
        return []  # of classes several answers may have their places: the true pair first, false ones behind
    return [
        hit(
            episode, "target", severity="info", statistic="spread of the targets over the batch", unit="target's unit",
            value=0.0, limit=0.0, direction="below",
            message=f"All {shape[0]} samples of a batch have the same target, of numbers that differ: there is nothing "
            "to learn but that one answer.",
            advice=("Look at the targets of a batch: y.std(0) tells how they differ from sample to sample.",),
        )
        for episode in _held(seen & (spread == 0), seen, history)[:1]
    ]  # fmt: skip


def _pairs_alike(history: History) -> list[Hit]:
    """For information: pairs of embeddings that are all to be alike, or all to differ."""
    low, high = (number(history, schema.TARGET, "", name) for name in (schema.MIN, schema.MAX))
    seen = np.isfinite(low) & np.isfinite(high)
    if history.layout.criterion.type != "CosineEmbeddingLoss" or not seen.any():
        return []
    told = "alike, and nothing keeps different samples apart" if high[seen].max() > 0 else "different, and none alike"
    same = seen & (low == high) & (high == high[seen][0])
    if not same[seen].all():
        return []
    return [
        hit(
            episode, "target", severity="info", statistic="spread of the targets over the batch", unit="target's unit",
            value=0.0, limit=0.0, direction="below",
            message=f"The target of every pair is {short(float(high[seen][0]))}: all are to be {told}.",
            advice=(
                "Draw pairs of both kinds: target 1 for samples that belong together, -1 for others.",
                "Where one of the two is a teacher's and does not learn, all is well.",
            ),
        )
        for episode in _held(same, seen, history)[:1]
    ]  # fmt: skip


def _held(ill: NDArray[np.bool_], judged: NDArray[np.bool_], history: History) -> list[Episode]:
    return episodes(ill[:, None], judged[:, None], history.steps, window=WINDOW, share=1.0)


def _never_differs(history: History, flat: NDArray[np.bool_], seen: NDArray[np.bool_]) -> bool:
    """Whether every record is flat at one number, at distances that no short cycle of samples has in common."""
    values = history.table(schema.INPUT, schema.MAX).values[seen]
    apart = np.gcd.reduce(np.diff(history.steps[seen]))
    return bool(flat[seen].all()) and bool(np.nanmax(values) == np.nanmin(values)) and int(apart) == 1


def _flat(history: History) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Records in which every input that was measured is one number throughout, and those in which any was measured."""
    low, high = (history.table(schema.INPUT, name).values for name in (schema.MIN, schema.MAX))
    seen = np.isfinite(low) & np.isfinite(high)
    any_seen: NDArray[np.bool_] = np.asarray(seen.any(axis=1))
    return np.asarray(((low == high) | ~seen).all(axis=1) & any_seen), any_seen


def _zeros_beside_numbers(history: History) -> NDArray[np.bool_]:
    """Records in which the features that come first are all zero, and all else is given as integers or one number.

    Edges, or places in a table, tell what belongs together, and of zeros it makes no difference. Labels, and how many
    there are, are for the loss alone.
    """
    rows = [history.layout.rows[row] for row in history.rows(schema.INPUT)]
    features = (
        len(rows[0].shape) >= FEATURES and rows[0].shape[-1] > 1 and rows[0].dtype.startswith(("float", "bfloat"))
    )
    if (
        not features
        or len(rows) < 2
        or not all(
            row.dtype.startswith(("int", "uint")) or int(np.prod(row.shape, dtype=np.int64)) == 1 for row in rows[1:]
        )
    ):
        return np.zeros(len(history), np.bool_)
    low, high = (history.table(schema.INPUT, name).values[:, 0] for name in (schema.MIN, schema.MAX))
    return np.asarray((low == 0) & (high == 0), np.bool_)


def _spread_ratio(history: History) -> Curve:
    """Spread over the samples : standard deviation, of a model's only input; NaN where it cannot be judged."""
    if len(history.rows(schema.INPUT)) != 1:
        return np.full(len(history), np.nan)
    spread, std = number(history, schema.SPREAD, "input"), history.table(schema.INPUT, schema.STD).values[:, 0]
    shape = history.layout.rows[history.rows(schema.INPUT)[0]].shape
    usable = np.isfinite(spread) & (std > 0) & (len(shape) > 0 and shape[0] > 1)
    return np.where(usable, spread / np.where(std > 0, std, 1.0).astype(np.float64), np.nan)


def _constant(episode: Episode, history: History, severity: Severity) -> Hit:
    value = float(history.table(schema.INPUT, schema.MAX).values[episode.fired, 0])
    return hit(
        episode, "input", severity=severity, statistic="range of the input", unit="input's unit", value=0.0, limit=0.0,
        direction="below",
        message=f"Every element of the input is {short(value)}: no sample can be told from another.",
        advice=ADVICE, more={"element": value},
    )  # fmt: skip


def _copies(episode: Episode, history: History, ratio: Curve, limit: float, severity: Severity) -> Hit:
    samples = int(history.layout.rows[history.rows(schema.INPUT)[0]].shape[0])
    value = float(np.nanmin(ratio[episode.first : episode.last + 1]))
    return hit(
        episode, "input", severity=severity, statistic="spread over the batch : std of the input", unit="1",
        value=value, limit=limit, direction="below", healthy=(0.1, 1.0),
        message=f"All {samples} samples of a batch are the same sample: they differ by {short(value)} of the input's "
        "standard deviation.",
        advice=ADVICE, more={"samples": samples},
    )  # fmt: skip


RULE = Rule(
    id="constant-input",
    healthy="Inputs differ",
    ill="Input is constant",
    group="data",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option("least", 1e-6, "spread over the batch : std", "lowest spread of the samples", "float32 resolves 1e-7"),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "no-gradient", "loss-not-decreasing", "constant-output", "dead-units", "vanishing-gradients",
        "vanishing-activations", "update-ratio-too-low", "activation-mean-shift", "underfitting",
        "repeated-batch", "unnormalized-input", "input-range-mismatch", "slow-start", "symmetric-units",
        "too-few-samples", "large-batch", "loss-diverging", "overfitting", "saturated-units",
        "learning-rate-too-low", "learning-rate-too-high", "over-regularized", "gradient-spike", "loss-spike",
    ),
)  # fmt: skip
