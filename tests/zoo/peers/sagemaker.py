"""Amazon SageMaker Debugger's built-in rules for deep learning, at their defaults.

Source: "List of Debugger Built-in Rules", docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html.
The rules' code is not public; where the page leaves a choice, the one with fewer alarms was taken: the three
conditions of PoorWeightInitialization must hold together, AllZero looks at gradients alone, DeadRelu at units that
were silent for ten records. The mean absolute gradient is that of a normal distribution of the same root mean square,
and half of a layer beyond a bound is a root mean square beyond it. A user attaches the rules that he wants, so there
are two peers: all of them, and those that look at tensors.
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.derive import update_ratio
from tb_nnhealth.history import History, Run, Series
from tests.zoo.peers.peer import Peer
from tests.zoo.peers.reading import (
    Values,
    absolute_mean,
    activations_before,
    any_bad,
    histories,
    loss,
    matrices,
    modules_of,
    non_finite,
)

VANISHED = 1e-7
DEAD_LAYER = 0.5
TANH_INPUT, SIGMOID_INPUT = 9.4999, 16.99999
RATIO_LARGE, RATIO_SMALL = 10.0, 1e-8
INIT_VARIANCES, INIT_RANGE, INIT_STEPS, PERCENTILES_5_TO_95 = 10.0, 1e-3, 10, 3.29
IMBALANCE, IMBALANCE_SAMPLES = 10.0, 500
LOSS_STEPS, LOSS_PERCENT = 10, 0.1
OVERFIT_RATIO = 0.1
TRAIN_PATIENCE, VAL_PATIENCE, IMPROVEMENT = 5, 10, 0.01
SAME_STEPS, SAME_RELATIVE, SAME_ABSOLUTE = 3, 1e-5, 1e-8
IMAGE_MEAN, IMAGE_SAMPLES = 0.2, 500


def tensor_alarms(run: Run) -> set[str]:
    found: set[str] = set()
    for history in histories(run):
        found |= _tensors(history) | _data(history)
        if _poor_start(history) and _no_better(loss(run, "train")):
            found.add("PoorWeightInitialization")
    return found


def alarms(run: Run) -> set[str]:
    found = tensor_alarms(run)
    train, val = loss(run, "train"), loss(run, "val")
    if train is not None and non_finite(train.values):
        found.add("ExplodingTensor")
    if train is not None and _not_decreasing(train):
        found.add("LossNotDecreasing")
    if train is not None and _unchanged(train.values):
        found.add("UnchangedTensor")
    if train is not None and val is not None:
        if _overfit(train, val):
            found.add("Overfit")
        if _stale(train.values, TRAIN_PATIENCE) and _stale(val.values, VAL_PATIENCE):
            found.add("Overtraining")
    return found


def _tensors(history: History) -> set[str]:
    found = set()
    if any_bad(history, schema.WEIGHT, schema.GRADIENT, schema.ACTIVATION):
        found.add("ExplodingTensor")
    gradients = matrices(history, schema.GRADIENT, schema.RMS)
    if (absolute_mean(gradients) < VANISHED).any():
        found.add("VanishingGradient")
    if (matrices(history, schema.GRADIENT, schema.ZERO_SHARE).values == 1).any():
        found.add("AllZero")
    silent = history.table(schema.ACTIVATION, schema.SILENT_SHARE).values
    if any((silent[:, place] > DEAD_LAYER).any() for _, place in modules_of(history, "ReLU")):
        found.add("DeadRelu")
    spread = history.table(schema.ACTIVATION, schema.RMS).values
    for function, bound in (("tanh", TANH_INPUT), ("sigmoid", SIGMOID_INPUT)):
        if any((spread[:, place] > bound).any() for _, place in activations_before(history, function)):
            found.add("SaturatedActivation")
    trained = set(gradients.subjects)
    ratios = update_ratio(history)
    of_trained = ratios.values[:, [i for i, name in enumerate(ratios.subjects) if name in trained]]
    if ((of_trained > RATIO_LARGE) | (of_trained < RATIO_SMALL)).any():
        found.add("WeightUpdateRatio")
    return found


def _data(history: History) -> set[str]:
    found = set()
    shares = history.table(schema.CLASS, schema.MEAN).values
    labels = history.table(schema.LABELS, schema.MEAN)
    if "samples" in labels.subjects and shares.shape[1] > 1:
        samples = np.nansum(labels.values[:, labels.subjects.index("samples")])
        by_class = np.nanmean(np.nan_to_num(shares), axis=0)
        by_class = by_class[by_class > 0]
        if samples >= IMBALANCE_SAMPLES and len(by_class) > 1 and by_class.max() / by_class.min() > IMBALANCE:
            found.add("ClassImbalance")
    shapes = [history.layout.rows[i].shape for i in history.rows(schema.INPUT)]
    images = len(shapes) == 1 and len(shapes[0]) == 4
    means = history.table(schema.INPUT, schema.MEAN).values
    if images and len(means) * shapes[0][0] >= IMAGE_SAMPLES and abs(float(np.nanmean(means))) > IMAGE_MEAN:
        found.add("CheckInputImages")
    return found


def _poor_start(history: History) -> bool:
    places = [place for _, place in activations_before(history, "relu")]
    variances = history.table(schema.ACTIVATION, schema.STD).values[:INIT_STEPS, places] ** 2
    ranges = PERCENTILES_5_TO_95 * matrices(history, schema.GRADIENT, schema.STD).values[:INIT_STEPS]
    with np.errstate(divide="ignore", invalid="ignore"):
        uneven = (
            bool((variances.max(axis=1) / variances.min(axis=1) > INIT_VARIANCES).any()) if len(places) > 1 else False
        )
    return uneven and bool((ranges < INIT_RANGE).any())


def _no_better(train: Series | None) -> bool:
    if train is None or len(train) < INIT_STEPS:
        return False
    return bool(train.values[1:INIT_STEPS].min() >= train.values[0])


def _not_decreasing(train: Series) -> bool:
    steps, values = train.steps, train.values
    last = 0
    for i in range(1, len(steps)):
        if steps[i] - steps[last] >= LOSS_STEPS:
            if values[i] > values[last] - LOSS_PERCENT / 100 * abs(values[last]):
                return True
            last = i
    return False


def _unchanged(values: Values) -> bool:
    return any(
        np.allclose(values[i : i + SAME_STEPS], values[i], SAME_RELATIVE, SAME_ABSOLUTE)
        for i in range(len(values) - SAME_STEPS + 1)
    )


def _overfit(train: Series, val: Series) -> bool:
    """At a validation the mean of validation so far exceeds that of training so far."""
    for i, step in enumerate(val.steps):
        trained = train.values[train.steps <= step]
        if len(trained) and val.values[: i + 1].mean() - trained.mean() > OVERFIT_RATIO * abs(trained.mean()):
            return True
    return False


def _stale(values: Values, patience: int) -> bool:
    best, since = np.inf, 0
    for value in values:
        best, since = (value, 0) if value < best - IMPROVEMENT else (best, since + 1)
    return since >= patience


_OF_TENSORS = {
    "ExplodingTensor": frozenset({"non-finite", "loss-diverging", "exploding-gradients", "exploding-activations"}),
    "VanishingGradient": frozenset({"vanishing-gradients", "no-gradient"}),
    "AllZero": frozenset({"no-gradient", "dead-units", "poor-init-scale"}),
    "DeadRelu": frozenset({"dead-units"}),
    "SaturatedActivation": frozenset({"saturated-units"}),
    "WeightUpdateRatio": frozenset(
        {
            "update-ratio-too-high", "update-ratio-too-low", "frozen-parameters", "learning-rate-too-high",
            "learning-rate-too-low", "no-gradient", "optimizer-misses-parameters",
        }
    ),
    "PoorWeightInitialization": frozenset(
        {"poor-init-scale", "symmetric-units", "vanishing-activations", "exploding-activations"}
    ),
    "ClassImbalance": frozenset({"class-imbalance"}),
    "CheckInputImages": frozenset({"unnormalized-input"}),
}  # fmt: skip
_OF_LOSSES = {
    "LossNotDecreasing": frozenset(
        {
            "loss-not-decreasing", "loss-diverging", "slow-start", "learning-rate-too-high", "learning-rate-too-low",
            "loss-oscillating", "underfitting",
        }
    ),
    "UnchangedTensor": frozenset({"loss-not-decreasing", "frozen-parameters", "constant-output"}),
    "Overfit": frozenset({"overfitting"}),
    "Overtraining": frozenset({"overfitting"}),
}  # fmt: skip
_SOURCE = "docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html"
_LEFT_OUT = (
    "TensorVariance: has no default thresholds",
    "ClassImbalance's share of mispredictions: predictions by class are not recorded",
    "SimilarAcrossRuns, StalledTraining, NLPSequenceRatio, Confusion, FeatureImportance, TreeDepth: of other matters",
)
ALL_RULES = Peer("SageMaker Debugger", _SOURCE, alarms, {**_OF_TENSORS, **_OF_LOSSES}, _LEFT_OUT)
TENSOR_RULES = Peer("SageMaker Debugger, without its loss rules", _SOURCE, tensor_alarms, _OF_TENSORS, _LEFT_OUT)
