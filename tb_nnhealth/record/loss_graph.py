"""What a loss function does with the model's output, read from the autograd graph while the backward pass runs.

The tensor that the backward pass began from stands in a frame of the interpreter below the hook that reads the output's
gradient. Its nodes tell by their names and shapes which function the loss is; what they saved is gone by then, and is
not needed: of c times a sum of squares the gradient g by the outputs z gives the targets, z - g / 2c, where the value L
of the loss gives c = sum(g^2) / 4L.
"""

from __future__ import annotations

import math
import sys
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.autograd.graph

from tb_nnhealth import schema

FRAMES = 24
"""Of the interpreter, from a hook down to the call that began the backward pass."""
NODES = 24
"""Between the loss and the model's output, if the loss is a function of it and of constants alone."""
PASSING = (
    "View", "UnsafeView", "ReshapeAlias", "Alias", "Transpose", "Permute", "T", "Squeeze", "Unsqueeze", "Expand",
    "Clone", "ToCopy", "Select", "Slice",
)  # fmt: skip
REDUCING = ("Mean", "Sum")
_ENGINE = getattr(getattr(torch.autograd.graph, "_engine_run_backward", None), "__code__", None)
"""Of the function that every backward pass begun in Python goes through; None in a PyTorch without it."""
DIFFERENCES = ("Sub", "Rsub")


