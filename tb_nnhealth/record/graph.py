"""What consumes a module's output, read from the autograd graph.

A ReLU, tanh or softmax applied as a function leaves no module behind, but it leaves a node. The walk
reads the structure only (names and edges), never a saved tensor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from tb_nnhealth.record.graph_flow import Joint, flow
from tb_nnhealth.record.graph_samples import Mixed, mixing_view
from tb_nnhealth.record.graph_walk import nodes_behind, sources

Key = TypeVar("Key")

_NONLINEAR = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "Prelu": "prelu", "PreluKernel": "prelu", "Rrelu": "rrelu",
    "RreluWithNoise": "rrelu", "Elu": "elu", "Celu": "celu", "Selu": "selu", "Gelu": "gelu", "Silu": "silu",
    "Mish": "mish", "Softplus": "softplus", "Hardtanh": "hardtanh", "Hardsigmoid": "hardsigmoid",
    "Hardswish": "hardswish", "Tanh": "tanh", "Sigmoid": "sigmoid", "LogSigmoid": "log_sigmoid",
    "Softmax": "softmax", "LogSoftmax": "log_softmax", "Glu": "glu", "Threshold": "threshold",
    "Softsign": "softsign", "Softshrink": "softshrink", "Hardshrink": "hardshrink",
}  # fmt: skip
_LINEAR = ("Addmm", "Mm", "Linear", "Convolution", "MkldnnConvolution", "MkldnnLinear", "ThnnConv2D", "SlowConv")
_NORMALIZING = (
    "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "BatchNormImplIndex", "NativeLayerNorm",
    "NativeGroupNorm", "FusedRmsNorm", "RmsNorm",
)  # fmt: skip
_PASSING = (  # nodes that hand the values on: views, copies, casts, dropout
    "View", "UnsafeView", "ReshapeAlias", "Alias", "AsStrided", "Transpose", "Permute", "T", "Mt", "Numpy_T", "Squeeze",
    "Unsqueeze", "Expand", "Clone", "ToCopy", "Slice", "Select", "Split", "SplitWithSizes", "Chunk", "Unbind", "Narrow",
    "NativeDropout", "FusedDropout", "Contiguous", "Unflatten", "Flatten", "Movedim", "Identity", "CopyBackwards",
    "MkldnnReshape", "UnsafeSplit",
)  # fmt: skip

MODULE_NONLINEARITY = {
    "ReLU": "relu", "ReLU6": "relu6", "LeakyReLU": "leaky_relu", "PReLU": "prelu", "RReLU": "rrelu", "ELU": "elu",
    "CELU": "celu", "SELU": "selu", "GELU": "gelu", "SiLU": "silu", "Mish": "mish", "Softplus": "softplus",
    "Hardtanh": "hardtanh", "Hardsigmoid": "hardsigmoid", "Hardswish": "hardswish", "Tanh": "tanh",
    "Sigmoid": "sigmoid", "LogSigmoid": "log_sigmoid", "Softmax": "softmax", "Softmax2d": "softmax",
    "LogSoftmax": "log_softmax", "GLU": "glu", "Threshold": "threshold", "Softsign": "softsign",
    "Softshrink": "softshrink", "Hardshrink": "hardshrink",
}  # fmt: skip


@dataclass(frozen=True)
class Consumer:
    """``nonlinearity``: the one function that all consumers of the output are, or "".

    ``functional``: no module applies it. ``normalized``: all consumers are normalizations. ``linear``: all are products
    with a weight, or convolutions.
    """

    nonlinearity: str = ""
    normalized: bool = False
    functional: bool = False
    linear: bool = False


class Graph(Generic[Key]):
    """The outputs of one forward by the autograd node that made them.

    Holding a node holds what it saved for the backward pass: the graph is to be read and dropped before that is over.
    """

    def __init__(self) -> None:
        self._recorded: dict[Any, Key] = {}
        self._further: dict[Any, Key] = {}
        self._ends: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self._recorded)

    def record(self, node: Any, key: Key) -> None:
        """``node`` (a tensor's ``grad_fn``) gives the output of ``key``; the first to claim a node keeps it."""
        self._recorded.setdefault(node, key)

    def record_further(self, node: Any, key: Key) -> None:
        """The same of another tensor that ``key`` returned beside its output: a state, weights of attention."""
        self._further.setdefault(node, key)

    def end(self, node: Any) -> None:
        """A further node to walk from: the model's output or the loss."""
        if node is not None:
            self._ends.append(node)

    def mixed(self, samples: int) -> Mixed | None:
        """The first view in the model that mixes that many samples."""
        return mixing_view(self._ends, samples)

    def inputs(self) -> dict[Key, tuple[Key | Joint[Key], ...]]:
        """What flowed into each recorded key, from other keys (``flow``)."""
        return flow({**self._further, **self._recorded})

    def consumers(self, modules: Mapping[Key, str]) -> dict[Key, Consumer]:
        """What follows each recorded output; ``modules`` gives the nonlinearity a key's module itself is, or ""."""
        consuming = _consuming(self._ends + list(self._recorded))
        found = {}
        for node, key in self._recorded.items():
            beyond = self._beyond(node, consuming)
            kinds = [(self._kind(n), self._recorded.get(n)) for n in beyond]
            if kinds:
                found[key] = replace(
                    _judge(kinds, modules), linear=all(_maps_linearly(n, owned=n in self._recorded) for n in beyond)
                )
        return found

    def _beyond(self, node: Any, consuming: Mapping[Any, list[Any]]) -> list[Any]:
        """The first nodes after ``node`` that compute something."""
        found, queue, seen = [], deque(consuming.get(node, ())), {node}
        while queue:
            consumer = queue.popleft()
            if consumer in seen:
                continue
            seen.add(consumer)
            if self._kind(consumer) in _PASSING:
                queue.extend(consuming.get(consumer, ()))
            else:
                found.append(consumer)
        return found

    @staticmethod
    def _kind(node: Any) -> str:
        return node.name().split("Backward")[0]  # type: ignore[no-any-return]


def _maps_linearly(node: Any, *, owned: bool) -> bool:
    """Whether ``node`` is the product of one operand with a weight, or its convolution.

    A matrix that requires no gradient is the weight of a frozen layer where a module owns the product; elsewhere it may
    be any, as the adjacency of a graph, whose product a function may follow.
    """
    if not node.name().startswith(_LINEAR):
        return False
    operands = [_root(source) for source, _ in node.next_functions]
    trained = sum(operand is not None and operand.name().endswith("AccumulateGrad") for operand in operands)
    fixed = sum(operand is None for operand in operands)
    return len(operands) - trained - fixed == 1 and (owned or trained > 0 or not node.name().startswith("Mm"))


def _root(node: Any) -> Any:
    """What a transposition was made of."""
    while node is not None and node.name() in ("TBackward0", "TransposeBackward0"):
        node = node.next_functions[0][0]
    return node


def _consuming(ends: Iterable[Any]) -> dict[Any, list[Any]]:
    """For each node the nodes that take its result."""
    consuming: dict[Any, list[Any]] = {}
    for node in nodes_behind(ends):
        for source in sources(node):
            consuming.setdefault(source, []).append(node)
    return consuming


def _judge(kinds: list[tuple[str, Any]], modules: Mapping[Any, str]) -> Consumer:
    names = {_NONLINEAR.get(kind, "") for kind, _ in kinds}
    nonlinearity = names.pop() if len(names) == 1 else ""
    by_module = any(owner is not None and modules.get(owner) for _, owner in kinds)
    return Consumer(
        nonlinearity=nonlinearity,
        normalized=all(kind.startswith(_NORMALIZING) for kind, _ in kinds),
        functional=bool(nonlinearity) and not by_module,
    )
