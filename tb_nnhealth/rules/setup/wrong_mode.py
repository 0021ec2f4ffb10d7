"""A module works in another mode than its task asks for: Dropout and BatchNorm, or which dimension the samples are.

## What it detects
Training steps in which every Dropout and BatchNorm module of the model is in evaluation mode: `model.train()` was
forgotten, mostly after a validation. And validations (several forwards without gradients between two training steps)
with the model in train mode, where there is none in evaluation mode: `model.eval()` was forgotten. And dropout that is
no module and drops in evaluation mode too: `F.dropout(x)`, or a random mask written in the forward pass. BatchNorms in
train mode on two values, or within a frozen network. Recurrent and attention modules without `batch_first=True` that
are given the samples first: they run over the samples of the batch instead of over time. And views that mix samples,
as `h.view(batch, -1)` of a recurrent network's last states.

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

A BatchNorm that began anew keeps (1 - momentum)^t of its first statistics, 0 and 1, after t steps: told from 100 steps
on where that is more than a half in a network that is evaluated, for information, and as a warning where the validation
loss is twice the training loss.

For information a dropout in train mode that the training forward calls with gradients off, in nine tenths of the
records and never with them, in a part of the model of which nothing learns: a teacher's.

Samples and time exchanged: a module with `batch_first=False` is given (n, m, features), where the model's input begins
with n and m too, or with n and has m folded into its features (m being no multiple of n), and predictions and targets
begin with n alone: one answer for each of n, none for each of m. For information where a learned tensor of shape (1,
m, features), or an embedding of the length m of the model's only input, shows that positions run along the second
dimension.

A view of a tensor mixes the samples where the product of the dimensions before theirs is another one afterwards: a view
keeps the order of the elements, so that each index takes some of several samples (read from the autograd graphs of the
first measured steps; from five samples on, and where no other dimension is of that length).

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

from tb_nnhealth import schema
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.persistence import window_of
from tb_nnhealth.rules.setup.dropping_teacher import dropping_teacher
from tb_nnhealth.rules.setup.evaluating_in_train import evaluating_in_train
from tb_nnhealth.rules.setup.exchanged_dimensions import exchanged_dimensions
from tb_nnhealth.rules.setup.lagging_statistics import lagging_statistics
from tb_nnhealth.rules.setup.masked_evaluation import masked_evaluation
from tb_nnhealth.rules.setup.mixed_samples import mixed_samples
from tb_nnhealth.rules.setup.norms_in_train import norms_in_train
from tb_nnhealth.rules.setup.training_in_evaluation import LEAST, WINDOW, training_in_evaluation
from tb_nnhealth.rules.setup.wrong_mode_examples import EXAMPLES


def check(case: Case) -> Outcome:
    history = case.history
    if history is None:
        return CouldNotCheck("call writer.watch(model, optimizer)")
    told = [*exchanged_dimensions(history), *mixed_samples(history)]
    told += [*masked_evaluation(history), *dropping_teacher(history)]
    modes = history.table(schema.MODE, schema.MEAN)
    if not len(modes) or np.isnan(modes.values).all():
        return Ill(told) if told else NotApplicable("the model has neither Dropout nor BatchNorm")
    needed = window_of(history.steps, WINDOW, LEAST)
    if len(history) < needed and not told:
        return TooLittleData(f"{len(history)} records, {needed} are needed")
    in_train = evaluating_in_train(history, case.options["forwards"], case.run)
    hits = [*training_in_evaluation(history), *in_train, *norms_in_train(history), *told]
    hits += lagging_statistics(case.run, history)
    return Ill(hits) if hits else Passed()


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
    examples=EXAMPLES,
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
