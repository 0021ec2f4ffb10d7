"""Tensors that a forward pass learns with and that are no parameters of the model: layers kept in a plain list or dict,
layers made anew in each forward pass, tensors with ``requires_grad`` that were never made an ``nn.Parameter``.

The autograd graph ends in them. Two graphs are read, from what the model returned back to what it was given, so that
whatever lies before the model is none of them; structure only, and for a few elements of each tensor found, its values.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from tb_nnhealth import schema
from tb_nnhealth.record.graph_walk import nodes_behind
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_gather import tensors_in
from tb_nnhealth.record.reduce_readable import is_distributed
from tb_nnhealth.record.reduce_table import Record

_MOST = 32
"""Tensors told of."""
_SAMPLE = 64
"""Elements by which a tensor is known to have changed."""
_HOLDERS = (list, tuple, dict)


class _Found:
    """A tensor of the first graph, as it was then."""

    def __init__(self, tensor: Any) -> None:
        self.reference = weakref.ref(tensor)
        self.shape = tuple(tensor.shape)
        self.name = ""
        self._version, self._values = tensor._version, _sample(tensor)

    def unchanged(self, tensor: Any) -> bool:
        """Neither an operation in place nor one behind autograd's back has touched it."""
        return bool(tensor._version == self._version and torch.equal(_sample(tensor), self._values))


class Stray:
    """Of one watch: what its model's forward pass learns with and its optimizers cannot know."""

    def __init__(self, model: Any, catalog: Catalog) -> None:
        self._model, self._catalog = weakref.ref(model), catalog
        self._given: tuple[set[Any], set[int]] | None = None
        self._ends: list[Any] = []
        self._first: list[_Found] | None = None
        self._kept: list[_Found] = []
        self._anew: tuple[int, ...] = ()
        self._done = False

    def open(self) -> None:
        """Begins a measured step."""
        self._given = None
        self._ends = []

    def model_called(self, inputs: Any) -> None:
        """What the model was given bounds the walk. A second call in the same step adds to it."""
        if self._done:
            return
        nodes, leaves = self._given or (set(), set())
        for tensor in tensors_in(inputs):
            if tensor.grad_fn is not None:
                nodes.add(tensor.grad_fn)
            leaves.add(id(tensor))
        self._given = nodes, leaves

    def model_returned(self, output: Any) -> None:
        if self._done or self._given is None:
            return
        self._ends += [tensor.grad_fn for tensor in tensors_in(output) if tensor.grad_fn is not None]

    def read(self) -> None:
        """Reads the step's graph, before the backward pass has consumed it."""
        given, ends = self._given, self._ends
        self._given, self._ends = None, []
        if self._done or given is None or not ends:
            return
        if self._spread():
            self._done = True
            return
        now = [leaf for leaf in _leaves(ends, *given) if self._foreign(leaf)]
        if self._first is None:
            self._first = [_Found(leaf) for leaf in now]
            self._done = not now
            return
        self._done = True
        self._compare(now)

    def _spread(self) -> bool:
        """Whether parameters are spread over ranks: the pass learns with whole copies, made for it and freed."""
        model = self._model()
        return model is not None and any(map(is_distributed, model.parameters()))

    def _foreign(self, leaf: Any) -> bool:
        return (
            leaf.device.type == "cpu"  # elsewhere a forgotten layer stops the first forward pass
            and leaf.layout is torch.strided
            and not is_distributed(leaf)
            and not hasattr(leaf, "_is_flat_param")
            and self._catalog.known_parameter(leaf) is None
        )

    def _compare(self, now: list[Any]) -> None:
        """With the first graph: the same tensors are kept somewhere, others of the same shapes are made anew."""
        model = self._model()
        own = {id(p) for p in model.parameters()} if model is not None else set()
        now = [leaf for leaf in now if id(leaf) not in own]
        same = {id(leaf) for leaf in now}
        first = self._first or []
        self._kept = [found for found in first if id(found.reference()) in same]
        names = _names(model) if self._kept and model is not None else {}
        for found in self._kept:
            found.name = names.get(id(found.reference()), "")
        # A tensor that is no parameter and lies at no module is a point to differentiate at, not one to learn.
        self._kept = [f for f in self._kept if f.name or isinstance(f.reference(), torch.nn.Parameter)][:_MOST]
        before = {id(found.reference()) for found in first} - {id(None)}
        gone = {found.shape for found in first if id(found.reference()) not in same}
        anew = [leaf for leaf in now if id(leaf) not in before and isinstance(leaf, torch.nn.Parameter)]
        largest = max((leaf for leaf in anew if tuple(leaf.shape) in gone), key=lambda leaf: leaf.numel(), default=None)
        self._anew = () if largest is None else tuple(largest.shape)

    def write(self, record: Record) -> None:
        for found in self._kept:
            tensor = found.reference()
            if tensor is not None:
                row = self._catalog.row(schema.STRAY, found.name or "a parameter", found.shape, str(tensor.dtype))
                record.share(row, schema.MEAN, float(found.unchanged(tensor)))
        if self._anew:
            record.share(self._catalog.row(schema.STRAY, "", self._anew), schema.MAX, 1.0)


def _sample(tensor: Any) -> Any:
    with torch.no_grad():
        return tensor.detach().reshape(-1)[:_SAMPLE].clone()


def _leaves(ends: Iterable[Any], nodes: set[Any], given: set[int]) -> Iterator[Any]:
    """The tensors that the graph behind ``ends`` ends in, without those that lie behind ``nodes`` or are ``given``."""
    for node in nodes_behind(ends, nodes):
        variable = getattr(node, "variable", None)
        if isinstance(variable, torch.Tensor) and id(variable) not in given:
            yield variable


def _names(model: Any) -> dict[int, str]:
    """Of tensors that lie at a module without being registered, by identity: as an attribute, or in a list or dict."""
    names: dict[int, str] = {}
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            if key not in _OWN:
                _name(f"{path}.{key}" if path else key, value, names, 2)
    return names


_OWN = frozenset(vars(torch.nn.Module()))
"""What every module has: its registries and hooks."""


def _name(path: str, thing: Any, names: dict[int, str], depth: int) -> None:
    if isinstance(thing, torch.Tensor):
        names.setdefault(id(thing), path)
    elif isinstance(thing, torch.nn.Module):
        for name, parameter in thing.named_parameters():
            names.setdefault(id(parameter), f"{path}.{name}")
    elif isinstance(thing, _HOLDERS) and depth:
        for key, part in thing.items() if isinstance(thing, dict) else enumerate(thing):
            _name(f"{path}.{key}", part, names, depth - 1)
