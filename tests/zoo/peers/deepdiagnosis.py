"""DeepDiagnosis: eight symptoms, looked for at the end of each epoch; the first one found ends the training.

Wardat, Cruz, Le, Rajan: DeepDiagnosis: Automatically Diagnosing Faults and Recommending Actionable Fixes in Deep
Learning Programs, ICSE 2022. Symptoms and thresholds are those of ``callback/callbacks.py`` of
github.com/DeepDiagnosis/ICSE2022: a ReLU layer with 70 % of its outputs at or below zero in the last epoch, tanh and
sigmoid with more than half of their inputs beyond ±5, mean absolute gradient of a dense layer below 1e-7, means that
are NaN, infinite or exactly zero, loss, output and weights that stay exactly the same over five epochs, accuracy that
stays the same over twenty or is zero. Here it is read from the record: the mean absolute gradient is that of a normal
distribution of the same root mean square, and half of the inputs beyond 5 is a root mean square beyond 5.
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, History, Run
from tests.zoo.peers.peer import Peer
from tests.zoo.peers.reading import (
    absolute_mean,
    accuracy,
    activations_before,
    any_bad,
    by_epoch,
    epochs,
    histories,
    looks,
    loss,
    matrices,
    modules_of,
    non_finite,
)

DEAD, SATURATED_INPUT, VANISHED = 0.7, 5.0, 1e-7
SAME_FOR, ACCURACY_SAME_FOR = 5, 20


def alarms(run: Run) -> set[str]:
    found = _metrics(run)
    for history in histories(run):
        found |= _layers(history, len(epochs(run)) or 20)
    return found


def _metrics(run: Run) -> set[str]:
    found = set()
    ends = epochs(run)
    losses, accuracies = by_epoch(loss(run, "train"), ends), by_epoch(accuracy(run, "train"), ends)
    raw = loss(run, "train")
    if raw is not None and non_finite(raw.values):
        found.add("invalid loss")
    if _same(losses, SAME_FOR):
        found.add("loss not decreasing")
    if (accuracies == 0).any():
        found.add("invalid accuracy")
    if _same(accuracies, ACCURACY_SAME_FOR):
        found.add("accuracy not increasing")
    return found


def _layers(history: History, count: int) -> set[str]:
    found = set()
    at = looks(history, count)
    outputs = history.table(schema.ACTIVATION, schema.MEAN).values[at]
    zeros = history.table(schema.ACTIVATION, schema.ZERO_SHARE).values
    relu = [place for _, place in modules_of(history, "ReLU")]
    if relu and (zeros[-1, relu] >= DEAD).any():
        found.add("dead node")
    spread = history.table(schema.ACTIVATION, schema.RMS).values[at]
    bounded = [place for _, place in activations_before(history, "tanh", "sigmoid")]
    if bounded and (spread[:, bounded] > SATURATED_INPUT).any():
        found.add("saturated activation")
    gradients = matrices(history, schema.GRADIENT, schema.RMS)
    means = matrices(history, schema.GRADIENT, schema.MEAN).values[at]
    weights = matrices(history, schema.WEIGHT, schema.MEAN).values[at]
    if (absolute_mean(gradients)[at] < VANISHED).any():
        found.add("vanishing gradient")
    zero_mean = (outputs == 0).any() or (weights == 0).any() or (means == 0).any()
    if zero_mean or any_bad(history, schema.ACTIVATION, schema.WEIGHT, schema.GRADIENT):
        found.add("numerical error")
    if any(_same_columns(values) for values in (outputs[:, :-1], means, weights)):
        found.add("unchanged tensor")
    return found


def _same(values: np.ndarray, count: int) -> bool:  # type: ignore[type-arg]
    return any(
        not np.isnan(part := values[i : i + count]).any() and bool((part == part[0]).all())
        for i in range(0, len(values) - count + 1, count)
    )


def _same_columns(values: Floats) -> bool:
    return any(_same(values[:, i], SAME_FOR) for i in range(values.shape[1]))


PEER = Peer(
    "DeepDiagnosis",
    "ICSE 2022; github.com/DeepDiagnosis/ICSE2022",
    alarms,
    {
        "dead node": frozenset({"dead-units"}),
        "saturated activation": frozenset({"saturated-units", "unnormalized-input"}),
        "vanishing gradient": frozenset({"vanishing-gradients", "no-gradient", "learning-rate-too-low"}),
        "numerical error": frozenset({"non-finite", "poor-init-scale", "symmetric-units", "unnormalized-input"}),
        "unchanged tensor": frozenset(
            {"frozen-parameters", "no-gradient", "constant-output", "optimizer-misses-parameters", "poor-init-scale"}
        ),
        "invalid loss": frozenset({"non-finite", "loss-diverging", "learning-rate-too-high"}),
        "loss not decreasing": frozenset({"loss-not-decreasing", "learning-rate-too-low", "poor-init-scale"}),
        "accuracy not increasing": frozenset({"loss-not-decreasing", "learning-rate-too-low", "poor-init-scale"}),
        "invalid accuracy": frozenset({"loss-not-decreasing", "learning-rate-too-high"}),
    },
    ("out of range: the network's output against the labels, layer by layer of Keras",),
)
