"""What a loss function was given, read back from its gradient, where no loss module could be seen.

The gradient of a cross-entropy by the logits z is s (softmax(z) - onehot(y)), that of a binary one s (sigmoid(z) - y),
that of a likelihood -s onehot(y), with one scale s for all samples of a class. Where the gradient of the model's output
has that form, kind, labels and value of the loss are known; where it has not, nothing is claimed. (Bishop, "Pattern
Recognition and Machine Learning", 4.3.2 and 4.3.4.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from tb_nnhealth.record.loss_graph import Compared, chain_to
from tb_nnhealth.record.reduce_readable import plain

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
    """``criterion`` is a module of the kind of the loss, ``labels`` int64 (samples,) with IGNORED where unknown.

    Not ``sure`` where another loss has that gradient too, and only the graph can tell.
    """

    criterion: nn.Module
    prediction: torch.Tensor
    labels: torch.Tensor
    loss: torch.Tensor
    sure: bool = True


class ReadBack:
    """Reads one model's loss back, until it turns out to be of no known form."""

    def __init__(self) -> None:
        self._misses = 0
        self._found = False

    @property
    def wanted(self) -> bool:
        return self._misses < STEPS_TRIED

    def read(self, outputs: torch.Tensor, gradient: torch.Tensor, number: int) -> Given | Compared | None:
        """What the loss was given, or in which shapes it compared; outputs float (samples, ...), gradient alike.

        ``number`` is the sequence number of the node that made the outputs.
        """
        told = _either_sign(outputs, gradient)
        if told is not None and not told.sure and not _names_a_binary_cross_entropy(outputs, number):
            told = None
        given = told or self._from_graph(outputs, gradient, number)
        self._found = self._found or given is not None
        self._misses += given is None and not self._found
        return given

    @staticmethod
    def _from_graph(outputs: torch.Tensor, gradient: torch.Tensor, number: int) -> Given | Compared | None:
        chain = chain_to(outputs, number)
        if chain is None or outputs.numel() > ELEMENTS_READ or not outputs.is_floating_point():
            return None
        compared = chain.compared()
        if compared is not None and compared.every_pair:
            return compared
        squashed = chain.squashed_twice()
        if squashed is not None:
            return _squashed_twice(*squashed, gradient, chain.value)
        squares = chain.squares(gradient)
        if squares is None:
            return None
        targets, loss, reduction = squares
        return Given(nn.MSELoss(reduction=reduction), outputs, targets, loss)


def readable(output: Any) -> torch.Tensor | None:
    """The one tensor of a model's outputs that a loss may be taken of; beside a loss of the model's own its ``logits``,
    as transformers return them.
    """
    found = [
        tensor
        for tensor in _parts(output)
        if isinstance(tensor, torch.Tensor) and tensor.requires_grad and tensor.dim() and tensor.numel() >= FEWEST
    ]
    if len(found) > 1 and isinstance(output, Mapping) and "loss" in output:
        found = [tensor for tensor in found if tensor is output.get("logits")]
    if len(found) != 1 or plain(found[0]) is None:
        return None  # among others, what functorch wraps: nothing may be asked of it
    if found[0].device.type != "cpu" or found[0].layout is not torch.strided:
        return None  # on a device the answer would be waited for
    return found[0]


def differentiable(output: Any) -> torch.Tensor | None:
    """The first tensor on the host of a model's outputs through which a gradient may come."""
    for tensor in _parts(output):
        if not isinstance(tensor, torch.Tensor) or not tensor.requires_grad or plain(tensor) is None:
            continue
        if tensor.device.type == "cpu":
            return tensor
    return None


def made_last(output: Any) -> int:
    """Sequence number of the last node that made one of a model's outputs; -1 where none did.

    Of two towers the second is made when the first is there: what comes after both is the loss.
    """
    made = [
        tensor.grad_fn
        for tensor in _parts(output)
        if isinstance(tensor, torch.Tensor) and tensor.requires_grad and plain(tensor) is not None
    ]
    return max((node._sequence_nr() for node in made if node is not None), default=-1)


