"""The loss of the untrained model against that of a guess."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import torch
from torch import Tensor

from tb_nnhealth.sanity import nested
from tb_nnhealth.sanity.base import Check, Verdict, failed, number, passed, skipped, warned
from tb_nnhealth.sanity.bench import Bench

INITS = 5
WARN_FACTOR, WARN_NATS = 3.0, 2.0
FAIL_FACTOR, FAIL_NATS = 5.0, 4.0
LOW = 0.6
SQUARES, OUTPUT_RMS = 100.0, 10.0
ALIKE = 1e-3
ADVICE = (
    "Normalize the inputs to mean 0 and standard deviation 1.",
    "Scale down the last layer: standard deviation 0.01, bias 0.",
    "Initialize by the layer's fan: Kaiming for ReLU, Xavier for tanh; embeddings shared with the output: std 0.02.",
)


def run(bench: Bench) -> Verdict:
    outputs, losses = _first_losses(bench)
    first = median(losses)
    predicted, targets = bench.predicted(outputs), bench.batch.targets
    if not nested.floats(predicted) or not isinstance(targets, Tensor) or bench.own_loss:
        return _by_classes(bench, first)
    if isinstance(predicted, Tensor) and (broadcast := _broadcast(bench, predicted, targets)) is not None:
        return broadcast
    guess, classes = guess_costs(bench, predicted, targets)
    if classes is None and isinstance(predicted, Tensor) and _is_regression(bench, predicted, targets):
        return _regression(bench, predicted, targets, first)
    if bench.num_classes is not None and classes is not None and classes != bench.num_classes and classes > 2:
        return warned(
            f"The output has {classes} classes, and num_classes is {bench.num_classes}: the first loss is "
            f"{number(first)}, where a guess among {bench.num_classes} costs {number(math.log(bench.num_classes))}.",
            f"Give the last layer {bench.num_classes} outputs.",
            loss=first,
            classes=classes,
            num_classes=bench.num_classes,
        )
    if math.isnan(guess):
        return _by_classes(bench, first)
    return _against(bench, first, guess, classes, _entropy(targets))


def _first_losses(bench: Bench) -> tuple[Any, list[float]]:
    losses: list[float] = []
    outputs: Any = None
    for init in range(INITS):
        if losses and bench.clock.spent:
            break
        with torch.no_grad():
            outputs, loss = bench.run(bench.fresh(init), bench.batch)
        losses.append(float(loss))
    return outputs, losses


def guess_costs(bench: Bench, predicted: Any, targets: Tensor) -> tuple[float, int | None]:
    """Loss of a guess and the number of classes; NaN and None where the criterion is no cross-entropy."""
    whole = not targets.is_floating_point()
    counts = {size for x in nested.floats(predicted) if x.ndim > 1 for size in (x.shape[1], x.shape[-1])}
    for classes in sorted(counts, reverse=True):
        if classes < 2:
            continue
        for value in (0.0, -math.log(classes)):  # equal logits; equal logarithms of probabilities
            cost = _asked(bench, predicted, value)
            if math.isclose(cost, math.log(classes), rel_tol=ALIKE):
                return cost, classes
            if whole and math.isclose(cost, targets.numel() * math.log(classes), rel_tol=ALIKE):
                return cost, classes  # summed over the batch
    for value in (0.0, 0.5):
        cost = _asked(bench, predicted, value)
        if math.isclose(cost, math.log(2), rel_tol=ALIKE):
            return cost, 2
    return math.nan, None


def _asked(bench: Bench, predicted: Any, value: float) -> float:
    """The criterion's answer to outputs that are all ``value``; NaN where it takes no such outputs."""
    try:
        with torch.no_grad():
            made = nested.mapped(predicted, lambda _, x: torch.full_like(x, value) if x.is_floating_point() else x)
            return float(bench.loss_of(made, bench.batch.targets))
    except (RuntimeError, ValueError, TypeError, IndexError):
        return math.nan


def _against(bench: Bench, first: float, guess: float, classes: int | None, entropy: float) -> Verdict:
    evidence: dict[str, Any] = {"loss": first, "guess": guess}
    if classes is not None:
        evidence["classes"] = classes
    unit = guess / math.log(classes) if classes else 1.0  # nats, or nats summed over the batch
    told = f"The first loss is {number(first)}, a guess costs {number(guess)}"
    large = ": the untrained model is sure of wrong answers, because its outputs are too large."
    if first > max(FAIL_FACTOR * guess, guess + FAIL_NATS * unit):
        return failed(told + large, *ADVICE, **evidence)
    if first > max(WARN_FACTOR * guess, guess + WARN_NATS * unit):
        return warned(told + large, *ADVICE, **evidence)
    if first < LOW * min(guess, entropy * unit):
        if bench.same_weights:
            return skipped(f"{told}; the model comes with weights, so it need not guess", **evidence)
        return warned(
            f"{told}: the untrained model knows something about the answer.",
            "Look for the label, or what was computed from it, among the inputs.",
            "NLLLoss expects logarithms of probabilities: end the model with LogSoftmax, or use CrossEntropyLoss.",
            "If the model was trained before, this is as it should be.",
            **evidence,
        )
    return passed(f"{told}.", **evidence)


