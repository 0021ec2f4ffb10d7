"""Graphs, users and items, one sequence turned into another."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Letters, Task, explained, letters_right, split


@cache
def graphs(nodes: int = 10) -> Task:
    """Random graphs of coloured nodes; the target is how many edges join two red ones, standardized."""
    generator = torch.Generator().manual_seed(12)
    red = (torch.rand(1500, nodes, generator=generator) < 0.5).float()
    edges = torch.triu((torch.rand(1500, nodes, nodes, generator=generator) < 0.3).float(), 1)
    edges = edges + edges.transpose(1, 2)
    count = torch.einsum("bi,bij,bj->b", red, edges, red)[:, None] / 2
    colours = torch.stack([red, 1 - red], 2) * 2 - 1
    return split(
        (colours, edges), (count - count.mean()) / count.std(), 300, criterion=nn.MSELoss, score=explained, good=0.8
    )  # fmt: skip


class MessagePassing(nn.Module):
    """Each node adds up its neighbours' messages, twice; the graph's answer is the sum over its nodes."""

    def __init__(self, width: int = 32, rounds: int = 2, *, norm: bool = False, shared: bool = False) -> None:
        super().__init__()
        self.into = nn.Linear(2, width)
        message, update = nn.Linear(width, width), nn.Linear(2 * width, width)
        self.messages = nn.ModuleList(message if shared else nn.Linear(width, width) for _ in range(rounds))
        self.updates = nn.ModuleList(update if shared else nn.Linear(2 * width, width) for _ in range(rounds))
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, graph: tuple[Tensor, Tensor]) -> Tensor:
        nodes, edges = graph
        h = torch.relu(self.into(nodes))
        for message, update in zip(self.messages, self.updates, strict=True):
            heard = edges @ torch.relu(message(h)) / 3
            h = self.norm(torch.relu(update(torch.cat([h, heard], 2))))
        return self.head(h.mean(1))


graph = Family("graph", MessagePassing, graphs, Recipe(lr=5e-3, steps=300))
graph.specimen("adam")
graph.specimen("layer-norm-cosine", lambda: MessagePassing(norm=True), schedule="cosine", optimizer="adamw")
graph.specimen("shared-rounds", lambda: MessagePassing(shared=True, rounds=3), told="observed", clip=1.0, lr=3e-3)
graph.specimen("momentum", optimizer="momentum", lr=0.05, steps=400, clip=1.0)
graph.specimen("small-batches", batch=8, lr=1e-3, steps=600, logs="tens")
graph.specimen("warm-up-loss-unknown", told="nothing", schedule="warm-up from zero", logs="epochs")


@cache
def ratings(users: int = 200, items: int = 120) -> Task:
    """How much a user likes an item: two tastes, habits of both, and noise, around 3."""
    generator = torch.Generator().manual_seed(13)
    taste, trait = torch.randn(users, 2, generator=generator), torch.randn(items, 2, generator=generator)
    kind, liked = 0.5 * torch.randn(users, generator=generator), 0.7 * torch.randn(items, generator=generator)
    pairs = torch.stack([torch.randint(n, (9000,), generator=generator) for n in (users, items)], 1)
    u, i = pairs.unbind(1)
    y = 3 + kind[u] + liked[i] + 0.5 * (taste[u] * trait[i]).sum(1) + 0.3 * torch.randn(9000, generator=generator)
    return split(pairs, y, 1000, criterion=nn.MSELoss, score=explained, good=0.5)


class Factors(nn.Module):
    """Dot products of small vectors plus habits, from nearly nothing; ``mean`` is known beforehand."""

    mean = 3.0

    def __init__(self, rank: int = 4) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(200, rank), nn.Embedding(120, rank)
        self.kind, self.liked = nn.Embedding(200, 1), nn.Embedding(120, 1)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)
        for table in (self.kind, self.liked):
            nn.init.zeros_(table.weight)

    def forward(self, pairs: Tensor) -> Tensor:
        user, item = pairs.unbind(1)
        habits = self.kind(user).squeeze(1) + self.liked(item).squeeze(1)
        return self.mean + habits + (self.users(user) * self.items(item)).sum(1)


class Tower(nn.Module):
    """Both vectors through one network."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(200, 8), nn.Embedding(120, 8)
        self.net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))

    def forward(self, pairs: Tensor) -> Tensor:
        user, item = pairs.unbind(1)
        return 3 + self.net(torch.cat([self.users(user), self.items(item)], 1)).squeeze(1)


