"""Word vectors, masked words, tables of categories."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.sequences import Block
from tests.zoo.builders.tasks import Task, binary_accuracy, split


@cache
def neighbours(words: int = 400, topics: int = 8) -> Task:
    """Pairs of words: half are of one topic, as neighbours in a text are, half are drawn apart. Words are Zipf's."""
    generator = torch.Generator().manual_seed(51)
    frequency = 1 / torch.arange(1, words + 1, dtype=torch.float32)
    topic = torch.randint(topics, (words,), generator=generator)
    first = torch.multinomial(frequency, 12000, replacement=True, generator=generator)
    other = torch.multinomial(frequency, 12000, replacement=True, generator=generator)
    of_topic = torch.stack([frequency * (topic == k) for k in range(topics)])
    near = torch.multinomial(of_topic[topic[first]], 1, generator=generator)[:, 0]
    real = torch.rand(12000, generator=generator) < 0.5
    pairs = torch.stack([first, torch.where(real, near, other)], 1)
    return split(pairs, real.float(), 1500, criterion=nn.BCEWithLogitsLoss, score=binary_accuracy, good=0.68)


class Vectors(nn.Module):
    """Products of the vectors of a word and of its neighbour."""

    def __init__(self, width: int = 16, *, sparse: bool = False) -> None:
        super().__init__()
        self.word, self.context = nn.Embedding(400, width, sparse=sparse), nn.Embedding(400, width, sparse=sparse)
        for table in (self.word, self.context):
            nn.init.normal_(table.weight, std=0.25)

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.word(pairs[:, 0]) * self.context(pairs[:, 1])).sum(1)


vectors = Family("word-vectors", Vectors, neighbours, Recipe(lr=5e-3, steps=250, batch=128))
vectors.specimen("adam")
vectors.specimen("adagrad", optimizer="adagrad", lr=0.1, logs="steps")
vectors.specimen("sparse-sgd", lambda: Vectors(sparse=True), optimizer="sgd", lr=10.0, steps=300, told="nothing")
vectors.specimen("momentum-decaying", optimizer="momentum", lr=3.0, schedule="linear to zero", logs="tens")
vectors.specimen("full-size-batches-observed", batch=1024, lr=2e-2, told="observed", steps=120)
vectors.specimen("wide-adamw", lambda: Vectors(32), optimizer="adamw", weight_decay=0.1, logs="trainer")


