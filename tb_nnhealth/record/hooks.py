"""Outputs of modules and their gradients, reduced as they pass during a measured step.

One global forward hook, registered only for the measured step, looks each called module up by identity. Nothing lies
on the model's modules, so copies, pickles and fused evaluation paths do not meet it. The criterion, which may be called
by keywords and beside a compiled model, bears a hook of its own for as long.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Any, Protocol

import torch
from torch.nn.modules.module import register_module_forward_hook

from tb_nnhealth import schema
from tb_nnhealth.record.graph import Graph
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.observe import Batch
from tb_nnhealth.record.reduce import scalar
from tb_nnhealth.record.reduce_gather import CALLS, Gathered, tensors_in
from tb_nnhealth.record.reduce_quiet import quiet
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.units import Silence, UnitDimensions, saturation

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


class Activations:
    """The forward hook of one watch.

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
    ) -> None:
        self._model = weakref.ref(model)
        self._catalog, self._batch, self._spend, self.fail = catalog, batch, spend, fail
        self._handles: list[Any] = []
        self._silence: dict[tuple[str, str], Silence] = {}
        self._dimensions = UnitDimensions()
        self._graph: Graph[WatchedModule] | None = None
        self._graphs_read = 0
        self._criterion: Any = lambda: None
        self.window = 0
        self.counted = False
        self.on_backward: Callable[[], None] | None = None
        """Called once, at the end of the first backward pass of the window."""
        self.evaluated_backward = False
        """Whether a backward pass of the step went through a model in evaluation mode."""
        self._outputs: dict[bool, dict[str, Output]] = {True: {}, False: {}}
        self.listeners: tuple[Listener, ...] = ()

    def listen_to(self, criterion: Any) -> None:
        self._criterion = weakref.ref(criterion)

    def open(self, *, counted: bool) -> None:
        """Begins a measured step; ``counted`` also takes histograms."""
        self.window += 1
        self.counted = counted
        self._outputs = {True: {}, False: {}}
        self.evaluated_backward = False
        self._backward_seen = False
        self._graph = Graph() if self._graphs_read < GRAPHS_READ else None
        if not self._handles:
            self._register()

    def _register(self) -> None:
        if not has_compiled_part(self._model()):
            self._handles.append(register_module_forward_hook(_ForwardHook(self)))
        criterion = self._criterion()
        if not (criterion is None or isinstance(criterion, torch.jit.ScriptModule) or has_compiled_part(criterion)):
            self._handles.append(criterion.register_forward_hook(_CriterionHook(self), with_kwargs=True))

    def close(self) -> None:
        """Takes the hook away and lets go of what was not written."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._outputs = {True: {}, False: {}}
        self._graph = None
        self.window += 1

    def forwarded(self, module: Any, args: Any, output: Any) -> None:
        """What the hook does for each call of any module."""
        if torch.jit.is_tracing() or module is self._criterion():
            return
        start = perf_counter()
        try:
            entry = self._catalog.module(module)
            if entry is not None:
                self._watched_called(entry, module, args, output)
        finally:
            self._spend(perf_counter() - start)

    def _training(self) -> bool:
        model = self._model()
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
        if inside or not entry.wanted:
            return  # a container whose layers speak for it
        outputs = self._outputs[self._training()]
        gathered = outputs.get(entry.name)
        if gathered is None:
            gathered = outputs[entry.name] = Output(entry)
        if in_backward():
            if gathered.first_pass:
                return
        else:
            gathered.first_pass = True
        if gathered.values.calls >= CALLS:
            return
        gathered.values.calls += 1
        self._batch.first_module_called(args, training=self._training())
        self._gather(gathered, module, args, output)

    def _gather(self, gathered: Output, module: Any, args: Any, output: Any) -> None:
        entry = gathered.entry
        for listener in self.listeners:
            try:
                listener.called(entry, module, args)
            except Exception as error:
                self._failed(listener, error)
        if entry.mode_dependent:
            gathered.modes.append(bool(module.training))
        for i, tensor in enumerate(tensors_in(output)):
            taken = gathered.values.take(tensor, counted=self.counted)
            if taken is None:
                continue
            values, reading = taken
            dimension = self._dimensions.of(module, values.tensor) if i == 0 and not values.implicit_zeros else None
            if i == 0:
                gathered.values.units(values.tensor, dimension, reading)
                saturated = saturation(module, entry.feeds, values.tensor, reading)
                if saturated is not None:
                    gathered.values.shares.append((schema.SATURATED_SHARE, *saturated))
                if self._graph is not None and tensor.grad_fn is not None:
                    self._graph.record(tensor.grad_fn, entry)
            if tensor.requires_grad and tensor.grad_fn is not None:
                tensor.register_hook(_GradientHook(self, gathered, dimension))

    def criterion_called(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if module is self._criterion() and torch.is_grad_enabled() and not in_backward():
            start = perf_counter()
            self._end_of_graph(output)
            self._batch.criterion_called(args, kwargs, output, training=self._training())
            self._spend(perf_counter() - start)

    def _failed(self, listener: Listener, error: Exception) -> None:
        if self.fail(type(listener).__name__, error):
            self.listeners = tuple(other for other in self.listeners if other is not listener)

    def _end_of_graph(self, output: Any) -> None:
        if self._graph is not None:
            for tensor in tensors_in(output):
                self._graph.end(tensor.grad_fn)

    def gradient_came(self, gathered: Output, dimension: int | None, gradient: Any) -> None:
        """What the hook of an output does when the backward pass has its gradient."""
        start = perf_counter()
        try:
            self._read_graph()
            if not self._backward_seen:
                self._backward_seen = True
                if self.on_backward is not None:
                    _at_the_end(self.on_backward)
            if not self._training():
                self.evaluated_backward = True
            for listener in self.listeners:
                try:
                    listener.gradient_came(gathered.entry, gradient)
                except Exception as error:
                    self._failed(listener, error)
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

    def write(self, record: Record, *, gradients: bool = True) -> None:
        """Adds the step's rows to ``record``, in the order in which modules were first called."""
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

    def _write(self, record: Record, kind: str, name: str, gathered: Gathered) -> None:
        row = self._catalog.row(kind, name, gathered.shape, gathered.dtype)
        gathered.write(record, row)
        if gathered.units_seen:
            silence = self._silence.setdefault((kind, name), Silence())
            record.share(row, schema.SILENT_SHARE, silence.update(gathered.alive))


