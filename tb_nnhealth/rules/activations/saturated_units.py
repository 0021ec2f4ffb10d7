"""Most of a hidden layer sits in the flat part of its tanh, sigmoid or softmax, where no gradient passes.

## What it detects
Hidden layers more than half of whose activations lie where the nonlinearity is flat, in a network that has not
learned; and a sigmoid, tanh or softmax behind the last layer of a regression whose targets it cannot reach.

## Why it matters
The derivative there is below a twentieth. The layers in front get next to no gradient and stay what they were; the
network stands still, or learns by its last layers alone.

## How it is computed
Share of elements (unit: share of elements) with |tanh| above 0.97, a sigmoid outside 0.03 to 0.97, or of softmax
vectors whose greatest element exceeds 0.97; for functions without a module, from the values that they are applied to.
Layers behind the last one with weights are the network's answer and are left out: they should saturate. It fires
where the share exceeds `share` in eight of ten records; it is critical where the loss has not come down, and
information where it has, for the network then learns with it.

A regression's targets are out of reach where the predictions end in such a function and stay within its bounds, and
the parts of the targets beyond these (for a normal distribution of their mean and standard deviation) make more than
0.3 of their variance, median over the records. Where no module tells the function: predictions that never leave 0 to 1
(or -1 to 1) and come within 0.02 of the range of its end, targets whose mean lies half the range beyond it; or whose
least (or greatest) is one and the same number, to the last digit, in half of the records: there they are cut off.

Attention: the median over a module's heads of the entropy of their weights, over the logarithm of the keys that a query
may see, is below `entropy` and a fifth of the module's own start in eight of ten readings, over at least 8 keys, while
the loss stands above 0.8 of its start or of a constant answer's.

Attention whose heads see single keys in the first three readings (median entropy below a quarter of the logarithm of
the keys, scores beyond 40), where the network was not trained before, has scores that are not scaled.

## What to try
1. Smaller initial weights: Xavier for tanh and sigmoid, gain 5/3 for tanh.
2. Normalize the inputs, and before the nonlinearity (BatchNorm, LayerNorm).
3. Lower the learning rate, where the share grew during training.
4. ReLU, GELU or SiLU instead, where the function's bounds are not needed.
5. Targets out of reach: no nonlinearity behind the last layer, or targets that are scaled into its range.
6. Attention: scale the scores by the root of their dimension, normalize queries and keys.

## When it is harmless
Gates and codes that are meant to be open or shut, in a network that learns; outputs that are sure because they are
right; single sharp heads, which look at the token before, and heads of a network that learns.

## References
- [Understanding the difficulty of training deep feedforward neural networks](https://proceedings.mlr.press/v9/glorot10a.html)
- [Stanford CS231n: activation functions](https://cs231n.github.io/neural-networks-1/#actfun)
- [Stabilizing transformer training by preventing attention entropy collapse](https://arxiv.org/abs/2303.06296)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.activations.attention_heads import attending, collapsed_entropy, sharp_from_the_start
from tb_nnhealth.rules.activations.out_of_reach import out_of_reach
from tb_nnhealth.rules.base import (
    Case,
    Closest,
    CouldNotCheck,
    Example,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence.progress import Progress, progress, untold
from tb_nnhealth.rules.hits import hit, worst
from tb_nnhealth.rules.persistence import episodes, window_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.initial_scale import with_scale
from tb_nnhealth.rules.wording import percent

WINDOW, LEAST = 10, 6
"""Records that are judged, and where they lie apart."""
HELD = 0.8

ADVICE = (
    "Initialize with smaller weights: Xavier for tanh and sigmoid.",
    "Normalize the inputs, and before the nonlinearity (BatchNorm, LayerNorm).",
    "Lower the learning rate, where the share grew during training.",
    "Use ReLU, GELU or SiLU, where the function's bounds are not needed.",
)


def check(case: Case) -> Outcome:
    history = case.history
    if history is None:
        return CouldNotCheck("call writer.watch(model, optimizer)")
    come = progress(case.run, history) if len(history) else None
    if (bounded := out_of_reach(history, come)) is not None:
        return Ill([bounded])
    if attention := sharp_from_the_start(case, come) or collapsed_entropy(case, come):
        return Ill(attention)
    table = history.table(schema.ACTIVATION, schema.SATURATED_SHARE)
    hidden = _hidden(history, table.subjects)
    columns = np.flatnonzero(hidden & np.isfinite(table.values).any(axis=0))
    if not columns.size:
        return NotApplicable("no hidden layer has a tanh, sigmoid or softmax")
    subjects = tuple(table.subjects[i] for i in columns)
    share = table.values[:, columns]
    judged = np.isfinite(share)
    window = window_of(history.steps, WINDOW, LEAST)
    if judged.sum(axis=0).max() < window:
        return TooLittleData(f"{int(judged.sum(axis=0).max())} records, {window} are needed")
    limits = case.options.per_subject("share", subjects)
    found = episodes(judged & (share > limits), judged, history.steps, window=window, share=HELD)
    if not found:
        relative = share / limits
        record, column = divmod(int(np.nanargmax(relative)), len(subjects))
        near = min(1.0, float(relative[record, column]))
        return Passed(Closest(near, subjects[column], int(history.steps[record]), "share of saturated elements"))
    severity = "info" if untold(case.run, come) else _severity(come)
    hits = []
    for episode in found:
        subject, value = subjects[episode.column], worst(share, episode, "above")
        told = f"{percent(value)} of the activations of `{subject}` lie in the flat part of their nonlinearity."
        if severity == "info" and come is not None:
            told += f" {come.outcome} all the same."
        hits.append(
            hit(
                episode,
                subject,
                severity=severity,
                statistic="saturated_share",
                unit="share of elements",
                value=value,
                limit=float(limits[episode.column]),
                direction="above",
                healthy=(0.0, 0.5),
                message=told,
                advice=ADVICE,
                rank=value,
            )
        )
    return Ill(with_scale(hits, history.layout, "above"))


def _hidden(history: History, subjects: tuple[str, ...]) -> NDArray[np.bool_]:
    """Whether each subject lies before the last module with weights; what lies behind is the network's answer."""
    place = {module.name: i for i, module in enumerate(history.layout.modules)}
    owners = [place[p.module] for p in history.layout.parameters if p.module in place]
    last = max(owners, default=0)
    return np.array([place.get(subject, last) < last for subject in subjects], bool)


