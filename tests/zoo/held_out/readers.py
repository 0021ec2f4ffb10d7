"""Networks of the part set aside for symbols in sequence, for users and items, and for graphs."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.held_out.bodies import dense
from tests.zoo.held_out.shelf import ITEMS, USERS, VOCABULARY


class Recurrent(nn.Module):
    """A recurrent layer over tokens or over numbers, and a head on its last state."""

    def __init__(
        self,
        outputs: int,
        width: int = 32,
        *,
        tokens: int = 0,
        kind: type[nn.Module] = nn.LSTM,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, 16) if tokens else nn.Identity()
        self.rnn = kind(16 if tokens else 1, width, batch_first=batch_first)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(self.embed(x))
        return self.head(states[:, -1])


class Attention(nn.Module):
    """Self-attention of several heads, scaled as in the paper unless told otherwise."""

    def __init__(self, width: int, heads: int, causal: bool, scale: float | None = None) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal, self.scale = heads, causal, scale or (width / heads) ** -0.5
        self.softmax = nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-1, -2) * self.scale
        if self.causal:
            later = torch.ones(length, length, dtype=torch.bool).triu(1)
            logits = logits.masked_fill(later, float("-inf"))
        return self.proj((self.softmax(logits) @ v).transpose(1, 2).reshape(n, length, width))


class Layered(nn.Module):
    """A transformer layer; the norms stand before what they feed, or after it (``post``)."""

    def __init__(self, width: int, heads: int, causal: bool, scale: float | None, drop: float, post: bool) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, causal, scale)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(drop))
        self.post = post

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = self.ln1(x + self.attn(x))
            return self.ln2(x + self.mlp(x))
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Transformer(nn.Module):
    """Over tokens: one answer for all of them, or the next symbol after each (``causal``), classes second."""

    def __init__(
        self,
        outputs: int = VOCABULARY,
        tokens: int = VOCABULARY,
        width: int = 32,
        depth: int = 2,
        *,
        causal: bool = False,
        positions: bool = True,
        scale: float | None = None,
        drop: float = 0.0,
        post: bool = False,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.place = nn.Parameter(0.1 * torch.randn(32, width)) if positions else None
        self.layers = nn.Sequential(*(Layered(width, 4, causal, scale, drop, post) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        if self.place is not None:
            h = h + self.place[: x.shape[1]]
        h = self.norm(self.layers(h))
        return self.head(h).transpose(1, 2) if self.causal else self.head(h.mean(1))


class Writer(nn.Module):
    """A recurrent language model; classes second. ``tied``: the head's weights are the embedding's."""

    def __init__(self, width: int = 48, kind: type[nn.Module] = nn.GRU, tied: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.rnn = kind(width, width, batch_first=True)
        self.head = nn.Linear(width, VOCABULARY)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0]).transpose(1, 2)


class Factors(nn.Module):
    """Matrix factorization; ``std`` of the embeddings, whose default is that of nn.Embedding."""

    def __init__(self, rank: int = 8, std: float = 1.0, sparse: bool = False) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(USERS, rank, sparse=sparse), nn.Embedding(ITEMS, rank, sparse=sparse)
        nn.init.normal_(self.users.weight, std=std)
        nn.init.normal_(self.items.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        return (self.users(x[:, 0]) * self.items(x[:, 1])).sum(1, keepdim=True)


class Buyers(nn.Module):
    """Embeddings of shop and hour beside the numbers, and dense layers."""

    def __init__(self, width: int = 32, drop: float = 0.0) -> None:
        super().__init__()
        self.shop, self.hour = nn.Embedding(20, 6), nn.Embedding(24, 6)
        self.tower = dense(16, width, width, 1, drop=drop)

    def forward(self, x: Tensor) -> Tensor:
        shop, hour = x[:, 0].long(), x[:, 1].long()
        return self.tower(torch.cat([self.shop(shop), self.hour(hour), x[:, 2:]], 1))


class GraphNet(nn.Module):
    """Graph convolutions (Kipf and Welling, 2017) over all nodes at once."""

    def __init__(self, adjacency: Tensor, depth: int = 2, width: int = 24, residual: bool = False) -> None:
        super().__init__()
        sizes = [16, *[width] * (depth - 1), 4]
        self.convs = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.register_buffer("adjacency", adjacency)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        for place, conv in enumerate(self.convs):
            new = self.adjacency @ conv(x)
            if place < len(self.convs) - 1:
                new = F.relu(new)
                x = x + new if self.residual and new.shape == x.shape else new
        return new
