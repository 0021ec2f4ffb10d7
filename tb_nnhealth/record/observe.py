"""The batch of a measured step: the model's inputs, the criterion's prediction, target and loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch

from tb_nnhealth import messages, schema
from tb_nnhealth.record.graph_samples import Mixed
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.loss_graph import Compared
from tb_nnhealth.record.loss_operands import Operands
from tb_nnhealth.record.observe_evaluation import EvaluationInput
from tb_nnhealth.record.observe_facts import SUBJECTS, Facts, Told
from tb_nnhealth.record.observe_labels import BINARY, CLASS_INDEX, OF_PAIRS
from tb_nnhealth.record.observe_predictions import class_dimension, probability_share
from tb_nnhealth.record.observe_probe import Probe
from tb_nnhealth.record.observe_tokens import Tokens
from tb_nnhealth.record.observe_weights import class_weights, label_smoothing
from tb_nnhealth.record.reduce import LOW
from tb_nnhealth.record.reduce_gather import CALLS, Gathered, named_tensors, tensors_in
from tb_nnhealth.record.reduce_readable import widened
from tb_nnhealth.record.reduce_table import Record

Key = tuple[str, str]
OUTPUTS = 4
"""Tensors of what a model returns that are read, where no criterion is known."""


class Part:
    """What was gathered from one source: the hooks in one mode, or the user."""

    def __init__(self) -> None:
        self.rows: dict[Key, Gathered] = {}
        self.told: dict[str, Told] = {}

    def samples(self) -> int:
        """In the model's last input, 0 where none was seen."""
        return self.told[schema.INPUT].samples if schema.INPUT in self.told else 0


