"""Validations with Dropout and BatchNorm in train mode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import tags

BURSTS = 2
"""Validations in train mode before it is reported: one may be a trial forward."""
FEWEST_FORWARDS = 2
OFTEN = 0.5
"""Forwards without gradients in more than this share of the intervals belong to the training (a GAN's fakes)."""
STEADY = 0.9
"""So do forwards without gradients in (nearly) every step."""


def evaluating_in_train(history: History, forwards: float, run: Run) -> list[Hit]:
    """With or without gradients; ``forwards``: least mean number of a validation that is not logged."""
    logged = validated(run)
    return _without_gradients(history, forwards, logged) or (_with_gradients(history) if logged else [])


def _without_gradients(history: History, forwards: float, logged: bool) -> list[Hit]:
    in_train, in_eval = _counts(history, "train"), _counts(history, "eval")
    if in_train is None or in_eval is None:
        return []
    in_train[0] = 0  # before the first step: a summary of the model, a search for a learning rate
    bursts = np.flatnonzero(in_train >= (1 if logged else FEWEST_FORWARDS))
    steady = (in_train[1:] / np.diff(history.steps)).min(initial=np.inf) >= STEADY
    often = not logged and (in_train > 0).mean() > OFTEN
    if len(bursts) < BURSTS or in_eval.any() or steady or often:
        return []
    mean = float(in_train[bursts].mean())
    if not logged and mean < forwards:
        return []
    return [_hit(history, bursts, mean, 1.0 if logged else forwards, "without")]


def _with_gradients(history: History) -> list[Hit]:
    """Where each step follows on the same number of forwards, and some on many more: nobody steps on those."""
    in_train, graded, in_eval = (
        _counts(history, name) for name in ("train with gradients", "eval with gradients", "eval")
    )
    if in_train is None or graded is None or in_eval is None:
        return []
    usual = float(np.median(in_train[1:])) if len(in_train) > 1 else 0.0
    more = in_train > usual
    more[0] = False
    bursts = np.flatnonzero(more)
    alike = usual >= 1 and bool((in_train[1:][~more[1:]] == usual).all())
    if not alike or len(bursts) < BURSTS or more.mean() > OFTEN or graded.any() or in_eval.any():
        return []
    extra = in_train[bursts] - usual
    if extra.min() < FEWEST_FORWARDS and usual > 1:  # the last of the batches that are accumulated
        return []
    return [_hit(history, bursts, float(extra.mean()), 1.0, "with")]


def _hit(history: History, bursts: NDArray[np.int64], mean: float, limit: float, gradients: str) -> Hit:
    steps = history.steps
    return Hit(
        subject="",
        first_step=int(steps[bursts[0]]),
        fired_step=int(steps[bursts[BURSTS - 1]]),
        last_step=int(steps[bursts[-1]]),
        count=len(bursts),
        active=True,
        severity="warning",
        statistic=f"forwards {gradients} gradients in train mode",
        unit="per burst",
        value=mean,
        limit=limit,
        direction="above",
        healthy=(0.0, 0.0),
        message=(
            f"{len(bursts)} validations so far ({mean:.0f} forwards {gradients} gradients each) ran with the model in "
            "train mode, and none in evaluation mode: Dropout and BatchNorm were at work."
        ),
        advice=(
            "Call model.eval() before each validation, and model.train() after it.",
            *(("Wrap it in torch.no_grad(): no step follows on its gradients.",) if gradients == "with" else ()),
        ),
    )


def validated(run: Run) -> bool:
    """Whether the log holds a validation's loss or accuracy, of a training that has but one network."""
    if tags.moving_target(run):
        return False
    series = [found[1]] if (found := tags.main_loss(run, "val")) else []
    series += [series for _, series in tags.series_of(run, "accuracy", "val")]
    return any(len(one) >= BURSTS for one in series)


def _counts(history: History, name: str) -> NDArray[np.float64] | None:
    """Record by record, shape (n,); None where they were not counted."""
    counts = history.table(schema.EVALUATION, schema.MEAN)
    if name not in counts.subjects:
        return None
    return np.nan_to_num(counts.values[:, counts.subjects.index(name)].astype(np.float64))
