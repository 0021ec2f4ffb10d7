"""How a criterion weighs the classes: read once, when it is described."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.observe_labels import BINARY, CLASS_INDEX


def class_weights(criterion: Any, *, waits: bool) -> list[float]:
    """Of the classes of a cross-entropy, or of 0 and 1 of a binary one; empty where all weigh alike.

    NaN where they are not known: one weight for each element, too many classes, or, unless ``waits``, numbers that only
    a device knows.
    """
    weight = getattr(criterion, "weight", None)
    if isinstance(criterion, BINARY):
        positive = getattr(criterion, "pos_weight", None)
        if weight is None and positive is None:
            return []
        told = [math.nan] if weight is not None else _numbers(positive, waits=waits)
        return [1.0, told[0] if len(set(told)) == 1 else math.nan]
    return _numbers(weight, waits=waits) if isinstance(criterion, CLASS_INDEX) and weight is not None else []


def label_smoothing(criterion: Any) -> float:
    return float(criterion.label_smoothing) if isinstance(criterion, nn.CrossEntropyLoss) else 0.0


def _numbers(weight: Any, *, waits: bool) -> list[float]:
    known = isinstance(weight, torch.Tensor) and weight.numel() <= schema.CLASSES_TOLD and (waits or weight.is_cpu)
    return [float(each) for each in weight.detach().reshape(-1).tolist()] if known else [math.nan]
