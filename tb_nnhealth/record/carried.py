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
        self.passed = self.cleared = False
        self.flag: Any = True
        """Whether the gradient is not zero: a 0-d tensor where it lies on a device."""

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
    optimizer is told apart: one whose gradients are carried over is enough. Where some of its parameters' gradients are
    carried and those of others cleared, each of the former has a row of its own.
    """

    def __init__(self, catalog: Catalog, stepped: Set[int]) -> None:
        """``stepped``: the optimizers that have made the step under way already."""
        self._catalog, self._stepped = catalog, stepped
        self._probes: dict[str, _Probe] = {}
        self._follows = False
        self._cleared: set[int] = set()
        self._apart: dict[str, str] = {}
        """Parameters that were carried over where others were cleared: the subject, by the module's name."""

    def open(self, *, follows: bool) -> None:
        """Begins a measured step. ``follows``: a step came before it, whose gradients may have been left."""
        self._follows = follows
        self._cleared.clear()
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
        task = _graph_task()
        if not self._follows or probe.cleared or probe.task == task or probe.optimizer in self._stepped:
            return
        probe.task = task
        if self._optimizer(probe.reference()) != probe.optimizer:
            del self._probes[entry.name]
            return
        untouched, probe.passed = probe.untouched(), True
        if not untouched:
            self._clear(probe)
            return
        probe.version = probe.gradient()._version + 1  # the pass adds to the gradient in place
        data = plain(probe.gradient())
        if data is None or data.layout is not torch.strided:
            del self._probes[entry.name]
            return
        flat = flatten(data)
        flag = flat[:: -(-flat.numel() // _SAMPLE)].any()
        if not flag.is_cpu:
            probe.flag = flag
        elif not flag.item():
            self._clear(probe)

    def _clear(self, probe: _Probe) -> None:
        probe.cleared = True
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
        flags = {i: [p.flag for p in passed if p.optimizer == i and p.flag is not True] for i in kept}
        sure = [torch.stack(told).all() for told in flags.values() if told]
        certain = [i for i, told in flags.items() if not told]
        row = self._catalog.row(schema.CARRIED, "")
        record.share(row, schema.MEAN, torch.stack(sure).any() if sure and not certain else float(bool(kept)))
        self._write_apart(record)

    def _write_apart(self, record: Record) -> None:
        """Of each parameter that was ever carried over beside cleared ones of its optimizer, whether it is now."""
        for name, probe in self._probes.items():
            if not probe.passed or probe.optimizer not in self._stepped:
                continue
            carried = not probe.cleared and getattr(probe.reference(), "grad", None) is probe.gradient()
            if carried and probe.optimizer in self._cleared and name not in self._apart:
                known = self._catalog.known_parameter(probe.reference())
                if known is not None:
                    self._apart[name] = known.name
            if name in self._apart:
                flag = probe.flag if carried else False
                row = self._catalog.row(schema.CARRIED, self._apart[name])
                record.share(row, schema.MEAN, flag.float() if isinstance(flag, torch.Tensor) else float(flag))
