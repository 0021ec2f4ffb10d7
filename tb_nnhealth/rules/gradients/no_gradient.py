"""A trainable parameter receives no gradient.

## What it detects
Parameters that require a gradient and that an optimizer holds, but which get none, or exactly zero in every element,
record after record, while other parameters of the same optimizer do. Or none of them does, though the backward pass
reaches the modules' outputs: the gradients are cleared, or lost, between `backward()` and `step()`.

## Why it matters
Such a parameter never learns. Most often the graph is cut by mistake: a `.detach()`, `.data`, `torch.no_grad()`,
`.item()`, a conversion to NumPy, an `argmax` or a comparison between this parameter and the loss; or a module is
built but never called.

## How it is computed
The gradient at the optimizer's step is absent, or its root mean square is exactly 0, in `records` records running in
which another parameter of that optimizer has one; a group that is added on the way counts from there. Zero counts for
weight matrices at a learning rate above 0 only: a bias may well have none, and a branch behind a zero-initialized layer
has none until the first step. An embedding that began at zero and has a gradient of zero is multiplied with zeros: that
is given, and no symptom.

Where no parameter at all has a gradient, it counts that the gradient by the output of a module that holds some is
above 0 in the same records, and that no weight has changed since; three records over twenty steps are enough. Where no
gradient was ever there, it counts that the optimizer steps at a rate above 0 and no weight has changed. A loss that
gives no gradient any more, as a hinge loss at 0, does not; but one that stands above a fifth of where it began, while
the gradient of every parameter is exactly zero in eight of ten records. Where all had one and none has any more, though
the optimizer goes on stepping and no weight changes, it is told from there on: a freezing that nobody took back.

A module without parameters that only passes on what it is given (a rectifier, dropout, pooling), between two layers
whose outputs do get a gradient, and whose own never does, is called in vain: its result is not used.

Critical where half of the trained weights are concerned and the loss has not been learned, a warning for a weight
matrix, for information for vectors, where gradients arrive again later, where they used to arrive and the loss has
been learned without (an expert that a router no longer chooses), for the recurrent matrix of a direction whose other
weights do get one (only one step of that direction is used), and for a weight of the last of like, numbered blocks,
where it gets one in all blocks before and the rest of its own block does (what it makes only a further one would take).
So is less than a twentieth of the weights that stands behind all that learns, where the loss has been learned: a result
on the side, as that of BERT's pooler where the loss takes the tokens.

A criterion that is exactly 0 from its first value on, while every gradient is zero, asks for nothing: critical. So is a
loss beside an opponent's that never gave any parameter a gradient but zero, in twenty records or more. Elements of the
last layer's bias whose gradient is exactly zero, the same number in half of the records and no fewer in any: answers
that are cut off behind the model, or not asked for (information where the loss has been learned). A call in vain is
critical where the loss does not move.

## What to try
1. Call `zero_grad()` before `backward()` or after `step()`, never between them, where no parameter has a gradient.
2. Search the code between the last layer named and the loss for `.detach()`, `.data`, `no_grad()`, `.item()`,
   `.numpy()`, `argmax`, and tensors rebuilt by `torch.tensor(...)`.
3. Check that the module is called in `forward`, and that its output is used in the loss.
4. If it is meant to rest, say so: `parameter.requires_grad_(False)`, and leave it out of the optimizer.
5. If the gradient is zero rather than absent, look at the layers behind it: dead rectifiers, a factor of zero, a
   masked loss.

## When it is harmless
A head that only another task or phase uses, an unused pooler of a pretrained model, an expert that is not chosen, what
the last block would hand on to a next one (N-BEATS' backcast, WaveNet's residual, edges in graph networks). In
a bidirectional network of which only the output at the last position is used, the backward direction has made one
step from a state of zero there: its recurrent matrix has no part in it.

## References
- [PyTorch, Autograd mechanics](https://pytorch.org/docs/stable/notes/autograd.html)
- [37 Reasons why your Neural Network is not working, number
  23](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import numpy as np

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
from tb_nnhealth.rules.evidence.weights import Mask, Weights, weights_of
from tb_nnhealth.rules.gradients.flat_loss import flat_loss
from tb_nnhealth.rules.gradients.model_without_gradient import cleared, left_frozen, without_backward
from tb_nnhealth.rules.gradients.no_gradient_examples import EXAMPLES
from tb_nnhealth.rules.gradients.parameter_without_gradient import others_alive, parameters_without_gradient
from tb_nnhealth.rules.gradients.silent_answers import silent_answers
from tb_nnhealth.rules.gradients.unused_outputs import unused_outputs
from tb_nnhealth.rules.persistence import window_of

LEAST = 6
"""Records where they lie apart."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.layout.optimizers:
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    everything = weights_of(history)
    weights = everything.only(everything.trained)
    records = int(case.options["records"])
    if not weights.names:
        held = everything.only(np.array([p.optimizer >= 0 for p in everything.parameters], bool))
        frozen = left_frozen(history, held, _arrived(held), records) if held.names else None
        return Ill([frozen]) if frozen is not None else NotApplicable("no parameter is trained by a watched optimizer")
    records = window_of(history.steps, records, LEAST)
    if len(history) < records:
        return TooLittleData(f"{len(history)} records so far, {records} needed")

    arrived = _arrived(weights)
    whole = cleared(case.run, history, weights, arrived, records) or left_frozen(history, weights, arrived, records)
    whole = whole or flat_loss(case.run, history, weights)
    if whole is not None:
        return Ill([whole])
    alive = others_alive(weights, arrived)
    if not alive.any():
        never = without_backward(history, weights, arrived, records)
        return Ill([never]) if never is not None else NotApplicable("no parameter receives a gradient")
    found = [
        *unused_outputs(case.run, history),
        *parameters_without_gradient(case.run, history, weights, arrived, alive, records),
    ]
    answers = silent_answers(case.run, history) if not found else None
    return Ill(found) if found else Ill([answers]) if answers is not None else Passed()


def _arrived(weights: Weights) -> Mask:
    """Where a parameter had a finite gradient above 0, shape (records, parameters)."""
    return np.isfinite(weights.gradient) & (weights.gradient > 0)


RULE = Rule(
    id="no-gradient",
    healthy="Every trainable parameter gets a gradient",
    ill="Parameters without gradient",
    group="gradients",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "records",
            10,
            "records",
            "records running without a gradient",
            "longer than a branch that starts at zero needs",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "loss-not-decreasing",
        "underfitting",
        "slow-start",
        "learning-rate-too-low",
        "still-improving",
        "constant-output",
        "dead-units",
    ),
    statistic="gradient-norm",
)
