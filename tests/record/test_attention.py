"""Attention heads: entropy and largest logit against a twin in float64, wherever attention is computed."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from memory_recorder import MemoryRecorder
from torch import nn
from torch.utils.checkpoint import checkpoint

from tb_nnhealth import schema
from tb_nnhealth.record.attention_graph import Fused, read_node
from tb_nnhealth.record.attention_read import read_fused
from tb_nnhealth.record.watch import Watch

WIDTH, HEADS, LENGTH = 24, 3, 12


class Attention(nn.Module):
    """Self-attention as it is written in a small GPT; ``how`` computes it of queries, keys and values."""

    def __init__(self, how: Any, key_heads: int = HEADS) -> None:
        super().__init__()
        self.how, self.key_heads = how, key_heads
        self.queries = nn.Linear(WIDTH, WIDTH)
        self.keys = nn.Linear(WIDTH, key_heads * WIDTH // HEADS)
        self.values = nn.Linear(WIDTH, key_heads * WIDTH // HEADS)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.seen: list[Any] = []

    def forward(self, x: Any) -> Any:
        q, k, v = (
            layer(x).unflatten(-1, (heads, -1)).transpose(1, 2)
            for layer, heads in ((self.queries, HEADS), (self.keys, self.key_heads), (self.values, self.key_heads))
        )
        self.seen[:] = q.detach(), k.detach()
        return self.out(self.how(q, k, v).transpose(1, 2).flatten(-2))


def causal(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def open_to_all(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v)


def scaled(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=3.0)


def with_a_mask(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_closed().logical_not())


def with_dropout(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.2)


def written_out(q: Any, k: Any, v: Any) -> Any:
    scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    return scores.masked_fill(_closed(), -math.inf).softmax(-1) @ v


def as_in_transformers(q: Any, k: Any, v: Any) -> Any:
    scores = torch.matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5
    scores = scores + torch.zeros(LENGTH, LENGTH).masked_fill(_closed(), torch.finfo(torch.float32).min)
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    return torch.matmul(F.dropout(weights, 0.1), v)


def grouped(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def _closed() -> Any:
    return torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)


def twin(q: Any, k: Any, *, is_causal: bool = True, scale: float | None = None) -> tuple[Any, Any]:
    """Entropy and largest logit of each head, of all samples and queries, in float64."""
    q, k = q.double(), k.double().repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    logits = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        logits = logits.masked_fill(_closed(), -math.inf)
    entropy = torch.special.entr(logits.softmax(-1)).sum(-1)
    first = 1 if is_causal else 0
    keys = torch.arange(1, LENGTH + 1).double() if is_causal else torch.full((LENGTH,), float(LENGTH)).double()
    return (entropy / keys.log())[:, :, first:].mean((0, 2)), logits.amax((0, 2, 3))


def trained(model: nn.Module, steps: int = 3, batch: int = 2) -> Any:
    """The stream of a training with every step measured."""
    torch.manual_seed(1)
    optimizer, recorder = torch.optim.SGD(model.parameters(), lr=1e-3), MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(torch.randn(batch, LENGTH, WIDTH))
        (output[0] if isinstance(output, tuple) else output).square().mean().backward()
        optimizer.step()
    watch.remove()
    assert recorder.stream.errors == []
    return recorder.stream


@pytest.mark.parametrize(
    "how", [causal, open_to_all, scaled, with_a_mask, with_dropout, written_out, as_in_transformers]
)
def test_numbers_are_those_of_a_twin(how: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), Attention(how), nn.Linear(WIDTH, WIDTH))
    stream = trained(model)
    assert stream.subjects(schema.ATTENTION) == ["1:0", "1:1", "1:2"]
    entropy, largest = twin(*model[1].seen, is_causal=how is not open_to_all, scale=3.0 if how is scaled else None)
    for i in range(HEADS):
        subject = f"1:{i}"
        assert stream.value(schema.ATTENTION, subject, schema.MEAN) == pytest.approx(float(entropy[i]), rel=1e-4)
        assert stream.value(schema.ATTENTION, subject, schema.MAX) == pytest.approx(float(largest[i]), rel=1e-4)


def test_keys_shared_by_groups_of_heads() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Attention(grouped, key_heads=1))
    stream = trained(model)
    entropy, largest = twin(*model[0].seen)
    for i in range(HEADS):
        assert stream.value(schema.ATTENTION, f"0:{i}", schema.MEAN) == pytest.approx(float(entropy[i]), rel=1e-4)
        assert stream.value(schema.ATTENTION, f"0:{i}", schema.MAX) == pytest.approx(float(largest[i]), rel=1e-4)


class Torchs(nn.Module):
    """PyTorch's own module, returning its weights as the twin reads them or not."""

    def __init__(self, *, weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.weights = weights
        self.seen: list[Any] = []

    def forward(self, x: Any) -> Any:
        projected = F.linear(x, self.attention.in_proj_weight, self.attention.in_proj_bias).detach()
        q, k, _ = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in projected.chunk(3, -1))
        self.seen[:] = q, k
        return self.attention(x, x, x, need_weights=self.weights)[0]


