"""Outputs of modules and their gradients, reduced as they pass during a measured step.

One global forward hook, registered only for the measured step, looks each called module up by identity. Nothing lies
on the model's modules, so copies, pickles and fused evaluation paths do not meet it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_module_registration_hook

from tb_nnhealth.record.attention import Attention
from tb_nnhealth.record.dropping import Dropping
from tb_nnhealth.record.graph import Graph
from tb_nnhealth.record.hooks_loss import LossInputs
from tb_nnhealth.record.hooks_module import (
    CompilationHook,
    ForwardHook,
    GradientHook,
    has_compiled_part,
    silence_torch_compile,
)
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.observe import Batch
from tb_nnhealth.record.outputs import Output, Outputs, in_backward
from tb_nnhealth.record.reduce_gather import tensors_in
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.sites import Site
from tb_nnhealth.record.stray import Stray

GRAPHS_READ = 2
"""Measured steps in which the autograd graph is read for what follows each module."""


def _at_the_end(function: Callable[[], None]) -> None:
    """Has ``function`` called when the backward pass has ended, after those who asked for that before it has."""
    queue = torch.autograd.Variable._execution_engine.queue_callback
    queue(lambda: queue(function))  # FSDP reduces the gradients in such a call


class Listener(Protocol):
    """Hears of the leaves in a measured step: calls in forward passes with gradients, and outputs' gradients."""

    def called(self, entry: WatchedModule, module: Any, args: Any) -> None: ...
    def gradient_came(self, entry: WatchedModule, gradient: Any) -> None: ...


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
        self._outputs = Outputs(model, catalog)
        self._graph: Graph[WatchedModule] | None = None
        self._graphs_read = 0
        self.loss = LossInputs(batch, self._training, self._end_of_graph, spend, fail)
        self.on_backward: Callable[[], None] | None = None
        """Called once, at the end of the first backward pass of the window."""
        self.evaluated_backward = False
        """Whether a backward pass of the step went through a model in evaluation mode."""
        self.listeners: tuple[Listener, ...] = ()
        """Of a step that is looked at closely."""
        self._hearing: tuple[Listener, ...] = ()
        self._attention = Attention(catalog)
        self.stray = Stray(model, catalog)
        self._dropping = Dropping(catalog)

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
        self._outputs.open(counted=counted)
        if close:
            self._attention.open()
        self.evaluated_backward = False
        self._backward_seen = False
        self.stray.open()
        self._dropping.open()
        self._graph = Graph() if self._graphs_read < GRAPHS_READ else None
        self._opened = True
        self.loss.open(close=close)
        if not self._handles:
            self._register()

    def _register(self) -> None:
        if not (self._compiled or self._taken or has_compiled_part(self._model())):
            silence_torch_compile()
            self._global = register_module_forward_hook(ForwardHook(self))
            self._handles.append(self._global)

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
        self.loss.close()
        self._opened = False
        self._outputs.let_go()
        self._graph = self._admitted = None

    @property
    def window(self) -> int:
        """Of which step: what was begun in another is not of this one."""
        return self._outputs.window

    def forwarded(self, module: Any, args: Any, output: Any) -> None:
        """What the hook does for each call of any module."""
        if not self._opened or torch.jit.is_tracing() or self.loss.is_criterion(module):
            return
        start = perf_counter()
        site = self._outputs.site(module)
        if site is None or not self._called_as_ever(site, module, args, output):
            entry = self._catalog.module(module)
            if entry is not None:
                self._watched_called(entry, module, args, output)
            else:
                self.loss.other_called(module, args, output)
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
            or self._batch.awaits_inputs
            or not torch.is_grad_enabled()
            or in_backward()
            or not self._training()
        ):
            return False
        entry = site.entry
        try:
            tensor = self._outputs.as_ever(site, module, output)
            if tensor is None:
                return False
            self._tell(entry, module, args)
            if tensor.grad_fn is not None:
                tensor.register_hook(GradientHook(self, site, None))
        except Exception as error:
            if self.fail(f"output of {entry.name}", error):
                entry.wanted = False
        return True

    def _tell(self, entry: WatchedModule, module: Any, args: Any) -> None:
        for listener in self._hearing:
            try:
                listener.called(entry, module, args)
            except Exception as error:
                self._failed(listener, error)

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
            self._dropping.without_gradients(entry, module, root=module is self._model())
            return
        if module is self._model():
            self._dropping.model_returned(training=self._training() and not in_backward())
            self._end_of_graph(output)
            self._batch.model_returned(output, training=self._training())
            if self._training() and not in_backward():
                self.stray.model_returned(output)
                self.loss.model_returned(output)
        if inside or not entry.wanted:
            return  # a container whose layers speak for it
        gathered = self._outputs.admit(entry, training=self._training())
        if gathered is None:
            return
        self._batch.first_module_called(args, training=self._training())
        self._gather(gathered, module, args, output)

    def _gather(self, gathered: Output, module: Any, args: Any, output: Any) -> None:
        entry = gathered.entry
        self._tell(entry, module, args)
        for i, tensor in enumerate(tensors_in(output)):
            if not self._outputs.take(gathered, module, tensor, i):
                continue
            if self._graph is not None and tensor.grad_fn is not None:
                (self._graph.record_further if i else self._graph.record)(tensor.grad_fn, entry)
            if tensor.requires_grad and tensor.grad_fn is not None:
                tensor.register_hook(GradientHook(self, gathered, gathered.dimension if i == 0 else None))

    def compiled_ran(self, entry: WatchedModule, tensor: Any, which: int, gradient: bool) -> None:
        """What the operator in compiled code does, for the output number ``which`` of a layer or for its gradient."""
        if not self._opened:
            return
        try:
            if gradient:
                training = self._training()
                of_mode = self._outputs.of_mode
                gathered = of_mode(training=training).get(entry.name) or of_mode(training=not training).get(entry.name)
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
            self._admitted = self._outputs.admit(entry, training=self._training())
        if self._admitted is not None and self._admitted.entry is entry:
            self._outputs.take(self._admitted, module, tensor, which)

    def _failed(self, listener: Listener, error: Exception) -> None:
        if self.fail(type(listener).__name__, error):
            self._hearing = self.listeners = tuple(other for other in self.listeners if other is not listener)

    def _end_of_graph(self, output: Any) -> None:
        if self._graph is not None:
            for tensor in tensors_in(output):
                self._graph.end(tensor.grad_fn)

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
            if gradient is None:  # of an output that a function of the user's own gives no gradient
                return
            for listener in self._hearing:
                try:
                    listener.gradient_came(gathered.entry, gradient)
                except Exception as error:
                    self._failed(listener, error)
            self._outputs.gradient_came(gathered, dimension, gradient)
        finally:
            self._spend(perf_counter() - start)

    def _read_graph(self) -> None:
        """Reads what follows each module and flows into it, before the backward pass has consumed the graph."""
        graph, self._graph = self._graph, None
        if not graph:
            return
        self._graphs_read += 1
        self.stray.read()
        seen = self._outputs.of_mode(training=self._training())
        entries = {output.entry: output.entry.own_nonlinearity for output in seen.values()}
        for entry, consumer in graph.consumers(entries).items():
            feeds = consumer.nonlinearity if consumer.functional else ""
            self._catalog.follows(entry, consumer.nonlinearity, consumer.normalized, feeds, linear=consumer.linear)
        self._catalog.flows(graph.inputs())
        if self._training() and (mixed := graph.mixed(self._batch.samples())) is not None:
            self._batch.mixed(mixed)

    @property
    def overlooked(self) -> bool:
        """Whether outputs in compiled code were to be seen, and up to this step none of any kind was."""
        return self._compiled and not self._outputs.any

    def write(self, record: Record, *, gradients: bool = True) -> None:
        """Adds the step's rows to ``record``."""
        self._outputs.write(
            record,
            gradients=gradients,
            evaluated=self.evaluated_backward,
            settled=self._graphs_read == GRAPHS_READ,
        )
        self._attention.write(record)
        self._dropping.write(record)
