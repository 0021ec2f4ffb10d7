"""The loss module, found where the user named none.

A module outside the model is the criterion if a training forward pass hands it what the model returned and it answers
with a loss. Nothing is kept of a pass but the numbers of the nodes that made the model's outputs, so that no graph
lives longer for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.modules.loss import _Loss

from tb_nnhealth.record.reduce_gather import tensors_in

STEPS_SEARCHED = 4
"""Measured steps in which a loss module is looked for: it is called in each, or is none."""
OPERATIONS = 16
"""Views, casts and functions of one operand that may lie between the model's output and the criterion."""


class CriterionSearch:
    """Tells the criterion from other modules that are called during a measured step."""

    def __init__(self) -> None:
        self._steps = 0
        self._outputs: set[int] = set()

    def next_step(self) -> bool:
        """Begins a measured step; False once enough were searched."""
        self._outputs.clear()
        self._steps += 1
        return self._steps <= STEPS_SEARCHED

    def model_returned(self, output: Any) -> None:
        for tensor in tensors_in(output):
            if tensor.grad_fn is not None:
                self._outputs.add(tensor.grad_fn._sequence_nr())

    def is_criterion(self, module: Any, args: Any, output: Any) -> bool:
        """Whether ``module``, called with ``args``, made a loss of what the model has returned in this step."""
        if not (self._outputs and isinstance(output, torch.Tensor) and output.requires_grad):
            return False
        if output.dim() and not isinstance(module, _Loss):
            return False
        return any(self._comes_from_model(tensor.grad_fn) for tensor in tensors_in(args))

    def _comes_from_model(self, node: Any) -> bool:
        for _ in range(OPERATIONS):
            if node is None:
                return False
            if node._sequence_nr() in self._outputs:
                return True
            operands = node.next_functions
            if len(operands) != 1:  # a layer of another network, or a loss
                return False
            node = operands[0][0]
        return False
