"""What a loss can be at all: the least that any outputs reach, and the least that a constant output reaches.

Found by optimizing free outputs in place of the model's, so that class weights, label smoothing, soft targets,
duplicates with other labels and criteria of the user's own are accounted for, whatever they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tb_nnhealth.sanity import isolation, nested
from tb_nnhealth.sanity.batch import Batch
from tb_nnhealth.sanity.bench import Bench

ITERATIONS = 100
SCATTER = 0.1
UNBOUNDED = 20.0
"""A least loss this many times below that of a constant output has no floor that could be reached."""

Link = Callable[[Tensor], Tensor]
"""From any number to what the criterion takes: itself, probabilities, logarithms of probabilities."""
Grouped = Callable[[Tensor, Batch], Tensor]
"""Group of each row of an output that has its samples first: int64, shape (samples,) or (samples, positions)."""


@dataclass(frozen=True)
class Levels:
    """Losses in the criterion's unit."""

    best: float
    """The least for outputs that are alike where the inputs are; -inf where there is none."""
    constant: float
    """The least for outputs that do not depend on the sample."""
    known: bool = True
    """False where the criterion's levels could not be found; then ``best`` is 0 and ``constant`` the first loss."""
    reachable: bool = True
    """False where outputs hang together or are drawn, so that no model may reach what free ones do."""

    def at(self, share: float) -> float:
        """The loss that has ``share`` of the way from ``best`` to ``constant`` left."""
        return self.best + share * (self.constant - self.best)

    def left(self, loss: float) -> float:
        """How much of the way from ``constant`` to ``best`` is left, 1 at the constant output's loss."""
        return (loss - self.best) / (self.constant - self.best)


def levels(bench: Bench, model: nn.Module, batch: Batch) -> Levels:
    """The levels on ``batch``. ``model`` gives the outputs' shapes."""
    with torch.no_grad():
        outputs, first = bench.run(model, batch)
    unknown = Levels(0.0, float(first), known=False)
    predicted = bench.predicted(outputs)
    if bench.own_loss or not nested.floats(predicted) or _holds_loss(outputs):
        return unknown
    try:
        with torch.enable_grad():
            link = link_of(bench, predicted, batch.targets)
            constant = _least(bench, predicted, batch, link, _all_alike)
            best = _least(bench, predicted, batch, link, _as_inputs)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError):
        return unknown
    if not math.isfinite(constant):
        return unknown
    best = min(best, constant)
    if not math.isfinite(best) or best < -UNBOUNDED * max(1.0, abs(constant)):
        return Levels(-math.inf, constant, known=False)
    return Levels(best, constant, reachable=len(nested.floats(predicted)) == 1 and not _draws(bench, model, batch))


def link_of(bench: Bench, predicted: Any, targets: Any) -> Link:
    """What the criterion expects, found by asking it."""

    def asked(change: Link) -> float:
        with torch.no_grad():
            made = nested.mapped(predicted, lambda _, x: change(x.detach()) if x.is_floating_point() else x)
            return float(bench.loss_of(made, targets))

    try:
        low, high = asked(torch.zeros_like), asked(lambda x: torch.full_like(x, 2.0))
    except (RuntimeError, ValueError):  # BCELoss takes nothing outside of 0 and 1
        return lambda x: x.sigmoid()
    if isinstance(predicted, Tensor) and predicted.ndim > 1:
        classes = predicted.shape[1]
        uniform = asked(lambda x: torch.full_like(x, -math.log(classes)))
        linear = math.isclose(low - high, 2.0, rel_tol=1e-4) and math.isclose(low, 0.0, abs_tol=1e-6)
        if linear and math.isclose(uniform, math.log(classes), rel_tol=1e-3):
            return lambda x: torch.log_softmax(x, 1)
    return lambda x: x


class _Free:
    """One of the model's outputs, replaced by numbers that are free for each group of rows."""

    def __init__(self, output: Tensor, batch: Batch, grouped: Grouped, link: Link) -> None:
        self._axis = _sample_axis(output, batch)
        self._link = link
        moved = output.movedim(self._axis, 0)
        groups = grouped(moved, batch).to(output.device)
        self._groups, self._shape = groups.flatten(), moved.shape
        numbers = output.numel() // max(1, self._groups.numel())
        leaf = SCATTER * torch.randn(int(groups.max()) + 1, numbers, device=output.device, dtype=output.dtype)
        self.leaf = leaf.requires_grad_()

    def __call__(self) -> Tensor:
        return self._link(self.leaf[self._groups].reshape(self._shape).movedim(0, self._axis))


def _least(bench: Bench, predicted: Any, batch: Batch, link: Link, grouped: Grouped) -> float:
    """The least loss over outputs that are the same for all rows of a group."""
    isolation.seed(0)
    free: dict[str, _Free] = {
        name: _Free(output, batch, grouped, link)
        for name, output in nested.named_tensors(predicted)
        if output.is_floating_point() and output.ndim and output.numel()
    }
    optimizer = torch.optim.LBFGS([f.leaf for f in free.values()], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        outputs = nested.mapped(predicted, lambda name, output: free[name]() if name in free else output.detach())
        return bench.loss_of(outputs, batch.targets)

    def closure() -> Any:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    with torch.no_grad():
        return float(loss())


def _all_alike(output: Tensor, batch: Batch) -> Tensor:
    """One group; ``output`` has its samples first."""
    return torch.zeros(output.shape[0], dtype=torch.long)


def _as_inputs(output: Tensor, batch: Batch) -> Tensor:
    """A group for all samples with the same inputs; in sequences of integers for all positions after the same past."""
    inputs = batch.flat_inputs()
    if inputs is None or output.shape[0] != batch.samples:
        return torch.arange(output.shape[0])
    features = batch.features()
    tokens = len(features) == 1 and not features[0][1].is_floating_point() and features[0][1].ndim == 2
    if tokens and output.ndim > 1 and output.shape[:2] == inputs.shape:
        past = torch.zeros(batch.samples, dtype=torch.long)
        groups = []
        for position in range(inputs.shape[1]):
            both = torch.stack([past, inputs[:, position].long()], 1)
            past = torch.unique(both, dim=0, return_inverse=True)[1]
            groups.append(past + (position << 32))
        return torch.unique(torch.stack(groups, 1), return_inverse=True)[1]
    return torch.unique(inputs, dim=0, return_inverse=True)[1]


def _sample_axis(output: Tensor, batch: Batch) -> int:
    axis = batch.axis or 0
    return axis if output.ndim > axis and output.shape[axis] == batch.samples else 0


def _draws(bench: Bench, model: nn.Module, batch: Batch) -> bool:
    """Whether the model draws random numbers for its outputs, without dropout too."""
    losses = []
    for number in (1, 2):
        isolation.seed(number)
        with torch.no_grad():
            losses.append(float(bench.run(model, batch)[1]))
    return losses[0] != losses[1]


def _holds_loss(outputs: Any) -> bool:
    """A mapping with the model's own loss among its values: a criterion may simply read it."""
    return isinstance(outputs, Mapping) and outputs.get("loss") is not None
