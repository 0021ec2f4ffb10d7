"""What the loss is given: told by a hook on the criterion, or read back where the loss is a function.

A criterion may be called by keywords and beside a compiled model, so it bears a hook of its own while a step is
measured. One that nobody named is looked for among the modules that the model's output is handed to.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Any

import torch
from torch.nn.modules.loss import _Loss

from tb_nnhealth.record.criterion_search import CriterionSearch
from tb_nnhealth.record.hooks_module import admits_hook
from tb_nnhealth.record.loss_operands import OperandReader, Operands, ProductReader
from tb_nnhealth.record.loss_read_back import Given, ReadBack, differentiable, made_last, readable
from tb_nnhealth.record.observe import Batch
from tb_nnhealth.record.outputs import in_backward
from tb_nnhealth.record.reduce_gather import tensors_in
from tb_nnhealth.record.reduce_native import is_functorch_wrapped
from tb_nnhealth.record.reduce_quiet import quiet
from tb_nnhealth.record.reduce_readable import plain


class LossInputs:
    """Tells ``batch`` what the loss of a measured step was given; ``returned`` hears of what a criterion returned."""

    def __init__(
        self,
        batch: Batch,
        training: Callable[[], bool],
        returned: Callable[[Any], None],
        spend: Callable[[float], None],
        fail: Callable[[str, Exception], bool],
    ) -> None:
        self._batch, self._training, self._returned = batch, training, returned
        self._spend, self.fail = spend, fail
        self._criterion: Any = lambda: None
        self._search: CriterionSearch | None = CriterionSearch()
        self._read_back, self._operands, self._products = ReadBack(), OperandReader(), ProductReader()
        self._heard = False
        """Whether the criterion was called in training: one that is named may serve the evaluation alone."""
        self._handles: list[Any] = []
        self._read_in = 0
        """The window in which the graph of the criterion was last read."""
        self._faultless = self._close = False
        """Whether that showed nothing wrong; whether this step is looked at closely."""
        self.window = 0
        """Of which step: what was begun in another is not of this one."""

    def listen_to(self, criterion: Any) -> None:
        self._criterion = weakref.ref(criterion)
        self._search = None

    def is_criterion(self, module: Any) -> bool:
        return module is self._criterion()

    def open(self, *, close: bool) -> None:
        """Begins a measured step; ``close`` reads once more what showed nothing wrong."""
        self.window += 1
        self._close = close
        criterion = self._criterion()
        if self._search is not None and (criterion is not None or not self._search.next_step()):
            self._search = None
        if not self._handles and criterion is not None:
            self._lay_on(criterion)

    def close(self) -> None:
        """Takes the hook of the measured step away; hooks on outputs are deaf from here on."""
        self.window += 1
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _lay_on(self, criterion: Any) -> None:
        if admits_hook(criterion):
            self._handles.append(criterion.register_forward_hook(CriterionHook(self), with_kwargs=True))

    def model_returned(self, output: Any) -> None:
        """Takes in what the model returned in training, before a loss is made of it."""
        if self._search is not None:
            self._search.model_returned(output)
        if not self._heard and (self._read_back.wanted or self._operands.wanted):
            logits = readable(output) if self._read_back.wanted else None
            end = logits if logits is not None else differentiable(output)
            if end is not None:
                number = -1 if end.grad_fn is None else end.grad_fn._sequence_nr()
                last = made_last(output)
                end.register_hook(ReadBackHook(self, None if logits is None else logits.detach(), number, last))

    def differentiated(self, logits: torch.Tensor | None, gradient: torch.Tensor, number: int, last: int) -> None:
        """Takes in what a loss function was given, where its gradient by the model's output tells, or its graph.

        ``logits`` is None where the gradient of the output cannot tell; ``number`` and ``last``: of the nodes that made
        that output, and the last of the model's.
        """
        if self._heard:  # a module that was called, or found, after the model's output had been seen
            return
        start = perf_counter()
        told = None if logits is None else self._read_back.read(logits, gradient, number)
        if isinstance(told, Given):
            multiplied = self._products.read(number)  # by the same weights for all, it looks like a cross-entropy
            if multiplied is not None:
                self._batch.compared(multiplied)
            else:
                self._batch.loss_read_back(*told[:4], training=self._training())
                self._tell_functions(self._operands.read(last, within=True) if self._operands.wanted else None)
        elif told is not None:
            self._batch.compared(told)
        elif self._operands.wanted and (operands := self._operands.read(last)) is not None:
            self._batch.operands_told(operands, training=self._training())
        self._spend(perf_counter() - start)

    def other_called(self, module: Any, args: Any, output: Any) -> None:
        """Takes ``module``, which is not the model's, for the criterion where it is one.

        Where two of a step are, the one that holds the other.
        """
        search = self._search
        if search is None or in_backward() or not self._training() or not search.is_criterion(module, args, output):
            return
        found = self._criterion()
        if found is not None:
            self._batch.forget_criterion()
            self._criterion, self._heard = (lambda: None), False
            if all(part is not found for part in module.modules()):
                self._search = None
                return
        if not admits_hook(module):
            return
        self._criterion = weakref.ref(module)
        self._batch.describe(module)
        self._lay_on(module)
        self.called(module, args, {}, output)

    def called(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        """What the hook on the criterion does."""
        if self.is_criterion(module) and torch.is_grad_enabled() and not in_backward():
            start, self._heard = perf_counter(), True
            self._returned(output)
            self._batch.criterion_called(args, kwargs, output, training=self._training())
            self._read_graph(module, args[0] if args else kwargs.get("input"), output)
            self._spend(perf_counter() - start)

    def _read_graph(self, module: Any, prediction: Any, loss: Any) -> None:
        """Once in a step: what the functions that a criterion is made of are given."""
        if self._read_in == self.window or not self._operands.wanted or not self._training():
            return
        known = isinstance(module, _Loss)
        if known and self._faultless and not self._close:
            return
        if not isinstance(loss, torch.Tensor) or plain(loss) is None or loss.grad_fn is None:
            return
        made = [given.grad_fn for given in tensors_in(prediction) if plain(given) is not None]
        numbers = [node._sequence_nr() for node in made if node is not None]
        if not numbers:
            return
        self._read_in = self.window
        told = self._operands.read_criterion(loss, max(numbers))
        if known:
            self._faultless = told is None or not told.faults
            self._tell_functions(told)
        elif told is not None:
            self._batch.operands_told(told, training=True)

    def _tell_functions(self, told: Operands | None) -> None:
        """Of a loss whose kind, and the shapes that it compares, are known without the graph."""
        if told is not None and told.faults:
            self._batch.operands_told(told._replace(compared=None), training=self._training())


class CriterionHook:
    """Lies on the criterion while a step is measured."""

    def __init__(self, loss: LossInputs) -> None:
        self._loss = loss

    def __call__(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        try:
            with quiet():
                self._loss.called(module, args, kwargs, output)
        except Exception as error:
            self._loss.fail(f"call of {type(module).__name__}", error)

    def __deepcopy__(self, memo: Any) -> CriterionHook:
        return self  # on a copied criterion; it knows the original by identity and ignores all others

    def __reduce__(self) -> Any:
        return getattr, (nullcontext(), "__exit__")


class ReadBackHook:
    """Lies on the model's output, where no criterion was called yet. Deaf once its step is over."""

    __torch_unserializable__ = True

    def __init__(self, loss: LossInputs, logits: torch.Tensor | None, number: int, last: int) -> None:
        self._loss, self._logits, self._window = loss, logits, loss.window
        self._number, self._last = number, last  # the nodes themselves would hold this hook, and never be freed

    def __call__(self, gradient: Any) -> None:
        if gradient is None or torch.compiler.is_compiling() or self._loss.window != self._window:
            return
        if is_functorch_wrapped(gradient):
            return  # a batch of gradients (vmap, ``is_grads_batched``) is that of no single loss
        try:
            with quiet(), torch.no_grad():
                self._loss.differentiated(self._logits, gradient, self._number, self._last)
        except Exception as error:
            self._loss.fail("loss read back from its gradient", error)