class Compared(NamedTuple):
    """``output``: shape of the model's output; ``difference``: that in which a loss compares it with its targets."""

    output: tuple[int, ...]
    difference: tuple[int, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Of the rows of the two shapes."""
        return schema.COMPARED_SUBJECTS[:2]

    @property
    def every_pair(self) -> bool:
        """Whether each of n answers is compared with n targets."""
        count = math.prod(self.output)
        return count > 1 and self.difference == (count, count) and self.output in ((count,), (count, 1))


class Multiplied(Compared):
    """The output is multiplied rather than compared, as log-probabilities by advantages."""

    @property
    def subjects(self) -> tuple[str, ...]:
        return schema.COMPARED_SUBJECTS[::2]


class Chain:
    """The nodes from a loss down to the model's output, where each has no other operand that is differentiated."""

    def __init__(self, loss: torch.Tensor, nodes: list[Any], output: torch.Tensor) -> None:
        self._loss, self._nodes, self._output = loss, nodes, output

    def compared(self) -> Compared | None:
        """In which shape the output is compared with targets, element by element; None where that is not told."""
        for node in reversed(self._nodes):
            kind, shape = _kind(node), _shape(node)
            if shape is None or kind == "Unsqueeze":  # all pairs are meant
                return None
            larger = math.prod(shape) > self._output.numel()
            if kind in DIFFERENCES or (kind == "Expand" and larger):
                return Compared(tuple(self._output.shape), shape)
            if kind not in PASSING or math.prod(shape) != self._output.numel():
                return None
        return None

    def squares(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, str] | None:
        """Targets (of the output's shape), value and reduction of a sum or mean of squared errors; None for others.

        The value is below 0 where the errors are made greater.
        """
        if not self._of_squares():
            return None
        z, g = self._output.double(), gradient.double()
        value, power = float(self._loss.detach()), float(g.square().sum())
        if not (math.isfinite(value) and math.isfinite(power) and value and power):
            return None
        factor = power / (4 * value)
        errors = g / (2 * factor)
        summed = math.isclose(abs(factor), 1.0, rel_tol=1e-3) and z.numel() > 1
        told = math.copysign(1, value) * (errors.square().sum() if summed else errors.square().mean())
        return (z - errors).to(self._output.dtype), told.float(), "sum" if summed else "mean"

    def squashed_twice(self) -> tuple[torch.Tensor, bool] | None:
        """What a cross-entropy that expects logits is given, where that is the outputs' softmax or sigmoid already.

        The probabilities, and whether the cross-entropy is the binary one; None for other losses.
        """
        nodes = [node for node in self._nodes if _kind(node) not in (*PASSING, *REDUCING)]
        kinds = [_kind(node).rstrip("0123456789") for node in nodes]
        handed_on = [node for node in self._nodes if _kind(node) in PASSING]
        if kinds == ["BinaryCrossEntropyWithLogits", "Sigmoid"]:
            whole = all(_elements(node) in (1, self._output.numel()) for node in handed_on)
            return (self._output.sigmoid(), True) if whole else None
        if kinds not in (["NllLoss", "LogSoftmax", "Softmax"], ["NllLossNd", "LogSoftmax", "Softmax"]):
            return None
        if handed_on or self._output.dim() != 2:
            return None
        return (self._output.softmax(1), False) if _last(nodes[2]._saved_dim) else None

    def through(self, kind: str) -> bool:
        """Whether a node of this kind lies between the loss and the output."""
        return any(_kind(node) == kind for node in self._nodes)

    @property
    def value(self) -> torch.Tensor:
        """Of the loss."""
        return self._loss.detach()

    def _of_squares(self) -> bool:
        kinds = [_kind(node) for node in self._nodes]
        while kinds and kinds[-1] in PASSING:
            if _elements(self._nodes[len(kinds) - 1]) != self._output.numel():
                return False
            kinds.pop()
        if not kinds:
            return False
        last = len(kinds) - 1
        if kinds[last] == "MseLoss":
            rest = last
        elif last >= 2 and kinds[last] in DIFFERENCES and self._is_square(last - 1):
            rest = last - 1
            if _elements(self._nodes[last]) != self._output.numel():
                return False
        else:
            return False
        return all(
            kind in REDUCING or (kind in ("Div", "Mul", "Neg", *PASSING) and _elements(node) == 1)
            for kind, node in zip(kinds[:rest], self._nodes[:rest], strict=True)
        )

    def _is_square(self, at: int) -> bool:
        node = self._nodes[at]
        if _kind(node) == "Pow":
            return getattr(node, "_saved_exponent", None) == 2
        return _kind(node) == "Mul" and sum(source is not None for source, _ in node.next_functions) == 2


def chain_to(output: torch.Tensor, number: int) -> Chain | None:
    """From the loss that is being differentiated to the node of that sequence number, which made ``output`` (detached).

    None where no such chain leads there, or where it cannot be told what is being differentiated.
    """
    loss = differentiated()
    if loss is None or loss.grad_fn is None:
        return None
    nodes, now = list[Any](), loss.grad_fn
    while now._sequence_nr() != number:
        operands = {source for source, _ in now.next_functions if source is not None}
        if len(nodes) == NODES or len(operands) != 1:
            return None
        nodes.append(now)
        now = operands.pop()
    return Chain(loss, nodes, output)


def differentiated() -> torch.Tensor | None:
    """The one tensor whose backward pass runs on this thread, weighted with 1; None where it cannot be told."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(FRAMES):
        if frame is None:
            return None
        if frame.f_code is _ENGINE:
            begun, weights = frame.f_locals["t_outputs"], frame.f_locals["args"][0]
            if len(begun) != 1 or not isinstance(begun[0], torch.Tensor) or begun[0].numel() != 1:
                return None
            return begun[0] if weights[0] is None or float(weights[0]) == 1 else None
        frame = frame.f_back
    return None


def _last(dimension: int) -> bool:
    """Of two. Autograd keeps a negative one as it is without a sign."""
    return int(dimension) in (1, -1, 2**64 - 1)


def _kind(node: Any) -> str:
    return node.name().split("Backward")[0]  # type: ignore[no-any-return]


def _shape(node: Any) -> tuple[int, ...] | None:
    """Of what ``node`` computed."""
    told = getattr(node, "_input_metadata", None)
    return tuple(int(length) for length in told[0].shape) if told else None


def _elements(node: Any) -> int:
    shape = _shape(node)
    return -1 if shape is None else math.prod(shape)
