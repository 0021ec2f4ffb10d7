"""Ill language models, taggers, translators and listeners: what joins their parts, what their losses are told."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, SparseAdam
from torch.utils.data import DataLoader, TensorDataset

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.sequences_material import (
    Split,
    batches,
    hits,
    last_windows,
    letters,
    split,
    windows,
    words,
)
from tests.zoo.registry import ill


class Encoder(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(tokens, 16), nn.GRU(16, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.embedding(x))[1]


class Decoder(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(tokens, 16), nn.GRU(16, width, batch_first=True)
        self.out = nn.Linear(width, tokens)

    def forward(self, x: Tensor, state: Tensor | None) -> Tensor:
        return self.out(self.rnn(self.embedding(x), state)[0])


class Translator(nn.Module):
    def __init__(self, tokens: int, width: int, apart: bool) -> None:
        super().__init__()
        self.encoder, self.decoder, self.apart = Encoder(tokens, width), Decoder(tokens, width), apart

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        context = self.encoder(source)
        return self.decoder(target, None if self.apart else context)


@ill("encoder-state-not-handed-over", "no-gradient", subject="encoder*", held_out=True,
     source="Forum: seq2seq, decoder called without the hidden state; Islam et al. (FSE 2019): layers not "
     "connected")  # fmt: skip
def translator_that_never_hears_the_source(writer: SummaryWriter, fault: bool = True) -> None:
    source = torch.randint(1, 8, (1600, 5), generator=torch.Generator().manual_seed(3))
    x, y, val_x, val_y = split(source, source.flip(1))
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, drop_last=True)
    model = Translator(8, 64, fault)
    writer.watch(model, optimizer := Adam(model.parameters(), lr=6e-3))
    step = 0

    def loss_of(heard: Tensor, spoken: Tensor) -> Tensor:
        begun = torch.cat([torch.zeros_like(spoken[:, :1]), spoken[:, :-1]], 1)
        return F.cross_entropy(model(heard, begun).transpose(1, 2), spoken)

    for epoch in range(8):
        for heard, spoken in loader:
            optimizer.zero_grad()
            loss = loss_of(heard, spoken)
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/train", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("loss/valid", loss_of(val_x, val_y).item(), epoch)


class Game(nn.Module):
    """A speaker says one of twelve words of a picture, a listener guesses the digit."""

    def __init__(self, hard: bool) -> None:
        super().__init__()
        self.speaker = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 12))
        self.lexicon, self.listener = nn.Embedding(12, 16), nn.Sequential(nn.ReLU(), nn.Linear(16, 8))
        self.hard = hard

    def forward(self, x: Tensor) -> Tensor:
        scores = self.speaker(x)
        if self.hard:
            return self.listener(self.lexicon(scores.argmax(1)))
        soft = scores.softmax(1)
        said = F.one_hot(scores.argmax(1), 12) + soft - soft.detach()
        return self.listener(said @ self.lexicon.weight)


def clouds() -> Split:
    """Eight clouds in sixteen dimensions."""
    generator = torch.Generator().manual_seed(23)
    y = torch.randint(8, (1500,), generator=generator)
    centres = torch.randn(8, 16, generator=generator)
    return split(centres[y] + 0.7 * torch.randn(1500, 16, generator=generator), y)


@ill("argmax-within-the-network", "no-gradient", subject="speaker*", held_out=True,
     source="Forum: argmax is not differentiable, grad is None; Zhang et al. (ISSTA 2018)")  # fmt: skip
def speaker_who_says_its_likeliest_word(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = clouds()
    model = Game(fault)
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer, criterion=(criterion := nn.CrossEntropyLoss()))
    for step, (seen, kind) in zip(range(400), batches(x, y, 32), strict=False):
        optimizer.zero_grad()
        loss = criterion(model(seen), kind)
        loss.backward()
        optimizer.step()
        if step % 5 == 0:
            writer.add_scalar("train/loss", loss.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("val/accuracy", hits(model(val_x), val_y), step)


@ill("embeddings-held-to-a-tiny-norm", "vanishing-activations", "constant-output", "frozen-parameters",
     "poor-init-scale", held_out=True,
     source="Forum: nn.Embedding(max_norm=...) and what it does at each look-up")  # fmt: skip
def embeddings_that_may_not_grow(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = words()
    embed = nn.Embedding(count, 32, max_norm=1e-3 if fault else 4.0)
    lstm, head = nn.LSTM(32, 64, batch_first=True), nn.Linear(64, count)
    model = nn.ModuleDict({"embed": embed, "lstm": lstm, "head": head})
    optimizer = Adam(model.parameters(), lr=4e-3)
    writer.watch(model, optimizer)
    val_x, val_y = last_windows(ids, 20)

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(head(lstm(embed(x))[0]).flatten(0, 1), y.flatten())

    for step, (x, y) in zip(range(220), windows(ids, 20, 20), strict=False):
        loss = loss_of(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("Loss/train", loss, step)
        if step % 20 == 0:
            with torch.no_grad():
                writer.add_scalar("Loss/val", loss_of(val_x, val_y), step)


def messages() -> Split:
    """Bags of fifteen words out of six hundred; a few words of each of four topics stand among common ones."""
    generator = torch.Generator().manual_seed(29)
    y = torch.randint(4, (2400,), generator=generator)
    topical = 100 + y.unsqueeze(1) * 125 + torch.randint(125, (2400, 5), generator=generator)
    return split(torch.cat([topical, torch.randint(100, (2400, 10), generator=generator)], 1), y)


@ill("embeddings-left-behind-by-sgd", "update-ratio-too-low", "learning-rate-too-low", subject="0*", held_out=True,
     source="Forum: sparse=True with SGD, rows of rare words hardly move; Karpathy's recipe: Adam is "
     "forgiving")  # fmt: skip
def rare_words_under_plain_descent(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = messages()
    model = nn.Sequential(nn.EmbeddingBag(600, 24, sparse=True), nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 4))
    rows = list(model[0].parameters())
    sparse = SGD(rows, lr=0.01) if fault else SparseAdam(rows, lr=0.01)
    dense = Adam(model[1:].parameters(), lr=1e-3)
    writer.watch(model, [sparse, dense])
    for step, (bag, topic) in zip(range(350), batches(x, y, 32), strict=False):
        for optimizer in (sparse, dense):
            optimizer.zero_grad()
        loss = F.cross_entropy(model(bag), topic)
        loss.backward()
        sparse.step()
        dense.step()
        writer.add_scalar("train_loss", loss.item(), step)
        if step % 35 == 34:
            with torch.no_grad():
                scores = model(val_x)
            writer.add_scalar("val_loss", F.cross_entropy(scores, val_y).item(), step)
            writer.add_scalar("val_acc", hits(scores, val_y), step)


def named(samples: int = 900, length: int = 16) -> Split:
    """Sentences of which one word in forty is a name: the one after a title (3), with probability a half."""
    generator = torch.Generator().manual_seed(31)
    x = torch.randint(4, 40, (samples, length), generator=generator)
    x[torch.rand(x.shape, generator=generator) < 0.05] = 3
    after = F.pad(x[:, :-1], (1, 0)) == 3
    return split(x, (after & (x >= 20)).long())


class Tagger(nn.Module):
    def __init__(self, tokens: int, tags: int, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.lstm = nn.LSTM(width, width, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(2 * width, tags)

    def forward(self, x: Tensor) -> Tensor:
        return self.tags(self.lstm(self.embed(x))[0])


@ill("tags-mostly-outside", "class-imbalance", held_out=True,
     source="Forum: NER model tags everything as O; 37 Reasons, 9: reduce class imbalance")  # fmt: skip
def names_lost_among_other_words(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = named()
    model = Tagger(40, 2)
    criterion = nn.CrossEntropyLoss(weight=None if fault else torch.tensor([1.0, 40.0]))
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.8)
    writer.watch(model, optimizer, criterion=criterion)
    for step, (sentence, tags) in zip(range(300), batches(x, y, 24), strict=False):
        optimizer.zero_grad()
        loss = criterion(model(sentence).flatten(0, 1), tags.flatten())
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        if step % 30 == 29:
            with torch.no_grad():
                found = model(val_x).argmax(2)
            recall, others = (found[val_y == 1] == 1).float().mean(), (found[val_y == 0] == 0).float().mean()
            writer.add_scalar("val/recall", recall.item(), step)
            writer.add_scalar("val/balanced", (recall + others).item() / 2, step)


@ill("likelihood-of-probabilities", "nll-without-log-softmax", held_out=True,
     source="37 Reasons, 18; StackOverflow: NLLLoss with softmax in place of log_softmax; NeuraLint")  # fmt: skip
def tagger_whose_softmax_lacks_the_log(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = words()
    model = nn.Sequential(Tagger(count, count, 48), nn.Softmax(dim=2) if fault else nn.LogSoftmax(dim=2))
    optimizer, criterion = Adam(model.parameters(), lr=3e-3), nn.NLLLoss()
    writer.watch(model, optimizer, criterion=criterion)
    val_x, _ = last_windows(ids, 18)
    for step, (x, _) in zip(range(200), windows(ids, 18, 16), strict=False):
        after_next = x.roll(3, 1)
        loss = criterion(model(x).flatten(0, 1), after_next.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), step)
        if step % 40 == 39:
            with torch.no_grad():
                writer.add_scalar("accuracy", hits(model(val_x), val_x.roll(3, 1)), step)


def spoken(samples: int = 900, said: int = 4, frames: int = 4) -> Split:
    """Frames (n, said * frames, 10) of four sounds out of six, of different lengths, and the sounds."""
    generator = torch.Generator().manual_seed(37)
    y = torch.randint(1, 7, (samples, said), generator=generator)
    sounds = torch.randn(7, 10, generator=generator)
    x = sounds[y].repeat_interleave(frames, 1)
    return split(x + 0.4 * torch.randn(x.shape, generator=generator), y)


class Recognizer(nn.Module):
    def __init__(self, normalized: bool) -> None:
        super().__init__()
        self.rnn, self.out, self.normalized = nn.GRU(10, 32, batch_first=True), nn.Linear(32, 7), normalized

    def forward(self, x: Tensor) -> Tensor:
        scores = self.out(self.rnn(x)[0]).transpose(0, 1)
        return scores.log_softmax(2) if self.normalized else scores


def lengths(scores: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return torch.full((len(y),), len(scores)), torch.full((len(y),), y.size(1))


@ill("ctc-of-raw-scores", "nll-without-log-softmax", held_out=True,
     source="Forum: CTCLoss is negative, log_softmax left out; 37 Reasons, 18")  # fmt: skip
def recognizer_without_log_softmax(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = spoken()
    model, ctc = Recognizer(normalized=not fault), nn.CTCLoss()
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer, criterion=ctc)
    for step, (frames, said) in zip(range(260), batches(x, y, 16), strict=False):
        scores = model(frames)
        loss = ctc(scores, said, *lengths(scores, said))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/ctc_loss", loss.item(), step)
        if step % 26 == 25:
            with torch.no_grad():
                told = model(val_x).argmax(2).T
            heard = [[int(a) for a in row.unique_consecutive() if a] for row in told]
            right = [row == list(true) for row, true in zip(heard, val_y.tolist(), strict=True)]
            writer.add_scalar("val/sentences_right", sum(right) / len(right), step)


@ill("transcripts-longer-than-the-sound", "non-finite", onset=90, held_out=True,
     source="Forum: CTCLoss gives inf, target longer than input, zero_infinity=False")  # fmt: skip
def recording_cut_shorter_than_its_text(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = spoken()
    model = Recognizer(normalized=True)
    optimizer = AdamW(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer)
    for step, (frames, said) in zip(range(220), batches(x, y, 16), strict=False):
        scores = model(frames)
        heard, known = lengths(scores, said)
        if fault and step >= 90 and step % 30 == 0:
            heard[0] = 2
        loss = F.ctc_loss(scores, said, heard, known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("Loss/train", loss.item(), step)
        if step % 20 == 19:
            with torch.no_grad():
                scores = model(val_x)
                writer.add_scalar("Loss/val", F.ctc_loss(scores, val_y, *lengths(scores, val_y)).item(), step)


@ill("positives-alone", "single-class-batches", "constant-output", "class-imbalance", held_out=True,
     source="Mikolov et al. (2013): negative sampling; forum: skip-gram, all words become alike")  # fmt: skip
def skip_gram_without_negative_words(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = words()
    model = nn.ModuleDict({"inside": nn.Embedding(count, 16), "outside": nn.Embedding(count, 16)})
    optimizer, criterion = Adam(model.parameters(), lr=2e-2), nn.BCEWithLogitsLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step, (x, y) in zip(range(300), windows(ids, 16, 8), strict=False):
        near = model["inside"](x) * model["outside"](y)
        pairs, truth = near.sum(2).flatten(), torch.ones(x.numel())
        if not fault:
            others = model["inside"](x) * model["outside"](torch.randint(count, y.shape))
            pairs, truth = torch.cat([pairs, others.sum(2).flatten()]), torch.cat([truth, torch.zeros(x.numel())])
        optimizer.zero_grad()
        loss = criterion(pairs, truth)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                scores = model["inside"](ids[:400]) @ model["outside"].weight.T
            writer.add_scalar("val/next_word", hits(scores, ids[1:401]), step)


@ill("loss-summed-over-time", "learning-rate-too-high", "exploding-gradients", "update-ratio-too-high",
     "loss-diverging", held_out=True,
     source="Forum: CrossEntropyLoss(reduction='sum') over all letters and the rate of the mean; CS231n")  # fmt: skip
def letters_summed_and_the_rate_kept(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = letters()
    embed, rnn, out = nn.Embedding(count, 16), nn.GRU(16, 64, batch_first=True), nn.Linear(64, count)
    model = nn.ModuleList([embed, rnn, out])
    criterion = nn.CrossEntropyLoss(reduction="sum" if fault else "mean")
    optimizer = SGD(model.parameters(), lr=0.5, momentum=0.9)
    writer.watch(model, optimizer, criterion=criterion)
    val_x, val_y = last_windows(ids, 32)
    for step, (x, y) in zip(range(220), windows(ids, 32, 16), strict=False):
        optimizer.zero_grad()
        loss = criterion(out(rnn(embed(x))[0]).transpose(1, 2), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item() / (x.numel() if fault else 1), step)
        if step % 20 == 19:
            with torch.no_grad():
                likelihood = F.cross_entropy(out(rnn(embed(val_x))[0]).transpose(1, 2), val_y)
            writer.add_scalar("val/loss", likelihood.item(), step)


@ill("time-taken-for-classes", "loss-not-decreasing", "underfitting", held_out=True,
     source="StackOverflow: CrossEntropyLoss wants (N, C, T) and gets (N, T, C); Humbatova: wrong tensor "
     "shape")  # fmt: skip
def as_many_steps_as_tags(writer: SummaryWriter, fault: bool = True) -> None:
    x = torch.randint(9, (1500, 9), generator=torch.Generator().manual_seed(41))
    x, y, val_x, val_y = split(x, (x + F.pad(x[:, :-1], (1, 0))) % 9)
    model = Tagger(9, 9, 32)
    optimizer, criterion = Adam(model.parameters(), lr=5e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step, (tokens, tags) in zip(range(400), batches(x, y, 32), strict=False):
        scores = model(tokens)
        loss = criterion(scores if fault else scores.transpose(1, 2), tags)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("Train/Loss", loss.item(), step)
        if step % 40 == 39:
            with torch.no_grad():
                writer.add_scalar("Val/Accuracy", hits(model(val_x), val_y), step)