@pytest.mark.parametrize("weights", [True, False])
def test_multihead_attention(weights: bool) -> None:
    torch.manual_seed(0)
    model = Torchs(weights=weights)
    stream = trained(model)
    assert stream.subjects(schema.ATTENTION) == [f"attention:{i}" for i in range(HEADS)]
    entropy, largest = twin(*model.seen, is_causal=False)
    for i in range(HEADS):
        subject = f"attention:{i}"
        assert stream.value(schema.ATTENTION, subject, schema.MEAN) == pytest.approx(float(entropy[i]), rel=1e-4)
        assert stream.value(schema.ATTENTION, subject, schema.MAX) == pytest.approx(float(largest[i]), rel=1e-4)


def test_large_logits_are_told_though_their_query_is_not_among_those_read() -> None:
    """One in twelve samples has a query and a key that shout at each other."""
    torch.manual_seed(0)
    q, k = torch.randn(12, HEADS, 64, 8), torch.randn(12, HEADS, 64, 8)
    q[5, 1, 17] *= 40
    node = F.scaled_dot_product_attention(q.requires_grad_(), k.requires_grad_(), k, is_causal=True).grad_fn
    found = read_node(node)
    assert isinstance(found, Fused)
    heads = read_fused(found)
    logits = (q @ k.mT * 8**-0.5).masked_fill(torch.ones(64, 64, dtype=torch.bool).triu(1), -math.inf)
    assert heads is not None
    assert float(heads.largest[1]) == pytest.approx(float(logits[:, 1].detach().max()), abs=math.log(64))


def test_entropy_of_some_queries_is_within_its_stated_error() -> None:
    torch.manual_seed(0)
    q, k = 2 * torch.randn(32, 8, 256, 16), torch.randn(32, 8, 256, 16)
    node = F.scaled_dot_product_attention(q.requires_grad_(), k.requires_grad_(), k).grad_fn
    found = read_node(node)
    assert isinstance(found, Fused)
    heads = read_fused(found)
    exact = torch.special.entr((q @ k.mT * 16**-0.5).softmax(-1)).sum(-1) / math.log(256)
    error = (heads.entropy - exact.mean((0, 2))).abs() / exact.transpose(0, 1).flatten(1).std(-1)
    assert float(error.detach().max()) < 3 * 32**-0.5  # three standard errors of 32 queries


def test_a_block_that_computes_attention_itself_and_its_neighbours() -> None:
    """The feed-forward part, called between attention and the block's end, is not taken for the attention."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
            self.feed = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))

        def forward(self, x: Any) -> Any:
            q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
            x = x + causal(q, k, v).transpose(1, 2).flatten(-2)
            return x + self.feed(x)

    stream = trained(nn.Sequential(Block(), Block(), nn.Linear(WIDTH, 4)))
    assert stream.subjects(schema.ATTENTION) == [f"{block}:{i}" for block in (0, 1) for i in range(HEADS)]


@pytest.mark.parametrize("reentrant", [True, False])
def test_in_a_checkpoint_nothing_is_unpacked(reentrant: bool) -> None:
    """A reentrant one is read in its recomputation; the other packs what it saves, and is let be."""
    attention = Attention(causal)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.attention = nn.Linear(WIDTH, WIDTH), attention
            self.calls = 0

        def forward(self, x: Any) -> Any:
            return checkpoint(self.attention, self.first(x), use_reentrant=reentrant)

    stream = trained(Net())
    assert stream.subjects(schema.ATTENTION) == ([f"attention:{i}" for i in range(HEADS)] if reentrant else [])


def test_offloaded_tensors_stay_packed() -> None:
    unpacked: list[int] = []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention(causal)

        def forward(self, x: Any) -> Any:
            def unpack(tensor: Any) -> Any:
                unpacked.append(torch._C._current_graph_task_id())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
                return self.attention(x)

    stream = trained(Net())
    assert unpacked
    assert -1 not in unpacked  # by the backward pass alone
    assert stream.subjects(schema.ATTENTION) == []


def test_softmax_without_a_product_is_no_attention() -> None:
    class Router(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.experts = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 3)

        def forward(self, x: Any) -> Any:
            return (self.gate(x).softmax(-1) * self.experts(x)).sum(-1)

    assert trained(nn.Sequential(Router())).subjects(schema.ATTENTION) == []


def test_training_is_bit_for_bit_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(Attention(how) for how in (causal, with_dropout, written_out)))
    other = copy.deepcopy(model)
    assert trained(model, steps=6).subjects(schema.ATTENTION)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(other.parameters(), lr=1e-3)
    for _ in range(6):
        optimizer.zero_grad()
        other(torch.randn(2, LENGTH, WIDTH)).square().mean().backward()
        optimizer.step()
    assert torch.equal(torch.get_rng_state(), state)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_nan_in_a_query_is_no_number() -> None:
    q = torch.full((1, 2, 4, 4), math.nan, requires_grad=True)
    found = read_node(F.scaled_dot_product_attention(q, q, q).grad_fn)
    assert isinstance(found, Fused)
    heads = read_fused(found)
    assert heads is not None
    assert heads.entropy.isnan().all()
