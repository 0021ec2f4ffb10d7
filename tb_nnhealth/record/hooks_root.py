"""The one thing that lies on the user's model: a pre-hook that sees the model called."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import Any

import torch


class RootHook:
    """Tells ``listener.root_called(model, args, kwargs)`` of each call, for as long as the listener lives.

    What that raises is told to ``listener.fail``.

    A copy of the model gets a deaf hook, and a pickled one a null context's ``__exit__``, which takes any arguments and
    does nothing: what reads the pickle needs nothing of ours.
    """

    def __init__(self, listener: Any = None) -> None:
        self._listener = (lambda: None) if listener is None else weakref.ref(listener)

    def __call__(self, module: Any, args: Any, kwargs: Any) -> None:
        if torch.compiler.is_compiling():
            return
        listener = self._listener()
        if listener is None:
            return
        try:
            listener.root_called(module, args, kwargs)
        except Exception as error:
            listener.fail("model's call", error)

    def __deepcopy__(self, memo: Any) -> RootHook:
        return RootHook()

    def __copy__(self) -> RootHook:
        return RootHook()

    def __reduce__(self) -> Any:
        return getattr, (nullcontext(), "__exit__")


def admits_root_hook(model: Any) -> bool:
    """False for modules whose own fused path looks for hooks on themselves, and for those that refuse hooks."""
    fused = (torch.nn.TransformerEncoderLayer, torch.nn.MultiheadAttention)
    return not isinstance(model, (*fused, torch.jit.ScriptModule))
