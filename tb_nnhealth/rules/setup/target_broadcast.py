"""Output and target have shapes that broadcast: each output is compared with every target.

## What it detects
An output of shape (N, 1) against a target of shape (N,), or any pair whose broadcast is larger than both, in a
criterion that compares element by element.

## Why it matters
(N, 1) minus (N,) is (N, N): every sample is pulled towards all targets at once, and the best answer is the mean of the
targets, whatever the input. Nothing fails; PyTorch warns once. The loss stands at the targets' variance, which looks
like a problem that cannot be learned.

## How it is computed
The shapes of prediction and target (exact). It fires where their broadcast has more elements than either, and they have
different numbers of dimensions; for the same number, as in losses over all pairs, it is information. A target of one
number, which is another from batch to batch, against several answers: a warning until the loss is learned. Where the
graph of a loss function tells that each of n outputs is subtracted from n targets, or multiplied by n weights with all
products summed (log-probabilities by advantages: a warning), it fires after ten records. Where
the criterion is not known (`observe`, a criterion of one's own), it fires where the loss equals, within `match` of
itself in 95 % of at least ten records, var(output) + var(target) + (difference of the means)^2 (unit: the target's,
squared), which is the mean over all pairs; or where the output holds as many numbers as the target, and the answers
have come to be alike: they spread by less than 0.3 of what the targets do, in the last 20 of at least 40 records. One
number for all is the best answer to all pairs, whatever is compared.

## What to try
1. `criterion(model(x).squeeze(1), y)`, or `criterion(model(x), y.unsqueeze(1))`: the same shape for both.
2. `assert output.shape == target.shape` right before the criterion.

## When it is harmless
Losses over all pairs on purpose (quantile regression of reinforcement learning) unsqueeze both sides: information.

## References
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [PyTorch: broadcasting semantics](https://pytorch.org/docs/stable/notes/broadcasting.html)
- [PyTorch: MSELoss](https://pytorch.org/docs/stable/generated/torch.nn.MSELoss.html)
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
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
from tb_nnhealth.rules.data.batch_rows import TARGETS_LINE, number, shape_of
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

ELEMENTWISE = (
    "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "KLDivLoss", "PoissonNLLLoss", "SoftMarginLoss", "BCELoss",
    "BCEWithLogitsLoss",
)  # fmt: skip
OTHERWISE = (
    "CrossEntropyLoss", "NLLLoss", "CTCLoss", "MultiMarginLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss",
    "CosineEmbeddingLoss", "MarginRankingLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss",
    "HingeEmbeddingLoss", "AdaptiveLogSoftmaxWithLoss", "GaussianNLLLoss",
)  # fmt: skip
RECORDS = 10
MATCHES = 0.95
ALIKE = 0.3
"""Spread of the answers over that of the targets below which they are alike."""
FEWEST_ALIKE, LATE = 40, 20


def check(case: Case) -> Outcome:
    history = case.history
    if history is None:
        return CouldNotCheck(TARGETS_LINE)
    if history.rows(schema.COMPARED):
        return _of_a_function(history)
    output, target = shape_of(history, schema.PREDICTION), shape_of(history, schema.TARGET)
    if output is None or target is None:
        return CouldNotCheck(TARGETS_LINE)
    criterion = history.layout.criterion.type
    if criterion in OTHERWISE:
        return NotApplicable(f"{criterion} does not compare element by element, or is not known to")
    loss = number(history, schema.LOSS)
    seen = np.flatnonzero(np.isfinite(loss))
    if not len(seen):
        return TooLittleData("the criterion has not been called in a measured step")
    both = broadcast(output, target)
    if both == output and _one_for_all(history, output, target) and criterion in ELEMENTWISE:
        learns = progress(case.run, history)
        return Ill([_one_target(history, output, seen, criterion, learned=learns is not None and learns.learned)])
    if both is None or math.prod(both) <= max(math.prod(output), math.prod(target)):
        return Passed()
    if criterion not in ELEMENTWISE:
        squared = not criterion or criterion.upper().startswith(("MSE", "RMSE"))
        judged, matches = _mean_over_pairs(history, case.options["match"]) if squared else (RECORDS, 0.0)
        if judged < RECORDS:
            return TooLittleData(f"{judged} records of output, target and loss, {RECORDS} are needed")
        if matches < MATCHES and not _answers_alike(history, output, target):
            return Passed()
    return Ill([_hit(history, output, target, both, seen, criterion)])


def _one_for_all(history: History, output: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether several answers are compared with one number, another from batch to batch: it is no label of a side."""
    asked = number(history, schema.TARGET, "", schema.MEAN)
    different = len(np.unique(asked[np.isfinite(asked)]))
    return math.prod(target) == 1 < math.prod(output) and different >= RECORDS


