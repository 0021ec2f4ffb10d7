"""Healthy on sequences: sums that are long in coming, pointers, alignments, letters, layers used again and again."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.builders import material
from tests.zoo.builders.branching import Reader, Sequence
from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import cnn, mlp
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import (
    Letters,
    Task,
    alphabet,
    images,
    letters_right,
    noisy_labels,
    reviews,
    rows,
    split,
    text,
)  # fmt: skip
from tests.zoo.healthy_tables import as_task


@cache
def sums(length: int = 10) -> Task:
    return as_task(material.steps_of_a_walk(length), 0.8)


marked = Family("marked-sums", lambda: Sequence(nn.GRU, 2), sums, Recipe(lr=5e-3, steps=350, clip=1.0))
marked.specimen("gru")
marked.specimen(
    "lstm-longer", lambda: Sequence(nn.LSTM, 2, 48), task=lambda: sums(12), lr=1e-2, logs="trainer", steps=400
)
marked.specimen("rnn-tanh-short", lambda: Sequence(nn.RNN, 2), task=lambda: sums(6), good=0.5, steps=450)
marked.specimen(
    "two-layers-tens", lambda: Sequence(nn.GRU, 2, 24, num_layers=2), logs="tens", schedule="cosine", lr=1e-2
)


class Pointer(nn.Module):
    """For each of the sorted places, which of the numbers stands there? Logits (n, places, numbers)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.into = nn.Linear(1, width)
        self.block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.decoder, self.start = nn.GRU(width, width, batch_first=True), nn.Parameter(torch.zeros(6, width))
        self.key = nn.Linear(width, width)
        nn.init.normal_(self.start, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.block(self.into(x))
        asked, _ = self.decoder(self.start.expand(len(x), -1, -1), h.mean(1)[None].contiguous())
        return asked @ self.key(h).transpose(1, 2) / h.shape[2] ** 0.5


@cache
def sorting() -> Task:
    x = torch.rand(3000, 6, 1, generator=torch.Generator().manual_seed(71)) * 2 - 1
    return split(x, x[:, :, 0].argsort(1), 300, criterion=Letters, score=letters_right, good=0.6)


pointers = Family("pointers", Pointer, sorting, Recipe("adamw", 4e-3, steps=250))
pointers.specimen("sorting")
pointers.specimen("large-batches-warm-up", batch=256, schedule="warm-up and cosine", lr=8e-3, steps=180)
pointers.specimen("clipped-steps", clip=1.0, logs="steps", optimizer="radam")


class Alignment(nn.Module):
    """CTC of 24 frames with four signs; both of fixed length."""

    def forward(self, logits: Tensor, signs: Tensor) -> Tensor:
        n, frames, _ = logits.shape
        lengths = torch.full((n,), frames), torch.full((n,), signs.shape[1])
        return F.ctc_loss(logits.log_softmax(2).transpose(0, 1), signs, *lengths)


def read_off(logits: Tensor, signs: Tensor) -> float:
    """Share of the samples whose signs are read rightly, repetitions merged and blanks left out."""
    right = 0
    for best, truth in zip(logits.argmax(2), signs, strict=True):
        merged = torch.unique_consecutive(best)
        right += torch.equal(merged[merged > 0], truth)
    return right / len(signs)


@cache
def strokes() -> Task:
    """Four signs of five, each for three to six frames (n, 24, 6); no sign twice in a row."""
    g = torch.Generator().manual_seed(72)
    signs = torch.zeros(1200, 4, dtype=torch.long)
    signs[:, 0] = torch.randint(1, 6, (1200,), generator=g)
    for i in range(1, 4):
        signs[:, i] = (signs[:, i - 1] - 1 + torch.randint(1, 5, (1200,), generator=g)) % 5 + 1
    forms, x = torch.randn(6, 6, generator=g), torch.zeros(1200, 24, 6)
    for sample, truth in zip(x, signs, strict=True):
        at = 0
        for sign in truth.tolist():
            long = int(torch.randint(3, 7, (1,), generator=g))
            sample[at : at + long] = forms[sign]
            at += long
    return split(x + 0.3 * torch.randn(x.shape, generator=g), signs, 200, criterion=Alignment, score=read_off, good=0.6)


class Frames(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.cell = nn.GRU(6, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0])


aligned = Family("alignments", Frames, strokes, Recipe(lr=1e-2, steps=250, batch=32))
aligned.specimen("gru")
aligned.specimen("cosine-clipped", schedule="cosine", clip=5.0, logs="trainer")
aligned.specimen("narrow-small-batches", lambda: Frames(20), lr=1e-2, batch=16, logs="tens")


class Tied(nn.Module):
    """Next letters; the embedding is the head's matrix too. Logits (n, time, letters)."""

    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM, width: int = 48, dropout: float = 0.0) -> None:
        super().__init__()
        self.letters = nn.Embedding(alphabet(), width)
        nn.init.normal_(self.letters.weight, std=0.1)
        self.cell, self.dropout = cell(width, width, batch_first=True), nn.Dropout(dropout)
        self.head = nn.Linear(width, alphabet())
        self.head.weight = self.letters.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.cell(self.letters(x))[0]))