class _ForwardHook:
    """Returns None always: a forward hook's value would replace the module's output."""

    def __init__(self, activations: Activations) -> None:
        self._activations = activations
        self._alive = True

    def __call__(self, module: Any, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if not self._alive:
            return
        try:
            with quiet():
                self._activations.forwarded(module, args, output)
        except Exception as error:
            self._alive = not self._activations.fail("calls of modules", error)


class _CriterionHook:
    """Lies on the criterion while a step is measured; returns None always."""

    def __init__(self, activations: Activations) -> None:
        self._activations = activations

    def __call__(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        try:
            with quiet():
                self._activations.criterion_called(module, args, kwargs, output)
        except Exception as error:
            self._activations.fail(f"call of {type(module).__name__}", error)

    def __deepcopy__(self, memo: Any) -> _CriterionHook:
        return self  # on a copied criterion; it knows the original by identity and ignores all others

    def __reduce__(self) -> Any:
        return getattr, (nullcontext(), "__exit__")


class _GradientHook:
    """Returns None always: a tensor hook's value would replace the gradient. Deaf once its step is over."""

    __torch_unserializable__ = True

    def __init__(self, activations: Activations, gathered: Output, dimension: int | None) -> None:
        self._activations, self._gathered, self._dimension = activations, gathered, dimension
        self._window = activations.window

    def __call__(self, gradient: Any) -> None:
        if torch.compiler.is_compiling() or self._activations.window != self._window:
            return
        try:
            with quiet():
                self._activations.gradient_came(self._gathered, self._dimension, gradient)
        except Exception as error:
            self._activations.fail(f"gradient of the output of {self._gathered.entry.name}", error)


def has_compiled_part(model: Any) -> bool:
    """Whether torch.compile has taken the model or a module in it.

    Compiled code is traced with the global hooks that exist at the time, and warns of them: it is better to have none.
    """
    dynamo = sys.modules.get("torch._dynamo")  # importing it takes seconds
    optimized = getattr(dynamo, "OptimizedModule", ())
    return model is not None and any(
        isinstance(module, optimized) or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )
