"""Dropout and BatchNorm are in evaluation mode while training, or in train mode while evaluating.

## What it detects
Training steps in which every Dropout and BatchNorm module of the model is in evaluation mode: `model.train()` was
forgotten, mostly after a validation. And validations (several forwards without gradients between two training steps)
with the model in train mode, where there is none in evaluation mode: `model.eval()` was forgotten.

## Why it matters
Training in evaluation mode trains without regularization, on running statistics that no longer follow the weights.
Evaluating in train mode gives numbers that depend on the other samples of the batch and on chance, and the validation
data leak into BatchNorm's running statistics.

## How it is computed
The mode of each Dropout and BatchNorm module called in a measured training step (1 train, 0 eval). It fires where all
of them are at 0 in eight of ten records, if they had been at 1 before; or from the start, if a Dropout is among them
or the BatchNorms' weights are all 1 and so were never trained. Also where single BatchNorms with weights of 1 that
train are at 0 in every record, and other modules are not. Evaluations: forwards without gradients between two
records. It fires after two bursts in train mode, with no forward in evaluation mode: of any size where a validation
loss or accuracy is logged, else of two forwards or more and a mean of `forwards`, in less than half of all intervals.
Forwards without gradients in every step belong to the training.

## What to try
1. Call `model.train()` at the head of each training epoch, `model.eval()` at the head of each validation, not once.
2. A helper that validates should restore the mode it found: `was = model.training` … `model.train(was)`.
3. Wrap validation in `torch.no_grad()` or `torch.inference_mode()` too: neither changes the mode.
4. To freeze only some BatchNorms on purpose, put those into evaluation mode in an overridden `train()`.

## When it is harmless
Fine-tuning with the BatchNorms of a pre-trained network frozen; Monte Carlo dropout; samples drawn from a generator
in train mode, one forward at a time; recalibration of BatchNorm for averaged weights. None of these is reported, but
for Monte Carlo dropout without any evaluation.

## References
- [PyTorch: evaluation mode](https://pytorch.org/docs/stable/notes/autograd.html#evaluation-mode-nn-module-eval)
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Batch normalization](https://arxiv.org/abs/1502.03167)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.messages import Module, Parameter
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
from tb_nnhealth.rules.evidence import tags
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import episodes
from tb_nnhealth.rules.synthetic import Network

WINDOW = 10
SHARE = 0.8
BURSTS = 2
"""Validations in train mode before it is reported: one may be a trial forward."""
FEWEST_FORWARDS = 2
OFTEN = 0.5
"""Forwards without gradients in more than this share of the intervals belong to the training (a GAN's fakes)."""
STEADY = 0.9
"""So do forwards without gradients in (nearly) every step."""


def check(case: Case) -> Outcome:
    history = case.history
    if history is None:
        return CouldNotCheck("call writer.watch(model, optimizer)")
    modes = history.table(schema.MODE, schema.MEAN)
    if not len(modes) or np.isnan(modes.values).all():
        return NotApplicable("the model has neither Dropout nor BatchNorm")
    if len(history) < WINDOW:
        return TooLittleData(f"{len(history)} records, {WINDOW} are needed")
    hits = [
        *_training_in_evaluation_mode(history),
        *_evaluating_in_train_mode(history, case.options["forwards"], _validated(case.run)),
    ]
    return Ill(hits) if hits else Passed()


def _training_in_evaluation_mode(history: History) -> list[Hit]:
    modes = history.table(schema.MODE, schema.MEAN)
    judged: NDArray[np.bool_] = np.asarray(np.isfinite(modes.values).any(axis=1))
    off = np.nan_to_num(modes.values) == 0
    all_off: NDArray[np.bool_] = np.asarray(judged & off.all(axis=1))
    found = episodes(all_off[:, None], judged[:, None], history.steps, window=WINDOW, share=SHARE)
    if not found:
        return _new_norms_in_evaluation_mode(history)
    episode = found[0]
    trained_before = bool((judged & ~all_off)[: episode.first].any())
    if not trained_before and _deliberate(history):
        return []
    since = (
        f"since step {episode.first_step:,}; before, they were in train mode"
        if trained_before
        else f"from step {episode.first_step:,} on"
    )
    return [
        hit(
            episode, "", severity="warning", statistic="modules in train mode", unit="share of modules", value=0.0,
            limit=0.5, direction="below", healthy=(1.0, 1.0),
            message=f"{_all(len(modes))} in evaluation mode while training, {since}.",
            advice=(
                "Call model.train() at the head of each training epoch"
                + (", after every validation." if trained_before else "."),
                "Let the validation restore the mode that it found.",
            ),
            more={"modules": list(modes.subjects[:10])},
        )
    ]  # fmt: skip


def _new_norms_in_evaluation_mode(history: History) -> list[Hit]:
    """BatchNorms that are trained from their initial gains of 1, and never in train mode, while other modules are.

    Whoever freezes statistics on purpose has some: those of an earlier training, whose gains are no longer 1.
    """
    modes = history.table(schema.MODE, schema.MEAN)
    types = {module.name: module.type for module in history.layout.modules}
    gains = {p.module: p for p in history.layout.parameters if p.name == f"{p.module}.weight"}
    told = np.isfinite(modes.values).sum(axis=0)
    off = [
        name
        for i, name in enumerate(modes.subjects)
        if "BatchNorm" in types.get(name, "")
        and told[i] >= WINDOW
        and np.nanmax(modes.values[:, i]) == 0
        and name in gains
        and gains[name].trainable
        and abs(gains[name].initial_rms - 1) <= 1e-6
    ]
    if not off or not (np.nan_to_num(modes.values) > 0).any():
        return []
    steps, names = history.steps, ", ".join(f"`{name}`" for name in off[:3]) + (" …" if len(off) > 3 else "")
    return [
        Hit(
            subject=off[0],
            first_step=int(steps[0]),
            fired_step=int(steps[WINDOW - 1]),
            last_step=int(steps[-1]),
            count=int(told[modes.subjects.index(off[0])]),
            active=True,
            severity="warning",
            statistic="modules ever in train mode",
            unit="share of modules",
            value=1 - len(off) / len(modes.subjects),
            limit=1.0,
            direction="below",
            healthy=(1.0, 1.0),
            message=f"{names} (BatchNorm) trained from the start in evaluation mode, while other modules are in train"
            " mode: their statistics are those of initialization, mean 0 and variance 1, and nothing is normalized.",
            advice=(
                "Call train() on the whole model, not on parts of it, at the head of each epoch.",
                "Look for eval() on a part of the model, or an overridden train() that puts it back.",
            ),
            more={"modules": off[:10]},
        )
    ]


def _all(modules: int) -> str:
    if modules == 1:
        return "The only Dropout or BatchNorm module is"
    return f"All {modules} Dropout and BatchNorm modules are"


def _deliberate(history: History) -> bool:
    """Whether all modules in evaluation mode are BatchNorms that had been trained before: frozen for fine-tuning."""
    types = {module.name: module.type for module in history.layout.modules}
    subjects = history.subjects(schema.MODE)
    if any("Dropout" in types.get(subject, "") for subject in subjects):
        return False
    names = {f"{subject}.weight" for subject in subjects}
    initial = [parameter.initial_rms for parameter in history.layout.parameters if parameter.name in names]
    return not initial or any(abs(rms - 1) > 1e-6 for rms in initial)


def _evaluating_in_train_mode(history: History, forwards: float, validated: bool) -> list[Hit]:
    counts = history.table(schema.EVALUATION, schema.MEAN)
    if set(counts.subjects) < {"train", "eval"}:
        return []
    in_train, in_eval = (_counts(counts.values[:, counts.subjects.index(name)]) for name in ("train", "eval"))
    in_train[0] = 0  # before the first step: a summary of the model, a search for a learning rate
    steps = history.steps
    bursts = np.flatnonzero(in_train >= (1 if validated else FEWEST_FORWARDS))
    steady = (in_train[1:] / np.diff(steps)).min(initial=np.inf) >= STEADY
    often = not validated and (in_train > 0).mean() > OFTEN
    if len(bursts) < BURSTS or in_eval.any() or steady or often:
        return []
    mean = float(in_train[bursts].mean())
    if not validated and mean < forwards:
        return []
    return [
        Hit(
            subject="",
            first_step=int(steps[bursts[0]]),
            fired_step=int(steps[bursts[BURSTS - 1]]),
            last_step=int(steps[bursts[-1]]),
            count=len(bursts),
            active=True,
            severity="warning",
            statistic="forwards without gradients in train mode",
            unit="per burst",
            value=mean,
            limit=1.0 if validated else forwards,
            direction="above",
            healthy=(0.0, 0.0),
            message=(
                f"{len(bursts)} validations so far ({mean:.0f} forwards without gradients each) ran with the model in "
                "train mode, and none in evaluation mode: Dropout and BatchNorm were at work."
            ),
            advice=("Call model.eval() before each validation, and model.train() after it.",),
        )
    ]


def _validated(run: Run) -> bool:
    """Whether the log holds a validation's loss or accuracy, of a training that has but one network."""
    if tags.moving_target(run):
        return False
    series = [found[1]] if (found := tags.main_loss(run, "val")) else []
    series += [series for _, series in tags.series_of(run, "accuracy", "val")]
    return any(len(one) >= BURSTS for one in series)


def _counts(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64))


