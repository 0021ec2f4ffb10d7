"""What the loss functions of a program are given, told by the autograd graph beneath its loss.

Names, edges and shapes alone: what the nodes saved is gone when a backward pass has come to the model's output.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple

from tb_nnhealth.record.loss_graph import DIFFERENCES, PASSING, REDUCING, Compared, Multiplied, differentiated

STEPS_TRIED = 3
"""Measured steps without success after which nothing more is looked for."""
NODES = 160
"""Looked at beneath a loss."""
SCALING = ("Add", "Sub", "Mul", "Div", "Neg", *REDUCING, *PASSING)
LIKELIHOODS = ("NllLoss", "NllLoss2D", "NllLossNd")
ALIGNING = ("CtcLoss", "CudnnCtcLoss", "MiopenCtcLoss")
ELEMENTWISE = ("MseLoss", "SmoothL1Loss", "HuberLoss", "Sub")
RESHAPING = ("View", "UnsafeView", "ReshapeAlias", "Unsqueeze")
"""By which a row is made a column on purpose, to compare every pair."""
ELEMENT_BY_ELEMENT = ("Minimum", "Maximum", "Clamp", "ClampMin", "ClampMax", "Where", "Abs", "Pow")
PICKING = ("Gather", "Index")
"""By which a likelihood written by hand takes the right class's logarithm."""
CLAMPS = ("Clamp", "ClampMin", "ClampMax")
NORMS = ("LinalgVectorNorm", "Norm")
LAYERS = ("Addmm", "Linear", "Convolution", "MkldnnConvolution", "NativeBatchNorm", "NativeLayerNorm")
SQUASHING = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
RAW = {**SQUASHING, "Addmm": "linear", "Mm": "linear"}
SCORES = {"Addmm": "linear", "Mm": "linear", "Convolution": "convolution"}
_REDUCTIONS = {1: "mean", 2: "sum"}


class Operands(NamedTuple):
    """``faults``: names of functions with those of what they are given, ``nll_loss<softmax``.

    ``compared``: shapes where each of n answers is compared with n targets.
    ``classes``: of the cross-entropies whose weighted sum the loss is, 0 where it is another; ``value``: its own.
    """

    faults: tuple[str, ...]
    classes: int = 0
    reduction: str = ""
    value: Any = None
    compared: Compared | None = None


class OperandReader:
    """Reads one program's losses, until they turn out to have nothing to tell."""

    def __init__(self) -> None:
        self._misses = 0
        self._found = False

    @property
    def wanted(self) -> bool:
        return self._misses < STEPS_TRIED

    def read(self, number: int, *, within: bool = False) -> Operands | None:
        """Of the loss that is being differentiated on this thread; None where it cannot be told, or tells nothing.

        ``number`` is the sequence number of the node that made the model's output; ``within`` as in ``operands_of``.
        """
        loss = differentiated()
        return self._note(None if loss is None or loss.grad_fn is None else operands_of(loss, number, within=within))

    def read_criterion(self, loss: Any, number: int) -> Operands | None:
        """Of what a criterion returned for a prediction that the node of that sequence number made."""
        return self._note(operands_of(loss, number, within=True))

    def _note(self, told: Operands | None) -> Operands | None:
        self._found = self._found or told is not None
        self._misses += told is None and not self._found
        return told


class ProductReader:
    """Looks for products of every pair beneath a loss, which its first measured steps tell for all."""

    def __init__(self) -> None:
        self._left = STEPS_TRIED

    def read(self, number: int) -> Multiplied | None:
        """Of the loss that is being differentiated on this thread; None where it takes no such product."""
        loss = differentiated() if self._left else None
        told = None if loss is None or loss.grad_fn is None else operands_of(loss, number)
        found = told.compared if told is not None and isinstance(told.compared, Multiplied) else None
        self._left -= found is None and self._left > 0
        return found