spelled = Family("tied-letters", Tied, text, Recipe(lr=1e-2, steps=200, batch=32, clip=1.0))
spelled.specimen("lstm")
spelled.specimen("gru-dropout", lambda: Tied(nn.GRU, dropout=0.2), logs="trainer", schedule="linear to zero")
spelled.specimen("smoothed-restarts", label_smoothing=0.1, schedule="restarts", logs="tens")
spelled.specimen("momentum-high-rate", optimizer="momentum", lr=0.5, steps=250, good=0.2)


class Again(nn.Module):
    """One block for every round (Dehghani et al., 2019)."""

    def __init__(self, rounds: int = 4, width: int = 32) -> None:
        super().__init__()
        self.into, self.places = nn.Linear(8, width), nn.Parameter(0.02 * torch.randn(8, width))
        self.block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.norm, self.head, self.rounds = nn.LayerNorm(width), nn.Linear(width, 10), rounds

    def forward(self, x: Tensor) -> Tensor:
        h = self.into(x) + self.places
        for _ in range(self.rounds):
            h = self.block(h)
        return self.head(self.norm(h).mean(1))


again = Family("shared-layers", Again, rows, Recipe("adamw", 2e-3, steps=160))
again.specimen("four-rounds")
again.specimen("six-rounds-clipped", partial(Again, 6), clip=1.0, lr=2e-3, logs="steps")
again.specimen("three-rounds-exponential", partial(Again, 3), schedule="exponential", lr=5e-3)


class SparseBag(nn.Module):
    """Rare words have no gradient in most steps; ``sparse`` leaves their zeros out."""

    def __init__(self, words: int = 1000, width: int = 24, *, sparse: bool = False) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(words, width, mode="sum", sparse=sparse)
        nn.init.normal_(self.words.weight, std=0.05)
        self.head = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.words(tokens))


bag = Family("rare-words", SparseBag, reviews, Recipe("adagrad", 0.1, steps=250, batch=128))
bag.specimen("adagrad")
bag.specimen("sparse-gradients", lambda: SparseBag(sparse=True), lr=0.06, schedule="linear to zero", logs="steps")
bag.specimen("sparse-adagrad-observed", lambda: SparseBag(sparse=True), told="observed", logs="tens")
bag.specimen("two-at-a-time", batch=2, optimizer="sgd", lr=0.1, steps=1200, good=0.7, logs="tens")


@cache
def doubtful() -> Task:
    """Digits of which two in five are labelled at random."""
    return replace(noisy_labels(0.4), good=0.8)


@cache
def doubtful_images() -> Task:
    vectors, whole = noisy_labels(0.4), images()
    return replace(whole, train_y=vectors.train_y, good=0.8)


doubted = Family("doubtful-labels", lambda: mlp(64, 48, 10), doubtful, Recipe("sgd", 0.1, steps=250))
doubted.specimen("sgd")
doubted.specimen("smoothed-adamw", optimizer="adamw", lr=1e-3, weight_decay=0.05, label_smoothing=0.1)
doubted.specimen("dropout-augmented", lambda: mlp(64, 128, 10, dropout=0.5), jitter=0.5, optimizer="adam", lr=1e-3)
doubted.specimen(
    "cnn-tens", lambda: cnn(8, 16, pooled=False), task=doubtful_images, lr=2e-3, optimizer="adam", logs="tens"
)


@cache
def orders() -> Task:
    return as_task(material.order_of_words(), 0.9)


placed = Family("orders", Reader, orders, Recipe("adamw", 2e-3, steps=200))
placed.specimen("encoder")
placed.specimen("clipped-linear", clip=1.0, schedule="linear to zero", lr=3e-3, logs="trainer")
placed.specimen("norm-last-warm-up", lambda: Reader(depth=1, norm_first=False), schedule="warm-up", lr=3e-3)
