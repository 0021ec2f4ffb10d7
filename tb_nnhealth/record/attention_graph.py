"""Where attention was computed: the nodes that the autograd graph of a module's output holds, and what they saved.

Of a fused attention (``F.scaled_dot_product_attention``) queries and keys are there, of one written out the softmax
and the product beneath it. Reading a node's saved tensors changes nothing; one that a hook packed (checkpointing,
offloading) is let be, since unpacking it would run the user's code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NODES_WALKED = 128
_BETWEEN = 24
"""Nodes looked at between a softmax and the product that made its scores."""
_FUSED = "ScaledDotProduct"
_SOFTMAX = ("SoftmaxBackward0", "SafeSoftmaxBackward0")
_PRODUCTS = {"BmmBackward0": ("self", "mat2"), "BaddbmmBackward0": ("batch1", "batch2")}
_SCALINGS = {"MulBackward0": 1, "MulBackward1": 1, "DivBackward0": -1, "DivBackward1": -1}
_KEEPING = (  # what may lie between the product and the softmax and leaves the scores as they are
    "Add", "Sub", "MaskedFill", "Where", "View", "UnsafeView", "ReshapeAlias", "Expand", "ToCopy", "Unsqueeze",
    "Squeeze", "Clone", "Slice", "Alias",
)  # fmt: skip


class HiddenError(Exception):
    """A saved tensor that cannot be read without running a hook, or that was changed since."""


@dataclass(frozen=True)
class Fused:
    """Queries (batch, heads, queries, features), keys alike; ``log_sums``: log Σ exp of each query's scores."""

    queries: Any
    keys: Any
    bias: Any
    causal: bool
    scale: float | None
    log_sums: Any


@dataclass(frozen=True)
class WrittenOut:
    """``weights`` after the softmax, (…, queries, keys); the scores are ``left @ right`` × ``factors``, or unknown."""

    weights: Any
    left: Any = None
    right: Any = None
    factors: tuple[tuple[Any, int], ...] = ()


def attention_nodes(output: Any, inputs: Any) -> Iterator[Any]:
    """The nodes of attention between the nodes of the ``inputs`` and ``output``, the nearest to the output first."""
    queue, seen = deque([output]), {None, *inputs}
    steps = 0
    while queue and steps < NODES_WALKED:
        node = queue.popleft()
        if node in seen:
            continue
        steps += 1
        seen.add(node)
        name = node.name()
        if name.startswith(_FUSED) or (name in _SOFTMAX and _product(node) is not None):
            yield node
        queue.extend(source for source, _ in node.next_functions)


def read_node(node: Any) -> Fused | WrittenOut:
    """What ``node`` saved. Raises HiddenError where that cannot be read."""
    if node.name().startswith(_FUSED):
        bias = next((name for name in ("attn_mask", "attn_bias") if hasattr(node, f"_saved_{name}")), "")
        return Fused(
            saved(node, "query"),
            saved(node, "key"),
            saved(node, bias) if bias else None,
            bool(getattr(node, "_saved_is_causal", False)),
            getattr(node, "_saved_scale", None),
            saved(node, "logsumexp"),
        )
    weights = saved(node, "result")
    if saved(node, "dim") not in (weights.dim() - 1, (1 << 64) - 1, -1):
        raise HiddenError("a softmax over another dimension than the last")
    product, factors = _product(node) or (None, None)
    if product is None or factors is None:
        return WrittenOut(weights)
    left, right = _PRODUCTS[product.name()]
    return WrittenOut(weights, saved(product, left), saved(product, right), factors)


def saved(node: Any, name: str) -> Any:
    """What ``node`` saved as ``name``. Raises HiddenError where a hook packed it, or it was changed in place."""
    raw = getattr(node, f"_raw_saved_{name}", None)
    if raw is not None and getattr(raw, "unpack_hook", raw) is not None:
        raise HiddenError(f"{name} was packed by a hook, or this PyTorch does not tell")
    try:
        return getattr(node, f"_saved_{name}", None)
    except RuntimeError as error:
        raise HiddenError(str(error)) from error


def _product(softmax: Any) -> tuple[Any, tuple[tuple[Any, int], ...] | None] | None:
    """The product that made a softmax's scores, and the factors since; None for these where the scores were bent."""
    stack: list[tuple[Any, tuple[tuple[Any, int], ...] | None]] = [
        (source, ()) for source, _ in reversed(softmax.next_functions)
    ]
    for _ in range(_BETWEEN):
        if not stack:
            return None
        node, factors = stack.pop()
        if node is None:
            continue
        name = node.name()
        if name in _PRODUCTS:
            return node, factors
        if name in _SCALINGS:
            factor = _number(node)
            factors = None if factor is None or factors is None else (*factors, (factor, _SCALINGS[name]))
        elif name.startswith(("Tanh", "Clamp", "Maximum")):
            factors = None
        elif name.split("Backward")[0] not in _KEEPING:
            continue
        stack += [(source, factors) for source, _ in reversed(node.next_functions)]
    return None


def _number(node: Any) -> Any:
    """The number, or tensor of one, that a node multiplied or divided by."""
    for name in ("other", "self"):
        try:
            value = saved(node, name)
        except HiddenError:
            continue
        if isinstance(value, (int, float)) or (value is not None and value.dim() == 0):
            return value
    return None
