"""Weights that change although the optimizers watched make no step: what trains them is not being seen."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

WRITES_OF_A_TRAINING = 10
"""Loading a checkpoint, or initializing anew, writes a weight a few times."""


class UnseenSteps:
    """Compares PyTorch's counts of writes to each weight with those at the start; holds nothing alive."""

    def __init__(self, model: Any, optimizers: Sequence[Any]) -> None:
        self._model = weakref.ref(model)
        self._optimizers = ", ".join(type(optimizer).__name__ for optimizer in optimizers)
        self._at_start = _writes(model)

    def sentence(self, steps_seen: int) -> str | None:
        """What is to be told, where there is something."""
        model = self._model()
        if model is None or steps_seen or not self._optimizers:
            return None
        now = _writes(model)
        written = max((count - self._at_start.get(name, count) for name, count in now.items()), default=0)
        if written < WRITES_OF_A_TRAINING:
            return None
        return (
            f"no step of {self._optimizers} was seen, and yet the weights of {type(model).__name__} were changed "
            f"{written:,} times, so nothing of the network was recorded. Where optimizer.step() is compiled, pass "
            "watch(..., compiled=True) before it is; otherwise watch the optimizer that is stepped"
        )


def _writes(model: Any) -> dict[str, int]:
    return {name: _version(parameter) for name, parameter in model.named_parameters()}


def _version(parameter: Any) -> int:
    try:
        return int(parameter._version)
    except RuntimeError:  # a tensor of inference mode counts nothing
        return 0
