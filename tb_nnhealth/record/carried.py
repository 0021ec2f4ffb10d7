"""Whether gradients are cleared between one optimizer step and the next."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Set
from typing import Any

import torch

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.reduce import flatten
from tb_nnhealth.record.reduce_readable import plain
from tb_nnhealth.record.reduce_table import Record

PROBES = 4
"""Parameters of each optimizer that are looked at."""
_SAMPLE = 1024
"""Elements of a gradient that are looked at."""
_graph_task = getattr(torch._C, "_current_graph_task_id", lambda: -1)


class _Probe:
    """A module's parameter, and its gradient as the last step left it."""

    def __init__(self, parameter: Any, optimizer: int) -> None:
        self.reference = weakref.ref(parameter)
        self.optimizer = optimizer
        self.begin()

    def begin(self) -> None:
        gradient = getattr(self.reference(), "grad", None)
        self.gradient: Callable[[], Any] = (lambda: None) if gradient is None else weakref.ref(gradient)
        self.version = -1 if gradient is None else gradient._version
        self.task = -1
        self.passed = False

    def untouched(self) -> bool:
        """Whether the gradient is still the same tensor, and nothing but watched backward passes has changed it.

        Between two passes of a step it may have been clipped, which is one operation: Accelerate does so after each of
        the batches accumulated. To clear it in place and fill it anew takes two.
        """
        gradient: Any = getattr(self.reference(), "grad", None)
        if gradient is None or gradient is not self.gradient():
            return False
        return bool(gradient._version - self.version in ((0, 1) if self.passed else (0,)))


class Carried:
    """For one step: did a backward pass add to the gradients that the last step had used already?

    A probe is looked at when the gradient of its module's output arrives: its own gradient cannot have been changed by
    this pass yet. Only a gradient that is the very tensor of the last step, changed by nothing else since, and not
    zero, counts as carried; one probe that began a pass otherwise is enough to say that its optimizer's gradients are
    cleared. So accumulation, passes that were not seen and gradients set by hand never look like a fault. Each
    optimizer is told apart: one whose gradients are carried over is enough.
    """

    def __init__(self, catalog: Catalog, stepped: Set[int]) -> None:
        """``stepped``: the optimizers that have made the step under way already."""
        self._catalog, self._stepped = catalog, stepped
        self._probes: dict[str, _Probe] = {}
        self._follows = False
        self._cleared: set[int] = set()
        self._flags: dict[int, list[Any]] = {}

    def open(self, *, follows: bool) -> None:
        """Begins a measured step. ``follows``: a step came before it, whose gradients may have been left."""
        self._follows = follows
        self._cleared.clear()
        self._flags.clear()
        if not follows:
            return
        self._probes = {name: probe for name, probe in self._probes.items() if probe.reference() is not None}
        for probe in self._probes.values():
            probe.begin()

    def called(self, entry: WatchedModule, module: Any, args: Any) -> None:
        """Of no interest here."""

    def gradient_came(self, entry: WatchedModule, gradient: Any) -> None:
        """A backward pass has come to ``entry``."""
        probe = self._probes.get(entry.name)
        if probe is None:
            self._choose(entry)
            return
        if probe.optimizer in self._cleared:
            return
        task = _graph_task()
        if not self._follows or probe.task == task or probe.optimizer in self._stepped:
            return
        probe.task = task
        if self._optimizer(probe.reference()) != probe.optimizer:
            del self._probes[entry.name]
            return
        untouched, probe.passed = probe.untouched(), True
        if not untouched:
            self._cleared.add(probe.optimizer)
            return
        probe.version = probe.gradient()._version + 1  # the pass adds to the gradient in place
        data = plain(probe.gradient())
        if data is None or data.layout is not torch.strided:
            del self._probes[entry.name]
            return
        flat = flatten(data)
        flag = flat[:: -(-flat.numel() // _SAMPLE)].any()
        if not flag.is_cpu:
            self._flags.setdefault(probe.optimizer, []).append(flag)
        elif not flag.item():
            self._cleared.add(probe.optimizer)

    def _choose(self, entry: WatchedModule) -> None:
        parameters = getattr(entry.reference(), "_parameters", None)
        parameter = parameters.get("weight") if isinstance(parameters, dict) else None  # a ScriptModule's is none
        optimizer = self._optimizer(parameter)
        if optimizer >= 0 and sum(probe.optimizer == optimizer for probe in self._probes.values()) < PROBES:
            self._probes[entry.name] = _Probe(parameter, optimizer)

    def _optimizer(self, parameter: Any) -> int:
        """The index of the optimizer that trains ``parameter``; -1 where none does."""
        if parameter is None or not parameter.requires_grad:
            return -1
        known = self._catalog.known_parameter(parameter)
        return -1 if known is None else known.optimizer

    def write(self, record: Record) -> None:
        passed = [p for p in self._probes.values() if p.passed and p.optimizer in self._stepped]
        if not self._follows or not (self._cleared or passed):
            return
        gone = {p.optimizer for p in passed if getattr(p.reference(), "grad", None) is not p.gradient()}
        kept = {p.optimizer for p in passed} - self._cleared - gone
        sure = [torch.stack(flags).all() for optimizer, flags in self._flags.items() if optimizer in kept]
        certain = kept - self._flags.keys()
        row = self._catalog.row(schema.CARRIED, "")
        record.share(row, schema.MEAN, torch.stack(sure).any() if sure and not certain else float(bool(kept)))