def _parts(output: Any) -> Iterable[Any]:
    """Of what a model returns: a tensor, several, or an object that holds some, as a dataclass or a distribution."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        return output.values()
    return output if isinstance(output, (tuple, list)) else getattr(output, "__dict__", {}).values()


def _names_a_binary_cross_entropy(outputs: torch.Tensor, number: int) -> bool:
    chain = chain_to(outputs, number)
    return chain is not None and chain.through("BinaryCrossEntropyWithLogits")


def _either_sign(outputs: torch.Tensor, gradient: torch.Tensor) -> Given | None:
    """As ``read_back``; of a loss that is made greater rather than smaller the value is below 0."""
    given = read_back(outputs, gradient)
    if given is None and (given := read_back(outputs, -gradient)) is not None:
        return given._replace(loss=-given.loss)
    return given


def read_back(outputs: torch.Tensor, gradient: torch.Tensor) -> Given | None:
    """Kind, labels and value of the loss whose gradient by ``outputs`` is ``gradient``; None if it is no such loss."""
    if outputs.shape != gradient.shape or not outputs.is_floating_point() or not outputs.numel():
        return None
    samples = max(1, ELEMENTS_READ // (outputs.numel() // len(outputs)))
    z, g = outputs[:samples], gradient[:samples]
    if z.dim() == 3 and z.numel() > ELEMENTS_READ:  # one sequence, and too long
        z, g = (tensor[:, : max(1, ELEMENTS_READ // z.shape[2])] for tensor in (z, g))
    if z.numel() > ELEMENTS_READ:
        return None
    z, g = z.float(), g.float()
    tolerance = max(1e-3, 8 * torch.finfo(outputs.dtype).eps, 8 * torch.finfo(gradient.dtype).eps)
    if not (z.isfinite().all() and g.isfinite().all()) or z.numel() < FEWEST:
        return None
    if z.dim() == 1 or z.shape[1] == 1:
        return _binary(z, g, tolerance)
    return _of_classes(z, g, tolerance) or _binary(z, g, tolerance)


def _squashed_twice(p: torch.Tensor, binary: bool, g: torch.Tensor, loss: torch.Tensor) -> Given:
    """Of a mean cross-entropy that took probabilities ``p`` for logits; ``g`` is its gradient by the logits.

    The gradient by one logit of the right class alone is below what the wrong ones explain: -p (1 - p) of it.
    """
    if binary:
        return Given(nn.BCEWithLogitsLoss(), p, (g < 0).to(p.dtype), loss)
    again = p.softmax(1)
    unexplained = g * len(g) - p * (again - (p * again).sum(1, keepdim=True))
    return Given(nn.CrossEntropyLoss(), p, unexplained.argmin(1), loss)


def _of_classes(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> Given | None:
    """Classes lie along dimension 1, as losses have them, or along the last, as layers do."""
    for last in (False, True) if z.dim() > 2 else (False,):
        rows, slopes = (t if last or t.dim() == 2 else t.movedim(1, -1) for t in (z, g))
        shape = rows.shape[:-1]
        rows, slopes = rows.reshape(-1, rows.shape[-1]), slopes.reshape(-1, rows.shape[-1])
        if rows.shape[1] < 2 or len(rows) < FEWEST:
            continue
        given = _likelihood(rows, slopes, tolerance) or _cross_entropy(rows, slopes, tolerance)
        if given is not None and len(shape) > 1:
            return given._replace(prediction=z.movedim(-1, 1) if last else z, labels=given.labels.reshape(shape))
        if given is not None:
            return given
    return None


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
    labels = torch.where(_no_slope_left(g, probabilities).any(1), probabilities.argmax(1), labels)
    labels[(slope >= 0) & (probabilities.amax(1) < 1)] = IGNORED
    return Given(nn.CrossEntropyLoss(), z, labels, nn.functional.cross_entropy(z, labels, ignore_index=IGNORED))


def _no_slope_left(g: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
    """Where the right answer is so sure that its probability is rounded to 1 and its gradient to 0."""
    return (g == 0) & (probability == 1)


def _likelihood(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> Given | None:
    slope, labels = g.min(1)
    judged = slope < 0
    if bool(((g != 0).sum(1) > 1).any()) or bool((g > 0).any()) or not _one_scale(-slope, labels, judged, tolerance):
        return None
    labels[~judged] = IGNORED
    return Given(nn.NLLLoss(), z, labels, nn.functional.nll_loss(z, labels, ignore_index=IGNORED))


def _binary(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> Given | None:
    shape, z, g = (z.shape if z.numel() > len(z) else z.shape[:1]), z.reshape(-1), g.reshape(-1)
    labels = ((g < 0) | _no_slope_left(g, torch.sigmoid(z))).long()
    wanted = labels.to(z.dtype)
    missed = torch.where(labels > 0, torch.sigmoid(-z), torch.sigmoid(z))
    judged = (g != 0) & (missed > SURE)
    if _even(g.abs() / missed, missed, labels, judged, tolerance):
        loss = nn.functional.binary_cross_entropy_with_logits(z, wanted)
        sure = _both_sides(g.abs()[judged] / missed[judged], labels[judged], tolerance)
        return Given(nn.BCEWithLogitsLoss(), z.reshape(shape), wanted.reshape(shape), loss, sure)
    if not (float(z.min()) >= 0 and float(z.max()) <= 1):
        return None
    wanted = ((g < 0) | _no_slope_left(g, z)).to(z.dtype)
    labels = wanted.long()
    given = torch.where(g < 0, z, 1 - z)  # to the right answer
    judged = (g != 0) & (given > SURE)
    if not _even(g.abs() * given, given, labels, judged, tolerance):
        return None
    return Given(nn.BCELoss(), z.reshape(shape), wanted.reshape(shape), nn.functional.binary_cross_entropy(z, wanted))


def _both_sides(scale: torch.Tensor, labels: torch.Tensor, tolerance: float) -> bool:
    """Whether both labels tell that it is a binary cross-entropy.

    With one label it is a sum of softplus, as are absolute errors of answers made positive by softplus that lie on one
    side of their targets, but for a few.
    """
    fewer = min(int(labels.sum()), len(labels) - int(labels.sum()))
    same = bool((scale - scale.mean()).abs().max() <= tolerance * scale.mean())
    return fewer >= FEWEST or (fewer > 0 and same)


def _even(
    scale: torch.Tensor, told: torch.Tensor, labels: torch.Tensor, judged: torch.Tensor, tolerance: float
) -> bool:
    """Whether the samples have one scale, and answers that differ: of answers all alike any loss has one gradient."""
    return _one_scale(scale, labels, judged, tolerance) and float(told[judged].std()) >= SURE


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