def _entropy(targets: Tensor) -> float:
    """What knowing the shares of the classes in the batch costs, in nats; infinite where targets are no classes."""
    values = targets.detach().flatten()
    binary = bool(((values == 0) | (values == 1)).all())
    if targets.is_floating_point() and not binary:
        return math.inf
    shares = torch.unique(values, return_counts=True)[1].double() / max(1, values.numel())
    return float(-(shares * shares.log()).sum())


def _by_classes(bench: Bench, first: float) -> Verdict:
    if bench.num_classes is not None:
        return _against(bench, first, math.log(bench.num_classes), bench.num_classes, math.inf)
    return skipped("what a guess costs is not known for this criterion; num_classes= tells it", loss=first)


# --- regression -----------------------------------------------------------------------------------------------------


def _is_regression(bench: Bench, predicted: Tensor, targets: Tensor) -> bool:
    if not targets.is_floating_point() or targets.numel() != predicted.numel():
        return False
    with torch.no_grad():
        exact = float(bench.loss_of(targets.detach().reshape(predicted.shape).to(predicted.dtype), targets))
    return abs(exact) < 1e-6 * max(1.0, float(targets.detach().abs().max()))


def _broadcast(bench: Bench, predicted: Tensor, targets: Tensor) -> Verdict | None:
    """Where (N, 1) meets (N,) in a criterion that compares element by element."""
    if predicted.shape == targets.shape or predicted.numel() != targets.numel() or not targets.is_floating_point():
        return None
    try:
        shape = torch.broadcast_shapes(predicted.shape, targets.shape)
        trial = torch.linspace(0, 1, predicted.numel(), device=predicted.device, dtype=predicted.dtype)
        with torch.no_grad():
            apart = float(bench.loss_of(trial.reshape(predicted.shape), targets))
            matched = float(bench.loss_of(trial.reshape(targets.shape), targets))
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None
    if shape.numel() == predicted.numel() or math.isclose(apart, matched, rel_tol=1e-4, abs_tol=1e-7):
        return None
    shapes = f"{tuple(predicted.shape)} and targets of shape {tuple(targets.shape)}"
    return failed(
        f"Predictions of shape {shapes} are broadcast to {tuple(shape)}: each is compared with all targets.",
        "Give both one shape: criterion(prediction.squeeze(-1), target), or target.unsqueeze(-1).",
        prediction_shape=list(predicted.shape),
        target_shape=list(targets.shape),
        broadcast_shape=list(shape),
    )


def _regression(bench: Bench, predicted: Tensor, targets: Tensor, first: float) -> Verdict:
    values = targets.detach().double()
    centre = values.mean(bench.batch.target_axis if bench.batch.axis is not None else 0, keepdim=True)
    with torch.no_grad():
        mean = centre.expand_as(values).to(predicted.dtype).reshape(predicted.shape)
        guess = float(bench.loss_of(mean, targets))
        nothing = float(bench.loss_of(torch.zeros_like(predicted), targets))
    output = float(nested.floats(predicted)[0].double().square().mean().sqrt())
    evidence = {"loss": first, "guess": guess, "zero": nothing, "output_rms": output}
    told = f"The first loss is {number(first)}; the targets' mean costs {number(guess)}, outputs of 0 {number(nothing)}"
    if first > SQUARES * nothing and output > OUTPUT_RMS:
        return failed(f"{told}: the outputs (RMS {number(output)}) dwarf the targets.", *ADVICE, **evidence)
    if first > SQUARES * guess and guess > 0:
        return warned(
            f"{told}: the targets lie far from 0, so that the model first has to learn their offset.",
            "Standardize the targets: subtract their mean and divide by their standard deviation.",
            **evidence,
        )
    return passed(f"{told}.", **evidence)


PAGE = f"""
Does the untrained model lose as much as a guess?

**How.** The loss on the batch of {INITS} fresh models, in the mode in which the factory gives them; their median
counts. What a guess costs is found by asking the criterion: equal logits (or probabilities) cost ln C for C
classes, ln 2 for a binary cross-entropy. For a regression it is the variance of the targets: the mean squared error
of their mean.

**Warns** above {WARN_FACTOR:g} times the guess and {WARN_NATS:g} nat more, **fails** above {FAIL_FACTOR:g} times
and {FAIL_NATS:g} nats more: the outputs are too large, and the first steps only undo that. **Warns** below {LOW:g}
of what knowing the class shares costs: the answer leaks into the input (a model that comes with trained weights is
not judged). **Fails** where predictions of shape (N, 1) meet targets of shape (N,): they are broadcast to (N, N),
and every prediction is compared with every target. A regression **fails** where the loss is
{SQUARES:g} times what outputs of 0 cost and the outputs' RMS exceeds {OUTPUT_RMS:g}, and **warns** where it is
{SQUARES:g} times the variance of the targets.

**Try.** Normalize the inputs; scale down the last layer; initialize by the layer's fan; standardize the targets of
a regression; `prediction.squeeze(-1)` against a broadcast.

**Sources.** CS231n, "look for correct loss at chance performance"; Karpathy, "verify loss @ init"; 37 reasons, 26.
"""
CHECK = Check("chance-loss", PAGE, run)
