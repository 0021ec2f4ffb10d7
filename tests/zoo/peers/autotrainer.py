"""AUTOTRAINER: five training problems, judged once an epoch.

Zhang, Zhai, Ma, Shen: AUTOTRAINER: An Automatic DNN Training Problem Detection and Repair System, ICSE 2021. The
criteria and defaults are those of the tool, ``AutoTrainer/utils/monitor.py`` of github.com/shiningrain/AUTOTRAINER
(β1 = 1e-3, β2 = 1e-4, β3 = 70, γ = 0.7, ζ = 0.03, η = 0.2, δ = 0.01, Θ = 0.7): all but non-finite values are asked
for only where the training has not reached the accuracy Θ, or has improved nowhere by δ, and where it has, whether it
oscillates. They need accuracies; a run that logs none is judged by its non-finite values alone.
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tests.zoo.peers.peer import Peer
from tests.zoo.peers.reading import (
    Values,
    accuracy,
    any_bad,
    by_epoch,
    epochs,
    histories,
    looks,
    loss,
    matrices,
    non_finite,
)

BETA_1, BETA_2, BETA_3 = 1e-3, 1e-4, 70.0
GAMMA = 0.7
ZETA, ETA = 0.03, 0.2
DELTA, THETA = 0.01, 0.7
JUDGED_FROM = 0.3
"""Share of the training after which losses and accuracies are looked at."""
LOSS_BEYOND = 1e5


def alarms(run: Run) -> set[str]:
    ends = epochs(run)
    losses = [by_epoch(loss(run, phase), ends) for phase in ("train", "val")]
    if any(non_finite(values[~np.isnan(values)]) for values in losses) or _bad(run):
        return {"exploding"}
    train, val = (by_epoch(accuracy(run, phase), ends) for phase in ("train", "val"))
    given = [values[~np.isnan(values)] for values in (train, val)]
    given = [values for values in given if len(values) > 2]
    if not given or len(ends) < 3:
        return set()
    found = {issue for history in histories(run) for issue in _gradients(history)}
    first = max(2, int(JUDGED_FROM * max(map(len, given))))
    for end in range(first, max(map(len, given)) + 1):
        so_far = [values[:end] for values in given]
        unreached = any(values.max() < THETA for values in so_far)
        slow = all(_best_step(values) < DELTA for values in so_far)
        if unreached or slow:
            for issue in ("dying ReLU", "exploding", "vanishing"):
                if issue in found:
                    return {issue}
            if slow:
                return {"slow convergence"}
        elif _unstable(so_far[0]):
            return {"unstable"}
    return set()


def _bad(run: Run) -> bool:
    tags = [series.values for phase in ("train", "val") if (series := loss(run, phase)) is not None]
    beyond = any(non_finite(values) or bool((values[-1:] >= LOSS_BEYOND).any()) for values in tags)
    return beyond or any(any_bad(history, schema.WEIGHT, schema.GRADIENT) for history in histories(run))


def _gradients(history: History) -> set[str]:
    """What the gradients show at the end of any epoch."""
    found = set()
    at = looks(history)
    norms = matrices(history, schema.GRADIENT, "norm").values[at]
    zeros = history.table(schema.GRADIENT, schema.ZERO_SHARE).values[at]
    sizes = np.array([np.prod(history.layout.rows[i].shape) for i in history.rows(schema.GRADIENT)], np.float64)
    if norms.shape[1] > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = norms[:, 0] / norms[:, -1]
        if ((ratio < BETA_1) & (norms[:, 0] < BETA_2)).any():
            found.add("vanishing")
        if (ratio > BETA_3).any():
            found.add("exploding")
    if zeros.size and (np.nansum(zeros * sizes, axis=1) / sizes.sum() >= GAMMA).any():
        found.add("dying ReLU")
    return found


def _best_step(values: Values) -> float:
    return float(np.diff(values).max(initial=0.0))


def _unstable(values: Values) -> bool:
    """Pairs of a local maximum and a minimum ζ apart, as a share η of the epochs."""
    if len(values) < 3:
        return False
    before, here, after = values[:-2], values[1:-1], values[2:]
    peaks, troughs = here[(here >= before) & (here >= after)], here[(here <= before) & (here <= after)]
    pairs = min(len(peaks), len(troughs))
    return bool((peaks[:pairs] - troughs[:pairs] >= ZETA).sum() >= ETA * len(values))


PEER = Peer(
    "AUTOTRAINER",
    "ICSE 2021; github.com/shiningrain/AUTOTRAINER",
    alarms,
    {
        "vanishing": frozenset({"vanishing-gradients", "saturated-units", "vanishing-activations", "poor-init-scale"}),
        "exploding": frozenset(
            {
                "exploding-gradients", "exploding-activations", "non-finite", "loss-diverging", "gradient-spike",
                "diverging-weights", "poor-init-scale",
            }
        ),
        "dying ReLU": frozenset({"dead-units"}),
        "unstable": frozenset(
            {"loss-oscillating", "learning-rate-too-high", "loss-spike", "update-ratio-too-high", "prediction-jitter"}
        ),
        "slow convergence": frozenset(
            {
                "loss-not-decreasing", "slow-start", "learning-rate-too-low", "update-ratio-too-low", "underfitting",
            }
        ),
    },
)  # fmt: skip