class Batch:
    """Gathers a step's batch tensors; those the user hands over by ``observe`` stand for those seen by hooks.

    ``fail`` reports what goes wrong in a part that the rest does not need.
    """

    def __init__(self, catalog: Catalog, fail: Callable[[str, Exception], Any]) -> None:
        self._catalog = catalog
        self._facts = Facts(catalog, fail)
        self._probe = Probe()
        self._evaluation = EvaluationInput()
        self._tokens = Tokens(catalog)
        self._class_index = self._criterion_given = False
        self._target = 1
        """Which of a criterion's arguments it is."""
        self._read_back = False
        """The criterion is a stand-in for a loss that was read back from its gradient."""
        self._outputs_observed = False
        self.open(counted=False)

    def open(self, *, counted: bool, close: bool = True) -> None:
        """Begins a measured step; ``counted`` also takes histograms, ``close`` also the facts of ``observe_facts``."""
        self._counted, self._close = counted, close
        self._seen = {True: Part(), False: Part()}
        self._observed = Part()
        self._compared: Compared | None = None
        self._mixed: Mixed | None = None
        self._tokens.open()
        self._operands: set[str] = set()
        self.awaits_inputs = True
        """Neither the model nor one of its modules has been called in this step."""

    def describe(self, criterion: Any, *, waits: bool = False) -> None:
        """Notes what a criterion is set to and, where the type says it, its number of classes.

        ``waits``: no step runs, so that a device may be waited for.
        """
        self._criterion_given, self._class_index = True, isinstance(criterion, CLASS_INDEX)
        self._target = 2 if isinstance(criterion, OF_PAIRS) else 1
        self._facts.describe(criterion)
        self._tokens.describe(criterion)
        self._catalog.criterion = messages.Criterion(
            type=type(criterion).__name__,
            classes=2 if isinstance(criterion, BINARY) else 0,
            reduction=str(getattr(criterion, "reduction", "")),
            class_weights=class_weights(criterion, waits=waits),
            label_smoothing=label_smoothing(criterion),
        )
        self._catalog.changed = True

    def forget_criterion(self) -> None:
        """Lets go of what was taken at a module that turned out not to be the criterion."""
        self._criterion_given = self._class_index = False
        self._facts.describe(None)
        self._catalog.criterion, self._catalog.changed = None, True
        for part in self._seen.values():
            for kind in (schema.PREDICTION, schema.TARGET, schema.LOSS):
                part.told.pop(kind, None)
                for key in [key for key in part.rows if key[0] == kind]:
                    del part.rows[key]

    def model_called(self, args: Any, kwargs: Any, *, training: bool) -> None:
        self.awaits_inputs = False
        self._take_inputs(self._seen[training], _inputs(args, kwargs))

    @property
    def evaluation_wanted(self) -> bool:
        """No evaluation's input has been read since the last record."""
        return self._evaluation.wanted

    def evaluated(self, args: Any, kwargs: Any) -> None:
        """Takes the inputs of a forward pass without gradients."""
        self._evaluation.see(_inputs(args, kwargs))

    def first_module_called(self, args: Any, *, training: bool) -> None:
        """Inputs of a model that is not called itself are those of the first of its modules called in the step."""
        if self.awaits_inputs:
            self.awaits_inputs = False
            self._take_inputs(self._seen[training], args)

    def model_returned(self, output: Any, *, training: bool) -> None:
        """Takes the loss that a model itself computes and returns as ``loss``."""
        if not self._criterion_given and not self._outputs_observed:
            self._take_outputs(self._seen[training], output)
        if self._criterion_given or isinstance(output, torch.Tensor):
            return
        loss = output.get("loss") if isinstance(output, dict) else _attribute(output, "loss")
        if isinstance(loss, torch.Tensor):
            self._take(self._seen[training], schema.LOSS, "", loss)

    def criterion_called(self, args: Any, kwargs: Any, output: Any, *, training: bool) -> None:
        prediction = args[0] if args else kwargs.get("input")
        target = args[self._target] if len(args) > self._target else kwargs.get("target")
        seen = self._seen[training]
        self._forget_outputs(seen)
        self._take_nested(seen, schema.PREDICTION, prediction)
        self._take_nested(seen, schema.TARGET, target)
        self._take_nested(seen, schema.LOSS, output)
        self._compare(seen, prediction, target, observed=False)
        for tensor in tensors_in(target)[:1] if training else ():
            self._tokens.asked(tensor)

    def loss_read_back(
        self, criterion: Any, prediction: torch.Tensor, target: torch.Tensor, loss: torch.Tensor, *, training: bool
    ) -> None:
        """Takes what a loss function was given as if ``criterion``, a module of its kind, had been called."""
        if self._outputs_observed:  # they may be others than the loss was given
            return
        if not self._criterion_given:
            self._read_back = True
            self.describe(criterion)
        if self._catalog.criterion.type == type(criterion).__name__:
            self.criterion_called((prediction, target), {}, loss, training=training)
            told = self._seen[training].told.get(schema.TARGET)
            if told is not None and isinstance(criterion, torch.nn.MSELoss):
                told.fingerprint = None  # numbers read back are those of the data but for rounding

    def samples(self) -> int:
        """In the step's first input in training, 0 where none was seen."""
        return self._seen[True].samples()

    def mixed(self, told: Mixed) -> None:
        """Takes the shapes before and after a view that mixes samples."""
        self._mixed = told

    def compared(self, told: Compared) -> None:
        """Takes the shapes in which a loss function compares the model's output with its targets."""
        if not self._outputs_observed:
            self._compared = told

    def operands_told(self, told: Operands, *, training: bool) -> None:
        """Takes what the graph of a loss shows of its functions, and the loss itself where it is cross-entropies."""
        self._operands.update(told.faults)
        if told.compared is not None:
            self.compared(told.compared)
        if told.classes > 1 and not self._criterion_given and not self._outputs_observed:
            criterion = messages.Criterion(type="CrossEntropyLoss", classes=told.classes, reduction=told.reduction)
            if self._catalog.criterion != criterion:
                self._catalog.criterion, self._catalog.changed = criterion, True
            self._take(self._seen[training], schema.LOSS, "", told.value)

    def observe(self, inputs: Any, targets: Any, outputs: Any, loss: Any) -> None:
        observed = self._observed
        if outputs is not None:
            self._outputs_observed = True
            if self._read_back:
                self._read_back = False
                self.forget_criterion()
        if inputs is not None:
            self._take_inputs(observed, inputs)
        self._take_nested(observed, schema.PREDICTION, outputs)
        self._take_nested(observed, schema.TARGET, targets)
        if isinstance(loss, Real) and not isinstance(loss, bool):
            loss = torch.tensor(float(loss), dtype=torch.float64)
        self._take_nested(observed, schema.LOSS, loss)
        self._compare(observed, outputs, targets, observed=True)

    def probe(self, predictions: Any) -> None:
        """Takes the predictions on the user's fixed batch, at any step."""
        self._probe.see(predictions)

    def input_fingerprint(self) -> Any:
        """Of the step's inputs in training: an int, or a 0-d tensor on their device; None where none was taken."""
        for part in (self._observed, self._seen[True]):
            told = part.told.get(schema.INPUT)
            if told is not None and told.fingerprint is not None:
                return told.fingerprint.whole
        return None

    def write(self, record: Record, *, evaluated_backward: bool, step: int) -> None:
        """Adds the rows of the optimizer's step ``step``; those seen in evaluation mode only if the training went
        through them.
        """
        rows, told = dict(self._seen[True].rows), dict(self._seen[True].told)
        if evaluated_backward:
            rows, told = {**self._seen[False].rows, **rows}, {**self._seen[False].told, **told}
        kinds = {kind for kind, _ in self._observed.rows}
        rows = {key: gathered for key, gathered in rows.items() if key[0] not in kinds} | self._observed.rows
        for (kind, subject), gathered in rows.items():
            if gathered.readings:
                gathered.write(record, self._catalog.row(kind, subject, gathered.shape, gathered.dtype))
        for kind, facts in {**told, **self._observed.told}.items():
            self._facts.write(record, kind, facts, step)
        if self._compared is not None:
            self._write_shapes(record, schema.COMPARED, self._compared.subjects, self._compared[:2])
        if self._mixed is not None:
            self._write_shapes(record, schema.MIXED, schema.MIXED_SUBJECTS, self._mixed)
        for fault in sorted(self._operands):
            record.share(self._catalog.row(schema.OPERAND, fault), schema.MEAN, 1.0)
        self._evaluation.write(record, self._catalog)
        self._tokens.write(record)
        self._probe.write(record, self._catalog)

    def _write_shapes(
        self, record: Record, kind: str, subjects: Sequence[str], shapes: Sequence[tuple[int, ...]]
    ) -> None:
        for subject, shape in zip(subjects, shapes, strict=True):
            record.share(self._catalog.row(kind, subject, shape), schema.MEAN, float(math.prod(shape)))

    def _take_inputs(self, into: Part, inputs: Any) -> None:
        """One row for each tensor: "" for the first, the others by their place or name."""
        named = list(named_tensors(inputs))
        if into is self._seen[True]:
            self._tokens.given([tensor for _, tensor in named])
        for i, (path, tensor) in enumerate(named):
            self._take(into, schema.INPUT, path if i else "", tensor)
            if i:
                continue
            if tensor.dim() and not self._catalog.batch_size:
                self._catalog.batch_size, self._catalog.changed = int(tensor.shape[0]), True
            if not _packed(inputs):
                self._tell(into, schema.INPUT, tensor)

    def _take_outputs(self, into: Part, output: Any) -> None:
        for i, (path, tensor) in enumerate(named_tensors(output)):
            if i < OUTPUTS and tensor.is_floating_point() and tensor.dim() == 2:
                self._take(into, schema.OUTPUT, path if i else "", tensor)
                if self._close:
                    self._facts.spread_of(into.told.setdefault(schema.OUTPUT, Told()), path if i else "", tensor)

    @staticmethod
    def _forget_outputs(part: Part) -> None:
        """What the model returned tells no more than what the criterion was given."""
        part.told.pop(schema.OUTPUT, None)
        for key in [key for key in part.rows if key[0] == schema.OUTPUT]:
            del part.rows[key]

    def _take_nested(self, into: Part, kind: str, thing: Any) -> None:
        for i, tensor in enumerate(tensors_in(thing)):
            self._take(into, kind, "", tensor)
            if i == 0 and kind in SUBJECTS and not _packed(thing):
                self._tell(into, kind, tensor)

    def _take(self, into: Part, kind: str, subject: str, tensor: Any) -> None:
        gathered = into.rows.setdefault((kind, subject), Gathered())
        if gathered.calls >= CALLS:
            return
        gathered.calls += 1
        taken = gathered.take(tensor, integers=True, counted=self._counted)
        if taken is None or kind != schema.PREDICTION or not self._close:
            return
        values, reading = taken
        if values.implicit_zeros or not values.tensor.dim():
            return
        dimension = class_dimension(values.tensor)
        if values.tensor.shape[dimension] > 1:
            negative = reading.on_host and reading.values[LOW] < 0
            share = 0.0 if negative else probability_share(widened(values.tensor), dimension)
            samples = values.tensor.numel() // values.tensor.shape[dimension]
            gathered.shares.append((schema.PROBABILITY_SHARE, share, samples))

    def _tell(self, into: Part, kind: str, tensor: Any) -> None:
        if not self._close:
            return
        told = into.told.setdefault(kind, Told())
        if len(told.spreads) < CALLS:
            self._facts.tell(told, kind, tensor, class_dimension(tensor))

    def _compare(self, part: Part, prediction: Any, target: Any, *, observed: bool) -> None:
        """Learns of classes from the first tensors of a prediction and a target."""
        if not self._close:
            return
        targets, predictions = tensors_in(target), tensors_in(prediction)
        first = predictions[0] if predictions else None
        if self._class_index and not observed and first is not None and first.dim():
            self._learn_classes(first.shape[class_dimension(first)])
        if not targets:
            return
        if not self._class_index:
            self._learn_classes(self._facts.classes(first, targets[0]))
        inputs = part.samples() or max(seen.samples() for seen in self._seen.values())
        told = part.told.setdefault(schema.TARGET, Told())
        self._facts.tell_labels(told, targets[0], first, inputs, observed=observed)

    def _learn_classes(self, classes: int) -> None:
        if not classes:
            return
        if self._catalog.criterion is None:
            self._catalog.criterion = messages.Criterion()
        if self._catalog.criterion.classes != classes:
            self._catalog.criterion.classes, self._catalog.changed = classes, True


def _inputs(args: Any, kwargs: Any) -> Any:
    if kwargs:
        return {**{str(i): arg for i, arg in enumerate(args)}, **kwargs}
    return args[0] if len(args) == 1 else args


def _attribute(thing: Any, name: str) -> Any:
    """None also where the user's own class raises something of its own for what it does not have."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


def _packed(thing: Any) -> bool:
    """Whether the first tensor is a packed sequence's, whose first dimension counts no samples."""
    while isinstance(thing, (tuple, list)) and not isinstance(thing, torch.nn.utils.rnn.PackedSequence) and thing:
        thing = thing[0]
    return isinstance(thing, torch.nn.utils.rnn.PackedSequence)
