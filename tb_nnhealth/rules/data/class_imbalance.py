"""Some classes are rare, and the network answers with the frequent ones.

## What it detects
Labels of which one class makes up almost all, or of which the rarest class is many times rarer than the most frequent.
A warning only where the loss has also come to stand at the cost of an answer that ignores the input, or where
validation fails.

## Why it matters
An answer that always names the frequent class is nearly right, and its loss is a plateau near the start. The rare
classes' share of the gradient is their share of the samples. Accuracy hides it: 95 % right may mean nothing learned.

## How it is computed
Shares of the classes among all labels seen (unit: share of samples), at least 200 of them. Information where the most
frequent has more than `mild`, or is `ratio` times as frequent as the rarest that was seen. A warning where it has
more than `majority`, or is five times `ratio` times as frequent, and either the validation loss has departed from the
training loss, or the validation accuracy is that of always naming the most frequent of three classes or more, to a
fifth of the other samples, or the loss of the watched criterion, in nats, stands since the middle of the run within 3 %
of the entropy of the shares: what their constant answer costs.

A sample that is answered wrongly costs ln 2 nats or more. Where the share of wrong answers in validation, times ln 2,
is twice the validation loss or more, most samples hardly count in the loss: it weighs classes apart (a warning).

Where a sample has many answers (the pixels of a mask, the tags of words), it is for information: more than `majority`
of them are 0, as padding and background are; or all are yes, or no, and that has been learned; or more than half of the
tokens asked for are one and the same, and as many of those given.

## What to try
1. Weigh the classes in the loss: `CrossEntropyLoss(weight=…)`, `BCEWithLogitsLoss(pos_weight=…)`; the finding names
   the numbers.
2. Draw balanced batches: `WeightedRandomSampler`.
3. Begin with the output layer's bias at the logarithm of the shares, so that the first steps need not learn them.
4. Judge by recall of each class, or average precision, rather than accuracy.

## When it is harmless
Most data are imbalanced, and most networks learn them: that is information. The answers of a balanced sampler are
judged as they reach the loss.

## References
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [A recipe for training neural networks: init well](https://karpathy.github.io/2019/04/25/recipe/)
- [A systematic study of the class imbalance problem](https://arxiv.org/abs/1710.05381)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
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
from tb_nnhealth.rules.data.batch_rows import Labels, labels_of
from tb_nnhealth.rules.data.element_shares import of_elements
from tb_nnhealth.rules.data.generalization import parted
from tb_nnhealth.rules.data.passed_over import passed_over
from tb_nnhealth.rules.evidence.losses import criterion_loss
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.settled import accuracies
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.synthetic_labels import add_labels, sampled
from tb_nnhealth.rules.wording import percent, short

RECORDS = 10
SAMPLES = 200
STRONGER = 5.0
"""Times ``ratio``, from which it may be a warning."""
AT_THE_PLATEAU = (0.97, 1.15)
"""Loss : entropy of the shares, within which nothing beyond the shares has been learned."""
FLAT = 0.03
PLATEAU_RECORDS = 60
NO_RARE_ONE = 0.2
"""Share of the rare samples, by which an accuracy may differ from that of always naming the frequent class."""
CLASSES_NAMED = 6


def check(case: Case) -> Outcome:
    labels = labels_of(case.run, case.history, RECORDS)
    if not isinstance(labels, Labels) or case.history is None:
        assert not isinstance(labels, Labels)
        return of_elements(case, case.options["majority"]) or labels
    if not labels.classes:
        return NotApplicable("there are more than 64 classes")
    total = float(labels.samples.sum())
    if total < SAMPLES:
        return TooLittleData(f"{total:.0f} labels, {SAMPLES} are needed")
    shares = labels.pooled
    seen = shares[shares > 0]
    if len(seen) < 2:
        return NotApplicable("one class is all there is")
    most, ratio = float(seen.max()), float(seen.max() / seen.min())
    mild, limit, majority = case.options["mild"], case.options["ratio"], case.options["majority"]
    if most <= mild and ratio <= limit:
        if (ignored := passed_over(case.run, case.history)) is not None:
            return Ill([ignored])
        return Passed(Closest(min(1.0, max(most / mild, ratio / limit)), "target", int(labels.steps[-1]), "imbalance"))
    strong = most > majority or ratio > STRONGER * limit
    entropy = float(-(seen * np.log(seen)).sum())
    plateau = _plateau(case.history, entropy) if strong else 0.0
    by_majority = most > mild
    departed = parted(case.run) if strong else ""
    named = _names_the_frequent(case.run, shares) if strong else math.nan
    severity: Severity = "warning" if plateau or departed or named > 0 else "info"
    told = f"Of {total:.0f} labels {_named(labels.classes, shares)}."
    if plateau:
        told += (
            f" The loss stands at {short(plateau)}: an answer that ignores the input costs {short(entropy)}, "
            "so that the rare classes are not learned."
        )
    elif departed:
        told += f" What is learned of them does not hold for other data: {departed}."
    elif named > 0:
        told += (
            f" {percent(named)} of the answers in validation are right, as many as of one that always names class"
            f" {labels.classes[int(np.argmax(shares))]}."
        )
    return Ill(
        [
            Hit(
                subject="target",
                **lasting(labels.steps, int(np.searchsorted(np.cumsum(labels.samples), SAMPLES))),
                severity=severity,
                statistic="share of the most frequent class" if by_majority else "most frequent : rarest class",
                unit="share of samples" if by_majority else "1",
                value=most if by_majority else ratio,
                limit=mild if by_majority else limit,
                direction="above",
                message=told,
                advice=_advice(labels.classes, shares),
                more={"shares": {str(c): float(s) for c, s in zip(labels.classes, shares, strict=True)}},
            )
        ]
    )


def _plateau(history: History, entropy: float) -> float:
    """Where the loss stands if that is what a constant answer costs, since the middle of the run; else 0."""
    if history.layout.criterion.reduction not in ("", "mean"):
        return 0.0
    curve = criterion_loss(history)
    if curve is None or len(curve.finite()) < PLATEAU_RECORDS:
        return 0.0
    values = curve.finite().values
    middle, end = (float(np.median(part)) for part in (values[len(values) // 2 : -len(values) // 4], values[-20:]))
    low, high = (bound * entropy for bound in AT_THE_PLATEAU)
    return end if low <= end <= high and end > (1 - FLAT) * middle else 0.0


def _names_the_frequent(run: Run, shares: NDArray[np.float64]) -> float:
    """The validation accuracy, where it is that of always naming the most frequent class of three or more, else NaN.

    Of two classes the rare one may be told by a probability that never comes above a half, as clicks and frauds are.
    """
    most, (_, accuracy) = float(shares.max()), accuracies(run)
    alike = abs(accuracy - most) <= NO_RARE_ONE * (1 - most)
    return accuracy if alike and (shares > 0).sum() > 2 else math.nan


def _named(classes: tuple[int, ...], shares: NDArray[np.float64]) -> str:
    """The shares of the classes, most frequent first; the middle of many is left out."""
    order = [i for i in np.argsort(-shares, kind="stable") if shares[i] > 0]
    half = CLASSES_NAMED // 2
    kept = order if len(order) <= CLASSES_NAMED else [*order[:half], *order[-half:]]
    parts = [f"{percent(float(shares[i]))} are of class {classes[i]}" for i in kept]
    if len(kept) < len(order):
        parts.insert(half, "…")
    return ", ".join(parts)


def _advice(classes: tuple[int, ...], shares: NDArray[np.float64]) -> tuple[str, ...]:
    seen = shares[shares > 0]
    if len(shares) == 2:
        weigh = f"BCEWithLogitsLoss(pos_weight={short(float(shares[0] / shares[1]))}), or as weights of the two classes"
    else:
        weights = ", ".join(
            f"{short(float(1 / (len(seen) * share)))} for class {classes[i]}"
            for i, share in enumerate(shares[:CLASSES_NAMED])
            if share > 0
        )
        weigh = f"CrossEntropyLoss(weight=…), with {weights}" + (" and so on" if len(shares) > CLASSES_NAMED else "")
    return (
        f"Weigh the classes in the loss: {weigh}.",
        "Or draw balanced batches with torch.utils.data.WeightedRandomSampler.",
        "Judge by the recall of each class rather than by accuracy.",
    )


def _shared(shares: list[float], *, learned: bool = True, above: float = 1.0, validation: float | None = None) -> Run:
    """A run over classes of these shares; the loss ends low where ``learned``, else ``above`` times their entropy.

    ``validation``: the last validation loss.
    """
    network = Network(classes=len(shares))
    counts = sampled(np.tile(shares, (200, 1)), samples=64)
    add_labels(network, counts)
    seen = counts.sum(axis=0)[counts.sum(axis=0) > 0] / counts.sum()
    entropy = -(seen * np.log(seen)).sum()
    end = 0.1 * entropy if learned else above * entropy
    curve = end + (np.log(len(shares)) - end) * np.exp(-network.at / 10)
    if validation is not None:
        network.loss(curve)
        network.loss(0.7 + (validation - 0.7) * network.at / 200, "loss/val")
    return network.set(schema.LOSS, "", mean=curve).run()


def _validated(shares: list[float], accuracy: float) -> Run:
    """The training loss is learned, and validation ends at ``accuracy``."""
    network = Network(classes=len(shares)).set(schema.LOSS, "", mean=0.02)
    add_labels(network, sampled(np.tile(shares, (200, 1)), samples=64))
    return network.loss(np.full(20, accuracy), "accuracy/val").run()


def _few() -> Run:
    return add_labels(Network(steps=12), sampled(np.tile([0.95, 0.05], (12, 1)), samples=8)).run()


def _one_answer(*, learned: bool) -> Run:
    """Eight labels for each sample, all of them true."""
    network = Network(criterion="BCEWithLogitsLoss", classes=2)
    for row in network.layout.rows:
        if row.kind in (schema.PREDICTION, schema.TARGET):
            row.shape[:] = (32, 8)
    network.set(schema.TARGET, "", mean=1.0, rms=1.0, std=0.0, min=1.0, max=1.0)
    return network.set(schema.LOSS, "", mean=0.69 * np.exp(-network.at / (20 if learned else 2000))).run()


def _tokens(padding: float) -> Run:
    """Targets (16 x 40,) of sequences (16, 40), of which ``padding`` are token 0."""
    network = Network(classes=50)
    for row in network.layout.rows:
        if row.kind in (schema.INPUT, schema.TARGET):
            del row.shape[:]
            row.shape.extend((16, 40) if row.kind == schema.INPUT else (640,))
            row.dtype = "int64"
    return network.set(schema.TARGET, "", zero_share=padding).run()


def _masks(share: float) -> Run:
    """Masks of 0 and 1 of 32 x 32 pixels, ``share`` of them 1."""
    network = Network(criterion="BCEWithLogitsLoss", classes=2)
    for row in network.layout.rows:
        if row.kind in (schema.PREDICTION, schema.TARGET):
            del row.shape[:]
            row.shape.extend((16, 1, 32, 32))
    return network.set(schema.TARGET, "", mean=share, rms=share**0.5, std=(share - share**2) ** 0.5, max=1.0).run()


def _padded(asked: float, given: float) -> Run:
    """Sequences of 20 tokens, with the shares of the most common one."""
    network = Network(classes=30)
    for row in network.layout.rows:
        if row.kind in (schema.INPUT, schema.TARGET):
            row.dtype, row.shape[:] = "int64", (32, 20)
    network.add_row(schema.TOKENS, "common", mean=asked).add_row(schema.TOKENS, "common_given", mean=given)
    return network.run()


RULE = Rule(
    id="class-imbalance",
    healthy="Classes balanced enough",
    ill="Classes imbalanced",
    group="data",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option("mild", 0.8, "share of samples", "greatest share of a class", "judgement"),
        Option("ratio", 10.0, "1", "most frequent : rarest class", "arXiv:1710.05381: harm grows with the ratio"),
        Option("majority", 0.9, "share of samples", "share of a class that may be a warning", "judgement"),
    ),
    examples=(
        Example("padding in the loss: information", lambda: _padded(0.8, 0.75), ill=True, subject="target"),
        Example("answers mostly of one token", lambda: _padded(0.8, 0.2), ill=False, outcome="NotApplicable"),
        Example("spaces of a text", lambda: _padded(0.3, 0.3), ill=False, outcome="NotApplicable"),
        Example("19 in 20, not learned", lambda: _shared([0.95, 0.05], learned=False), ill=True, subject="target"),
        Example(
            "one class 60 times rarer, not learned",
            lambda: _shared([0.42, 0.3, 0.273, 0.007], learned=False), ill=True, subject="target",
        ),
        Example("19 in 20, validation fails", lambda: _shared([0.95, 0.05], validation=2.0), ill=True),
        Example("19 in 20, learned: information", lambda: _shared([0.95, 0.05]), ill=True, subject="target"),
        Example("every label is true, and learned: information", lambda: _one_answer(learned=True), True, "target"),
        Example("every label is true, unlearned", lambda: _one_answer(learned=False), False, outcome="NotApplicable"),
        Example("as right as always naming it", lambda: _validated([0.95, 0.03, 0.02], 0.952), True, "target"),
        Example("rare ones found: information", lambda: _validated([0.95, 0.03, 0.02], 0.975), True, "target"),
        Example("one of two classes: information", lambda: _validated([0.95, 0.05], 0.95), True, "target"),
        Example(
            "a weighted loss above the entropy: information",
            lambda: _shared([0.95, 0.05], learned=False, above=2.5), ill=True, subject="target",
        ),
        Example("just above the limit", lambda: _shared([0.82, 0.18]), ill=True, subject="target"),
        Example("just below the limit", lambda: _shared([0.78, 0.22]), ill=False, outcome="Passed"),
        Example("balanced", lambda: _shared([0.1] * 10), ill=False, outcome="Passed"),
        Example("balanced, not learned", lambda: _shared([0.1] * 10, learned=False), ill=False, outcome="Passed"),
        Example("one class", lambda: _shared([1.0, 0.0]), ill=False, outcome="NotApplicable"),
        Example("one pixel in a hundred: information", lambda: _masks(0.01), ill=True, subject="target"),
        Example("tokens end to end, most of them padding", lambda: _tokens(0.94), ill=True, subject="target"),
        Example("tokens end to end", lambda: _tokens(0.1), ill=False, outcome="NotApplicable"),
        Example("one pixel in five", lambda: _masks(0.2), ill=False, outcome="NotApplicable"),
        Example("no labels", lambda: Network().run(), ill=False, outcome="NotApplicable"),
        Example("a hundred labels", _few, ill=False, outcome="TooLittleData"),
    ),
    page=__doc__ or "",
    causes=(
        "diverging-bias", "constant-output", "loss-not-decreasing", "underfitting", "slow-start",
        "too-few-samples", "overfitting", "large-batch",
    ),
)  # fmt: skip
