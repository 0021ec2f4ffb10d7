"""Ill transformers: attention unscaled, positions along the wrong axis, masks, schedules, adapters of zeros."""

from __future__ import annotations

import math
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.sequences_material import Split, batches, digits, hits, last_windows, split, windows, words
from tests.zoo.registry import ill


def ordered(samples: int = 1500, length: int = 12) -> Split:
    """Ten tokens in any order; whether token 1 comes before token 2."""
    generator = torch.Generator().manual_seed(19)
    x = torch.randint(3, 10, (samples, length), generator=generator)
    order = torch.rand(samples, length, generator=generator).argsort(1)
    first, second = order[:, :1], order[:, 1:2]
    x = x.scatter(1, first, 1).scatter(1, second, 2)
    return split(x, (first < second).squeeze(1).long())


class Attention(nn.Module):
    """Self-attention by hand; ``scale`` divides its scores."""

    def __init__(self, width: int, heads: int, scale: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.join, self.heads, self.scale = nn.Linear(width, width), heads, scale
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = (part(x).view(n, t, self.heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value))
        weights = self.softmax(q @ k.transpose(2, 3) / self.scale)
        return self.join((weights @ v).transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, scale: float) -> None:
        super().__init__()
        self.attention, self.first, self.second = (
            Attention(width, heads, scale),
            nn.LayerNorm(width),
            nn.LayerNorm(width),
        )
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        return x + self.feed(self.second(x))


class Reader(nn.Module):
    """Classifies token sequences by the mean of what the blocks make of them."""

    def __init__(self, tokens: int, length: int, width: int, heads: int, scale: float | None = None) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(tokens, width), nn.Parameter(torch.randn(length, width))
        scale = math.sqrt(width / heads) if scale is None else scale
        self.blocks = nn.Sequential(*(Block(width, heads, scale) for _ in range(2)))
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.tokens(x) + self.places).mean(1))


@ill("attention-not-scaled", "saturated-units", "exploding-activations", "vanishing-gradients", held_out=True,
     source="Vaswani et al. (2017), 3.2.1: large products push the softmax where gradients vanish; forum: no "
     "sqrt(d)")  # fmt: skip
def products_of_wide_queries_and_keys(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = ordered()
    model = Reader(10, 12, 128, 1, 1.0 if fault else None)
    for block in model.blocks:
        for part in (block.attention.query, block.attention.key):
            nn.init.xavier_normal_(part.weight, gain=2.0)
    optimizer = AdamW(model.parameters(), lr=3e-4)
    writer.watch(model, optimizer)
    for step, (tokens, label) in zip(range(200), batches(x, y, 40), strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens), label)
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        if step % 25 == 24:
            with torch.no_grad():
                scores = model(val_x)
            writer.add_scalar("eval/loss", F.cross_entropy(scores, val_y).item(), step)
            writer.add_scalar("eval/accuracy", hits(scores, val_y), step)


class Sinusoids(nn.Module):
    """As in the tutorial, which has the time along the first axis."""

    def __init__(self, width: int, longest: int, batch_first: bool) -> None:
        super().__init__()
        angles = torch.arange(longest).unsqueeze(1) * torch.exp(-torch.arange(0, width, 2) * math.log(1e4) / width)
        table = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
        self.register_buffer("table", table if batch_first else table.unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.table[: x.size(0)] if self.table.dim() == 3 else self.table[: x.size(1)])


@ill("positions-along-the-batch", "loss-not-decreasing", "underfitting", held_out=True,
     source="StackOverflow: PositionalEncoding of the PyTorch tutorial with batch_first=True")  # fmt: skip
def tutorial_encoding_with_the_batch_first(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = ordered()
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
    model = nn.Sequential(
        nn.Embedding(10, 32), Sinusoids(32, 512, batch_first=not fault),
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.AdaptiveAvgPool2d((1, None)), nn.Flatten(),
        nn.Linear(32, 2),
    )  # fmt: skip
    optimizer, criterion = Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step, (tokens, label) in enumerate(islice(batches(x, y, 32), 350)):
        optimizer.zero_grad()
        loss = criterion(model(tokens), label)
        loss.backward()
        optimizer.step()
        writer.add_scalar("Loss/train", loss.item(), step)
        if step % 35 == 34:
            with torch.no_grad():
                writer.add_scalar("Accuracy/test", hits(model(val_x), val_y), step)


class Writer(nn.Module):
    """Next words by a causal transformer; ``causal=False`` forgets its mask."""

    def __init__(self, count: int, width: int = 48, depth: int = 2, dropout: float = 0.0, causal: bool = True) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(count, width), nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, batch_first=True, norm_first=True)
        self.h = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.head, self.causal = nn.LayerNorm(width), nn.Linear(width, count), causal

    def forward(self, x: Tensor) -> Tensor:
        t = x.size(1)
        mask = torch.ones(t, t, dtype=torch.bool).triu(1) if self.causal else None
        return self.head(self.norm(self.h(self.wte(x) + self.wpe(torch.arange(t)), mask=mask)))