def _severity(come: Progress | None) -> Severity:
    if come is not None and come.learned:
        return "info"
    return "critical" if come is not None and come.stuck else "warning"


def _saturated(share: float, *, flat: bool = True, layer: str = "layers.2", since: int = 0, records: int = 200) -> Run:
    network = Network(nonlinearity="tanh", steps=records)
    for name in ("layers.0", "layers.1", "layers.2", "layers.3", "layers.4"):
        network.set(schema.ACTIVATION, name, saturated_share=0.05)
    network.set(schema.ACTIVATION, layer, saturated_share=np.where(np.arange(records) >= since, share, 0.05))
    if flat:
        network.set(schema.LOSS, "", mean=2.3, rms=2.3)
    return network.run()


def _answering(kind: str, mean: float, std: float, *, most: float = 1.0) -> Run:
    """A regression that ends in ``kind``; the targets are normal, the predictions go up to ``most``."""
    network = Network(criterion="MSELoss", nonlinearity="relu")
    network.layout.modules[5].type = kind
    low, high = mean - 2.5 * std, mean + 2.5 * std
    network.set(schema.TARGET, "", mean=mean, std=std, rms=float(np.hypot(mean, std)), min=low, max=high)
    network.set(schema.PREDICTION, "", min=0.0, max=most)
    return network.set(schema.LOSS, "", mean=mean**2 + std**2).run()


def _cut(mean: float, std: float, *, ends: float = 0.0, last: str = "Linear") -> Run:
    """A regression whose least answer is 0, or as much as ``ends`` off, in each batch; the targets are normal."""
    network = Network(criterion="MSELoss")
    network.layout.modules[-1].type = last
    at = network.at
    network.set(schema.TARGET, "", mean=mean, std=std, min=mean - 2.5 * std, max=mean + 2.5 * std)
    network.set(schema.PREDICTION, "", min=ends * (1 + np.sin(at)), max=2 + np.cos(at), mean=0.4 + 0.1 * np.sin(at))
    return network.set(schema.LOSS, "", mean=mean**2 + std**2).run()


