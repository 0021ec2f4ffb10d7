"""What a batch's first tensors tell beyond their statistics: spread, labels, log-probabilities, repetition.

Each is computed at once, as the tensor may change later, from an even part of it (``observe_block``). One that fails is
reported and given up; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.observe_block import address_of_block, block_of, spread, spread_there
from tb_nnhealth.record.observe_labels import BINARY, Labels, added, classes_of
from tb_nnhealth.record.observe_places import BATCHES, cost_of_places
from tb_nnhealth.record.observe_predictions import log_probability_share
from tb_nnhealth.record.observe_repeats import (
    Fingerprint,
    Marks,
    Repeats,
    fingerprint,
    fingerprint_there,
    joined,
)
from tb_nnhealth.record.reduce_table import Record

SUBJECTS = {schema.INPUT: "input", schema.PREDICTION: "prediction", schema.TARGET: "target"}


class Told:
    """Facts of the first tensor of one kind in one step, over its calls."""

    def __init__(self) -> None:
        self.spreads: list[tuple[Any, float]] = []
        self.output_spreads: list[tuple[str, Any, float]] = []
        """Of what the model returned, by its place."""
        self.log_probabilities: list[tuple[Any, float]] = []
        self.places: Any = None
        """What one answer for each place of the first call's target costs."""
        self.labels: Any = None
        self.fingerprint: Fingerprint | None = None
        """Of the first call; of an input, of all calls in the step that are given data."""
        self.samples = 0
        """Of the last call."""


class Facts:
    """Takes the facts of each step's tensors and writes them; remembers fingerprints from one record to the next.

    ``fail`` reports what goes wrong.
    """

    def __init__(self, catalog: Catalog, fail: Callable[[str, Exception], Any]) -> None:
        self._catalog, self._fail = catalog, fail
        self._labels = Labels(catalog)
        self._log_probabilities = False
        self._batches_of_places = 0
        """How many more targets are looked at place by place."""
        self._repeats = {schema.INPUT: Repeats(), schema.TARGET: Repeats()}
        self._marks = Marks()
        self._given_up: set[str] = set()

    def describe(self, criterion: Any) -> None:
        self._labels.describe(criterion)
        self._log_probabilities = isinstance(criterion, nn.NLLLoss)
        self._batches_of_places = BATCHES if isinstance(criterion, BINARY) else 0

    def tell(self, told: Told, kind: str, tensor: Any, dimension: int | None = None) -> None:
        """Takes in the first tensor of a call; ``dimension`` counts a prediction's classes."""
        if not isinstance(tensor, torch.Tensor) or not tensor.dim():
            return
        subject = SUBJECTS[kind]
        told.samples = int(tensor.shape[0])
        probe = f"part of the {subject}"
        where = self._try(probe, address_of_block, tensor)
        value = self._try(f"spread of the {subject}", spread_there, where) if where else None
        block = None if value is not None else self._try(probe, block_of, tensor)
        if value is None and block is None:
            return
        if value is None:
            value = self._try(f"spread of the {subject}", spread, block)
        if value is not None:
            told.spreads.append((value, float(tensor.shape[0])))
        if kind in self._repeats:
            self._tell_repeats(told, kind, tensor, where, block)
        if kind == schema.TARGET and self._batches_of_places and told.places is None:
            self._batches_of_places -= 1
            told.places = self._try("places of the target", lambda: cost_of_places(block_of(tensor)))
        if kind == schema.PREDICTION and self._log_probabilities and dimension is not None:
            share = self._try("log-probabilities", log_probability_share, tensor, dimension)
            if share is not None:
                told.log_probabilities.append((share, float(tensor.shape[0])))

    def _tell_repeats(self, told: Told, kind: str, tensor: torch.Tensor, where: Any, block: Any) -> None:
        """Of an input all calls: a step that accumulates gradients has a batch of several. What the model is given of
        its own answers is no data."""
        if told.fingerprint is not None and (kind != schema.INPUT or tensor.requires_grad):
            return
        taken = fingerprint_there, tensor, where
        now = self._try(f"fingerprint of the {SUBJECTS[kind]}", *(taken if where else (fingerprint, tensor, block)))
        if now is not None:
            told.fingerprint = now if told.fingerprint is None else joined(told.fingerprint, now)

    def spread_of(self, told: Told, place: str, output: torch.Tensor) -> None:
        """Takes in one of the tensors that the model returned."""
        where = self._try("part of the output", address_of_block, output)
        value = self._try("spread of the output", spread_there, where) if where else None
        if value is None and (block := self._try("part of the output", block_of, output)) is not None:
            value = self._try("spread of the output", spread, block)
        if value is not None:
            told.output_spreads.append((place, value, float(output.shape[0])))

    def tell_labels(self, told: Told, target: Any, prediction: Any, inputs: int, *, observed: bool) -> None:
        """Counts the classes in ``target``, the first of a call, with the ``prediction`` that it was compared with."""
        counts = self._try("labels", lambda: self._labels.count(target, prediction, inputs, observed=observed))
        told.labels = added(told.labels, counts)

    def classes(self, prediction: Any, target: Any) -> int:
        return self._try("number of classes", classes_of, prediction, target) or 0

    def write(self, record: Record, kind: str, told: Told, step: int) -> None:
        """Adds the rows of the facts of one kind."""
        for place, value, weight in told.output_spreads:
            record.share(self._catalog.row(schema.SPREAD, f"output {place}".strip()), schema.MEAN, value, weight)
        if kind not in SUBJECTS:
            return
        subject = SUBJECTS[kind]
        for value, weight in told.spreads:
            record.share(self._catalog.row(schema.SPREAD, subject), schema.MEAN, value, weight)
        for value, weight in told.log_probabilities:
            record.share(self._catalog.row(schema.LOG_PROBABILITY, ""), schema.MEAN, value, weight)
        if told.places is not None:
            record.share(self._catalog.row(schema.PLACES, subject), schema.MEAN, told.places)
        if told.labels is not None:
            self._try("labels", self._labels.write, record, told.labels)
        if told.fingerprint is not None:
            self._try(f"repetition of the {subject}", self._write_repeats, record, kind, told.fingerprint, step)

    def _write_repeats(self, record: Record, kind: str, now: Fingerprint, step: int) -> None:
        self._pair(record, schema.REPEATED, SUBJECTS[kind], self._repeats[kind].find(now, step))
        if kind == schema.INPUT and now.identifies:
            self._pair(record, schema.SEEN, "samples", self._marks.find(now.samples))

    def _pair(self, record: Record, kind: str, subject: str, values: tuple[Any, Any]) -> None:
        row = self._catalog.row(kind, subject)
        for statistic, value in zip((schema.MEAN, schema.MAX), values, strict=True):
            if value is not None:
                record.share(row, statistic, value)

    def _try(self, probe: str, function: Callable[..., Any], *args: Any) -> Any:
        if probe in self._given_up:
            return None
        try:
            return function(*args)
        except Exception as error:
            self._given_up.add(probe)
            self._fail(probe, error)
            return None
