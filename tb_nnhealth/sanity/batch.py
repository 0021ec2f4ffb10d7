"""The user's batch: what the model takes, what the criterion compares with, and along which axis the samples lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from tb_nnhealth.sanity import nested

LABELS = ("labels", "label", "targets", "target", "y")
"""Names under which a mapping holds its targets."""
SMALL_BESIDE = 0.1
"""Integers with fewer elements than this share of the largest input are lengths or times, no features."""
MASK = -1e4


@dataclass(frozen=True)
class Batch:
    """``label`` is the name under which the model takes the targets itself, "" where it does not.

    ``axis`` and ``target_axis`` are the samples' axes, None where no axis of inputs and targets agrees. ``sure``: no
    other axis could be meant.
    """

    inputs: Any
    targets: Any
    label: str = ""
    axis: int | None = None
    target_axis: int = 0
    samples: int = 0
    sure: bool = True

    def with_inputs(self, change: nested.Change) -> Batch:
        """The batch with each feature tensor of the inputs changed; masks, lengths and times stay."""
        features = {name for name, _ in self.features()}
        inputs = nested.mapped(self.inputs, lambda name, x: change(name, x) if name in features else x)
        return replace(self, inputs=inputs)

    def features(self) -> list[tuple[str, Tensor]]:
        """The inputs that carry what the model learns from."""
        tensors = nested.named_tensors(self.inputs)
        most = max((tensor.numel() for _, tensor in tensors), default=0)
        found = [(name, tensor) for name, tensor in tensors if not _aside(name, tensor, most)]
        return found or tensors

    def take(self, index: Tensor) -> Batch:
        """The samples ``index``, int64; needs an ``axis``."""
        assert self.axis is not None
        return replace(
            self,
            inputs=nested.taken(self.inputs, index, self.axis, self.samples),
            targets=nested.taken(self.targets, index, self.target_axis, self.samples),
            samples=len(index),
        )

    def flat_targets(self) -> Tensor | None:
        """Targets of shape (samples, numbers per sample), None where they are no single tensor with an axis."""
        return _flat(self.targets, self.target_axis, self.samples) if self.axis is not None else None

    def flat_inputs(self) -> Tensor | None:
        """All features side by side, (samples, numbers per sample), float64; None where some have no axis."""
        if self.axis is None:
            return None
        rows = [_flat(tensor, self.axis, self.samples) for _, tensor in self.features()]
        kept = [row.double().cpu() for row in rows if row is not None]
        return torch.cat(kept, 1) if kept and len(kept) == len(rows) else None


def read(given: Any, batch_dim: int | None) -> Batch:
    """The batch as the user gave it. Raises TypeError or ValueError, with a sentence, where it cannot be read."""
    batch = _parted(given)
    if not nested.named_tensors(batch.inputs):
        raise ValueError(f"preflight(): the batch's inputs hold no tensor, found {type(batch.inputs).__name__}")
    return _with_axis(batch, batch_dim)


def _parted(given: Any) -> Batch:
    if isinstance(given, Mapping):
        label = next((name for name in LABELS if name in given), None)
        if label is None:
            raise ValueError(
                f"preflight(): a batch that is a mapping needs its targets under one of {', '.join(LABELS)}; found "
                f"{', '.join(map(str, given))}. Or give (inputs, targets)"
            )
        return Batch({name: value for name, value in given.items() if name != label}, given[label], label)
    if not isinstance(given, (tuple, list)):
        hint = "; give one of its batches: next(iter(loader))" if isinstance(given, DataLoader) else ""
        raise TypeError(f"preflight(): expected a batch (inputs, targets), found {type(given).__name__}{hint}")
    if len(given) != 2:
        raise ValueError(
            f"preflight(): expected a batch (inputs, targets), found {len(given)} parts; give several inputs as "
            "((x1, x2), y)"
        )
    return Batch(given[0], given[1])


def _with_axis(batch: Batch, batch_dim: int | None) -> Batch:
    targets = [tensor for _, tensor in nested.named_tensors(batch.targets) if tensor.ndim]
    inputs = [tensor for _, tensor in batch.features() if tensor.ndim]
    if not targets or not inputs:
        return batch
    first, target = inputs[0], targets[0]
    candidates = (0, 1) if batch_dim is None else (batch_dim,)
    for axis in candidates:
        along = axis if target.ndim > 1 else 0
        size = target.shape[along]
        if all(x.ndim > axis and x.shape[axis] == size for x in inputs):
            ambiguous = min(first.ndim, target.ndim) > 1 and first.shape[:2] == target.shape[:2] and first.shape[1] > 1
            sequences = first.ndim == 3 or not first.is_floating_point()
            sure = batch_dim is not None or not (ambiguous and sequences)
            return replace(batch, axis=axis, target_axis=along, samples=size, sure=sure)
    return batch


def _flat(value: Any, axis: int, samples: int) -> Tensor | None:
    if not isinstance(value, Tensor) or value.ndim <= axis or value.shape[axis] != samples:
        return None
    return value.detach().movedim(axis, 0).reshape(samples, -1)


def _aside(name: str, tensor: Tensor, most: int) -> bool:
    """Masks, positions, lengths and times: not what the model learns from."""
    last = name.rpartition(".")[2].lower()
    if tensor.dtype == torch.bool or any(word in last for word in ("mask", "position", "length", "token_type")):
        return True
    if not tensor.is_floating_point():
        return bool(tensor.numel() < SMALL_BESIDE * most)
    return bool(tensor.numel()) and bool((tensor <= 0).all()) and bool((tensor < MASK).any())
