"""Recurrent networks, transformers, and bags of words."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Recurrent(nn.Module):
    """Reads a sequence of vectors, (batch, length, features), and answers at its end or at every position."""

    def __init__(
        self,
        cell: type[nn.RNNBase],
        features: int,
        width: int,
        classes: int,
        *,
        layers: int = 1,
        both_ways: bool = False,
        every_position: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cells = cell(features, width, layers, batch_first=True, bidirectional=both_ways, dropout=dropout)
        self.head = nn.Linear(width * (1 + both_ways), classes)
        self.every_position = every_position

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cells(x)
        return self.head(states if self.every_position else states[:, -1])


class RecurrentText(nn.Module):
    """Predicts the next character at every position."""

    def __init__(self, cell: type[nn.RNNBase], alphabet: int, width: int = 64, *, layers: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(alphabet, 32)
        self.cells = cell(32, width, layers, batch_first=True)
        self.head = nn.Linear(width, alphabet)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.cells(self.embedding(tokens))
        return self.head(states)


class Attention(nn.Module):
    """Self-attention written out: one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int, *, causal: bool, dropout: float) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal, self.dropout = heads, causal, dropout

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.into(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(
            q, k, v, is_causal=self.causal, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(h.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, *, causal: bool, dropout: float, norm_first: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads, causal=causal, dropout=dropout)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop, self.norm_first = nn.Dropout(dropout), norm_first

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_first:
            x = x + self.drop(self.attention(self.norm1(x)))
            return x + self.drop(self.mlp(self.norm2(x)))
        x = self.norm1(x + self.drop(self.attention(x)))
        return self.norm2(x + self.drop(self.mlp(x)))


class Decoder(nn.Module):
    """A causal transformer: tokens (batch, length) to logits (batch, length, alphabet)."""

    def __init__(
        self,
        alphabet: int,
        *,
        width: int = 48,
        depth: int = 2,
        heads: int = 4,
        length: int = 24,
        dropout: float = 0.0,
        norm_first: bool = True,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(alphabet, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(
            Block(width, heads, causal=True, dropout=dropout, norm_first=norm_first) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()
        self.head = nn.Linear(width, alphabet, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
        for block in self.blocks:  # as GPT-2 does, so that the sum over the depth keeps its size
            for name in ("attention.out", "mlp.2"):
                nn.init.normal_(block.get_submodule(name).weight, std=0.02 / math.sqrt(2 * depth))  # type: ignore[arg-type]
        if tied:
            self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Encoder(nn.Module):
    """PyTorch's own encoder layers over the rows of an image, a class token in front."""

    def __init__(self, *, width: int = 32, depth: int = 2, dropout: float = 0.0, norm_first: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Linear(8, width)
        self.token, self.position = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1, 9, width))
        nn.init.normal_(self.position, std=0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, rows: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(rows), -1, -1), self.embedding(rows)], 1) + self.position
        return self.head(self.encoder(x)[:, 0])


class Bag(nn.Module):
    """The mean of word vectors to classes; most rows of the embedding see no gradient in a step."""

    def __init__(
        self, words: int, width: int = 24, *, hidden: int = 0, bag: bool = False, sparse: bool = False
    ) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(words, width, sparse=sparse) if bag else nn.Embedding(words, width, padding_idx=0)
        self.bag = bag
        self.head = (
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2)) if hidden else nn.Linear(width, 2)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.words(tokens) if self.bag else self.words(tokens).mean(1))


class Windows(nn.Module):
    """Convolutions of several widths over words, the strongest answer of each filter to the head."""

    def __init__(self, words: int, width: int = 16, filters: int = 12) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.filters = nn.ModuleList(nn.Conv1d(width, filters, size) for size in (1, 2, 3))
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(3 * filters, 2))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens).transpose(1, 2)
        return self.head(torch.cat([torch.relu(filtered(x)).amax(2) for filtered in self.filters], 1))
