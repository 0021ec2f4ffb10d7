"""Tensors in whatever a model takes or gives: alone, or in tuples, lists, mappings and dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Change = Callable[[str, Tensor], Any]


def mapped(value: Any, change: Change, name: str = "") -> Any:
    """``value`` with each tensor replaced by ``change(name, tensor)``; containers keep their types.

    ``name`` is the path to the tensor, such as ``input_ids`` or ``0.mask``; empty for a tensor alone.
    """
    if isinstance(value, Tensor):
        return change(name, value)
    made: Any
    if isinstance(value, Mapping):
        made = copy.copy(value) if hasattr(value, "__setitem__") else dict(value)
        for key in list(value):
            made[key] = mapped(value[key], change, _joined(name, key))
        return made
    if isinstance(value, (tuple, list)):
        items = [mapped(item, change, _joined(name, i)) for i, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        made = copy.copy(value)
        for field in dataclasses.fields(value):
            item = mapped(getattr(value, field.name), change, _joined(name, field.name))
            object.__setattr__(made, field.name, item)
        return made
    return value


def named_tensors(value: Any) -> list[tuple[str, Tensor]]:
    """Every tensor of ``value`` with its path, in order."""
    found: list[tuple[str, Tensor]] = []

    def note(name: str, tensor: Tensor) -> Tensor:
        found.append((name, tensor))
        return tensor

    mapped(value, note)
    return found


def floats(value: Any) -> list[Tensor]:
    """The floating point tensors of ``value``."""
    return [tensor for _, tensor in named_tensors(value) if tensor.is_floating_point()]


def copied(value: Any) -> Any:
    """``value`` with its own tensors, apart from any graph, so that a model may change them in place."""
    return mapped(value, lambda _, tensor: tensor.detach().clone())


def in_double(value: Any) -> Any:
    """``value`` with its floating point tensors in float64."""
    return mapped(value, lambda _, tensor: tensor.double() if tensor.is_floating_point() else tensor)


def taken(value: Any, index: Tensor, axis: int, samples: int) -> Any:
    """The samples ``index`` of each tensor that has ``samples`` of them along ``axis``; other tensors stay."""

    def take(_: str, tensor: Tensor) -> Tensor:
        along = axis if tensor.ndim > axis else 0
        if tensor.ndim > along and tensor.shape[along] == samples:
            return torch.index_select(tensor, along, index.to(tensor.device))
        return tensor

    return mapped(value, take)


def _joined(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)
