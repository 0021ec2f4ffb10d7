"""Outputs of modules and their gradients, reduced as they pass during a measured step.

One global forward hook, registered only for the measured step, looks each called module up by identity. Nothing lies
on the model's modules, so copies, pickles and fused evaluation paths do not meet it. The criterion, which may be called
by keywords and beside a compiled model, bears a hook of its own for as long.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_module_registration_hook

from tb_nnhealth import native, schema
from tb_nnhealth.record.attention import Attention
from tb_nnhealth.record.criterion_search import CriterionSearch
from tb_nnhealth.record.graph import Graph
from tb_nnhealth.record.hooks_module import (
    CompilationHook,
    CriterionHook,
    ForwardHook,
    GradientHook,
    ReadBackHook,
    admits_hook,
    has_compiled_part,
    silence_torch_compile,
)
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.loss_read_back import ReadBack, readable
from tb_nnhealth.record.observe import Batch
from tb_nnhealth.record.reduce import scalar
from tb_nnhealth.record.reduce_gather import CALLS, Gathered, tensors_in
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.sites import Face, Site, Table, admits
from tb_nnhealth.record.units import Silence, UnitDimensions, saturation, saturation_bounds

_graph_task = getattr(torch._C, "_current_graph_task_id", lambda: -1)
GRAPHS_READ = 2
"""Measured steps in which the autograd graph is read for what follows each module."""


def in_backward() -> bool:
    """Whether a backward pass is running; a forward in it is a checkpoint's recomputation."""
    return bool(_graph_task() != -1)


def _at_the_end(function: Callable[[], None]) -> None:
    """Has ``function`` called when the backward pass has ended, after those who asked for that before it has."""
    queue = torch.autograd.Variable._execution_engine.queue_callback
    queue(lambda: queue(function))  # FSDP reduces the gradients in such a call


class Listener(Protocol):
    """Hears of the leaves in a measured step: calls in forward passes with gradients, and outputs' gradients."""

    def called(self, entry: WatchedModule, module: Any, args: Any) -> None: ...
    def gradient_came(self, entry: WatchedModule, gradient: Any) -> None: ...


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


