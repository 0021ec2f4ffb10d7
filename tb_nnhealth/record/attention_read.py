"""Two numbers of each head: how spread out its attention is, and its largest logit.

Read of at most ``SAMPLES`` samples and ``QUERIES`` queries of each, evenly spaced, over all keys: the mean entropy then
has a standard error of its spread over the queries divided by the root of their number (of 32: 0.18 of the spread).
The largest logit is that of these queries or, of fused attention, what the greatest sum of exponentials over all
queries leaves as the least that it can be: it falls short of the true one by at most the logarithm of the number of
keys. Nothing here waits for a device.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from tb_nnhealth.record.attention_graph import Fused, WrittenOut
from tb_nnhealth.record.reduce_readable import plain, widened

SAMPLES, QUERIES = 2, 16
_CLOSED = -1e4
"""A bias beneath which a key is masked out."""
_NOWHERE = -1e30
"""Stands for a logit without a weight; minus infinity times zero would be no number."""
_VANISHES = {torch.float16: 14.0, torch.float32: 80.0, torch.bfloat16: 80.0, torch.float64: 700.0}
"""Logits by which a weight may lie below its row's greatest and not be rounded to zero."""


class Heads(NamedTuple):
    """float32 tensors (heads,) where the attention was computed: mean entropy of the weights over the logarithm of the
    keys open to the query; the largest logit, the scaled product of a query and a key; and of the keys after the query,
    where there are as many of both, the share without weight, 1 under a causal mask. NaN where unknown."""

    entropy: Any
    largest: Any
    blind: Any
    keys: int


def read_fused(found: Fused) -> Heads | None:
    """None where the tensors are of no ordinary kind or form."""
    queries, keys = plain(found.queries), plain(found.keys)
    if queries is None or keys is None or queries.dim() != 4 or keys.dim() != 4 or not queries.numel():
        return None
    batch, heads, length, features = queries.shape
    many = keys.shape[2]
    if many < 2 or heads % keys.shape[1]:
        return None
    some = _some(batch, length)
    scale = 1 / math.sqrt(features) if found.scale is None else found.scale
    bias = None if found.bias is None else plain(found.bias)
    if found.bias is not None and bias is None:
        return None
    seen = widened(keys[some.samples])
    if keys.shape[1] != heads:
        seen = seen.repeat_interleave(heads // keys.shape[1], dim=1)
    logits = (widened(queries[some.samples, :, some.queries]) * scale).contiguous() @ seen.contiguous().mT
    closed, scores = None, logits
    if bias is not None:
        bias = bias.expand(batch, heads, length, many)[some.samples, :, some.queries]
        if bias.dtype == torch.bool:
            closed = ~bias
        else:
            scores, closed = logits + widened(bias), bias < _CLOSED
    if found.causal:
        position = torch.arange(length, device=queries.device)[some.queries]
        later = torch.arange(many, device=queries.device) > position[:, None]
        closed = later if closed is None else closed | later
    if closed is not None:
        scores = scores.masked_fill(closed, _NOWHERE)
        logits = scores if bias is None else logits.masked_fill(closed, _NOWHERE)
    top = scores.amax(-1)
    weights = scores.softmax(-1)
    entropy = (top - weights.amax(-1).log() - (weights * scores).sum(-1)).clamp(min=0)
    largest = (top if bias is None else logits.amax(-1)).amax((0, 2))
    if found.log_sums is not None and bias is None:
        sums = plain(found.log_sums)
        if sums is not None and sums.shape == queries.shape[:3]:
            largest = torch.maximum(largest, sums.amax((0, 2)) - math.log(many))
    blind = _blind(weights == 0, length, some)
    return Heads(_share(entropy, None if closed is None else (~closed).sum(-1), many), largest, blind, many)


def read_written_out(found: WrittenOut, heads: int) -> Heads | None:
    """The same; ``heads`` counts those of weights (batch × heads, queries, keys)."""
    weights = plain(found.weights)
    if weights is None or weights.dim() not in (3, 4) or not weights.numel() or weights.shape[-1] < 2:
        return None
    if weights.dim() == 3:
        if weights.shape[0] % heads:
            return None
        weights = weights.unflatten(0, (-1, heads))
    batch, heads, length, many = weights.shape
    some = _some(batch, length)
    rows = weights[some.samples, :, some.queries]
    zero = rows == 0
    blind = _blind(zero, length, some)
    left, right = (None if part is None else plain(part) for part in (found.left, found.right))
    if left is None or right is None or left.dim() != 3 or len(left) != batch * heads or len(right) != batch * heads:
        return Heads(
            _share(_entropy(widened(rows)), (~zero).sum(-1), many),
            rows.new_full((heads,), math.nan, dtype=torch.float32),
            blind,
            many,
        )
    left = left.unflatten(0, (batch, heads))[some.samples, :, some.queries]
    right = right.unflatten(0, (batch, heads))[some.samples]
    logits = widened(left).contiguous() @ widened(right).contiguous()
    for factor, power in found.factors:
        logits = logits * factor if power > 0 else logits / factor
    top = logits.gather(-1, rows.argmax(-1, keepdim=True))
    closed = zero & (logits > top - _VANISHES.get(rows.dtype, 80.0))
    largest = logits.masked_fill(closed, _NOWHERE).amax((0, 2, 3))
    return Heads(_share(_entropy(widened(rows)), (~closed).sum(-1), many), largest, blind, many)


class _Some(NamedTuple):
    samples: slice
    queries: slice


def _some(batch: int, length: int) -> _Some:
    """Evenly spaced samples and queries; the last query is among them."""
    apart, step = max(1, batch // SAMPLES), max(1, length // QUERIES)
    return _Some(slice(0, apart * SAMPLES, apart), slice((length - 1) % step, None, step))


def _blind(zero: Any, length: int, some: _Some) -> Any:
    """Of weights that are ``zero`` (samples, heads, queries, keys): their share among the keys after the query."""
    many = zero.shape[-1]
    if length != many:
        return torch.full((zero.shape[1],), math.nan, device=zero.device)
    position = torch.arange(length, device=zero.device)[some.queries]
    later = torch.arange(many, device=zero.device) > position[:, None]
    return (zero & later).sum((0, 2, 3)) / (later.sum() * len(zero))


def _entropy(weights: Any) -> Any:
    """Of each row of ``weights`` in float32."""
    return -(weights * weights.clamp(min=1e-37).log()).sum(-1)


def _share(entropy: Any, open_: Any, keys: int) -> Any:
    """Mean over samples and queries of the entropy over the logarithm of the keys ``open_`` to the query, (heads,).

    A query with one key has no entropy to speak of and does not count.
    """
    if open_ is None:
        return entropy.mean((0, 2)) / math.log(keys)
    several = (open_ > 1).expand(entropy.shape)
    share = torch.where(several, entropy / open_.clamp(min=2).log(), 0)
    return share.sum((0, 2)) / several.sum((0, 2))
