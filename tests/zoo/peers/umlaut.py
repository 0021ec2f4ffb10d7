"""UMLAUT: heuristics run at the end of each epoch.

Schoop, Huang, Hartmann: UMLAUT: Debugging Deep Learning Programs using Program Structure and Model Behavior, CHI 2021.
Heuristics and thresholds are those of ``umlaut/heuristics.py`` of github.com/BerkeleyHCI/umlaut: inputs beyond ±1,
learning rate above 0.01 or below 1e-7, NaN in the loss, validation loss that rises in an epoch while the training
loss does not, validation accuracy above 95 % or above that of training after the third epoch. The check of a missing
softmax asks whether Keras' loss was told ``from_logits``; its counterpart here is a softmax before a loss of logits.
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tests.zoo.peers.peer import Peer
from tests.zoo.peers.reading import accuracy, by_epoch, epochs, histories, looks, loss, non_finite

INPUT = 1.0
RATE_HIGH, RATE_LOW = 0.01, 1e-7
ACCURACY_HIGH, ACCURACY_FROM_EPOCH = 0.95, 3


def alarms(run: Run) -> set[str]:
    found = _metrics(run)
    for history in histories(run):
        low, high = (history.table(schema.INPUT, statistic).values for statistic in (schema.MIN, schema.MAX))
        floating = any(history.layout.rows[i].dtype.startswith(("float", "bfloat")) for i in history.rows(schema.INPUT))
        if floating and ((low < -INPUT).any() or (high > INPUT).any()):
            found.add("input not normalized")
        rates = history.table(schema.LEARNING_RATE, schema.MEAN).values[looks(history)]
        if (rates > RATE_HIGH).any():
            found.add("learning rate high")
        if (rates < RATE_LOW).any():
            found.add("learning rate low")
        takes_logits = history.layout.criterion.type == "CrossEntropyLoss"
        if takes_logits and (history.table(schema.PREDICTION, schema.PROBABILITY_SHARE).values[:10] > 0.99).any():
            found.add("softmax and loss")
    return found


def _metrics(run: Run) -> set[str]:
    found = set()
    raw = loss(run, "train")
    if raw is not None and non_finite(raw.values):
        found.add("NaN in loss")
    ends = epochs(run)
    train, val = by_epoch(loss(run, "train"), ends), by_epoch(loss(run, "val"), ends)
    if len(train) and len(train) == len(val) and ((np.diff(val) > 0) & (np.diff(train) <= 0)).any():
        found.add("overfitting")
    of_val, of_train = by_epoch(accuracy(run, "val"), ends), by_epoch(accuracy(run, "train"), ends)
    late_val, late_train = of_val[ACCURACY_FROM_EPOCH:], of_train[ACCURACY_FROM_EPOCH:]
    if (late_val > ACCURACY_HIGH).any() or (len(late_val) == len(late_train) and (late_val > late_train).any()):
        found.add("validation accuracy high")
    return found


PEER = Peer(
    "UMLAUT",
    "CHI 2021; github.com/BerkeleyHCI/umlaut",
    alarms,
    {
        "input not normalized": frozenset({"unnormalized-input", "input-range-mismatch"}),
        "learning rate high": frozenset(
            {"learning-rate-too-high", "update-ratio-too-high", "loss-diverging", "loss-oscillating"}
        ),
        "learning rate low": frozenset({"learning-rate-too-low", "update-ratio-too-low"}),
        "softmax and loss": frozenset({"softmax-before-cross-entropy"}),
        "NaN in loss": frozenset({"non-finite"}),
        "overfitting": frozenset({"overfitting"}),
    },
    (
        "input shape: which axis is the channel",
        "input not floating: a network of embeddings takes integers",
        "missing activations: read from the configuration of Keras' layers",
    ),
)