RULE = Rule(
    id="saturated-units",
    healthy="Units responsive",
    ill="Saturated units",
    group="activations",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option("share", 0.5, "share of elements", "elements in the flat part", "CS231n; healthy tanh: below 0.3"),
        Option(
            "entropy",
            0.05,
            "share of log keys, median of heads",
            "entropy of attention",
            "σReparam; ours stay above 0.2",
        ),
    ),
    examples=(
        Example("a sigmoid for targets in percent", lambda: _answering("Sigmoid", 50, 20), True, "layers.5", 0),
        Example(
            "the same, learned behind a scale",
            lambda: _answering("Sigmoid", 50, 20, most=90.0),
            False,
            outcome="NotApplicable",
        ),
        Example("a tanh for standardized targets", lambda: _answering("Tanh", 0, 1), False, outcome="NotApplicable"),
        Example("a tanh for targets of twice its range", lambda: _answering("Tanh", 0, 2), ill=True),
        Example("answers cut off by a function", lambda: _cut(0.0, 1.0), ill=True, subject="prediction"),
        Example("answers behind a ReLU", lambda: _cut(0.0, 1.0, last="ReLU"), ill=True, subject="prediction"),
        Example(
            "answers behind a ReLU for what is positive",
            lambda: _cut(2.6, 1.0, last="ReLU"),
            ill=False,
            outcome="NotApplicable",
        ),
        Example("answers whose ends differ", lambda: _cut(0.0, 1.0, ends=1e-3), False, outcome="NotApplicable"),
        Example("answers that are never below 0, nor targets", lambda: _cut(2.6, 1.0), False, outcome="NotApplicable"),
        Example("a sigmoid that is no module", lambda: _answering("Linear", 3, 0.9), ill=True, subject="prediction"),
        Example(
            "answers up to 1, as asked for", lambda: _answering("Linear", 0.6, 0.2), False, outcome="NotApplicable"
        ),
        Example("nine tenths from the start", lambda: _saturated(0.9), ill=True, subject="layers.2", first_step=0),
        Example("from step 80 on", lambda: _saturated(0.9, since=80), ill=True, subject="layers.2", first_step=80),
        Example("in a network that learns", lambda: _saturated(0.7, flat=False), ill=True, subject="layers.2"),
        Example("just above a half", lambda: _saturated(0.52), ill=True, subject="layers.2"),
        Example("just below", lambda: _saturated(0.48), ill=False, outcome="Passed"),
        Example("a healthy tanh network", lambda: _saturated(0.2, flat=False), ill=False, outcome="Passed"),
        Example(
            "the answer is sure", lambda: _saturated(0.95, layer="layers.5", flat=False), ill=False, outcome="Passed"
        ),
        Example(
            "scores not scaled, from the start",
            lambda: attending(logit=200.0, entropy=0.1, before=(200.0, 0.1)).run(),
            True,
            "attention",
            0,
        ),
        Example(
            "made sharp by the first step",
            lambda: attending(logit=200.0, entropy=0.1, since=1).run(),
            False,
            outcome="NotApplicable",
        ),
        Example(
            "sharp heads of a network that was trained before",
            lambda: attending(logit=90.0, entropy=0.1, before=(90.0, 0.1), loss=0.3).run(),
            False,
            outcome="NotApplicable",
        ),
        Example("attention collapsed onto one key", lambda: attending(entropy=0.01).run(), True, "attention", 60),
        Example("just below the limit", lambda: attending(entropy=0.045).run(), True, "attention", 60),
        Example("just above the limit", lambda: attending(entropy=0.055).run(), False, outcome="NotApplicable"),
        Example(
            "one head of four looks at the token before",
            lambda: attending(entropy=0.0, ill=1).run(),
            False,
            outcome="NotApplicable",
        ),
        Example(
            "sharp from the start, as in a trained model",
            lambda: attending(entropy=0.02, before=(8.0, 0.04)).run(),
            False,
            outcome="NotApplicable",
        ),
        Example("four keys", lambda: attending(entropy=0.01, keys=4).run(), False, outcome="NotApplicable"),
        Example(
            "collapsed in a network that learns",
            lambda: attending(entropy=0.01).set(schema.LOSS, "", mean=np.linspace(2.3, 0.3, 200)).run(),
            False,
            outcome="NotApplicable",
        ),
        Example("a ReLU network", lambda: Network().run(), ill=False, outcome="NotApplicable"),
        Example("five records", lambda: _saturated(0.9, records=5), ill=False, outcome="TooLittleData"),
    ),
    page=__doc__ or "",
    causes=(
        "update-ratio-too-high",
        "diverging-bias",
        "loss-diverging",
        "vanishing-gradients",
        "exploding-gradients",
        "initial-loss-off",
        "loss-not-decreasing",
        "update-ratio-too-low",
        "no-gradient",
        "constant-output",
        "underfitting",
        "slow-start",
        "learning-rate-too-high",
        "learning-rate-too-low",
    ),
    statistic="saturated-units",
)
