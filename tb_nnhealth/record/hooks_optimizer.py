"""The hooks that lie on an optimizer: they see its step begin and end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

from tb_nnhealth.record.reduce_quiet import quiet

_HOOKING = torch.optim.Optimizer.profile_hook_step(lambda: None).__code__
"""What torch puts around a class's ``step`` to run the hooks of its instances."""


class StepHook:
    """Tells ``act(index, optimizer, closure)`` of each step, ``closure`` saying whether it was given one.

    Returns None always: a pre-hook's value would replace the step's arguments. A compiled step leaves it out, unless
    ``compiled``: then the graph is broken for it, which ``fullgraph=True`` does not admit.
    """

    def __init__(self, act: Callable[[int, Any, bool], None], index: int, *, compiled: bool = False) -> None:
        self._act, self._index = act, index
        self._outside = torch.compiler.disable(self._surviving) if compiled else None

    def __call__(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not torch.compiler.is_compiling():
            try:
                self._tell(optimizer, args, kwargs)
            except Exception as error:
                self._fail(error)
        elif self._outside is not None:
            self._outside(optimizer, args, kwargs)

    def _surviving(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        try:
            self._tell(optimizer, args, kwargs)
        except Exception as error:
            self._fail(error)

    def _tell(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if _inside_a_step(optimizer):
            return
        closure = kwargs.get("closure") is not None or (len(args) > 1 and callable(args[1]))
        with quiet():
            self._act(self._index, optimizer, closure)

    def _fail(self, error: Exception) -> None:
        self._act.__self__.fail("optimizer's step", error)  # type: ignore[attr-defined]


def _inside_a_step(optimizer: Any) -> bool:
    """Whether the hook runs around a ``super().step()``: torch runs hooks around each class's step that it has hooked.

    Read from the call stack, since a step that raised never tells of its end.
    """
    hooked = 0
    for kind in type(optimizer).__mro__:
        if hasattr(kind.__dict__.get("step"), "hooked"):
            hooked += 1
    if hooked < 2:
        return False
    frame, running = sys._getframe(1), 0
    while frame is not None and running < 2:
        if frame.f_code is _HOOKING and frame.f_locals["args"][0] is optimizer:
            running += 1
        frame = frame.f_back  # type: ignore[assignment]
    return running == 2