def operands_of(loss: Any, number: int = -1, *, within: bool = False) -> Operands | None:
    """None where nothing is known of what ``loss`` is made of; ``number`` as in ``OperandReader.read``.

    ``within``: what was computed before that node is not looked through.
    """
    faults, shapes, reductions, others, compared = [], set(), set(), False, None
    queue, seen = deque([(loss.grad_fn, True, True)]), set[Any]()
    while queue and len(seen) < NODES:
        node, whole, single = queue.popleft()
        if node is None or node in seen or (within and node._sequence_nr() <= number):
            continue
        seen.add(node)
        kind = _kind(node)
        sources = [source for source, _ in node.next_functions if source is not None]
        if kind in LIKELIHOODS or kind == "BinaryCrossEntropyWithLogits":
            name, given = ("nll_loss", RAW) if kind in LIKELIHOODS else ("binary_cross_entropy_with_logits", SQUASHING)
            operand = _beneath(sources[0]) if sources else None
            if operand is not None and operand is sources[0] and (over := _over_samples(operand, kind)) is not None:
                faults.append(f"nll_loss<log_softmax over dimension {over}")
                others = True
            elif kind in LIKELIHOODS and operand is not None and _kind(operand) == "LogSoftmax":
                shapes.add(_classes(operand, kind))
                reductions.add(_REDUCTIONS.get(getattr(node, "_saved_reduction", 0), ""))
                others |= not whole or (number >= 0 and _of_another_network(operand, number))
                name, given = "cross_entropy", SQUASHING
                logits = operand.next_functions[0][0]
                if logits is not None and (over := _over_samples(logits, kind)) is not None:
                    faults.append(f"cross_entropy<log_softmax over dimension {over}")
                operand = _beneath(logits)
                if operand is not None and _of_cosines(operand):
                    faults.append("cross_entropy<cosine")
            else:
                others = True
            if operand is not None and _kind(operand) in given:
                faults.append(f"{name}<{given[_kind(operand)]}")
            continue
        if kind in ALIGNING or (kind == "Sub" and _is_divergence(node)):
            operand = _beneath(sources[0] if kind in ALIGNING else node.next_functions[1][0].next_functions[1][0])
            name, given = ("ctc_loss", RAW) if kind in ALIGNING else ("kl_div", {"Softmax": "softmax"})
            if operand is not None and _kind(operand) in given:
                faults.append(f"{name}<{given[_kind(operand)]}")
                others = True
                continue
        if kind == "BinaryCrossEntropy" and sources and _kind(sources[0]) in CLAMPS:
            operand = _beneath(sources[0].next_functions[0][0])
            if operand is not None and _kind(operand) in SCORES:
                faults.append(f"binary_cross_entropy<{SCORES[_kind(operand)]}")
        if kind in PICKING and (over := _picked_over_samples(node, kind, number)) is not None:
            faults.append(f"likelihood<log_softmax over dimension {over}")
        if kind in ELEMENTWISE and len(sources) == 1 and _kind(sources[0]) == "Expand" and compared is None:
            told = Compared(_shape(sources[0].next_functions[0][0]), _shape(sources[0]))
            compared = told if told.every_pair else None
        if single and kind in DIFFERENCES and len(sources) == 1 and compared is None:
            of_the_loss = 0 <= number < node._sequence_nr() and _kind(sources[0]) not in RESHAPING
            told = Compared(_shape(sources[0]), _shape(node))
            compared = told if of_the_loss and told.every_pair else None
        if single and kind == "Mul" and len(sources) == 1 and compared is None:
            told = Multiplied(_shape(sources[0]), _shape(node))
            compared = told if told.every_pair else None
        single = single and (kind in SCALING or kind in ELEMENT_BY_ELEMENT) and not _reduces_in_part(kind, node)
        whole = whole and kind in SCALING and (kind not in ("Mul", "Div") or len(sources) == 1)
        others |= not whole
        queue.extend((source, whole, single) for source in sources)
    alone = not others and len(shapes) == len(reductions) == 1 and not queue
    classes = shapes.pop() if alone else 0
    if not (faults or classes or compared):
        return None
    value = loss.detach()
    return Operands(tuple(dict.fromkeys(faults)), classes, reductions.pop() if classes else "", value, compared)


