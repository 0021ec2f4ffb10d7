"""Class labels of a batch: whether a target holds class indices, and how many of each class there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_readable import plain
from tb_nnhealth.record.reduce_table import Record

CLASS_INDEX = (nn.CrossEntropyLoss, nn.NLLLoss)
OF_PAIRS = (nn.CosineEmbeddingLoss, nn.MarginRankingLoss)
"""Criteria that are given two predictions before the target."""
BINARY = (nn.BCELoss, nn.BCEWithLogitsLoss)
_MOST_CLASSES = 1 << 16
"""A label beyond is an identifier rather than a class."""
_DEVICE_COMPARISONS = 1 << 24
"""Samples times classes up to which labels are counted on a device, where a bincount would wait."""
_IGNORED = -100


class Labels:
    """Counts of classes, where the target has one class index for each sample.

    They do where the criterion says so, where integers meet one column of predictions for each class, and where
    ``observe`` hands over integers without any prediction. A target with several indices for a sample (of a sequence,
    of an image's pixels) has no classes of samples.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._index = self._binary = False
        self._ignored = _IGNORED
        self._no_classes = False
        """Integers that are not all 0 and 1 have met a prediction of one column: they are numbers."""
        self._seen = 0
        """Classes seen, where nothing tells how many there are."""
        self._rows: list[int] = []
        """Of each class."""

    def describe(self, criterion: Any) -> None:
        self._index, self._binary = isinstance(criterion, CLASS_INDEX), isinstance(criterion, BINARY)
        ignored = getattr(criterion, "ignore_index", _IGNORED)
        self._ignored = ignored if isinstance(ignored, int) else _IGNORED

    def count(self, target: Any, prediction: Any, inputs: int, *, observed: bool) -> Any:
        """Samples of each class: int64 numpy (classes,), or float32 on a device; None where there are no classes.

        ``prediction`` may be None; ``inputs`` is the number of samples in the model's input, 0 where unknown.
        """
        data = plain(target)
        if data is None or data.layout is not torch.strided or data.is_complex() or not data.numel():
            return None
        if not (data.dim() == 1 or (data.dim() == 2 and data.shape[1] == 1)):
            return None
        labels = data.reshape(-1)
        samples = labels.numel()
        if inputs and samples > inputs and samples % inputs == 0:
            return None  # sequences, flattened
        integers = not labels.is_floating_point()
        width = _width(prediction, samples)
        if self._binary:
            return _binary_counts(labels)
        if not integers or self._no_classes or not (self._index or width or (observed and prediction is None)):
            return None
        if width == 1 and not self._index:
            counts = _binary_counts(labels)
            self._no_classes = counts is None
            return counts
        criterion = self._catalog.criterion
        classes = width or (criterion.classes if criterion is not None else 0)
        return _counts(labels, classes, self._ignored)

    def write(self, record: Record, counts: Any) -> None:
        """Adds the rows of one step's ``counts``."""
        if (
            isinstance(counts, np.ndarray) and len(counts) <= schema.CLASSES_TOLD
        ):  # so few are counted sooner one by one
            numbers = counts.tolist()
            samples, distinct, most = sum(numbers), len(numbers) - numbers.count(0), max(numbers)
        else:
            samples, distinct, most = counts.sum(), (counts > 0).sum(), counts.max()
        if isinstance(counts, torch.Tensor):
            samples = torch.where(samples > 0, samples, torch.nan)
            distinct = torch.where(samples > 0, distinct.float(), torch.nan)
        elif samples == 0:
            return
        for subject, value in (("samples", samples), ("distinct", distinct), ("majority", most / samples)):
            record.share(self._catalog.row(schema.LABELS, subject), schema.MEAN, value)
        self._seen = max(self._seen, len(counts))
        if self._seen <= schema.CLASSES_TOLD:
            while len(self._rows) < self._seen:
                self._rows.append(self._catalog.row(schema.CLASS, str(len(self._rows))))
            shares = counts / samples
            record.share_many(self._rows[: len(counts)], schema.MEAN, shares)
            if len(counts) < self._seen:
                record.share_many(self._rows[len(counts) :], schema.MEAN, np.zeros(self._seen - len(counts)))


def added(one: Any, other: Any) -> Any:
    """Counts of two calls taken together; the longer tells of more classes."""
    if one is None or other is None or len(one) == len(other):
        return other if one is None else one if other is None else one + other
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return one
    short, long = sorted((one, other), key=len)
    total = long.copy()
    total[: len(short)] += short
    return total


def classes_of(prediction: Any, target: Any) -> int:
    """Classes, where an integer ``target`` has as many elements as ``prediction`` has vectors over them; else 0."""
    if not (isinstance(prediction, torch.Tensor) and isinstance(target, torch.Tensor)):
        return 0
    if prediction.dim() < 2 or target.is_floating_point() or target.is_complex():
        return 0
    shape = tuple(prediction.shape)
    if tuple(target.shape) == (shape[0], *shape[2:]):
        return shape[1] if shape[1] > 1 else 0
    return shape[-1] if tuple(target.shape) == shape[:-1] and shape[-1] > 1 else 0


def _width(prediction: Any, samples: int) -> int:
    """Columns of a prediction for each sample: 1 for (samples,); 0 where unknown, or where it has other dimensions."""
    if not isinstance(prediction, torch.Tensor) or not 1 <= prediction.dim() <= 2 or prediction.shape[0] != samples:
        return 0
    return prediction.shape[1] if prediction.dim() == 2 else 1


def _binary_counts(labels: Any) -> Any:
    zeros, ones = (labels == 0).sum(), (labels == 1).sum()
    if labels.is_cpu:
        counts = np.array([int(zeros), int(ones)], np.int64)
        return counts if counts.sum() == labels.numel() else None
    counts = torch.stack([zeros, ones]).float()
    return torch.where(counts.sum() == labels.numel(), counts, torch.nan)


def _counts(labels: Any, classes: int, ignored: int) -> Any:
    if not labels.is_cpu:
        return counts_on_device(labels, classes, ignored)
    array = labels.numpy()
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    low, high = int(array.min()), int(array.max())
    if low < 0 or low <= ignored <= high:
        array = array[(array >= 0) & (array != ignored)]
    return np.bincount(array, minlength=classes) if high < _MOST_CLASSES else None


def counts_on_device(labels: Any, classes: int, ignored: int) -> Any:
    """float32 (classes,) without waiting for the device; None where the classes are not known, or too many."""
    if not 0 < classes * labels.numel() <= _DEVICE_COMPARISONS:
        return None
    indices = torch.arange(classes, device=labels.device)
    counts = (labels[:, None] == indices).sum(0)
    return torch.where(indices == ignored, 0, counts).float()
