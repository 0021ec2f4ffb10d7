"""The trainings that the ways of recording are measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

Batch = tuple[nn.Module, torch.Tensor, torch.Tensor]


@dataclass
class Training:
    """One model with its optimizer; ``step`` makes one step on the one batch that it has."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    criterion: nn.Module
    step: Callable[[], None]
    x: torch.Tensor
    y: torch.Tensor


class Block(nn.Module):
    """Two convolutions with batch norm and a way past them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        return self.relu2(x + y)  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Pre-norm blocks with causal attention over 64 tokens."""

    def __init__(self, vocabulary: int = 256, width: int = 128, blocks: int = 4, tokens: int = 64) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocabulary, width), nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(blocks)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(tokens))
        self.register_buffer("places", torch.arange(tokens))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) + self.position(self.places)
        for block in self.blocks:
            x = block(x, src_mask=self.mask, is_causal=True)
        return self.head(self.norm(x)).flatten(0, 1)  # type: ignore[no-any-return]


def mlp() -> Batch:
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    return model, torch.randn(128, 784), torch.randint(10, (128,))


def cnn() -> Batch:
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return model, torch.randn(64, 3, 32, 32), torch.randint(10, (64,))


def resnet() -> Batch:
    stem = [nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    blocks = [Block(32) for _ in range(6)]
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return model, torch.randn(32, 3, 32, 32), torch.randint(10, (32,))


def gpt() -> Batch:
    tokens = torch.randint(256, (16, 65))
    return Transformer(), tokens[:, :-1], tokens[:, 1:].flatten()


def digits() -> Batch:
    layers = [layer for _ in range(3) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(64, 10)), torch.randn(128, 64), torch.randint(10, (128,))


MODELS: dict[str, tuple[str, Callable[[], Batch]]] = {
    "mlp": ("MLP 784-512-512-10, batch 128", mlp),
    "cnn": ("CNN, 3 convolutions, batch 64 of 32×32", cnn),
    "resnet": ("residual net, 13 convolutions, batch 32 of 32×32", resnet),
    "gpt": ("GPT, 4 blocks of width 128, 1024 tokens", gpt),
    "digits": ("MLP 64-64-64-64-10, batch 128", digits),
}
USUAL = ("mlp", "cnn", "resnet", "gpt")


def training(name: str) -> Training:
    torch.manual_seed(0)
    model, x, y = MODELS[name][1]()
    optimizer, criterion = torch.optim.Adam(model.parameters(), 1e-4), nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return Training(model, optimizer, criterion, step, x, y)
