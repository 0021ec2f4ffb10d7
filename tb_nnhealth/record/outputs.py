"""What the layers give in one measured step: outputs and their gradients, reduced when they come.

What comes as it always has is read at its site; whatever does not goes the general way, with the same numbers.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn

from tb_nnhealth import native, schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.reduce import scalar
from tb_nnhealth.record.reduce_gather import CALLS, Gathered, tensors_in
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.sites import Face, Site, Table, admits
from tb_nnhealth.record.units import Silence, UnitDimensions, saturation, saturation_bounds

_graph_task = getattr(torch._C, "_current_graph_task_id", lambda: -1)


def in_backward() -> bool:
    """Whether a backward pass is running; a forward in it is a checkpoint's recomputation."""
    return bool(_graph_task() != -1)


class Output:
    """What was gathered of one module in one step, in the model's training or evaluation mode."""

    def __init__(self, entry: WatchedModule) -> None:
        self.entry = entry
        self.values = Gathered()
        self.gradient = Gathered()
        self.modes: list[bool] = []
        self.first_pass = False
        """Seen outside a backward pass, so that a recomputation is a repetition."""
        self.dimension: int | None = None
        """Which one counts the units of the output just seen."""


class Outputs:
    """The outputs of one model's layers in one step after another, by the model's mode."""

    def __init__(self, model: Any, catalog: Catalog) -> None:
        self._model, self._catalog = weakref.ref(model), catalog
        self._of_mode: dict[bool, dict[str, Output]] = {True: {}, False: {}}
        self._silence: dict[tuple[str, str], Silence] = {}
        self._dimensions = UnitDimensions()
        self._table = Table()
        self._sites: dict[int, Site] = {}
        self._counted = False
        self.window = 0
        """Grows with each step, and when one is let go."""
        self.any = False
        """Whether an output was ever seen."""

    def open(self, *, counted: bool) -> None:
        """Begins a measured step; ``counted`` also takes histograms."""
        self.let_go()
        self._counted = counted
        self._table.open(counted=counted)

    def let_go(self) -> None:
        self.window += 1
        self._of_mode = {True: {}, False: {}}

    def of_mode(self, *, training: bool) -> dict[str, Output]:
        return self._of_mode[training]

    def site(self, module: Any) -> Site | None:
        """The layer's site where it has one and has not been called yet in this step."""
        site = self._sites.get(id(module))
        if site is None or site.entry.seen == self.window or site.reference() is not module or not site.entry.wanted:
            return None
        return None if native.core is None else site

    def as_ever(self, site: Site, module: Any, output: Any) -> Any:
        """Reads an output where it comes in the form that its site knows, and returns its tensor; else None."""
        tensor = output
        if type(output) is not torch.Tensor:
            tensors = tensors_in(output)
            if len(tensors) != 1:
                return None
            tensor = tensors[0]
        if not self._table.take(site.output, tensor):
            return None
        site.entry.seen = site.window = self.window
        site.gathered = None
        self._dimensions.previous = site.dimensions or self._dimensions.previous
        if site.mode_row is not None:
            site.mode = bool(module.training)
            self._table.modes.append(site)
        return tensor

    def admit(self, entry: WatchedModule, *, training: bool) -> Output | None:
        """Where a call's outputs are gathered; None for a recomputation, and for more calls than are taken."""
        outputs = self._of_mode[training]
        gathered = outputs.get(entry.name)
        if gathered is None:
            site = self._sites.get(id(entry.reference()))
            if site is not None and site.window == self.window and site.entry is entry and training:
                gathered = self._general(site)
        if gathered is None:
            gathered = outputs[entry.name] = Output(entry)
            self.any = True
        if in_backward():
            if gathered.first_pass:
                return None
        else:
            gathered.first_pass = True
        if gathered.values.calls >= CALLS:
            return None
        gathered.values.calls += 1
        return gathered

    def take(self, gathered: Output, module: Any, tensor: Any, which: int) -> bool:
        """Reduces the output number ``which`` of a call; False where it cannot be read."""
        if which == 0:
            gathered.dimension = None
            if gathered.entry.mode_dependent:
                gathered.modes.append(bool(module.training))
        taken = gathered.values.take(tensor, counted=self._counted)
        if taken is None:
            return False
        values, reading = taken
        if which == 0:
            if not values.implicit_zeros:
                gathered.dimension = self._dimensions.of(module, values.tensor)
            gathered.values.units(values.tensor, gathered.dimension, reading)
            saturated = saturation(module, gathered.entry.feeds, values.tensor, reading)
            if saturated is not None:
                gathered.values.shares.append((schema.SATURATED_SHARE, *saturated))
        return True

    def gradient_came(self, gathered: Output | Site, dimension: int | None, gradient: Any) -> None:
        """Reduces the gradient of an output, whose units ``dimension`` counts where it was not read at a site."""
        if isinstance(gathered, Site):
            if self._gradient_as_ever(gathered, gradient):
                return
            gathered = self._general(gathered)
            dimension = gathered.dimension
        if gathered.gradient.calls >= CALLS:
            return
        gathered.gradient.calls += 1
        taken = gathered.gradient.take(gradient, counted=self._counted)
        if taken is not None and dimension is not None:
            values, reading = taken
            gathered.gradient.units(values.tensor, dimension, reading)

    def _gradient_as_ever(self, site: Site, gradient: Any) -> bool:
        """Reads the gradient of an output that was read at a site, in the form that this knows; whether it did."""
        face = site.gradient
        if (
            face is None
            or site.gathered is not None
            or site.gradient_window == self.window
            or native.core is None
            or not self._table.take(face, gradient)
        ):
            return False
        site.gradient_window = self.window
        return True

    def _general(self, site: Site) -> Output:
        """Has the general way go on with what was read at a site in this step."""
        if site.gathered is None:
            output = site.gathered = Output(site.entry)
            output.first_pass, output.dimension = True, None if site.dimensions is None else site.dimensions[1]
            self._table.give_up(site.output, output.values)
            if site.gradient is not None and site.gradient_window == self.window:
                self._table.give_up(site.gradient, output.gradient)
            if site.mode_row is not None:
                output.modes.append(site.mode)
                self._table.modes.remove(site)
            self._of_mode[True][site.entry.name] = output
        return site.gathered  # type: ignore[no-any-return]

    def write(self, record: Record, *, gradients: bool, evaluated: bool, settled: bool) -> None:
        """Adds the step's rows to ``record``, in the order in which modules were first called.

        Without ``gradients`` only those of outputs; ``evaluated`` adds the layers in evaluation mode. Once it is
        ``settled`` what follows a layer, the layer gets a site.
        """
        self._table.write(record, gradients=gradients)
        outputs = dict(self._of_mode[True])
        if evaluated:
            for name, output in self._of_mode[False].items():
                outputs.setdefault(name, output)
        for output in outputs.values():
            if output.values.readings:
                self._catalog.called(output.entry)
                self._write(record, schema.ACTIVATION, output.entry.name, output.values)
        for output in outputs.values() if gradients else ():
            if output.gradient.readings:
                self._write(record, schema.ACTIVATION_GRADIENT, output.entry.name, output.gradient)
        for output in outputs.values():
            if output.modes:
                row = self._catalog.row(schema.MODE, output.entry.name)
                for training in output.modes:
                    record.add(row, scalar(training))
        if settled:
            for output in self._of_mode[True].values():
                self._settle(output)

    def _settle(self, output: Output) -> None:
        """Gives the layer of ``output`` a site, where it was called once and with an ordinary output."""
        entry, module = output.entry, output.entry.reference()
        site = self._sites.get(id(module))
        if module is None or module is self._model() or (site is not None and site.reference() is module):
            return
        if entry.leaves or not admits(output.values) or isinstance(module, nn.Softmax):
            return
        site = Site(entry, module, self._face(schema.ACTIVATION, output, output.values))
        bounds = saturation_bounds(module, entry.feeds)
        if bounds is not None:
            site.output.bound(*bounds)
        if output.dimension is not None:
            site.dimensions = len(output.values.shape), output.dimension
        if admits(output.gradient):
            site.gradient = self._face(schema.ACTIVATION_GRADIENT, output, output.gradient)
        if entry.mode_dependent:
            site.mode_row = self._catalog.row(schema.MODE, entry.name)
        self._sites[id(module)] = site

    def _face(self, kind: str, output: Output, seen: Gathered) -> Face:
        row, silence = self._catalog.row(kind, output.entry.name), None
        if output.dimension is not None:
            silence = self._silence.setdefault((kind, output.entry.name), Silence())
        return Face(self._table, row, seen, output.dimension, silence, of_gradient=kind != schema.ACTIVATION)

    def _write(self, record: Record, kind: str, name: str, gathered: Gathered) -> None:
        row = self._catalog.row(kind, name, gathered.shape, gathered.dtype)
        gathered.write(record, row)
        if gathered.units_seen:
            silence = self._silence.setdefault((kind, name), Silence())
            record.share(row, schema.SILENT_SHARE, silence.update(gathered.alive))
