"""Our own operations, unseen by whatever the user has put between torch's calls and their execution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

_dispatch_modes = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)
_function_modes = getattr(torch._C, "_len_torch_function_stack", lambda: 1)


@contextmanager
def _hidden() -> Iterator[None]:
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


_VISIBLE = nullcontext()


def quiet() -> AbstractContextManager[None]:
    """A context in which modes do not see what we run.

    Selective checkpointing keeps results by the order of the calls it sees, counters of operations count them, and a
    default device moves them: none of that is meant for our reductions.
    """
    return _VISIBLE if unseen() else _hidden()


def unseen() -> bool:
    """Whether no mode is there to see anything."""
    return not (_dispatch_modes() or _function_modes())
