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
        self._followed = _trained(model, optimizers)
        self._first = self._last = _version(self._followed())
        self._steps = 0
        _watching.add(self)

    def step_seen(self) -> None:
        """A step has ended: one weight tells how many writes it made, and what comes after it."""
        self._steps += 1
        self._last = _version(self._followed())

    def sentence(self) -> str | None:
        """What is to be told, where there is something."""
        model = self._model()
        if model is None or not self._optimizers:
            return None
        return self._since_the_last(model) if self._steps else self._from_the_start(model)

    def _from_the_start(self, model: Any) -> str | None:
        now = _writes(model)
        written = max((count - self._at_start.get(name, count) for name, count in now.items()), default=0)
        if written < WRITES_OF_A_TRAINING:
            return None
        return (
            f"no step of {self._optimizers} was seen, and yet the weights of {type(model).__name__} were changed "
            f"{written:,} times, so nothing of the network was recorded. Where optimizer.step() is compiled, pass "
            "watch(..., compiled=True) before it is; otherwise watch the optimizer that is stepped"
        )

    def _since_the_last(self, model: Any) -> str | None:
        followed = self._followed()
        if followed is None or not any(followed is parameter for parameter in model.parameters()):
            return None
        written, of_a_step = _version(followed) - self._last, (self._last - self._first) / self._steps
        if not written >= WRITES_OF_A_TRAINING * max(1.0, of_a_step) or self._another_sees(followed):
            return None
        return (
            f"since the last of {self._steps:,} steps of {self._optimizers} that were seen, the weights of "
            f"{type(model).__name__} were changed {written:,} times, and nothing of that was recorded. Where the "
            "optimizer was made anew, watch the new one: writer.unwatch(), then writer.watch(model, optimizer)"
        )

    def _another_sees(self, parameter: Any) -> bool:
        """Whether another watch saw steps on the parameter: the next phase of a training is watched by itself."""
        others = [other for other in _watching if other is not self and other._steps]
        models = [model for other in others if (model := other._model()) is not None]
        return any(parameter is its for model in models for its in model.parameters())


_watching: weakref.WeakSet[UnseenSteps] = weakref.WeakSet()


def _trained(model: Any, optimizers: Sequence[Any]) -> Any:
    """A reference to a parameter of the model that an optimizer trains; one to nothing where there is none."""
    own = {id(parameter) for parameter in model.parameters()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) in own and parameter.requires_grad:
                    return weakref.ref(parameter)
    return _nothing


def _nothing() -> None:
    return None


def _writes(model: Any) -> dict[str, int]:
    return {name: _version(parameter) for name, parameter in model.named_parameters()}


def _version(parameter: Any) -> int:
    try:
        return 0 if parameter is None else int(parameter._version)
    except RuntimeError:  # a tensor of inference mode counts nothing
        return 0