class OfMasked(nn.Module):
    """Cross-entropy at the positions that were masked; the others carry -100."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def guessed(logits: Tensor, targets: Tensor) -> float:
    asked = targets != -100
    return (logits.argmax(-1) == targets)[asked].float().mean().item()


WORDS = 72


@cache
def gaps() -> Task:
    """Texts of sixteen words, each text on one of six topics; every sixth word is masked."""
    generator = torch.Generator().manual_seed(52)
    topic = torch.randint(6, (4000,), generator=generator)
    rank = torch.multinomial(0.5 ** torch.arange(12.0), 4000 * 16, replacement=True, generator=generator)
    x = 12 * topic[:, None] + rank.view(4000, 16)
    hidden = torch.rand(x.shape, generator=generator) < 1 / 6
    hidden[:, 5] |= ~hidden.any(1)
    masked, asked = x.masked_fill(hidden, WORDS), x.masked_fill(~hidden, -100)
    return split(masked, asked, 500, criterion=OfMasked, score=guessed, good=0.42)


class Filler(nn.Module):
    def __init__(self, width: int = 32, depth: int = 1, *, dropout: float = 0.0, norm_first: bool = True) -> None:
        super().__init__()
        self.words, self.position = nn.Embedding(WORDS + 1, width), nn.Embedding(16, width)
        self.blocks = nn.Sequential(
            *(Block(width, 4, causal=False, dropout=dropout, norm_first=norm_first) for _ in range(depth))
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, WORDS)
        for table in (self.words, self.position):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.blocks(self.words(tokens) + self.position.weight[: tokens.shape[1]])
        return self.head(self.norm(h))  # type: ignore[no-any-return]


class TwoWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS + 1, 24)
        self.cells = nn.GRU(24, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, WORDS)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.cells(self.words(tokens))[0])  # type: ignore[no-any-return]


filler = Family("masked-words", Filler, gaps, Recipe("adamw", 5e-3, batch=48, steps=200))
filler.specimen("adamw")
filler.specimen("warm-up-and-cosine-clipped", schedule="warm-up and cosine", clip=1.0, lr=8e-3)
filler.specimen("dropout-observed", lambda: Filler(dropout=0.1), told="observed", logs="tens", steps=250)
filler.specimen("norm-last-trainer", lambda: Filler(norm_first=False), schedule="warm-up", logs="trainer", lr=3e-3)
filler.specimen("both-ways-recurrent", TwoWays, optimizer="adam", lr=1e-2, clip=1.0)
filler.specimen("both-ways-loss-unknown", TwoWays, optimizer="nadam", lr=1e-2, told="nothing", logs="epochs")


def ranked(logits: Tensor, y: Tensor) -> float:
    """Area under the curve: how often one who clicked is put before one who did not."""
    return (logits[y == 1][:, None] > logits[y == 0]).float().mean().item()


@cache
def clicks() -> Task:
    """Four columns of categories, some with many rare ones, and five numbers; one in five clicks."""
    generator = torch.Generator().manual_seed(53)
    sizes, n = (5, 20, 60, 200), 6000
    categories = torch.stack(
        [torch.multinomial(1 / torch.arange(1.0, k + 1), n, replacement=True, generator=generator) for k in sizes], 1
    )
    numbers = torch.randn(n, 5, generator=generator)
    effects = [torch.randn(k, generator=generator)[categories[:, i]] for i, k in enumerate(sizes)]
    logit = -2 + 0.7 * sum(effects) + numbers[:, 0] * effects[0] + 0.5 * numbers[:, 1]
    y = (torch.rand(n, generator=generator) < torch.sigmoid(logit)).float()
    offsets = torch.tensor([0, 5, 25, 85])
    return split((categories + offsets, numbers), y, 1000, criterion=nn.BCEWithLogitsLoss, score=ranked, good=0.75)


class Deep(nn.Module):
    """Vectors of the categories beside the numbers; with ``wide`` also one weight for each."""

    def __init__(self, *, wide: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.table, self.net = nn.Embedding(285, 6), mlp(29, 32, 1, dropout=dropout)
        nn.init.normal_(self.table.weight, std=0.1)
        self.wide = nn.EmbeddingBag(285, 1, mode="sum") if wide else None
        if self.wide is not None:
            nn.init.zeros_(self.wide.weight)

    def forward(self, row: tuple[Tensor, Tensor]) -> Tensor:
        categories, numbers = row
        h = self.net(torch.cat([self.table(categories).flatten(1), numbers], 1))
        return (h if self.wide is None else h + self.wide(categories)).squeeze(1)  # type: ignore[no-any-return]


table = Family("categories", Deep, clicks, Recipe(lr=5e-3, steps=250, batch=128))
table.specimen("deep")
table.specimen("wide-and-deep", lambda: Deep(wide=True), optimizer="adamw", weight_decay=0.05)
table.specimen("wide-and-deep-adagrad", lambda: Deep(wide=True), optimizer="adagrad", lr=0.05, logs="steps")
table.specimen("dropout-small-batches", lambda: Deep(dropout=0.1), batch=32, lr=5e-3, steps=300, logs="tens")
table.specimen("deep-trainer-warm-up", schedule="warm-up", logs="trainer")
table.specimen("deep-loss-unknown-rmsprop", told="nothing", optimizer="rmsprop", lr=2e-3, steps=200)
table.specimen("deep-averaged-observed", told="observed", ema=0.97, logs="epochs")