def _modes(
    dropout: NDArray[np.float64] | float,
    norm: NDArray[np.float64] | float,
    *,
    gain: float = 1.0,
    only_norm: bool = False,
) -> Network:
    """A network with one Dropout and one BatchNorm, in the modes given over its 200 records."""
    network = Network()
    if not only_norm:
        network.layout.modules.append(Module(name="drop", type="Dropout", called=True))
        network.add_row(schema.MODE, "drop", mean=dropout)
    network.layout.modules.append(Module(name="norm", type="BatchNorm1d", called=True))
    network.layout.parameters.append(
        Parameter(name="norm.weight", module="norm", shape=(64,), trainable=True, optimizer=0, initial_rms=gain)
    )
    return network.add_row(schema.MODE, "norm", mean=norm)


_SWITCHED = (np.arange(200) < 80).astype(np.float64)


def _evaluating(train: int, evaluation: int, every: int = 40, logged: bool = False) -> Run:
    """A validation of so many forwards, in train or evaluation mode, every so many steps; ``logged``: its loss."""
    burst = (np.arange(200) % every == every - 1).astype(np.float64)
    network = _modes(1.0, 1.0)
    network.set(schema.EVALUATION, "train", mean=train * burst).set(schema.EVALUATION, "eval", mean=evaluation * burst)
    if logged:
        network.scalars["loss/val"] = [(int(step), 1.0) for step in network.at[burst > 0]]
    return network.run()