recommender = Family("recommender", Factors, ratings, Recipe("adam", 2e-2, steps=300, batch=256))
recommender.specimen("factors", optimizer="adamw", weight_decay=1.0, steps=200)
recommender.specimen("adagrad", optimizer="adagrad", lr=0.1)
recommender.specimen("sgd-large-rate", optimizer="momentum", lr=0.5, steps=500, good=0.3)
recommender.specimen("tower", Tower, lr=1e-2, steps=500, good=0.4)
recommender.specimen(
    "tower-observed", Tower, lr=1e-2, steps=500, told="observed", logs="trainer", schedule="linear to zero", good=0.4
)


@cache
def reversals(length: int = 6, symbols: int = 8) -> Task:
    """A word and what was written of its reverse so far, (n, 2, length); the next letter at each position."""
    generator = torch.Generator().manual_seed(14)
    word = torch.randint(1, symbols, (5000, length), generator=generator)
    back = word.flip(1)
    so_far = torch.cat([torch.zeros(5000, 1, dtype=torch.long), back[:, :-1]], 1)
    return split(torch.stack([word, so_far], 1), back, 500, criterion=Letters, score=letters_right, good=0.85)


class Translator(nn.Module):
    """A recurrent reader, and a recurrent writer that attends to what was read."""

    def __init__(self, width: int = 48, symbols: int = 8) -> None:
        super().__init__()
        self.read_letters, self.write_letters = nn.Embedding(symbols, 16), nn.Embedding(symbols, 16)
        self.reader = nn.GRU(16, width, batch_first=True)
        self.writer = nn.GRU(16, width, batch_first=True)
        self.query = nn.Linear(width, width)
        self.head = nn.Linear(2 * width, symbols)

    def forward(self, words: Tensor) -> Tensor:
        read, last = self.reader(self.read_letters(words[:, 0]))
        written, _ = self.writer(self.write_letters(words[:, 1]), last)
        shares = (self.query(written) @ read.transpose(1, 2) / read.shape[2] ** 0.5).softmax(2)
        return self.head(torch.cat([written, shares @ read], 2))


class CrossAttending(nn.Module):
    """PyTorch's transformer of an encoder and a decoder layer."""

    def __init__(self, width: int = 32, symbols: int = 8, length: int = 6) -> None:
        super().__init__()
        self.letters = nn.Embedding(symbols, width)
        self.position = nn.Parameter(0.1 * torch.randn(length, width))
        self.net = nn.Transformer(width, 4, 1, 1, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(width, symbols)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, words: Tensor) -> Tensor:
        read, written = self.letters(words[:, 0]) + self.position, self.letters(words[:, 1]) + self.position
        return self.head(self.net(read, written, tgt_mask=self.mask.to(read.dtype)))


translation = Family("translation", Translator, reversals, Recipe(lr=5e-3, steps=350))
translation.specimen("attention-clipped", clip=1.0)
translation.specimen("attention-cosine", schedule="cosine", lr=1e-2, optimizer="adamw", logs="tens")
translation.specimen("transformer", CrossAttending, lr=3e-3, schedule="warm-up", optimizer="adamw", steps=300)
translation.specimen("transformer-observed", CrossAttending, lr=3e-3, told="observed", logs="trainer", steps=300)
translation.specimen("transformer-smoothed-averaged", CrossAttending, lr=3e-3, label_smoothing=0.1, ema=0.95, steps=300)
