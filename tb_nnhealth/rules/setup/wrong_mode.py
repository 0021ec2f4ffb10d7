"""A module works in another mode than its task asks for: Dropout and BatchNorm, or which dimension the samples are.

## What it detects
Training steps in which every Dropout and BatchNorm module of the model is in evaluation mode: `model.train()` was
forgotten, mostly after a validation. And validations (several forwards without gradients between two training steps)
with the model in train mode, where there is none in evaluation mode: `model.eval()` was forgotten. And dropout that is
no module and drops in evaluation mode too: `F.dropout(x)`, or a random mask written in the forward pass. BatchNorms in
train mode on two values, or within a frozen network. Recurrent and attention modules without `batch_first=True` that
are given the samples first: they run over the samples of the batch instead of over time.

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

A BatchNorm in train mode that has two values for each channel (samples times positions) gives 1 and -1, whatever they
are: a warning. For information one whose weights are frozen, with all layers before it, and are no longer 1.

Samples and time exchanged: a module with `batch_first=False` is given (n, m, features), where the model's input begins
with n and m too, and predictions and targets with n alone: one answer for each of n, none for each of m. For
information where a learned tensor of shape (1, m, features), or an embedding of the length m of the model's only input,
shows that positions run along the second dimension.

## What to try
1. Call `model.train()` at the head of each training epoch, `model.eval()` at the head of each validation, not once.
2. A helper that validates should restore the mode it found: `was = model.training` … `model.train(was)`.
3. Wrap validation in `torch.no_grad()` or `torch.inference_mode()` too: neither changes the mode.
4. To freeze only some BatchNorms on purpose, put those into evaluation mode in an overridden `train()`.
5. Two samples a step: GroupNorm or LayerNorm; or leave pre-trained BatchNorms in evaluation mode.
6. `nn.LSTM(..., batch_first=True)`, `nn.TransformerEncoderLayer(..., batch_first=True)`; their default is time first.

## When it is harmless
Fine-tuning with the BatchNorms of a pre-trained network frozen; Monte Carlo dropout; samples drawn from a generator
in train mode, one forward at a time; recalibration of BatchNorm for averaged weights. None of these is reported, but
for Monte Carlo dropout without any evaluation. A frozen network whose statistics are to follow the new data.

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
from tb_nnhealth.rules.persistence import window_of
from tb_nnhealth.rules.setup.evaluating_in_train import evaluating_in_train
from tb_nnhealth.rules.setup.exchanged_dimensions import exchanged_dimensions
from tb_nnhealth.rules.setup.masked_evaluation import masked_evaluation
from tb_nnhealth.rules.setup.norms_in_train import norms_in_train
from tb_nnhealth.rules.setup.training_in_evaluation import LEAST, WINDOW, training_in_evaluation
from tb_nnhealth.rules.synthetic import Network


def check(case: Case) -> Outcome:
    history = case.history
    if history is None:
        return CouldNotCheck("call writer.watch(model, optimizer)")
    told = [*exchanged_dimensions(history), *masked_evaluation(history)]
    modes = history.table(schema.MODE, schema.MEAN)
    if not len(modes) or np.isnan(modes.values).all():
        return Ill(told) if told else NotApplicable("the model has neither Dropout nor BatchNorm")
    needed = window_of(history.steps, WINDOW, LEAST)
    if len(history) < needed and not told:
        return TooLittleData(f"{len(history)} records, {needed} are needed")
    in_train = evaluating_in_train(history, case.options["forwards"], case.run)
    hits = [*training_in_evaluation(history), *in_train, *norms_in_train(history), *told]
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


def _normalizing(samples: int, *, gain: float = 1.0, frozen: bool = False) -> Run:
    """A BatchNorm in train mode on batches of so many samples, behind layers that are ``frozen`` or train."""
    network = _modes(1.0, 1.0, gain=gain, only_norm=True)
    largest = min(3.0, samples / 2)
    network.add_row(schema.ACTIVATION, "norm", (samples, 64), rms=1.0, min=-largest, max=largest)
    for parameter in network.layout.parameters if frozen else ():
        parameter.trainable = False
    network.layout.parameters.append(
        Parameter(name="head.weight", module="head", shape=(10, 64), trainable=True, optimizer=0, initial_rms=0.1)
    )
    return network.run()


def _recurrent(dimension: int, answers: tuple[int, ...], *, positions: int = 0) -> Run:
    """A recurrent module is given 32 samples of 20 steps; ``dimension``: which one it takes for the samples."""
    network = Network()
    network.layout.modules.append(Module(name="rnn", type="LSTM", called=True, samples_dimension=dimension))
    for row in network.layout.rows:
        if row.kind == schema.INPUT:
            row.shape[:] = (32, 20, 8)
        elif row.kind in (schema.PREDICTION, schema.TARGET):
            row.shape[:] = answers
    if positions:
        network.layout.parameters.append(Parameter(name="pos", shape=(1, positions, 64), trainable=True))
    return network.add_row(schema.ACTIVATION, "rnn", (32, 20, 64), rms=0.5).run()


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
        Example("normalized by two samples", lambda: _normalizing(2), ill=True, subject="norm", first_step=0),
        Example("normalized by three samples", lambda: _normalizing(3), ill=False, outcome="Passed"),
        Example(
            "BatchNorm of a frozen network in train mode",
            lambda: _normalizing(32, gain=0.7, frozen=True),
            ill=True,
            subject="norm",
        ),
        Example("BatchNorm that trains", lambda: _normalizing(32, gain=0.7), ill=False, outcome="Passed"),
        Example("batch_first forgotten", lambda: _recurrent(1, (32,)), ill=True, subject="rnn", first_step=0),
        Example("batch_first", lambda: _recurrent(0, (32,)), ill=False, outcome="NotApplicable"),
        Example("time first, an answer each time", lambda: _recurrent(1, (32, 20)), ill=False, outcome="NotApplicable"),
        Example("all answers in one row", lambda: _recurrent(1, (640,)), ill=False, outcome="NotApplicable"),
        Example("positions along the samples", lambda: _recurrent(1, (640,), positions=20), ill=True, subject="rnn"),
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
        "constant-output",
        "prediction-jitter",
        "loss-oscillating",
        "slow-start",
        "learning-rate-too-high",
        "still-improving",
    ),
)


def _dip(records: int) -> NDArray[np.float64]:
    at = np.arange(200)
    return ((at < 50) | (at >= 50 + records)).astype(np.float64)