RULE = Rule(
    id="wrong-mode",
    healthy="Modes as they should be",
    ill="Wrong mode",
    group="set-up",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option("forwards", 2, "forwards", "least mean size of a validation in train mode", "one is a sample drawn"),
    ),
    examples=(
        Example(
            "train() forgotten after a validation",
            lambda: _modes(_SWITCHED, _SWITCHED).run(),
            ill=True,
            subject="",
            first_step=80,
        ),
        Example(
            "never in train mode, with Dropout", lambda: _modes(0.0, 0.0).run(), ill=True, subject="", first_step=0
        ),
        Example("untrained BatchNorms frozen", lambda: _modes(0.0, 0.0, only_norm=True).run(), ill=True, first_step=0),
        Example(
            "an untrained BatchNorm frozen, Dropout at work",
            lambda: _modes(1.0, 0.0).run(),
            ill=True,
            subject="norm",
            first_step=0,
        ),
        Example("validated in train mode", lambda: _evaluating(10, 0), ill=True, subject="", first_step=39),
        Example(
            "validated in one forward each, in train mode",
            lambda: _evaluating(1, 0, logged=True),
            ill=True,
            subject="",
            first_step=39,
        ),
        Example(
            "a pseudo-label in every step",
            lambda: _evaluating(1, 0, every=1, logged=True),
            ill=False,
            outcome="Passed",
        ),
        Example(
            "pre-trained BatchNorms frozen",
            lambda: _modes(0.0, 0.0, gain=0.7, only_norm=True).run(),
            ill=False,
            outcome="Passed",
        ),
        Example(
            "pre-trained BatchNorm frozen, Dropout at work",
            lambda: _modes(1.0, 0.0, gain=0.7).run(),
            ill=False,
            outcome="Passed",
        ),
        Example(
            "in evaluation mode for seven records", lambda: _modes(_dip(7), _dip(7)).run(), ill=False, outcome="Passed"
        ),
        Example(
            "in evaluation mode for eight records", lambda: _modes(_dip(8), _dip(8)).run(), ill=True, first_step=50
        ),
        Example("validated in evaluation mode", lambda: _evaluating(0, 10), ill=False, outcome="Passed"),
        Example("BatchNorm recalibrated before validation", lambda: _evaluating(20, 10), ill=False, outcome="Passed"),
        Example("one sample drawn now and then", lambda: _evaluating(1, 0), ill=False, outcome="Passed"),
        Example("fakes drawn in every step", lambda: _evaluating(2, 0, every=1), ill=False, outcome="Passed"),
        Example("no Dropout and no BatchNorm", lambda: Network().run(), ill=False, outcome="NotApplicable"),
    ),
    page=__doc__ or "",
    causes=(
        "overfitting",
        "loss-spike",
        "loss-diverging",
        "loss-not-decreasing",
        "over-regularized",
        "underfitting",
    ),
)


def _dip(records: int) -> NDArray[np.float64]:
    at = np.arange(200)
    return ((at < 50) | (at >= 50 + records)).astype(np.float64)
