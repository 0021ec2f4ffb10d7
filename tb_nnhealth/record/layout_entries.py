"""What is watched in a model: its modules and parameters, found by walking it without touching it."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tb_nnhealth.record.graph import MODULE_NONLINEARITY
from tb_nnhealth.record.graph_flow import Joint
from tb_nnhealth.record.layout_names import clean_name

_OPAQUE = (nn.MultiheadAttention, torch.jit.ScriptModule)
"""Modules with children that they never call."""
_MODE_DEPENDENT = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
_SEQUENTIAL = (nn.RNNBase, nn.MultiheadAttention)
_FLAT_LOOKUP = (nn.Embedding, nn.EmbeddingBag)


@dataclass(eq=False)
class WatchedModule:
    """A module of the model. ``leaves`` are those beneath it, empty for a leaf; only leaves have rows.

    ``own_nonlinearity`` is what the module itself is; ``nonlinearity``, ``normalized``, ``linear`` and
    ``feeds`` say what follows.
    """

    reference: Any
    name: str
    type: str
    wanted: bool
    aliases: list[str] = field(default_factory=list)
    leaves: tuple[WatchedModule, ...] = ()
    mode_dependent: bool = False
    drops: float = 0.0
    """The probability with which a dropout sets an element to zero."""
    momentum: float = 0.0
    """The weight of a batch in the statistics that a normalization keeps for evaluation."""
    own_nonlinearity: str = ""
    nonlinearity: str = ""
    normalized: bool = False
    linear: bool = False
    feeds: str = ""
    """The nonlinearity that a function, not a module, applies to the output."""
    samples_dimension: int = 0
    """Which dimension of a recurrent or attention module's input counts the samples."""
    inputs: tuple[WatchedModule | Joint[WatchedModule], ...] | None = None
    """Whose outputs it was given; None while that is not known."""
    seen: int = -1
    """The window of measurement in which it was last called, with gradients or without."""


@dataclass(eq=False)
class WatchedParameter:
    """A parameter of the model. ``lazy`` ones have no shape until their first forward."""

    reference: Any
    name: str
    module: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    fan_in: int
    fan_out: int
    places: list[tuple[Any, str]]
    """Where the model has it: its modules, held weakly, and its name in each."""
    aliases: list[str] = field(default_factory=list)
    optimizer: int = -1
    group: int = -1
    initial_rms: float = math.nan
    rows: tuple[int, int, int] | None = None
    """Of weight, gradient and update, once they have places."""
    label: str = ""
    """What part of it the records are of, "" where they are of the whole."""


def is_leaf(module: Any) -> bool:
    return isinstance(module, _OPAQUE) or all(name == "parametrizations" for name in module._modules)


def module_name(name: str, model: Any) -> str:
    """``name`` cleaned; the model itself, which has none, is called by its type."""
    return clean_name(name) or type(model).__name__


def _walk(module: Any, *, layers: bool, prefix: str = "", above: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every module under every name it has, parents first.

    With ``layers`` without those that are no layers: what computes a parametrized weight, or lies in an opaque module.
    """
    yield prefix, module
    if id(module) in above or (layers and isinstance(module, _OPAQUE)):
        return
    for name, child in module._modules.items():
        if child is not None and not (layers and name == "parametrizations"):
            below = f"{prefix}.{name}" if prefix else name
            yield from _walk(child, layers=layers, prefix=below, above=(*above, id(module)))


def watched_modules(model: Any, wanted: Any) -> dict[int, WatchedModule]:
    """The modules of ``model`` by id, in the order of registration, the model itself first."""
    found: dict[int, WatchedModule] = {}
    beneath: dict[int, list[WatchedModule]] = {}
    open_: list[tuple[str, int]] = []
    for raw, module in _walk(model, layers=True):
        while open_ and open_[-1][0] and not raw.startswith(open_[-1][0] + "."):
            open_.pop()
        name = module_name(raw, model)
        entry = found.get(id(module))
        if entry is None:
            entry = found[id(module)] = WatchedModule(
                reference=weakref.ref(module),
                name=name,
                type=type(module).__name__,
                wanted=name in wanted,
                mode_dependent=_is_mode_dependent(module),
                drops=float(module.p) if isinstance(module, nn.modules.dropout._DropoutNd) else 0.0,
                momentum=_momentum(module),
                own_nonlinearity=MODULE_NONLINEARITY.get(type(module).__name__, ""),
                samples_dimension=int(isinstance(module, _SEQUENTIAL) and not module.batch_first),
            )
        elif name != entry.name and name not in entry.aliases:
            entry.aliases.append(name)
        if is_leaf(module):
            for _, above in open_:
                beneath.setdefault(above, []).append(entry)
        else:
            open_.append((raw, id(module)))
    for above, leaves in beneath.items():
        found[above].leaves = tuple(leaves)
    return found


def _is_mode_dependent(module: Any) -> bool:
    """Whether it answers otherwise in evaluation mode: not a Dropout that drops nothing."""
    drops = getattr(module, "p", None) != 0
    return isinstance(module, _MODE_DEPENDENT) and getattr(module, "track_running_stats", True) and drops


def _momentum(module: Any) -> float:
    """0 also where all batches count alike, or none."""
    keeps = isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats
    return float(module.momentum or 0.0) if keeps else 0.0


def watched_parameters(model: Any, wanted: Any) -> dict[int, WatchedParameter]:
    """The parameters of ``model`` by id, in the order of registration, read from ``_parameters`` alone.

    Reading a parametrized attribute would run its parametrization, which for spectral normalization changes the model.
    """
    found: dict[int, WatchedParameter] = {}
    for raw, module in _walk(model, layers=False):
        owner = module_name(raw, model)
        for local, parameter in module._parameters.items():
            if parameter is None:
                continue
            name = clean_name(f"{raw}.{local}" if raw else local)
            entry = found.get(id(parameter))
            if entry is not None:
                if name != entry.name and name not in entry.aliases:
                    entry.aliases.append(name)
                    entry.places += _place(module, local)
                continue
            lazy = torch.nn.parameter.is_lazy(parameter)
            if lazy or not (owner in wanted or name in wanted):
                continue
            fan_in, fan_out = _fans(module, tuple(parameter.shape))
            found[id(parameter)] = WatchedParameter(
                reference=weakref.ref(parameter),
                name=name,
                module=owner,
                shape=tuple(parameter.shape),
                dtype=str(parameter.dtype).removeprefix("torch."),
                trainable=parameter.requires_grad,
                fan_in=fan_in,
                fan_out=fan_out,
                places=_place(module, local),
            )
    return found


def _place(module: Any, name: str) -> list[tuple[Any, str]]:
    """None in a ScriptModule, whose parameters are not kept in a dictionary."""
    return [(weakref.ref(module), name)] if isinstance(module._parameters, dict) else []


def _fans(module: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs that one unit sums over and outputs that one input feeds; zero where the shape has no such meaning."""
    if len(shape) < 2 or isinstance(module, _FLAT_LOOKUP):
        return 0, 0
    window, groups = math.prod(shape[2:]), getattr(module, "groups", 1)
    groups = groups if isinstance(groups, int) and groups > 0 else 1
    if getattr(module, "transposed", False):
        return shape[0] * window // groups, shape[1] * window
    return shape[1] * window, shape[0] * window // groups
