"""How a model's parameters lie over the ranks of a job: whole, in shards (FSDP, tensor parallel), or as summands."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedParameter
from tb_nnhealth.record.reduce_readable import SHARD, held

_ORDINARY = (torch.Tensor, torch.nn.Parameter)
KINDS = schema.PARAMETER_KINDS


class Split(NamedTuple):
    """How one tensor lies over the ranks.

    ``holders``: ranks that together hold a sharded tensor once, those nearest to rank 0 where it is replicated as well;
    empty where no such ranks make it whole. ``numel``: elements here. ``by_rows``: split along dimension 0 alone.
    """

    held: str
    holders: frozenset[int] = frozenset()
    numel: int = -1
    by_rows: bool = False


class Plan(NamedTuple):
    """The split parameters of one measured step, P of them, each with the rows of ``KINDS``."""

    entries: list[WatchedParameter]
    splits: list[tuple[Split, Split, Split]]
    rows: NDArray[np.int64]
    """(P, 3): places in the table; -1 where there is no such row."""
    numel: NDArray[np.int64]
    """(P, 3): elements that this rank contributes to the whole; -1 where it is not among the holders."""
    holders: frozenset[int]
    """All ranks that contribute to what rank 0 holds a part of."""

    @property
    def merged(self) -> NDArray[np.bool_]:
        """(P, 3): whether ranks can make it whole."""
        return np.array([[len(split.holders) > 1 for split in three] for three in self.splits], bool)

    @property
    def by_rows(self) -> NDArray[np.bool_]:
        """(P,)"""
        return np.array([weight.by_rows for weight, _, _ in self.splits], bool)

    @property
    def signature(self) -> int:
        """Of the parameters' names and whole shapes, to tell them from another model's."""
        return zlib.crc32(repr([(entry.name, entry.shape) for entry in self.entries]).encode())


class Shards:
    """Reads how a watch's parameters are split. ``rank`` is this process's."""

    def __init__(self, catalog: Catalog, rank: int) -> None:
        self._catalog, self._rank = catalog, rank
        self._key: Any = None
        self._plan: Plan | None = None
        self._labelled: Any = None
        self.names: set[str] = set()
        """Parameters that were ever split."""

    def plan(self) -> Plan | None:
        """How they are split now; None where every one is whole."""
        found = [
            (parameter, entry, parameter.grad)
            for parameter, entry in self._catalog.parameters()
            if type(parameter) not in _ORDINARY or _flattened(parameter)
        ]
        key = [(id(entry), _placements(p), _placements(g)) for p, entry, g in found], self._catalog.rows
        if key != self._key:
            self._key, self._plan = key, self._planned(found)
        return self._plan

    def _planned(self, found: list[tuple[Any, WatchedParameter, Any]]) -> Plan | None:
        entries, splits = [], []
        for parameter, entry, gradient in found:
            own = self._split(parameter)
            of_gradient = own if gradient is None else self._split(gradient)
            if own.held or of_gradient.held:  # the gradient of a whole parameter may be one of summands
                self.names.add(entry.name)
                entries.append(entry)
                splits.append((own, of_gradient, own))
        if not entries:
            return None
        rows = [[self._catalog.place(kind, entry.name) for kind in KINDS] for entry in entries]
        numel = [[split.numel if self._rank in split.holders else -1 for split in three] for three in splits]
        holders = frozenset(rank for three in splits for split in three for rank in split.holders)
        return Plan(entries, splits, np.array(rows, np.int64), np.array(numel, np.int64), holders)

    def label(self, plan: Plan, whole: str) -> None:
        """Labels the rows of ``plan`` with the part that they are of; ``whole`` is the label of what is merged."""
        if self._labelled == (id(plan), whole):
            return
        self._labelled = id(plan), whole
        for entry, three in zip(plan.entries, plan.splits, strict=True):
            for kind, split in zip(KINDS, three, strict=True):
                self._catalog.label(kind, entry, whole if len(split.holders) > 1 else split.held)

    def _split(self, tensor: Any) -> Split:
        if type(tensor) in _ORDINARY:
            return Split(SHARD)  # of what is not told
        kind = held(tensor)
        if kind != SHARD:
            return Split(kind)
        replicated = [placement.is_replicate() for placement in tensor.placements]
        by_rows = all(p.is_replicate() or getattr(p, "dim", -1) == 0 for p in tensor.placements)
        holders = _holders(tensor.device_mesh.mesh.numpy(), replicated)
        return Split(kind, holders, int(tensor._local_tensor.numel()), by_rows)


def _placements(tensor: Any) -> Any:
    return getattr(tensor, "placements", None)


def _flattened(parameter: Any) -> bool:
    """Whether it is a piece of what FullyShardedDataParallel has flattened."""
    return getattr(parameter, "_is_flat_param", False) or getattr(parameter, "_fsdp_flattened", False)


def _holders(mesh: NDArray[np.int64], replicated: list[bool]) -> frozenset[int]:
    """Ranks over the dimensions of ``mesh`` that are not ``replicated``, at rank 0's place in those that are."""
    at = np.argwhere(mesh == 0)
    if len(at) != 1:
        return frozenset()  # rank 0 has no part in it
    index = tuple(int(place) if whole else slice(None) for place, whole in zip(at[0], replicated, strict=True))
    return frozenset(np.asarray(mesh[index]).reshape(-1).tolist())