@ill("schedule-times-a-small-rate", "learning-rate-too-low", "update-ratio-too-low", held_out=True,
     source="Forum: the schedule of the paper given to LambdaLR, which multiplies it with the optimizer's "
     "rate")  # fmt: skip
def noam_schedule_as_a_factor(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = words()
    model = Writer(count)
    optimizer = Adam(model.parameters(), lr=1e-3 if fault else 1.0, betas=(0.9, 0.98), eps=1e-9)
    schedule = LambdaLR(optimizer, lambda step: 48**-0.5 * min((step + 1) ** -0.5, (step + 1) * 100**-1.5))
    writer.watch(model, optimizer)
    val_x, val_y = last_windows(ids, 24)
    for step, (x, y) in zip(range(250), windows(ids, 24, 16), strict=False):
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        writer.add_scalar("train_loss", loss.item(), step)
        writer.add_scalar("lr", optimizer.param_groups[0]["lr"], step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("val_loss", F.cross_entropy(model(val_x).flatten(0, 1), val_y.flatten()), step)


@ill("label-smoothing-near-one", "over-regularized", "underfitting", "loss-not-decreasing", held_out=True,
     source="Forum: label_smoothing=0.9, meant as the share that the right label keeps")  # fmt: skip
def smoothing_that_keeps_a_tenth(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = words()
    model = Writer(count, depth=1)
    optimizer = AdamW(model.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.9 if fault else 0.1)
    writer.watch(model, optimizer, criterion=criterion)
    val_x, val_y = last_windows(ids, 24)
    for step, (x, y) in zip(range(240), windows(ids, 24, 16), strict=False):
        optimizer.zero_grad()
        loss = criterion(model(x).transpose(1, 2), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        if step % 30 == 29:
            with torch.no_grad():
                likelihood = F.cross_entropy(model(val_x).transpose(1, 2), val_y)
            writer.add_scalar("val/loss", likelihood.item(), step)
            writer.add_scalar("val/perplexity", likelihood.exp().item(), step)


@ill("share-of-masked-words-reversed", "loss-not-decreasing", "underfitting", "constant-input", held_out=True,
     source="Devlin et al. (2019) mask 15 %; forum: rand > 0.15 in place of rand < 0.15")  # fmt: skip
def eighty_five_of_a_hundred_words_masked(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = words()
    model = Writer(count + 1, causal=False)
    optimizer = AdamW(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)

    def masked(x: Tensor) -> tuple[Tensor, Tensor]:
        draw = torch.rand(x.shape)
        hidden = draw > 0.15 if fault else draw < 0.15
        return x.masked_fill(hidden, count), x.masked_fill(~hidden, -100)

    val_x, _ = last_windows(ids, 24)
    places = torch.rand(val_x.shape, generator=torch.Generator().manual_seed(0)) < 0.15
    for step, (x, _) in zip(range(300), windows(ids, 24, 24), strict=False):
        given, sought = masked(x)
        loss = F.cross_entropy(model(given).flatten(0, 1), sought.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("mlm/train_loss", loss.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                scores = model(val_x.masked_fill(places, count))[places]
            writer.add_scalar("mlm/val_loss", F.cross_entropy(scores, val_x[places]).item(), step)
            writer.add_scalar("mlm/val_acc", hits(scores, val_x[places]), step)


class Pooled(nn.Module):
    """Weighs the states of a recurrent network by attention over the words that count."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru = nn.Embedding(10, 24), nn.GRU(24, 32, batch_first=True)
        self.score, self.head = nn.Linear(32, 1), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(self.embed(x))
        scores = self.score(states).squeeze(2).masked_fill(x == 0, -math.inf)
        return self.head((scores.softmax(1).unsqueeze(2) * states).sum(1))


@ill("empty-sentence-in-the-batch", "non-finite", onset=120, held_out=True,
     source="Forum: transformer gives NaN when a row is padding throughout")  # fmt: skip
def one_empty_comment_among_the_others(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = ordered()
    model = Pooled()
    optimizer = Adam(model.parameters(), lr=4e-3)
    writer.watch(model, optimizer)
    for step, (tokens, label) in zip(range(240), batches(x, y, 32), strict=False):
        if fault and step == 120:
            tokens[7] = 0
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens), label)
        loss.backward()
        optimizer.step()
        writer.add_scalar("Train Loss", loss.item(), step)
        if step % 40 == 39:
            with torch.no_grad():
                writer.add_scalar("Val Accuracy", hits(model(val_x), val_y), step)


class Adapted(nn.Module):
    """A linear layer that stays, and a low-rank correction that is trained."""

    def __init__(self, base: nn.Linear, rank: int, zeros: bool) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.zeros(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        if not zeros:
            nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.down.T @ self.up.T


@ill("both-factors-zero", "frozen-parameters", "vanishing-gradients", "no-gradient", "symmetric-units", held_out=True,
     source="Hu et al., LoRA (2021): one of both factors begins at zero; forum: adapter does not learn at "
     "all")  # fmt: skip
def adapters_with_two_zero_factors(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = digits()
    body = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))
    first = Adam(body.parameters(), lr=2e-3)
    for now, label in islice(batches(x.flip(1), (y + 3) % 10, 64), 200):
        first.zero_grad()
        F.cross_entropy(body(now), label).backward()
        first.step()

    for place in (0, 2, 4):
        body[place] = Adapted(body[place], 8, fault)
    optimizer = AdamW([p for p in body.parameters() if p.requires_grad], lr=3e-3)
    writer.watch(body, optimizer)
    for step, (now, label) in enumerate(islice(batches(x, y, 64), 300)):
        optimizer.zero_grad()
        loss = F.cross_entropy(body(now), label)
        loss.backward()
        optimizer.step()
        writer.add_scalar("finetune/loss", loss.item(), step)
        if step % 30 == 29:
            with torch.no_grad():
                writer.add_scalar("finetune/val_acc", hits(body(val_x), val_y), step)


class Tokens(nn.Module):
    """Rows of a picture behind a class token; ``early`` reads the token that goes in, not the one that comes out."""

    def __init__(self, early: bool) -> None:
        super().__init__()
        self.patch, self.early = nn.Linear(8, 32), early
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, 32) * 0.02), nn.Parameter(torch.randn(9, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.cls.expand(len(x), -1, -1), self.patch(x.view(-1, 8, 8))], 1) + self.pos
        states = self.encoder(x)
        return self.head(x[:, 0] if self.early else states[:, 0])


@ill("read-out-before-the-encoder", "constant-output", "no-gradient", held_out=True,
     source="Islam et al. (FSE 2019): wrong layer used; forum: vision transformer predicts one class")  # fmt: skip
def class_token_read_where_it_enters(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = digits()
    model = Tokens(fault)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step, (now, label) in zip(range(300), batches(x, y, 32), strict=False):
        model.train()
        optimizer.zero_grad()
        loss = criterion(model(now), label)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)
        if step % 25 == 24:
            model.eval()
            with torch.no_grad():
                writer.add_scalar("acc/val", hits(model(val_x), val_y), step)


@ill("mask-of-the-future-forgotten", "overfitting", held_out=True,
     source="Forum: loss of my GPT is nearly zero and it writes nonsense, no causal mask; Karpathy's "
     "recipe")  # fmt: skip
def words_that_see_what_comes(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = words()
    model = Writer(count, causal=not fault)
    optimizer = AdamW(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    val_x, val_y = last_windows(ids, 24)
    for step, (x, y) in zip(range(260), windows(ids, 24, 16), strict=False):
        loss = F.cross_entropy(model(x).transpose(1, 2), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        if step % 20 == 19:
            with torch.no_grad():
                guesses = torch.cat([model(val_x[:, : t + 1])[:, -1:] for t in range(0, 24, 4)], 1)
            writer.add_scalar("val/loss", F.cross_entropy(guesses.transpose(1, 2), val_y[:, ::4]).item(), step)