def _over_samples(node: Any, kind: str) -> int | None:
    """The dimension of a log_softmax before a likelihood, where it is not that of the classes.

    A square matrix of similarities has its pairs on the diagonal, and either dimension will do.
    """
    shape = _shape(node)
    if kind not in LIKELIHOODS or _kind(node) != "LogSoftmax" or len(shape) < 2:
        return None
    over, classes = _dimension(node, len(shape)), len(shape) - 1 if kind == "NllLoss" else 1
    return None if over is None or over == classes or shape[over] == shape[classes] else over


def _picked_over_samples(node: Any, kind: str, number: int) -> int | None:
    """As ``_over_samples``, where one element of each row is picked out of what was computed of the model's output."""
    operand = node.next_functions[0][0]
    if operand is None or _kind(operand) != "LogSoftmax" or operand._sequence_nr() < number:
        return None
    shape, picked = _shape(operand), _shape(node)
    if len(shape) < 2:
        return None
    classes = _dimension(node, len(shape)) if kind == "Gather" else len(shape) - 1
    over = _dimension(operand, len(shape))
    if over is None or classes is None or over == classes or shape[over] == shape[classes]:
        return None
    rows = shape[:classes] + shape[classes + 1 :]
    return over if picked in (rows, (*shape[:classes], 1, *shape[classes + 1 :])) else None


def _dimension(node: Any, dimensions: int) -> int | None:
    """Which ``node`` goes along, from 0 on; autograd tells negative ones as unsigned."""
    told = getattr(node, "_saved_dim", None)
    return None if told is None else int(told - 2**64 + dimensions if told >= 2**63 else told % dimensions)


def _of_cosines(node: Any) -> bool:
    """Whether a matrix of products is that of vectors all divided by their lengths, and by nothing else."""
    factors = [_beneath(source) for source, _ in node.next_functions]
    return _kind(node) in ("Mm", "Bmm") and all(factor is not None and _of_length_one(factor) for factor in factors)


def _of_length_one(node: Any) -> bool:
    if _kind(node) != "Div" or len(node.next_functions) != 2:
        return False
    length = _beneath(node.next_functions[1][0])
    if length is not None and _kind(length) in CLAMPS:
        length = _beneath(length.next_functions[0][0])
    return length is not None and _kind(length) in NORMS


def _is_divergence(node: Any) -> bool:
    """Whether a difference is that of ``kl_div``: constants minus constants times one operand, element by element."""
    (constant, _), (product, _) = node.next_functions
    if constant is not None or product is None or _kind(product) != "Mul" or len(product.next_functions) != 2:
        return False
    (factor, _), (operand, _) = product.next_functions
    return factor is None and operand is not None and _shape(node) == _shape(operand) and len(_shape(node)) > 1


def _of_another_network(node: Any, number: int) -> bool:
    """Whether layers lie between ``node`` and the model's output, as those of a discriminator do."""
    queue, seen = deque([node]), set[Any]()
    while queue and len(seen) < NODES:
        node = queue.popleft()
        if node is None or node in seen or node._sequence_nr() <= number:
            continue
        seen.add(node)
        if _kind(node) in LAYERS:
            return True
        queue.extend(source for source, _ in node.next_functions)
    return bool(queue)


def _reduces_in_part(kind: str, node: Any) -> bool:
    """Whether a sum or mean leaves several numbers: of a matrix of pairs that is meant to be one."""
    return kind in REDUCING and math.prod(_shape(node)) > 1


def _beneath(node: Any) -> Any:
    """The first node from ``node`` down that computes something."""
    while node is not None and _kind(node) in PASSING:
        node = node.next_functions[0][0]
    return node


def _shape(node: Any) -> tuple[int, ...]:
    told = getattr(node, "_input_metadata", None)
    return tuple(told[0].shape) if told else ()


def _classes(node: Any, kind: str) -> int:
    shape = _shape(node)
    if not shape or math.prod(shape) == 0:
        return 0
    return int(shape[-1] if kind == "NllLoss" else shape[1])


def _kind(node: Any) -> str:
    return node.name().split("Backward")[0]  # type: ignore[no-any-return]
