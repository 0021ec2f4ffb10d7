"""Outputs of modules inside code that torch.compile has taken.

Hooks that lie on the layers are traced into the compiled graph as calls of one custom operator, which the compiler
does not look into: it fuses nothing with it, guards nothing of ours, and leaves the graph whole. What the operator does
is decided when it runs: on a step that is not measured it returns at once.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from tb_nnhealth.record.reduce_gather import tensors_in
from tb_nnhealth.record.reduce_quiet import quiet

Act = Callable[[Any, Any, int, bool], None]
"""``act(entry, tensor, which, gradient)``: the output number ``which`` of a module, or that output's gradient."""

_numbers = itertools.count()
_listening: weakref.WeakValueDictionary[int, CompiledHook] = weakref.WeakValueDictionary()


def _run(values: torch.Tensor, place: torch.Tensor, which: int, gradient: bool) -> None:
    hook = _listening.get(int(place))
    if hook is not None:
        hook.ran(values, which, gradient)


def _trace(values: torch.Tensor, place: torch.Tensor, which: int, gradient: bool) -> None:
    """What it means for the compiler: nothing is returned."""


_see = torch.library.custom_op(
    "nnhealth::see",
    _run,
    mutates_args={"place"},  # it changes nothing; an operator without any effect would be taken out of the graph
    schema="(Tensor values, Tensor(a!) place, int which, bool gradient) -> ()",
)
_see.register_fake(_trace)


class CompiledHook:
    """Lies on a layer; tells ``act`` of its outputs and their gradients in compiled code, ``eager`` of other calls.

    Without an ``entry``, on the model itself, it has nothing to say of compiled code.
    Which layer it is stands in ``place``, a tensor on the CPU: the compiler guards no contents of tensors, so that
    blocks that are alike go on sharing one graph. Returns None always. Deaf in a copy; in a pickle a null
    context's ``__exit__``, which does nothing either.
    """

    def __init__(self, entry: Any | None, act: Act, eager: Callable[[Any, Any, Any], None]) -> None:
        number = next(_numbers)
        self.place = torch.tensor([number], device="cpu")
        self._entry, self._act, self._eager = entry, act, eager
        _listening[number] = self

    def __call__(self, module: Any, args: Any, output: Any) -> None:
        if not torch.compiler.is_compiling():
            self._eager(module, args, output)
        elif self._entry is not None and torch.is_grad_enabled():
            for which, tensor in enumerate(tensors_in(output)):
                if tensor.is_floating_point():
                    self._trace(tensor, which)

    def _trace(self, tensor: torch.Tensor, which: int) -> None:
        place = self.place
        _see(tensor.detach(), place, which, False)
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: _see(gradient.detach(), place, which, True))

    def ran(self, tensor: torch.Tensor, which: int, gradient: bool) -> None:
        """The compiled code has come to the output; never raises."""
        with quiet():
            self._act(self._entry, tensor, which, gradient)

    def __deepcopy__(self, memo: Any) -> Any:
        return _deaf

    def __copy__(self) -> Any:
        return _deaf

    def __reduce__(self) -> Any:
        return getattr, (nullcontext(), "__exit__")


def _deaf(module: Any, args: Any, output: Any) -> None:
    """What a copy of the model bears."""


class CompiledHooks:
    """The hooks on the layers of ``entries`` and, for what the model itself returns, on ``model``.

    They stay the same when they are taken away and laid on again: compiled code goes on knowing the first ones.
    """

    def __init__(self, model: Any, entries: list[Any], act: Act, eager: Callable[[Any, Any, Any], None]) -> None:
        fused = _beneath_fused_paths(model)
        layers = {id(layer): (layer, entry) for entry in entries for layer in [entry.reference()] if layer is not None}
        layers.setdefault(id(model), (model, None))
        self._hooks = [
            (weakref.ref(layer), CompiledHook(entry, act, eager))
            for layer, entry in layers.values()
            if id(layer) not in fused and not isinstance(layer, torch.jit.ScriptModule)
        ]
        self._handles: list[Any] = []

    def attach(self) -> None:
        for reference, hook in self._hooks:
            layer = reference()
            if layer is not None:
                self._handles.append(layer.register_forward_hook(hook))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _beneath_fused_paths(model: nn.Module) -> set[int]:
    """The modules, by id, whose hooks would turn off a fused path in evaluation and change its last digits."""
    fused = (nn.TransformerEncoder, nn.TransformerEncoderLayer)
    return {id(below) for module in model.modules() if isinstance(module, fused) for below in module.modules()}
