"""The catalogue of one watch: modules, parameters and rows, and the Layout message that tells a reader about them."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch.nn.parameter import is_lazy

from tb_nnhealth import messages, schema
from tb_nnhealth.record.graph_flow import Joint
from tb_nnhealth.record.layout_entries import (
    WatchedModule,
    WatchedParameter,
    is_leaf,
    watched_modules,
    watched_parameters,
)
from tb_nnhealth.record.layout_places import Places
from tb_nnhealth.record.reduce_readable import is_distributed

_REPLACEMENTS = 100
"""Scans for replaced parameters, after which a model is one that replaces them as it trains."""
Entry = TypeVar("Entry", WatchedModule, WatchedParameter)


class Catalog:
    """Knows each watched object by identity and gives each row its place. Rows are only ever appended.

    ``changed`` is True when a reader's layout is out of date.
    """

    def __init__(self, model: Any, optimizers: Sequence[Any], wanted: Any) -> None:
        self._wanted = wanted
        self._model = weakref.ref(model)
        self._rows: dict[tuple[str, str], int] = {}
        self._row_messages: list[Any] = []
        self._called: dict[str, WatchedModule] = {}
        self._modules: dict[int, WatchedModule] = {}
        self._parameters: dict[int, WatchedParameter] = {}
        self._foreign: dict[int, Any] = {}
        self._optimizers: list[Any] = []
        self._membership: list[Any] = []
        self._scanned = self._lazy = False
        self.scans = 0
        """Times the structure was read: entries held from before one may have another name since."""
        self._replacements = _REPLACEMENTS
        self.criterion: Any = None
        self.batch_size = 0
        self.rank = self.ranks = 0
        """Of a distributed job."""
        self.changed = True
        self.scan()
        self.assign(optimizers)

    def scan(self) -> None:
        """Reads the model's structure (again); what was known keeps what was learned of it."""
        model = self._model()
        if model is None:
            return
        modules = watched_modules(model, self._wanted)
        for key, entry in modules.items():
            known = self._modules.get(key)
            if known is not None and known.reference() is entry.reference():
                known.leaves, known.aliases, known.type = entry.leaves, entry.aliases, entry.type
                modules[key] = known
        for entry in modules.values():  # leaves listed are to be the entries kept
            entry.leaves = tuple(modules.get(id(leaf.reference()), leaf) for leaf in entry.leaves)
        by_name = {entry.name: entry for entry in self._parameters.values()}
        parameters = watched_parameters(model, self._wanted)
        for parameter in parameters.values():
            before = by_name.get(parameter.name)
            if before is not None:
                parameter.initial_rms, parameter.label = before.initial_rms, before.label
                parameter.optimizer, parameter.group = before.optimizer, before.group
                self._reshape(before, parameter)
            if before is not None and _gathered(before.reference(), parameter.reference()):
                parameter.reference = before.reference
                parameter.dtype = before.dtype
        parameters = {id(entry.reference()): entry for entry in parameters.values()}
        self._lazy = any(map(is_lazy, model.parameters()))
        self._modules, self._parameters = modules, parameters
        self._membership = []
        self.changed = self._scanned = True
        self.scans += 1

    def _reshape(self, before: WatchedParameter, now: WatchedParameter) -> None:
        for kind in schema.PARAMETER_KINDS if before.shape != now.shape else ():
            place = self._rows.get((kind, now.name))
            if place is not None:
                self._row_messages[place].shape[:] = now.shape

    def look_for_replaced(self, optimizers: Sequence[Any]) -> None:
        """Scans a model that has other parameters than it had, and after a scan asks who holds them.

        At an optimizer's step only: in a forward or backward pass FSDP's modules hold other ones.
        """
        if self._replacements and any(True for _ in self._replaced()):
            self._replacements -= 1
            self.scan()
        if not self._membership:
            self.assign(optimizers)

    def look_for_sharded(self) -> None:
        """The same at the end of a backward pass, for parameters alone that were sharded since."""
        if any(is_distributed(parameter) for parameter in self._replaced()):
            self.scan()

    def _replaced(self) -> Iterator[Any]:
        """What stands in the model now where a watched parameter stood."""
        for entry in self._parameters.values():
            for module, name in entry.places:
                found, known = getattr(module(), "_parameters", {}).get(name), entry.reference()
                if found is not known and not _gathered(known, found):
                    yield found

    def renew(self) -> None:
        """At the start of a measured step: things not known yet may be looked for again."""
        if self._lazy:
            self.scan()
        self._scanned = False

    def has(self, module: Any) -> bool:
        """Whether the model is known to have ``module``; nothing is looked for."""
        return self._find(self._modules, module) is not None

    def known_module(self, module: Any) -> WatchedModule | None:
        """The same as ``module``, without looking for it."""
        return self._find(self._modules, module)

    def module(self, module: Any) -> WatchedModule | None:
        """The entry of ``module``; None where the model does not have it."""
        return self._find(self._modules, module) or (
            self._find(self._modules, module) if self._look_for(module) else None
        )

    def parameter(self, parameter: Any) -> WatchedParameter | None:
        """The entry of ``parameter``; None where the model does not have it, or it is not to be watched."""
        entry = self._find(self._parameters, parameter)
        return entry or (self._find(self._parameters, parameter) if self._look_for(parameter) else None)

    def known_parameter(self, parameter: Any) -> WatchedParameter | None:
        """The same without looking for it: in a backward pass FSDP's modules hold other ones, soon without storage."""
        return self._find(self._parameters, parameter)

    @staticmethod
    def _find(entries: dict[int, Entry], thing: Any) -> Entry | None:
        entry = entries.get(id(thing))
        return entry if entry is not None and entry.reference() is thing else None

    def _look_for(self, thing: Any) -> bool:
        """Scans the model for something unknown, at most once per measured step; True if it may be known now."""
        reference = self._foreign.get(id(thing))
        if reference is not None and reference() is thing:
            return False
        self._foreign[id(thing)] = weakref.ref(thing)
        if self._scanned:
            return False
        self.scan()
        return True

    def parameters(self) -> Iterator[tuple[Any, WatchedParameter]]:
        """Each living parameter with its entry, in the order of registration."""
        for entry in list(self._parameters.values()):
            parameter = entry.reference()
            if parameter is not None:
                yield parameter, entry

    def in_order_of_calls(self) -> list[WatchedModule]:
        """The leaves called in training so far."""
        return list(self._called.values())

    def wanted_leaves(self) -> list[WatchedModule]:
        """The layers that are to have rows, in the order of registration."""
        return [entry for entry in self._modules.values() if entry.wanted and self._leaf(entry)]

    def called(self, entry: WatchedModule) -> None:
        """Notes that a leaf was called in training; the order of first calls is the order of the layout."""
        if entry.name not in self._called:
            self._called[entry.name] = entry
            self.changed = True

    def follows(
        self, entry: WatchedModule, nonlinearity: str, normalized: bool, feeds: str, *, linear: bool = False
    ) -> None:
        nonlinearity = nonlinearity or entry.own_nonlinearity
        if (entry.nonlinearity, entry.normalized, entry.feeds) != (nonlinearity, normalized, feeds):
            entry.nonlinearity, entry.normalized, entry.feeds = nonlinearity, normalized, feeds
            self.changed = True
        if entry.linear != linear:
            entry.linear, self.changed = linear, True

    def flows(self, inputs: Mapping[WatchedModule, tuple[WatchedModule | Joint[WatchedModule], ...]]) -> None:
        """Notes what flows into each module of ``inputs``; what was noted first stays."""
        for entry, given in inputs.items():
            if entry.inputs is None:
                entry.inputs, self.changed = given, True

    def row(self, kind: str, subject: str, shape: Sequence[int] = (), dtype: str = "float32") -> int:
        """The place of a row, given on first use."""
        key = kind, subject
        place = self._rows.get(key)
        if place is None:
            place = self._rows[key] = len(self._row_messages)
            self._row_messages.append(
                messages.Row(kind=kind, subject=subject, shape=[int(n) for n in shape], dtype=dtype)
            )
            self.changed = True
        return place

    def place(self, kind: str, subject: str) -> int:
        """The place of a row; -1 where it has none yet."""
        return self._rows.get((kind, subject), -1)

    def label(self, kind: str, entry: WatchedParameter, label: str) -> None:
        """Says in a row's dtype what part of its tensor it is of, "" for the whole."""
        dtype = f"{entry.dtype} ({label})" if label else entry.dtype
        if kind == schema.WEIGHT and entry.label != label:
            entry.label, self.changed = label, True
        place = self.place(kind, entry.name)
        if place >= 0 and self._row_messages[place].dtype != dtype:
            self._row_messages[place].dtype, self.changed = dtype, True

    @property
    def row_messages(self) -> Sequence[Any]:
        """A description of each row; grows."""
        return self._row_messages

    @property
    def rows(self) -> int:
        return len(self._row_messages)

    def assign(self, optimizers: Sequence[Any]) -> None:
        """Learns which optimizer and group each parameter belongs to, and what the optimizers are, if it changed."""
        membership = [
            [[(id(p), p.requires_grad) for p in group["params"]] for group in optimizer.param_groups]
            for optimizer in optimizers
        ]
        if membership == self._membership:
            return
        self._membership = membership
        model = self._model()
        owned = {id(p) for p in model.parameters()} if model is not None else set()
        place = {}
        described = []
        for i, optimizer in enumerate(optimizers):
            groups, foreign = [], 0
            for g, group in enumerate(optimizer.param_groups):
                for parameter in group["params"]:
                    place[id(parameter)] = i, g
                    foreign += id(parameter) not in owned
                groups.append(
                    messages.Group(
                        initial_lr=_number(group.get("initial_lr", group.get("lr", math.nan))),
                        weight_decay=_number(group.get("weight_decay", 0.0)),
                        parameters=len(group["params"]),
                        momentum=_number(group.get("momentum", 0.0)),
                        betas=_numbers(group.get("betas")),
                        epsilon=_number(group.get("eps", 0.0)),
                    )
                )
            described.append(
                messages.Optimizer(type=type(optimizer).__name__, groups=groups, foreign_parameters=foreign)
            )
        self._keep_rates(described)
        if described != self._optimizers:
            self._optimizers, self.changed = described, True
        for key, entry in self._parameters.items():
            parameter = entry.reference()
            trainable = parameter is not None and parameter.requires_grad
            optimizer_, group_ = place.get(key, (-1, -1))
            if (entry.optimizer, entry.group, entry.trainable) != (optimizer_, group_, trainable):
                entry.optimizer, entry.group, entry.trainable, self.changed = optimizer_, group_, trainable, True

    def _keep_rates(self, described: list[Any]) -> None:
        """A group's first learning rate stays its initial one while a schedule changes the rate."""
        for old, new in zip(self._optimizers, described, strict=False):
            for before, group in zip(old.groups, new.groups, strict=False):
                group.initial_lr = before.initial_lr

    def message(self) -> Any:
        """The Layout as it stands; ``changed`` is False from then on."""
        self.changed = False
        leaves = [e for e in self._modules.values() if e.wanted and (e.name in self._called or self._leaf(e))]
        order = {name: i for i, name in enumerate(self._called)}
        leaves.sort(key=lambda entry: order.get(entry.name, len(order)))
        places = Places(leaves)
        return messages.Layout(
            framework=f"torch {torch.__version__}",
            columns=schema.STATISTICS,
            rows=self._row_messages,
            modules=[
                messages.Module(
                    name=entry.name,
                    type=entry.type,
                    aliases=entry.aliases,
                    nonlinearity=entry.nonlinearity or entry.own_nonlinearity,
                    normalized=entry.normalized,
                    called=entry.name in order,
                    linear=entry.linear,
                    samples_dimension=entry.samples_dimension,
                    traced=entry.inputs is not None,
                    inputs=places.of(entry.inputs or ()),
                    drops=entry.drops,
                    momentum=entry.momentum,
                )
                for entry in leaves
            ],
            joints=places.joints,
            parameters=[
                messages.Parameter(
                    name=entry.name,
                    module=entry.module,
                    shape=entry.shape,
                    dtype=f"{entry.dtype} ({entry.label})" if entry.label else entry.dtype,
                    trainable=entry.trainable,
                    optimizer=entry.optimizer,
                    group=entry.group,
                    aliases=entry.aliases,
                    initial_rms=entry.initial_rms,
                    fan_in=entry.fan_in,
                    fan_out=entry.fan_out,
                )
                for entry in self._parameters.values()
            ],
            optimizers=self._optimizers,
            criterion=self.criterion,
            batch_size=self.batch_size,
            rank=self.rank,
            ranks=self.ranks,
        )

    @staticmethod
    def _leaf(entry: WatchedModule) -> bool:
        module = entry.reference()
        return module is not None and is_leaf(module)


def _gathered(known: Any, found: Any) -> bool:
    """Whether ``found`` is what FSDP puts in place of the shard ``known`` for a while; its storage is to be let be."""
    return (
        known is not None
        and found is not None
        and is_distributed(known)
        and not is_distributed(found)
        and known.shape == found.shape
    )


def _number(value: Any) -> float:
    if getattr(value, "device", None) is not None and not getattr(value, "is_cpu", True):
        return math.nan  # to ask for it would wait for the device
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _numbers(value: Any) -> list[float]:
    return [_number(each) for each in value] if isinstance(value, (list, tuple)) else []
