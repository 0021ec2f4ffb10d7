"""The batch of a measured step: the model's inputs, the criterion's prediction, target and loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tb_nnhealth import messages, schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce import LOW
from tb_nnhealth.record.reduce_gather import CALLS, Gathered, named_tensors, tensors_in
from tb_nnhealth.record.reduce_table import Record

_CLASS_INDEX = (nn.CrossEntropyLoss, nn.NLLLoss)
_BINARY = (nn.BCELoss, nn.BCEWithLogitsLoss)
_SUM_TOLERANCE = 1e-3

Key = tuple[str, str]


class Batch:
    """Gathers a step's batch tensors; those the user hands over by ``observe`` stand for those seen by hooks."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.open(counted=False)

    def open(self, *, counted: bool) -> None:
        self._counted = counted
        self._seen: dict[bool, dict[Key, Gathered]] = {True: {}, False: {}}
        self._observed: dict[Key, Gathered] = {}
        self._root_called = False
        self._first_seen = False

    def describe(self, criterion: Any) -> None:
        """Notes a criterion's type, reduction and, where the type says it, its number of classes."""
        self._catalog.criterion = messages.Criterion(
            type=type(criterion).__name__,
            classes=2 if isinstance(criterion, _BINARY) else 0,
            reduction=str(getattr(criterion, "reduction", "")),
        )

    def model_called(self, args: Any, kwargs: Any, *, training: bool) -> None:
        self._root_called = True
        inputs = _named(args, kwargs) if kwargs else args[0] if len(args) == 1 else args
        self._take_inputs(self._seen[training], inputs)

    def first_module_called(self, args: Any, *, training: bool) -> None:
        """Inputs of a model that is not called itself are those of the first of its modules called in the step."""
        if not self._root_called and not self._first_seen:
            self._first_seen = True
            self._take_inputs(self._seen[training], args)

    def model_returned(self, output: Any, *, training: bool) -> None:
        """Takes the loss that a model itself computes and returns as ``loss``."""
        if self._catalog.criterion is not None or isinstance(output, torch.Tensor):
            return
        loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
        if isinstance(loss, torch.Tensor):
            self._take(self._seen[training], schema.LOSS, "", loss)

    def criterion_called(self, module: Any, args: Any, kwargs: Any, output: Any, *, training: bool) -> None:
        prediction = args[0] if args else kwargs.get("input")
        target = args[1] if len(args) > 1 else kwargs.get("target")
        seen = self._seen[training]
        self._take_nested(seen, schema.PREDICTION, prediction)
        self._take_nested(seen, schema.TARGET, target)
        self._take_nested(seen, schema.LOSS, output)
        first = tensors_in(prediction)
        if isinstance(module, _CLASS_INDEX) and first and first[0].dim():
            classes = first[0].shape[_class_dimension(first[0])]
            if self._catalog.criterion.classes != classes:
                self._catalog.criterion.classes, self._catalog.changed = classes, True

    def observe(self, inputs: Any, targets: Any, outputs: Any, loss: Any) -> None:
        if inputs is not None:
            self._take_inputs(self._observed, inputs)
        self._take_nested(self._observed, schema.TARGET, targets)
        self._take_nested(self._observed, schema.PREDICTION, outputs)
        if isinstance(loss, (int, float)) and not isinstance(loss, bool):
            loss = torch.tensor(float(loss), dtype=torch.float64)
        self._take_nested(self._observed, schema.LOSS, loss)

    def write(self, record: Record, *, evaluated_backward: bool) -> None:
        """Adds the step's rows; those seen in evaluation mode only if the training went through them."""
        rows = {**(self._seen[False] if evaluated_backward else {}), **self._seen[True]}
        kinds = {kind for kind, _ in self._observed}
        rows = {key: gathered for key, gathered in rows.items() if key[0] not in kinds} | self._observed
        for (kind, subject), gathered in rows.items():
            if gathered.readings:
                gathered.write(record, self._catalog.row(kind, subject, gathered.shape, gathered.dtype))

    def _take_inputs(self, into: dict[Key, Gathered], inputs: Any) -> None:
        """One row for each tensor: "" for the first, the others by their place or name."""
        for i, (path, tensor) in enumerate(named_tensors(inputs)):
            subject = path if i else ""
            self._take(into, schema.INPUT, subject, tensor)
            if i == 0 and tensor.dim() and not self._catalog.batch_size:
                self._catalog.batch_size, self._catalog.changed = int(tensor.shape[0]), True

    def _take_nested(self, into: dict[Key, Gathered], kind: str, thing: Any) -> None:
        for tensor in tensors_in(thing):
            self._take(into, kind, "", tensor)

    def _take(self, into: dict[Key, Gathered], kind: str, subject: str, tensor: Any) -> None:
        gathered = into.setdefault((kind, subject), Gathered())
        if gathered.calls >= CALLS:
            return
        gathered.calls += 1
        taken = gathered.take(tensor, integers=True, counted=self._counted)
        if taken is None or kind != schema.PREDICTION:
            return
        values, reading = taken
        if values.implicit_zeros or not values.tensor.dim():
            return
        dimension = _class_dimension(values.tensor)
        if values.tensor.shape[dimension] > 1:
            negative = reading.on_host and reading.values[LOW] < 0
            share = 0.0 if negative else _probability_share(values.tensor, dimension)
            samples = values.tensor.numel() // values.tensor.shape[dimension]
            gathered.shares.append((schema.PROBABILITY_SHARE, share, samples))


def _named(args: Any, kwargs: Any) -> dict[str, Any]:
    return {**{str(i): arg for i, arg in enumerate(args)}, **kwargs}


def _class_dimension(prediction: Any) -> int:
    return 1 if prediction.dim() > 1 else 0


def _probability_share(prediction: Any, dimension: int) -> Any:
    """Share of vectors along ``dimension`` that have no negative element and sum to one."""
    probable = (prediction >= 0).all(dimension) & ((prediction.sum(dimension) - 1).abs() < _SUM_TOLERANCE)
    return probable.sum() / probable.numel()
