"""Views that mix the samples of a batch, told by the sizes before and after in the autograd graph.

A view keeps the order of the elements. The samples lie along a dimension of their number, behind dimensions of product
p: if the view has one dimension of that number as well, behind a product other than p, each index along it takes
elements of several samples. (``h.view(batch, -1)`` of an LSTM's last states, (layers, batch, features).)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from tb_nnhealth.record.graph_walk import nodes_behind

FEWEST_SAMPLES = 5
"""Smaller numbers are met in other dimensions too: directions, layers, channels."""
_VIEWS = ("View", "UnsafeView", "ReshapeAlias")


class Mixed(NamedTuple):
    """Shapes of a tensor before and after it was viewed anew."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def mixing_view(ends: Iterable[Any], samples: int) -> Mixed | None:
    """The first view between ``ends`` (autograd nodes) and the parameters that mixes ``samples`` samples."""
    if samples < FEWEST_SAMPLES:
        return None
    for node in nodes_behind(ends):
        if node.name().split("Backward")[0] in _VIEWS and (mixed := _mixed(node, samples)) is not None:
            return mixed
    return None


def _mixed(node: Any, samples: int) -> Mixed | None:
    given = getattr(node, "_saved_self_sym_sizes", None)
    told = getattr(node, "_input_metadata", None)
    if given is None or not told:
        return None
    before, after = tuple(map(int, given)), tuple(map(int, told[0].shape))
    places = [_place(shape, samples) for shape in (before, after)]
    if min(places) < 0 or math.prod(before[: places[0]]) == math.prod(after[: places[1]]):
        return None
    return Mixed(before, after)


def _place(shape: tuple[int, ...], samples: int) -> int:
    """The one dimension that counts the samples; -1 where several might, or only the features do."""
    return shape.index(samples) if shape.count(samples) == 1 and shape[-1] != samples else -1
