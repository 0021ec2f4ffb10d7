"""Attention that breaks, and the same with queries and keys normalized."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter

from .fit import fit
from .registry import pair

HEADS, WIDTH = 4, 32


class Attention(nn.Module):
    """Self-attention of ``HEADS`` heads whose queries and keys are normalized where ``normalized``."""

    def __init__(self, *, normalized: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH // HEADS, elementwise_affine=False) if normalized else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(self.norm(q), self.norm(k), v)
        return self.out(y.transpose(1, 2).flatten(-2))


class Rows(nn.Module):
    """Attends over the sixteen patches of a digit."""

    def __init__(self, *, normalized: bool) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(4, WIDTH), nn.Parameter(0.02 * torch.randn(16, WIDTH))
        self.norm, self.attention = nn.LayerNorm(WIDTH), Attention(normalized=normalized)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.unflatten(1, (16, 4))) + self.place
        return self.head((x + self.attention(self.norm(x))).mean(1))


@pair("exploding-activations", subject="attention", onset=(0, 60), first=False)
def queries_and_keys_driven_apart(writer: SummaryWriter, ill: bool) -> None:
    """A learning rate for queries and keys that only their normalization bears."""
    model = Rows(normalized=not ill)
    own = [*model.attention.qkv.parameters()]
    rest = [parameter for parameter in model.parameters() if all(parameter is not other for other in own)]
    optimizer = torch.optim.Adam([{"params": rest, "lr": 1e-3}, {"params": own, "lr": 0.05}])
    fit(writer, model, optimizer, flat=True, steps=160)