def _of_a_function(history: History) -> Outcome:
    """A loss function that takes each of n answers with n targets or weights, as its graph told."""
    elements = number(history, schema.COMPARED, schema.COMPARED_SUBJECTS[0])
    seen = np.flatnonzero(np.isfinite(elements) & (elements > 1))
    rows = {history.layout.rows[row].subject: history.layout.rows[row] for row in history.rows(schema.COMPARED)}
    answers, difference, product = schema.COMPARED_SUBJECTS
    multiplied = difference not in rows
    if not {answers, product if multiplied else difference} <= rows.keys():
        return CouldNotCheck(TARGETS_LINE)
    output, both = (tuple(rows[subject].shape) for subject in (answers, product if multiplied else difference))
    if len(seen) < RECORDS:
        return TooLittleData(f"{len(seen)} records of output and difference, {RECORDS} are needed")
    target = both[:1] if len(output) == 2 else (*both[:1], 1)
    found = _hit(history, output, target, both, seen, "")
    return Ill([_multiplied(found, output, both) if multiplied else found])


def _multiplied(found: Hit, output: tuple[int, ...], both: tuple[int, ...]) -> Hit:
    """Of n numbers that depend on the model and n weights, as advantages, every product is taken: (n, n) of them."""
    return replace(
        found,
        severity="warning",
        message=f"The loss multiplies {output} numbers of the model by as many weights of another shape: they "
        f"broadcast to {both}, and each is weighted by all {both[0]} weights. Their mean is the product of two means: "
        "which sample has which weight plays no part.",
        advice=(
            "Give both the same shape: log_prob * advantages.reshape(log_prob.shape).",
            "Put assert log_prob.shape == advantages.shape before the loss.",
        ),
    )


