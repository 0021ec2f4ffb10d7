"""A GPT of chosen size on one device, for the benchmark on a GPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from benchmarks.trainings import Training


class Size(NamedTuple):
    blocks: int
    width: int
    heads: int
    vocabulary: int
    sequences: int
    tokens: int


SIZES = {
    "tiny": Size(2, 64, 2, 256, 2, 32),
    "124m": Size(12, 768, 12, 50304, 16, 1024),
    "350m": Size(24, 1024, 16, 50304, 16, 1024),
    "1b": Size(24, 1792, 14, 50304, 16, 1024),
}
PRECISIONS = ("autocast", "bfloat16", "float32")
"""Weights in float32 and bfloat16 autocast; all in bfloat16; all in float32."""


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.activation, self.down = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (*x.shape[:2], self.heads, -1)
        q, k, v = (part.view(shape).transpose(1, 2) for part in self.attention(self.norm1(x)).chunk(3, -1))
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(heads.transpose(1, 2).reshape(x.shape))
        return x + self.down(self.activation(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class GPT(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.vocabulary, size.width)
        self.position = nn.Parameter(0.02 * torch.randn(size.tokens, size.width))
        self.blocks = nn.Sequential(*(Block(size.width, size.heads) for _ in range(size.blocks)))
        self.norm, self.head = nn.LayerNorm(size.width), nn.Linear(size.width, size.vocabulary, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) + self.position
        return self.head(self.norm(self.blocks(x))).flatten(0, 1)  # type: ignore[no-any-return]


def training(size: Size, precision: str, device: torch.device) -> Training:
    """On random tokens, which lie on the device already: nothing in its step waits for it."""
    torch.manual_seed(0)
    with device:
        model = GPT(size)
        x = torch.randint(size.vocabulary, (size.sequences, size.tokens))
        y = torch.randint(size.vocabulary, (size.sequences * size.tokens,))
    model.to(torch.bfloat16 if precision == "bfloat16" else torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=device.type == "cuda")
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "autocast"):
            loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()

    return Training(model, optimizer, criterion, step, x, y)
