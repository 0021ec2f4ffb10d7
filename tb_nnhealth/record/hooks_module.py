"""The hooks that meet a measured step's modules: on every call, and on outputs.

Each returns None always, since a hook's value would take the place of the output or of the gradient, and lets no
exception out.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import torch

from tb_nnhealth.record.reduce_quiet import quiet, unseen

if TYPE_CHECKING:
    from tb_nnhealth.record.hooks import Activations
    from tb_nnhealth.record.outputs import Output
    from tb_nnhealth.record.sites import Site


class ForwardHook:
    """Registered globally: hears of each call of any module."""

    def __init__(self, activations: Activations) -> None:
        self._activations = activations
        self._alive = True

    def __call__(self, module: Any, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if not self._alive:
            return
        try:
            if unseen():
                self._activations.forwarded(module, args, output)
            else:
                with quiet():
                    self._activations.forwarded(module, args, output)
        except Exception as error:
            self._alive = not self._activations.fail("calls of modules", error)


class CompilationHook:
    """Registered globally: hears of each module that is made part of another, such as torch.compile's wrapper."""

    def __init__(self, activations: Activations) -> None:
        self._activations = activations

    def __call__(self, module: Any, name: str, part: Any) -> None:
        if name != "_orig_mod" or torch.compiler.is_compiling():
            return
        try:
            self._activations.taken_by_compiler(part)
        except Exception as error:
            self._activations.fail("torch.compile", error)


def silence_torch_compile() -> None:
    """A compiled module warns at each call that global hooks would run twice; ours lets it pass."""
    if "torch._dynamo" in sys.modules:
        warnings.filterwarnings("ignore", message="Using `torch.compile.module.` when there are global hooks")


class GradientHook:
    """Lies on an output. Deaf once its step is over."""

    __torch_unserializable__ = True

    def __init__(self, activations: Activations, gathered: Output | Site, dimension: int | None) -> None:
        self._activations, self._gathered, self._dimension = activations, gathered, dimension
        self._window = activations.window

    def __call__(self, gradient: Any) -> None:
        if torch.compiler.is_compiling() or self._activations.window != self._window:
            return
        try:
            if unseen():
                self._activations.gradient_came(self._gathered, self._dimension, gradient)
            else:
                with quiet():
                    self._activations.gradient_came(self._gathered, self._dimension, gradient)
        except Exception as error:
            self._activations.fail(f"gradient of the output of {self._gathered.entry.name}", error)


def has_compiled_part(model: Any) -> bool:
    """Whether torch.compile has taken the model or a module in it.

    Compiled code is traced with the global hooks that exist at the time, and warns of them: it is better to have none.
    """
    dynamo = sys.modules.get("torch._dynamo")  # importing it takes seconds
    optimized = getattr(dynamo, "OptimizedModule", ())
    return model is not None and any(
        isinstance(module, optimized) or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def admits_hook(criterion: Any) -> bool:
    """Whether a hook laid on ``criterion`` is called, and traced by nobody."""
    return not (isinstance(criterion, torch.jit.ScriptModule) or has_compiled_part(criterion))