class Activations:
    """What the hooks of one watch gather.

    A forward without gradients is never gathered. One in evaluation mode is, provisionally: it counts
    if a backward pass goes through it before the step ends.
    """

    def __init__(
        self,
        model: Any,
        catalog: Catalog,
        batch: Batch,
        spend: Callable[[float], None],
        fail: Callable[[str, Exception], bool],
        *,
        compiled: bool = False,
    ) -> None:
        self._model = weakref.ref(model)
        self._catalog, self._batch, self._spend, self.fail = catalog, batch, spend, fail
        self._handles: list[Any] = []
        self._opened = False
        self._global: Any = None
        self._registration: Any = None
        self._taken = False
        """torch.compile has taken the model or a part of it while it was watched."""
        self._compiled = compiled
        self._lasting: Any = None
        self._admitted: Output | None = None
        self._any_output = False
        self._silence: dict[tuple[str, str], Silence] = {}
        self._dimensions = UnitDimensions()
        self._table = Table()
        self._sites: dict[int, Site] = {}
        self._graph: Graph[WatchedModule] | None = None
        self._graphs_read = 0
        self._criterion: Any = lambda: None
        self._search: CriterionSearch | None = CriterionSearch()
        self._read_back = ReadBack()
        self.window = 0
        self.counted = False
        self.on_backward: Callable[[], None] | None = None
        """Called once, at the end of the first backward pass of the window."""
        self.evaluated_backward = False
        """Whether a backward pass of the step went through a model in evaluation mode."""
        self._outputs: dict[bool, dict[str, Output]] = {True: {}, False: {}}
        self.listeners: tuple[Listener, ...] = ()
        """Of a step that is looked at closely."""
        self._hearing: tuple[Listener, ...] = ()
        self._attention = Attention(catalog)

    def listen_to(self, criterion: Any) -> None:
        self._criterion = weakref.ref(criterion)
        self._search = None

    def attach(self) -> None:
        """Lays hooks on the layers where compiled code is to be seen: they must be there before it is compiled."""
        self._registration = register_module_module_registration_hook(CompilationHook(self))
        model = self._model()
        if not self._compiled or model is None:
            return
        if self._lasting is None:
            from tb_nnhealth.record.hooks_compiled import CompiledHooks

            self._lasting = CompiledHooks(model, self._catalog.wanted_leaves(), self.compiled_ran, self.forwarded)
        self._lasting.attach()

    def detach(self) -> None:
        self.close()
        if self._registration is not None:
            self._registration.remove()
        if self._lasting is not None:
            self._lasting.detach()

    def open(self, *, counted: bool, close: bool = True) -> None:
        """Begins a measured step; ``counted`` also takes histograms, ``close`` has the listeners hear of it."""
        self._hearing = self.listeners if close else ()
        self.window += 1
        self.counted = counted
        self._outputs = {True: {}, False: {}}
        self._table.open(counted=counted)
        if close:
            self._attention.open()
        self.evaluated_backward = False
        self._backward_seen = False
        self._graph = Graph() if self._graphs_read < GRAPHS_READ else None
        self._opened = True
        if self._search is not None and (self._criterion() is not None or not self._search.next_step()):
            self._search = None
        if not self._handles:
            self._register()

    def _register(self) -> None:
        if not (self._compiled or self._taken or has_compiled_part(self._model())):
            silence_torch_compile()
            self._global = register_module_forward_hook(ForwardHook(self))
            self._handles.append(self._global)
        criterion = self._criterion()
        if criterion is not None and admits_hook(criterion):
            self._handles.append(criterion.register_forward_hook(CriterionHook(self), with_kwargs=True))

    def taken_by_compiler(self, module: Any) -> None:
        """torch.compile wraps ``module``: compiled code would be traced with the global hook, and warns of it."""
        silence_torch_compile()
        model = self._model()
        if self._catalog.has(module) or any(inner is model for inner in module.modules()):
            self._taken = True
            if self._global is not None:
                self._global.remove()

    def close(self) -> None:
        """Takes the hooks of the measured step away and lets go of what was not written."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._opened = False
        self._outputs = {True: {}, False: {}}
        self._graph = self._admitted = None
        self.window += 1

    def forwarded(self, module: Any, args: Any, output: Any) -> None:
        """What the hook does for each call of any module."""
        if not self._opened or torch.jit.is_tracing() or module is self._criterion():
            return
        start = perf_counter()
        site = self._sites.get(id(module))
        if site is None or not self._called_as_ever(site, module, args, output):
            entry = self._catalog.module(module)
            if entry is not None:
                self._watched_called(entry, module, args, output)
            elif self._search is not None:
                self._other_called(self._search, module, args, output)
        if self._attention.reading and torch.is_grad_enabled() and self._training():
            self._read_attention(module, args, output)
        self._spend(perf_counter() - start)

    def _read_attention(self, module: Any, args: Any, output: Any) -> None:
        entry = self._catalog.known_module(module)
        try:
            if entry is not None:
                self._attention.returned(entry, module, args, output)
        except Exception as error:
            self._attention.reading = not self.fail("attention", error)

    def _called_as_ever(self, site: Site, module: Any, args: Any, output: Any) -> bool:
        """Reads the output where it comes in the form that the layer's site knows; whether it did."""
        if (
            self._graph is not None
            or site.entry.seen == self.window
            or site.reference() is not module
            or not torch.is_grad_enabled()
            or in_backward()
            or not self._training()
            or not site.entry.wanted
            or self._batch.awaits_inputs
            or native.core is None
        ):
            return False
        tensor = output
        if type(output) is not torch.Tensor:
            tensors = tensors_in(output)
            if len(tensors) != 1:
                return False
            tensor = tensors[0]
        entry = site.entry
        try:
            if not self._table.take(site.output, tensor):
                return False
            entry.seen = site.window = self.window
            site.gathered = None
            self._dimensions.previous = site.dimensions or self._dimensions.previous
            if site.mode_row is not None:
                site.mode = bool(module.training)
                self._table.modes.append(site)
            for listener in self._hearing:
                try:
                    listener.called(entry, module, args)
                except Exception as error:
                    self._failed(listener, error)
            if tensor.grad_fn is not None:
                tensor.register_hook(GradientHook(self, site, None))
        except Exception as error:
            if self.fail(f"output of {entry.name}", error):
                entry.wanted = False
        return True

    def _training(self) -> bool:
        model: Any = self._model()
        return model is None or bool(model.training)

    def _watched_called(self, entry: WatchedModule, module: Any, args: Any, output: Any) -> None:
        try:
            self._called(entry, module, args, output)
        except Exception as error:
            if self.fail(f"output of {entry.name}", error):
                entry.wanted = False

    def _called(self, entry: WatchedModule, module: Any, args: Any, output: Any) -> None:
        inside = entry.leaves and any(leaf.seen == self.window for leaf in entry.leaves)
        entry.seen = self.window
        if not torch.is_grad_enabled():
            return
        if module is self._model():
            self._end_of_graph(output)
            self._batch.model_returned(output, training=self._training())
            if self._training() and not in_backward():
                self._model_returned(output)
        if inside or not entry.wanted:
            return  # a container whose layers speak for it
        gathered = self._admit(entry)
        if gathered is None:
            return
        self._batch.first_module_called(args, training=self._training())
        self._gather(gathered, module, args, output)

    def _admit(self, entry: WatchedModule) -> Output | None:
        """Where a call's outputs are gathered; None for a recomputation, and for more calls than are taken."""
        outputs = self._outputs[self._training()]
        gathered = outputs.get(entry.name)
        if gathered is None:
            site = self._sites.get(id(entry.reference()))
            if site is not None and site.window == self.window and site.entry is entry and self._training():
                gathered = self._general(site)
        if gathered is None:
            gathered = outputs[entry.name] = Output(entry)
            self._any_output = True
        if in_backward():
            if gathered.first_pass:
                return None
        else:
            gathered.first_pass = True
        if gathered.values.calls >= CALLS:
            return None
        gathered.values.calls += 1
        return gathered

    def _gather(self, gathered: Output, module: Any, args: Any, output: Any) -> None:
        entry = gathered.entry
        for listener in self._hearing:
            try:
                listener.called(entry, module, args)
            except Exception as error:
                self._failed(listener, error)
        for i, tensor in enumerate(tensors_in(output)):
            if not self._take(gathered, module, tensor, i):
                continue
            if i == 0 and self._graph is not None and tensor.grad_fn is not None:
                self._graph.record(tensor.grad_fn, entry)
            if tensor.requires_grad and tensor.grad_fn is not None:
                tensor.register_hook(GradientHook(self, gathered, gathered.dimension if i == 0 else None))

    def _take(self, gathered: Output, module: Any, tensor: Any, which: int) -> bool:
        """Reduces the output number ``which`` of a call; False where it cannot be read."""
        if which == 0:
            gathered.dimension = None
            if gathered.entry.mode_dependent:
                gathered.modes.append(bool(module.training))
        taken = gathered.values.take(tensor, counted=self.counted)
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

    def compiled_ran(self, entry: WatchedModule, tensor: Any, which: int, gradient: bool) -> None:
        """What the operator in compiled code does, for the output number ``which`` of a layer or for its gradient."""
        if not self._opened:
            return
        try:
            if gradient:
                training = self._training()
                gathered = self._outputs[training].get(entry.name) or self._outputs[not training].get(entry.name)
                if gathered is not None:
                    self.gradient_came(gathered, gathered.dimension if which == 0 else None, tensor)
            else:
                start = perf_counter()
                self._compiled_output(entry, tensor, which)
                self._spend(perf_counter() - start)
        except Exception as error:
            if self.fail(f"output of {entry.name}", error):
                entry.wanted = False

    def _compiled_output(self, entry: WatchedModule, tensor: Any, which: int) -> None:
        module = entry.reference()
        if module is None or not entry.wanted:
            return
        if which == 0:
            entry.seen = self.window
            self._admitted = self._admit(entry)
        if self._admitted is not None and self._admitted.entry is entry:
            self._take(self._admitted, module, tensor, which)

    def _model_returned(self, output: Any) -> None:
        if self._search is not None:
            self._search.model_returned(output)
        if self._criterion() is None and self._read_back.wanted:
            logits = readable(output)
            if logits is not None:
                logits.register_hook(ReadBackHook(self, logits.detach()))

    def loss_differentiated(self, logits: torch.Tensor, gradient: torch.Tensor) -> None:
        """Takes in what a loss function was given, where its gradient by the model's output tells."""
        if self._criterion() is not None:  # a module that was found after the model's output had been seen
            return
        start = perf_counter()
        given = self._read_back.read(logits, gradient)
        if given is not None:
            self._batch.loss_read_back(*given, training=self._training())
        self._spend(perf_counter() - start)

    def _other_called(self, search: CriterionSearch, module: Any, args: Any, output: Any) -> None:
        """Takes ``module`` for the criterion where it is one; where two of a step are, the one that holds the other."""
        if in_backward() or not self._training() or not search.is_criterion(module, args, output):
            return
        found = self._criterion()
        if found is not None:
            self._batch.forget_criterion()
            self._criterion = lambda: None
            if all(part is not found for part in module.modules()):
                self._search = None
                return
        if not admits_hook(module):
            return
        self._criterion = weakref.ref(module)
        self._batch.describe(module)
        self._handles.append(module.register_forward_hook(CriterionHook(self), with_kwargs=True))
        self.criterion_called(module, args, {}, output)

    def criterion_called(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if module is self._criterion() and torch.is_grad_enabled() and not in_backward():
            start = perf_counter()
            self._end_of_graph(output)
            self._batch.criterion_called(args, kwargs, output, training=self._training())
            self._spend(perf_counter() - start)

    def _failed(self, listener: Listener, error: Exception) -> None:
        if self.fail(type(listener).__name__, error):
            self._hearing = self.listeners = tuple(other for other in self.listeners if other is not listener)

    def _end_of_graph(self, output: Any) -> None:
        if self._graph is not None:
            for tensor in tensors_in(output):
                self._graph.end(tensor.grad_fn)

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
            self._outputs[True][site.entry.name] = output
        return site.gathered  # type: ignore[no-any-return]

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

    def gradient_came(self, gathered: Output | Site, dimension: int | None, gradient: Any) -> None:
        """What the hook of an output does when the backward pass has its gradient."""
        start = perf_counter()
        try:
            if self._graph is not None:
                self._read_graph()
            if not self._backward_seen:
                self._backward_seen = True
                if self.on_backward is not None:
                    _at_the_end(self.on_backward)
            if not self._training():
                self.evaluated_backward = True
            for listener in self._hearing:
                try:
                    listener.gradient_came(gathered.entry, gradient)
                except Exception as error:
                    self._failed(listener, error)
            if isinstance(gathered, Site):
                if self._gradient_as_ever(gathered, gradient):
                    return
                gathered = self._general(gathered)
                dimension = gathered.dimension
            if gathered.gradient.calls >= CALLS:
                return
            gathered.gradient.calls += 1
            taken = gathered.gradient.take(gradient, counted=self.counted)
            if taken is not None and dimension is not None:
                values, reading = taken
                gathered.gradient.units(values.tensor, dimension, reading)
        finally:
            self._spend(perf_counter() - start)

    def _read_graph(self) -> None:
        """Reads what follows each module, before the backward pass has consumed the graph."""
        graph, self._graph = self._graph, None
        if not graph:
            return
        self._graphs_read += 1
        entries = {output.entry: output.entry.own_nonlinearity for output in self._outputs[self._training()].values()}
        for entry, consumer in graph.consumers(entries).items():
            feeds = consumer.nonlinearity if consumer.functional else ""
            self._catalog.follows(entry, consumer.nonlinearity, consumer.normalized, feeds)

    @property
    def overlooked(self) -> bool:
        """Whether outputs in compiled code were to be seen, and up to this step none of any kind was."""
        return self._compiled and not self._any_output

    def write(self, record: Record, *, gradients: bool = True) -> None:
        """Adds the step's rows to ``record``, in the order in which modules were first called."""
        self._table.write(record, gradients=gradients)
        self._attention.write(record)
        outputs = dict(self._outputs[True])
        if self.evaluated_backward:
            for name, output in self._outputs[False].items():
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
        if self._graphs_read == GRAPHS_READ:
            for output in self._outputs[True].values():
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
