"""What a loss function was given, read back from its gradient, where no loss module could be seen.

The gradient of a cross-entropy by the logits z is s (softmax(z) - onehot(y)), that of a binary one s (sigmoid(z) - y),
that of a likelihood -s onehot(y), with one scale s for all samples of a class. Where the gradient of the model's output
has that form, kind, labels and value of the loss are known; where it has not, nothing is claimed. (Bishop, "Pattern
Recognition and Machine Learning", 4.3.2 and 4.3.4.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

STEPS_TRIED = 3
"""Measured steps without success after which the loss is taken for another one."""
ELEMENTS_READ = 1 << 17
"""Of the outputs; further samples are left out."""
FEWEST = 4
"""Samples from which a form is no accident."""
SURE = 1e-3
"""Distance of a probability from its bound under which its gradient is too small to be judged."""
IGNORED = -100


class Given(NamedTuple):
    """``criterion`` is a module of the kind of the loss, ``labels`` int64 (samples,) with IGNORED where unknown."""

    criterion: nn.Module
    prediction: torch.Tensor
    labels: torch.Tensor
    loss: torch.Tensor


class ReadBack:
    """Reads one model's loss back, until it turns out to be of no known form."""

    def __init__(self) -> None:
        self._misses = 0
        self._found = False

    @property
    def wanted(self) -> bool:
        return self._misses < STEPS_TRIED

    def read(self, outputs: torch.Tensor, gradient: torch.Tensor) -> Given | None:
        """What the loss was given. Outputs float (samples, classes), (samples, 1) or (samples,), gradient alike."""
        given = read_back(outputs, gradient)
        self._found = self._found or given is not None
        self._misses += given is None and not self._found
        return given


def readable(output: Any) -> torch.Tensor | None:
    """The one tensor of a model's outputs that may be classes of samples; a part of it where it is long."""
    tensors = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else [output]
    found = [
        tensor
        for tensor in tensors
        if isinstance(tensor, torch.Tensor)
        and tensor.requires_grad
        and tensor.dim() in (1, 2)
        and len(tensor) >= FEWEST
    ]
    if len(found) != 1 or found[0].device.type != "cpu" or found[0].layout is not torch.strided:
        return None  # on a device the answer would be waited for
    return found[0]


def read_back(outputs: torch.Tensor, gradient: torch.Tensor) -> Given | None:
    """Kind, labels and value of the loss whose gradient by ``outputs`` is ``gradient``; None if it is no such loss."""
    if outputs.shape != gradient.shape or not outputs.is_floating_point() or not outputs.numel():
        return None
    samples = max(1, ELEMENTS_READ // (outputs.numel() // len(outputs)))
    z, g = outputs[:samples].float(), gradient[:samples].float()
    tolerance = max(1e-3, 8 * torch.finfo(outputs.dtype).eps, 8 * torch.finfo(gradient.dtype).eps)
    if not (z.isfinite().all() and g.isfinite().all()) or len(z) < FEWEST:
        return None
    if z.dim() == 1 or z.shape[1] == 1:
        return _binary(z, g, tolerance)
    return _likelihood(z, g, tolerance) or _cross_entropy(z, g, tolerance)


def _cross_entropy(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> Given | None:
    probabilities = z.softmax(1)
    slope, labels = g.min(1)
    chosen = probabilities.gather(1, labels[:, None])[:, 0]
    judged = (slope < 0) & (chosen < 1 - SURE)
    scale = -slope / (1 - chosen)
    expected = scale[:, None] * (probabilities - nn.functional.one_hot(labels, z.shape[1]))
    error = (g - expected).abs().amax(1)
    if bool((error[judged] > tolerance * scale[judged]).any()) or not _one_scale(scale, labels, judged, tolerance):
        return None
    labels[slope >= 0] = IGNORED
    return Given(nn.CrossEntropyLoss(), z, labels, nn.functional.cross_entropy(z, labels, ignore_index=IGNORED))


def _likelihood(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> Given | None:
    slope, labels = g.min(1)
    judged = slope < 0
    if bool(((g != 0).sum(1) > 1).any()) or bool((g > 0).any()) or not _one_scale(-slope, labels, judged, tolerance):
        return None
    labels[~judged] = IGNORED
    return Given(nn.NLLLoss(), z, labels, nn.functional.nll_loss(z, labels, ignore_index=IGNORED))


def _binary(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> Given | None:
    z, g = z.reshape(-1), g.reshape(-1)
    labels = (g < 0).long()
    missed = torch.where(g < 0, torch.sigmoid(-z), torch.sigmoid(z))
    judged = (g != 0) & (missed > SURE)
    if not _one_scale(g.abs() / missed, labels, judged, tolerance) or float(missed[judged].std()) < SURE:
        return None  # of outputs that are all alike any loss has the same gradient
    wanted = labels.to(z.dtype)
    return Given(nn.BCEWithLogitsLoss(), z, wanted, nn.functional.binary_cross_entropy_with_logits(z, wanted))


def _one_scale(scale: torch.Tensor, labels: torch.Tensor, judged: torch.Tensor, tolerance: float) -> bool:
    """Whether the samples of each class have one scale; all have the same, where a class has too few to tell."""
    scale, labels = scale[judged], labels[judged]
    if len(scale) < FEWEST:
        return False
    if bool((scale - scale.mean()).abs().max() <= tolerance * scale.mean()):
        return True
    count = torch.bincount(labels)
    if int(count.max()) < FEWEST or len(scale) < 2 * int((count > 0).sum()):
        return False
    mean = (torch.bincount(labels, scale.double()) / count.clamp(min=1))[labels]
    return bool(((scale - mean).abs() <= tolerance * mean).all())
