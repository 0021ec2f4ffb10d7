"""One health step after another: what is measured when, and how it becomes a record."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from time import perf_counter, thread_time
from typing import Any

import torch

from tb_nnhealth import schema
from tb_nnhealth.record.cadence import Cadence
from tb_nnhealth.record.carried import Carried
from tb_nnhealth.record.evaluation_masks import EvaluationMasks
from tb_nnhealth.record.filters import FilterPictures, picture, write_smoothness
from tb_nnhealth.record.gradient_noise import GradientNoise
from tb_nnhealth.record.hooks import Activations
from tb_nnhealth.record.hooks_optimizer import StepHook
from tb_nnhealth.record.hooks_root import RootHook, admits_root_hook
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.loss_scale import LossScale
from tb_nnhealth.record.observe import Batch
from tb_nnhealth.record.outputs import in_backward
from tb_nnhealth.record.rank_exchange import Exchange
from tb_nnhealth.record.ranks import Ranks
from tb_nnhealth.record.reduce import scalar
from tb_nnhealth.record.reduce_native import note
from tb_nnhealth.record.reduce_quiet import quiet
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.shard_routes import Route
from tb_nnhealth.record.step_number import StepNumber
from tb_nnhealth.record.step_parameters import Parameters
from tb_nnhealth.record.step_snapshot import NOTE
from tb_nnhealth.record.stepped_twice import SteppedTwice
from tb_nnhealth.record.unclipped import Unclipped
from tb_nnhealth.record.unseen_steps import UnseenSteps

_COMPILED_BEFORE = (
    "watch(compiled=True) saw no activation: code compiled before that call does not know of it. Call watch() before "
    "the model is first called, or torch._dynamo.reset() after it"
)
FAILURES_BORNE = 3
"""Errors after which a probe is given up; the first is reported."""


class Capture:
    """Measures one model and hands its records to ``stream``. Holds model, optimizers and criterion weakly.

    A health step ends when every optimizer has stepped, or when one is about to step again; where a gradient scaler
    has skipped them, with the next call of the model. Without an optimizer
    it ends with a backward pass. Nothing raises from here into the training.
    """

    def __init__(
        self,
        stream: Any,
        model: Any,
        optimizers: Sequence[Any],
        criterion: Any,
        cadence: Cadence,
        step: Callable[[], int] | None,
        wanted: Any,
        scaler: Any = None,
        exchange: Exchange | None = None,
        route: Route | None = None,
        updates: str = "exact",
        *,
        compiled: bool = False,
        first_step: int = 0,
    ) -> None:
        self._stream, self._cadence = stream, cadence
        self._step_number = StepNumber(step, first_step, self.fail)
        self._model = weakref.ref(model)
        self._bundle = (
            model if optimizers and getattr(type(model), "forward", None) is torch.nn.Module.forward else None
        )
        """A container that is never called, as ``nn.ModuleDict`` of two networks: often nobody else holds it."""
        self._optimizers = [weakref.ref(optimizer) for optimizer in optimizers]
        self._catalog = Catalog(model, optimizers, wanted)
        self._failures: dict[str, int] = {}
        self._batch = Batch(self._catalog, self.fail)
        self._activations = Activations(model, self._catalog, self._batch, cadence.spend, self.fail, compiled=compiled)
        self._parameters = Parameters(self._catalog, self.fail, sampled_updates=updates == "sampled")
        self._record = Record()
        self._stepped: set[int] = set()
        self._carried = Carried(self._catalog, self._stepped)
        self._unclipped = Unclipped(self._catalog)
        self._twice = SteppedTwice(self._catalog)
        self._noise = GradientNoise(self._catalog)
        self._ranks = None if exchange is None else Ranks(self._catalog, exchange, self._report, route)
        self._activations.listeners = (self._carried, self._noise, *([] if self._ranks is None else [self._ranks]))
        self._loss_scale = LossScale(self._catalog, scaler)
        self.unseen = UnseenSteps(model, optimizers)
        self._follows = self._recorded = False
        self._pictures = FilterPictures()
        self._ended: float | None = None
        self._evaluations = {True: 0, False: 0}
        self._forwards = 0
        """Forwards with gradients in train mode since the last step."""
        self._graded = {True: 0, False: 0}
        """The most of them before any step since the last record; all of them in evaluation mode."""
        self._masks = EvaluationMasks(model, self._catalog, self.fail)
        self._sees_evaluations = False
        """Whether the model was ever seen called: where only parts of it are, or compiled code, it is not."""
        self._last_ungraded: bool | None = None
        self._ungraded_step = -2
        """The step before which a forward pass without gradients ran in train mode, the last time."""
        self._compiled = compiled
        self._told_of_compiled = False
        self._forward_seen = False
        self._number = self._number_of_call = 0
        self._measuring = self.attached = False
        self._close = True
        """What changes slowly is looked at in the step under way."""
        self._handles: list[Any] = []
        if self._ranks is not None and exchange is not None and not exchange.rank:
            stream.revise = self._revised_layout
        if criterion is not None:
            self._batch.describe(criterion, waits=True)
            self._activations.loss.listen_to(criterion)
        if not optimizers:
            self._activations.on_backward = self._backward_ended
        for optimizer in optimizers:
            weakref.finalize(optimizer, self._optimizer_gone).atexit = False

    def attach(self) -> None:
        """Registers the hooks and begins a step."""
        model = self._model()
        if model is None or self.attached:
            return
        self.attached = True
        self._follows, self._ended = False, None
        self._loss_scale.attach()
        for i, reference in enumerate(self._optimizers):
            optimizer = reference()
            if optimizer is not None:
                self._handles.append(
                    optimizer.register_step_pre_hook(StepHook(self._before, i, compiled=self._compiled))
                )
                self._handles.append(
                    optimizer.register_step_post_hook(StepHook(self._after, i, compiled=self._compiled))
                )
        if admits_root_hook(model):
            self._handles.append(model.register_forward_pre_hook(RootHook(self), with_kwargs=True))
        self._activations.attach()
        self._cadence.interrupt()
        self._begin()

    def detach(self) -> None:
        """Takes every hook away; what was gathered of the step under way is let go."""
        self._measuring = self.attached = False
        self._bundle = None
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._activations.detach()
        self._masks.close()
        self._parameters.close()
        self._stepped.clear()

    def _optimizer_gone(self) -> None:
        """Without an optimizer left no step would ever end."""
        if not any(reference() is not None for reference in self._optimizers):
            self.detach()

    def fail(self, probe: str, error: Exception) -> bool:
        """Reports a probe's first error; True when it has failed so often that it is to be given up."""
        self._failures[probe] = count = self._failures.get(probe, 0) + 1
        if count == 1:
            self._report(f"{probe}: {type(error).__name__}: {error}")
        return count >= FAILURES_BORNE

    def _report(self, message: str) -> None:
        try:
            self._stream.error(message)
        except Exception:
            return  # a warning that the user has made an error must not stop the training either

    def observe(self, inputs: Any, targets: Any, outputs: Any, loss: Any, probe: Any, unclipped: bool) -> None:
        if self._measuring:
            self._spending("observe()", self._batch.observe, inputs, targets, outputs, loss)
            if unclipped:
                self._spending("observe(unclipped=True)", self._read_unclipped)
        if probe is not None and self.attached and self._stream.active:
            self._spending("observe(probe=)", self._batch.probe, probe)

    def _read_unclipped(self) -> None:
        self._unclipped.read(self._living(), self._record, counted=self._cadence.counted)

    def _spending(self, probe: str, function: Callable[..., None], *args: Any) -> None:
        """Calls ``function`` at the budget's expense, unless it has failed too often."""
        if self._failures.get(probe, 0) >= FAILURES_BORNE:
            return
        start = perf_counter()
        try:
            with quiet():
                function(*args)
        except Exception as error:
            self.fail(probe, error)
        self._cadence.spend(perf_counter() - start)

    def root_called(self, model: Any, args: Any, kwargs: Any) -> None:
        """What the model's pre-hook does: counts evaluations, takes the inputs, begins steps that no optimizer ends."""
        with quiet():
            self._root_called(model, args, kwargs)

    def _root_called(self, model: Any, args: Any, kwargs: Any) -> None:
        self._sees_evaluations = True
        if in_backward():
            if self._last_ungraded is not None:  # it was no evaluation, but a checkpoint's first pass
                self._evaluations[self._last_ungraded] -= 1
                self._last_ungraded = None
            return
        training = bool(model.training)
        if not torch.is_grad_enabled():
            self._evaluations[training] += 1
            self._last_ungraded = training
            evaluates = self._evaluates(training)
            if evaluates and self._stream.active and self._batch.evaluation_wanted:
                self._spending("input of the evaluation", self._batch.evaluated, args, kwargs)
            if self._stream.active and not training and self._masks.wanted:
                self._spending("masks in evaluation", self._masks.begin)
            return
        self._last_ungraded = None
        if training:
            self._forwards += 1
            self._graded[True] = max(self._forwards, self._graded[True])
        else:
            self._graded[False] += 1
        if not self._optimizers and not self._measuring:
            if self._forward_seen:
                self._end()
            self._forward_seen = True
        if self._optimizers:
            if self._loss_scale.skipped() and self._forward_seen:
                self._number = self._number_of_call if self._step_number.is_given else self._numbered()
                self._end(skipped=True)
            self._forward_seen = True
            if self._measuring and self._step_number.is_given and self._loss_scale.known:
                self._number_of_call = self._numbered()
        if self._measuring:
            start = perf_counter()
            self._batch.model_called(args, kwargs, training=training)
            self._activations.stray.model_called((args, kwargs))
            self._cadence.spend(perf_counter() - start)

    def _evaluates(self, training: bool) -> bool:
        """Whether a forward pass without gradients is an evaluation: one at each step, in train mode, is a teacher's or
        a sample's.
        """
        if not training:
            return True
        before, self._ungraded_step = self._ungraded_step, self._cadence.index
        return self._ungraded_step != before + 1

    def _backward_ended(self) -> None:
        try:
            if self._measuring:
                self._number = self._numbered()
                self._catalog.look_for_sharded()
                self._end()
        except Exception as error:
            self.fail("backward pass", error)

    def _before(self, index: int, optimizer: Any, closure: bool) -> None:
        start = perf_counter()
        if index in self._stepped:
            self._end()
        self._loss_scale.stepping()
        if self._measuring:
            if not self._stepped:
                self._number = self._numbered()
                self._catalog.look_for_replaced(self._living())
            self._loss_scale.about_to_step(optimizer)
            if len(self._optimizers) > 1 and not closure:
                self._spending("parameters held twice", self._twice.before, optimizer, self._living())
            self._parameters.before(index, optimizer, self._record, closure=closure)
        self._cadence.spend(perf_counter() - start)

    def _after(self, index: int, optimizer: Any, closure: bool) -> None:
        start = perf_counter()
        if self._measuring:
            self._parameters.after(index, optimizer, self._record, closure=closure)
        self._cadence.spend(perf_counter() - start)
        self._stepped.add(index)
        if len(self._stepped) == len(self._optimizers):
            self._end()

    def _begin(self) -> None:
        self._stepped.clear()
        self._forward_seen = False
        opened, self._measuring = self._measuring, self._cadence.measured and self._stream.active
        if not self._measuring:
            if opened:
                self._activations.close()
                self._parameters.close()
            return
        counted = self._cadence.counted
        self._close = self._cadence.close or self._ranks is not None
        self._record = Record()
        self._catalog.renew()
        self._activations.open(counted=counted, close=self._close)
        self._batch.open(counted=counted, close=self._close)
        self._parameters.open(counted=counted)
        self._carried.open(follows=self._follows and self._close)
        if self._close:
            self._noise.open()
        self._unclipped.open()
        self._loss_scale.open()
        if self._ranks is not None:
            self._ranks.open(self._ended)

    def _living(self) -> list[Any]:
        return [optimizer for optimizer in (reference() for reference in self._optimizers) if optimizer is not None]

    def _end(self, *, skipped: bool = False) -> None:
        """``skipped``: by a gradient scaler, whose gradients are scaled and not finite."""
        start = perf_counter()
        self._forwards = 0
        try:
            if self._measuring:
                self._emit(skipped)
        finally:
            end = perf_counter()
            self._cadence.spend(end - start)
            self._cadence.end(end, measured=self._measuring, busy=thread_time())
            self._follows, self._ended = bool(self._optimizers), end
            self.unseen.step_seen()
            self._begin()
            self._cadence.spend(perf_counter() - end)

    def _emit(self, skipped: bool) -> None:
        record, catalog = self._record, self._catalog
        self._activations.write(record, gradients=not skipped)
        if self._activations.overlooked and not self._told_of_compiled:
            self._told_of_compiled = True
            self._report(_COMPILED_BEFORE)
        evaluated_backward = self._activations.evaluated_backward
        self._batch.write(record, evaluated_backward=evaluated_backward, step=self._cadence.index)
        self._parameters.rest(record, gradients=not skipped)
        self._carried.write(record)
        if self._close and not skipped:
            self._noise.write(record)
        self._loss_scale.write(record)
        if self._close:
            self._activations.stray.write(record)
        filters = None
        if self._cadence.counted or not self._recorded:
            filters = write_smoothness(catalog, record)
        self._recorded = True
        for training, subject in ((True, "train"), (False, "eval")) if self._sees_evaluations else ():
            record.add(catalog.row(schema.EVALUATION, subject), scalar(self._evaluations[training]))
            graded = scalar(self._graded[training])
            record.add(catalog.row(schema.EVALUATION, f"{subject} with gradients"), graded)
        self._evaluations, self._graded = {True: 0, False: 0}, {True: 0, False: 0}
        self._masks.write(record)
        self._twice.write(record)
        if self._ranks is not None:
            self._ranks.write(record)
        if self._close:
            catalog.assign(self._living())
        if catalog.changed:
            self._stream.layout(catalog.message())
        self._publish()
        values = record.stats(catalog.rows)
        if self._ranks is not None:
            fingerprint = self._batch.input_fingerprint()
            values = self._ranks.told(self._cadence.index, self._number, self._cadence.interval, values, fingerprint)
        self._stream.stats(self._number, values, size=record.size)
        if self._pictures.due(filters is not None) and filters is not None:
            make, size = picture(*filters)
            self._stream.filters(self._number, make, size=size)
        if record.has_histograms and self._cadence.counted:
            counts = record.histograms(catalog.rows)
            if self._ranks is not None:
                counts = self._ranks.counted(self._cadence.index, counts)
            self._stream.histograms(self._number, counts, size=record.histogram_size)

    def _revised_layout(self) -> Any:
        """What the parts of a sharded model turned out to be after its last step; None where that was known by then."""
        return self._catalog.message() if self._ranks is not None and self._ranks.described_anew() else None

    def _publish(self) -> None:
        cadence, capture = self._cadence, self._stream.capture
        of_ranks = 0.0 if self._ranks is None else self._ranks.background_seconds
        cadence.background(self._stream.background_seconds + of_ranks)
        capture.every, capture.histogram_every = cadence.every, cadence.histogram_every
        capture.trained = cadence.trained
        capture.overhead, capture.reason = (
            cadence.overhead,
            " ".join(filter(None, (cadence.reason, note(), NOTE if self._parameters.sampled else ""))),
        )

    def _numbered(self) -> int:
        return self._step_number.of(self._cadence.index, self._living())