def _answers_alike(history: History, output: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether as many numbers are given as asked for, and the answers come to the same number for all samples.

    That is the best that can be done where each is compared with all targets, whatever the criterion.
    """
    told, asked = (number(history, kind, "", schema.STD) for kind in (schema.PREDICTION, schema.TARGET))
    seen = np.isfinite(told) & np.isfinite(asked)
    last = np.flatnonzero(seen)[-LATE:]
    return bool(
        math.prod(output) == math.prod(target)
        and seen.sum() >= FEWEST_ALIKE
        and np.median(told[last]) < ALIKE * np.median(asked[last])
    )


def broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...] | None:
    """Shape to which both broadcast, None where they do not."""
    try:
        return np.broadcast_shapes(one, other)
    except ValueError:
        return None


def _mean_over_pairs(history: History, tolerance: float) -> tuple[int, float]:
    """Records judged, and the share of those whose loss is the mean squared difference over all pairs (or its root)."""
    loss = number(history, schema.LOSS)
    mean, std = (number(history, schema.PREDICTION, "", name) for name in (schema.MEAN, schema.STD))
    target_mean, target_std = (number(history, schema.TARGET, "", name) for name in (schema.MEAN, schema.STD))
    with np.errstate(over="ignore", invalid="ignore"):
        pairs = std**2 + target_std**2 + (mean - target_mean) ** 2
        usable = np.isfinite(pairs) & np.isfinite(loss) & (pairs > 0)
        near = np.minimum(
            np.abs(loss / pairs - 1), np.abs(loss / np.sqrt(pairs) - 1), where=usable, out=np.ones(len(loss))
        )
    judged = int(usable.sum())
    return judged, float((near[usable] < tolerance).mean()) if judged else 0.0


def _hit(
    history: History, output: tuple[int, ...], target: tuple[int, ...], both: tuple[int, ...],
    seen: np.ndarray[tuple[int], np.dtype[np.int64]], criterion: str,
) -> Hit:  # fmt: skip
    severity: Severity = "critical" if len(output) != len(target) else "info"
    steps, factor = history.steps, math.prod(both) / max(math.prod(output), math.prod(target))
    told = f"The output has shape {output} and the target {target}: they broadcast to {both}, and each output is "
    told += f"compared with {short(factor)} targets" + (f" by {criterion}." if criterion else ".")
    if severity == "info":
        told += " All is well if all pairs are meant."
    if len(output) == len(target) + 1 and output[-1] == 1:
        advice = "Give both the same shape: criterion(output.squeeze(-1), target)."
    elif len(target) == len(output) + 1 and target[-1] == 1:
        advice = "Give both the same shape: criterion(output, target.squeeze(-1))."
    else:
        advice = "Give both the same shape, by squeeze, unsqueeze or view."
    return Hit(
        subject="prediction",
        first_step=int(steps[seen[0]]),
        fired_step=int(steps[seen[0]]),
        last_step=int(steps[seen[-1]]),
        count=len(seen),
        active=True,
        severity=severity,
        statistic="elements compared : elements given",
        unit="1",
        value=factor,
        limit=1.0,
        direction="above",
        healthy=(1.0, 1.0),
        message=told,
        advice=(advice, "Put assert output.shape == target.shape before the criterion."),
        more={"output": list(output), "target": list(target)},
    )


def _one_target(
    history: History, output: tuple[int, ...], seen: np.ndarray[tuple[int], np.dtype[np.int64]], criterion: str, *,
    learned: bool,
) -> Hit:  # fmt: skip
    told, answers = _hit(history, output, (1,), output, seen, criterion), math.prod(output)
    return replace(
        told,
        severity="info" if learned else "warning",
        value=float(answers),
        message=f"The output has shape {output} and the target is one number: {criterion} compares all {answers}"
        " answers with it, as if each were asked for the same.",
        advice=(
            "Take the answer that the number belongs to, output[t], or hand over a target for each answer.",
            told.advice[-1],
        ),
    )


def _shaped(
    output: tuple[int, ...], target: tuple[int, ...], criterion: str = "MSELoss", correlation: float = 0.0
) -> Network:
    """Outputs and targets of standard deviation 1 in these shapes; their correlation is 0 under the mean over pairs."""
    network = Network(criterion=criterion)
    for row in network.layout.rows:
        if row.kind in (schema.PREDICTION, schema.TARGET):
            del row.shape[:]
            row.shape.extend(output if row.kind == schema.PREDICTION else target)
            row.dtype = "float32"
    noise = 1 + 0.2 * np.random.default_rng(0).random(len(network.at))
    network.set(schema.PREDICTION, "", mean=0.1, std=noise).set(schema.TARGET, "", mean=0.3, std=1.0)
    return network.set(schema.LOSS, "", mean=noise**2 + 1 + 0.04 - 2 * correlation * noise)


def _alike(spread: float) -> Network:
    """A criterion of one's own; the answers spread by ``spread`` of what the targets do."""
    return _shaped((32, 1), (32,), "LogCosh", 0.6).set(schema.PREDICTION, "", std=spread)


def _told_by_the_graph(output: tuple[int, ...], what: str = "difference") -> Run:
    """A loss function that takes the difference of each output with each of 32 targets; no criterion is known."""
    network = _shaped(output, (32,))
    network.layout.criterion.type = ""
    for row in network.layout.rows:
        if row.kind in (schema.PREDICTION, schema.TARGET, schema.LOSS):
            row.kind = "unknown"
    network.add_row(schema.COMPARED, "output", output, mean=32.0)
    network.add_row(schema.COMPARED, what, (32, 32), mean=1024.0)
    return network.run()


def _told_in_part() -> Network:
    """A log that lacks the elements of the output, as one of damaged records may."""
    return Network().add_row(schema.COMPARED, "difference", (32, 32), mean=1024.0)


def _one_number(differs: float) -> Run:
    """Ten answers against one number, which differs from batch to batch by so much."""
    network = _shaped((10, 1), (1, 1))
    return network.set(schema.TARGET, "", mean=0.3 + differs * np.random.default_rng(1).random(len(network.at))).run()


def _without_target() -> Run:
    network = Network(criterion="MSELoss")
    for row in network.layout.rows:
        if row.kind == schema.TARGET:
            row.kind = "unknown"
    return network.run()


RULE = Rule(
    id="target-broadcast",
    healthy="Output and target of one shape",
    ill="Target broadcast against the output",
    group="set-up",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option("match", 1e-3, "share of the loss", "greatest distance from the mean over pairs", "rounding is 1e-6"),
    ),
    examples=(
        Example(
            "(32, 1) against (32,)", lambda: _shaped((32, 1), (32,)).run(), ill=True, subject="prediction", first_step=0
        ),
        Example("(32,) against (32, 1)", lambda: _shaped((32,), (32, 1), "L1Loss").run(), ill=True),
        Example("a sequence", lambda: _shaped((32, 1, 8), (32, 8), "HuberLoss").run(), ill=True, subject="prediction"),
        Example("observed, without a criterion", lambda: _shaped((32, 1), (32,), "").run(), ill=True),
        Example("observed, just within the tolerance", lambda: _shaped((32, 1), (32,), "", 0.0008).run(), ill=True),
        Example(
            "observed, just beyond the tolerance",
            lambda: _shaped((32, 1), (32,), "", 0.0015).run(), ill=False, outcome="Passed",
        ),
        Example(
            "observed before a squeeze", lambda: _shaped((32, 1), (32,), "", 0.6).run(), ill=False, outcome="Passed"
        ),
        Example(
            "a criterion of one's own, and one answer for all",
            lambda: _alike(0.05).run(), ill=True, subject="prediction",
        ),
        Example("a criterion of one's own that squeezes", lambda: _alike(0.8).run(), ill=False, outcome="Passed"),
        Example("all pairs on purpose: information", lambda: _shaped((32, 1), (1, 32)).run(), ill=True),
        Example("told by the graph of a function", lambda: _told_by_the_graph((32, 1)), ill=True, subject="prediction"),
        Example(
            "log-probabilities (32,) times advantages (32, 1)", lambda: _told_by_the_graph((32,), "product"), ill=True,
            subject="prediction",
        ),
        Example("the other way round", lambda: _told_by_the_graph((32,)), ill=True, subject="prediction"),
        Example("one number for ten answers", lambda: _one_number(1.0), ill=True, subject="prediction", first_step=0),
        Example("one label for all", lambda: _one_number(0.0), ill=False, outcome="Passed"),
        Example("the same shape", lambda: _shaped((32, 1), (32, 1)).run(), ill=False, outcome="Passed"),
        Example("one target for a row", lambda: _shaped((32, 5), (32, 1)).run(), ill=False, outcome="Passed"),
        Example("one sample", lambda: _shaped((1, 1), (1,)).run(), ill=False, outcome="Passed"),
        Example("cross-entropy", lambda: Network().run(), ill=False, outcome="NotApplicable"),
        Example("no target seen", _without_target, ill=False, outcome="CouldNotCheck"),
        Example("a function of which little is told", lambda: _told_in_part().run(), False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=(
        "constant-output", "loss-not-decreasing", "underfitting", "learning-rate-too-low", "slow-start",
        "vanishing-gradients", "update-ratio-too-low", "loss-oscillating", "still-improving", "dead-units",
        "vanishing-activations", "over-regularized", "overfitting",
    ),
)  # fmt: skip
