"""torchmortem: a report after the training, from hooks of PyTorch; its warnings and criticals.

Detectors and thresholds are those of ``src/torchmortem/detectors`` of github.com/sebseager/torchmortem, most of which
look at the second half of the training. Norm of the gradient by a layer's output: at the last layer 100 times that at
the first, any beyond 1000, below 1e-8 in 30 % of the steps, mean over standard deviation below 1. Outputs: in half of
the steps more than half of a layer's zero, or at least 0.95 in magnitude (here: 1, which histograms tell). Weights:
median update below 1e-5 or above 0.1, norm grown tenfold, changed by less than 1e-4, or a hundred times that of another
layer. Smoothed loss: rose in 80 % of the last 20 steps and by half, or moved by less than 1e-5 of itself.
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.derive import norm, update_ratio
from tb_nnhealth.history import History, Run
from tests.zoo.peers.peer import Peer
from tests.zoo.peers.reading import Values, histories, loss, matrices, share_from_one

VANISHING_RATIO, EXPLODING_NORM, STALLED_NORM, STALLED_SHARE = 100.0, 1000.0, 1e-8, 0.3
UNITS_SHARE, STEPS_SHARE = 0.5, 0.5
RATIO_LOW, RATIO_HIGH = 1e-5, 1e-1
GROWTH, STAGNATION, IMBALANCE = 10.0, 1e-4, 100.0
NOISE, NOISE_STEPS = 1.0, 20
WINDOW, PLATEAU, RISING_SHARE, RISE = 20, 1e-5, 0.8, 1.5
SMOOTHING = 0.1
NOTHING = 1e-30
_OBSERVED = {
    "ReLU", "LeakyReLU", "PReLU", "ELU", "SELU", "GELU", "Sigmoid", "Tanh", "Softmax", "LogSoftmax", "SiLU", "Mish",
    "Hardswish", "Hardsigmoid",
}  # fmt: skip


def alarms(run: Run) -> set[str]:
    found: set[str] = set()
    for history in histories(run):
        found |= _gradients(history) | _activations(history) | _weights(history)
    trained = loss(run, "train")
    if trained is not None and len(trained) >= 10:
        found |= _losses(trained.values)
    return found


def _gradients(history: History) -> set[str]:
    found = set()
    owners = {parameter.module for parameter in history.layout.parameters if parameter.trainable}
    table = norm(history, schema.ACTIVATION_GRADIENT)
    measured = [i for i, name in enumerate(table.subjects) if name in owners and not np.isnan(table.values[:, i]).all()]
    norms = np.nan_to_num(table.values[:, measured].astype(np.float64))
    if not norms.shape[1]:
        return found
    late = norms[len(norms) // 2 :]
    first, last = late[:, 0].mean(), late[:, -1].mean()
    if norms.shape[1] > 1:
        if first < NOTHING or (last >= NOTHING and last / first >= VANISHING_RATIO):
            found.add("vanishing gradients")
        if (norms > EXPLODING_NORM).any():
            found.add("exploding gradients")
        if ((norms < STALLED_NORM).mean(axis=0) >= STALLED_SHARE).any():
            found.add("gradient stalling")
    mean, spread = late.mean(axis=0), late.std(axis=0)
    usable = (mean > NOTHING) & (spread > NOTHING)
    if len(norms) >= NOISE_STEPS and usable.any() and (mean[usable] / spread[usable]).mean() < NOISE:
        found.add("gradient noise")
    return found


def _activations(history: History) -> set[str]:
    found = set()
    owners = {parameter.module for parameter in history.layout.parameters}
    seen = {m.name for m in history.layout.modules if m.type in _OBSERVED or m.name in owners}
    zeros = history.table(schema.ACTIVATION, schema.ZERO_SHARE)
    late = zeros.values[len(zeros.steps) // 2 :]
    for i, name in enumerate(zeros.subjects):
        if name not in seen:
            continue
        if (late[:, i] > UNITS_SHARE).mean() >= STEPS_SHARE:
            found.add("dead units")
        large = share_from_one(history, name)
        if len(large) and (large[len(large) // 2 :] > UNITS_SHARE).mean() >= STEPS_SHARE:
            found.add("saturation")
    return found


def _weights(history: History) -> set[str]:
    found = set()
    norms = matrices(history, schema.WEIGHT, "norm")
    ratios = update_ratio(history)
    for i in (i for i, name in enumerate(ratios.subjects) if name in norms.subjects):
        values = ratios.values[1:, i]
        late = values[len(values) // 2 :]
        moved = late[late > 0]
        if len(moved) and np.median(moved) < RATIO_LOW:
            found.add("update ratio low")
        if len(moved) and np.median(moved) > RATIO_HIGH:
            found.add("update ratio high")
    if len(norms.steps) < 4 or not len(norms):
        return found
    before, after = norms.values[0].astype(np.float64), norms.values[-1].astype(np.float64)
    some = before > NOTHING
    if (after[some] / before[some] > GROWTH).any():
        found.add("weight norm explosion")
    if (np.abs(after[some] - before[some]) / before[some] < STAGNATION).any():
        found.add("stagnant weights")
    left = after[after > NOTHING]
    if len(left) > 1 and left.max() / left.min() >= IMBALANCE:
        found.add("weight norm imbalance")
    return found


def _losses(values: Values) -> set[str]:
    found = set()
    smooth = _smoothed(values)
    window = min(WINDOW, len(smooth) // 2)
    tail = smooth[-window:]
    rising = window >= 5 and (np.diff(tail) > 0).mean() >= RISING_SHARE
    if rising and not (tail[0] > NOTHING and tail[-1] / tail[0] < RISE):
        found.add("divergence")
    for start in range(len(smooth) // 2, len(smooth) - WINDOW, WINDOW):
        part = smooth[start : start + WINDOW]
        if part.mean() > NOTHING and (part.max() - part.min()) / part.mean() < PLATEAU:
            found.add("plateau")
    return found


def _smoothed(values: Values) -> Values:
    out = np.empty_like(values)
    level = values[0]
    for i, value in enumerate(values):
        level += SMOOTHING * (value - level)
        out[i] = level
    return out


PEER = Peer(
    "torchmortem",
    "github.com/sebseager/torchmortem",
    alarms,
    {
        "vanishing gradients": frozenset({"vanishing-gradients", "vanishing-activations", "saturated-units"}),
        "exploding gradients": frozenset({"exploding-gradients", "gradient-spike", "exploding-activations"}),
        "gradient stalling": frozenset({"no-gradient", "vanishing-gradients", "dead-units"}),
        "gradient noise": frozenset({"gradient-spike", "loss-oscillating"}),
        "dead units": frozenset({"dead-units"}),
        "saturation": frozenset({"saturated-units"}),
        "update ratio low": frozenset({"update-ratio-too-low", "learning-rate-too-low", "frozen-parameters"}),
        "update ratio high": frozenset({"update-ratio-too-high", "learning-rate-too-high"}),
        "weight norm explosion": frozenset({"diverging-weights", "learning-rate-too-high"}),
        "stagnant weights": frozenset(
            {"frozen-parameters", "no-gradient", "optimizer-misses-parameters", "learning-rate-too-low"}
        ),
        "weight norm imbalance": frozenset({"poor-init-scale"}),
        "divergence": frozenset({"loss-diverging", "learning-rate-too-high"}),
        "plateau": frozenset({"loss-not-decreasing", "learning-rate-too-low", "early-lr-decay"}),
    },
    ("edge of stability: curvature is not recorded", "rank collapse: singular values are not recorded"),
)
