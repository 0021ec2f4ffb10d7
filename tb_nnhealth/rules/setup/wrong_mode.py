"""Dropout and BatchNorm are in evaluation mode while training, or in train mode while evaluating.

## What it detects
Training steps in which every Dropout and BatchNorm module of the model is in evaluation mode: `model.train()` was
forgotten, mostly after a validation. And validations (several forwards without gradients between two training steps)
with the model in train mode, where there is none in evaluation mode: `model.eval()` was forgotten. And dropout that is
no module and drops in evaluation mode too: `F.dropout(x)`, or a random mask written in the forward pass.

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
Forwards without gradients in every step belong to the training. With gradients the same, where a validation is logged
and every step but those after a validation follows on one and the same number of forwards.

Masks: in up to two forwards in evaluation mode for each record, what a layer is given is compared with what the layer
before it returned. More than 3 % of the elements are exactly zero that were not, single elements rather than whole
rows, random numbers were drawn between the two, and what is left is more than zeros and ones. On the CPU only. It fires
with the second record that tells of it.

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
from tb_nnhealth.history import Run
from tb_nnhealth.messages import Module, Parameter
from tb_nnhealth.rules.base import (
    Case,
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
from tb_nnhealth.rules.setup.evaluating_in_train import evaluating_in_train
from tb_nnhealth.rules.setup.masked_evaluation import masked_evaluation
from tb_nnhealth.rules.setup.training_in_evaluation import WINDOW, training_in_evaluation
from tb_nnhealth.rules.synthetic import Network


def check(case: Case) -> Outcome:
    history = case.history
    if history is None:
        return CouldNotCheck("call writer.watch(model, optimizer)")
    masked = masked_evaluation(history)
    modes = history.table(schema.MODE, schema.MEAN)
    if not len(modes) or np.isnan(modes.values).all():
        return Ill(masked) if masked else NotApplicable("the model has neither Dropout nor BatchNorm")
    if len(history) < WINDOW and not masked:
        return TooLittleData(f"{len(history)} records, {WINDOW} are needed")
    in_train = evaluating_in_train(history, case.options["forwards"], case.run)
    hits = [*training_in_evaluation(history), *in_train, *masked]
    return Ill(hits) if hits else Passed()


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


def _with_gradients(forwards: int, usual: int = 1, evaluation: int = 0, last: int = 0) -> Run:
    """A logged validation of so many forwards with gradients every forty steps, and one of ``last`` every twenty."""
    at = np.arange(200)
    burst, short = at % 40 == 39, at % 20 == 9
    network = _modes(1.0, 1.0)
    network.add_row(schema.EVALUATION, "train with gradients", mean=usual + burst * forwards + short * last)
    network.add_row(schema.EVALUATION, "eval with gradients", mean=burst * float(evaluation))
    network.scalars["loss/val"] = [(int(step), 1.0) for step in network.at[burst]]
    return network.run()


def _masked(records: int) -> Run:
    """Nothing but functions, one of which drops 0.3 in the evaluations before so many records."""
    at = np.arange(200)
    seen = (at % 40 == 39) & (at < 40 * records)
    return Network().add_row(schema.EVALUATION_MASK, "layers.3", mean=np.where(seen, 0.3, np.nan)).run()


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
        Example("validated in train mode, with gradients", lambda: _with_gradients(12), ill=True, first_step=39),
        Example(
            "validated in evaluation mode, with gradients",
            lambda: _with_gradients(0, evaluation=12),
            ill=False,
            outcome="Passed",
        ),
        Example("a step on one batch more", lambda: _with_gradients(0, 4, last=1), ill=False, outcome="Passed"),
        Example("F.dropout that knows no mode", lambda: _masked(3), ill=True, subject="layers.3", first_step=39),
        Example("a mask seen once", lambda: _masked(1), ill=False, outcome="NotApplicable"),
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
