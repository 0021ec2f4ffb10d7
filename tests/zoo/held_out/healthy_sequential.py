"""Healthy: sequences, languages, ratings and graphs."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.habits import CAMEL, KERAS, STEPS, TRAINER
from tests.zoo.held_out.household import Family, alone, expect
from tests.zoo.held_out.readers import Factors, GraphNet, Recurrent, Transformer, Writer
from tests.zoo.held_out.shelf import graph, order, ratings, recall, series, text

memory = Family("first-symbol-remembered", lambda: Recurrent(4, 32, tokens=12), recall, good=0.95, lr=6e-3, epochs=12)
memory.run("lstm-clipped", clip=1.0)
memory.run("gru", lambda: Recurrent(4, 32, tokens=12, kind=nn.GRU), tags=STEPS)
memory.run("gru-short", lambda: Recurrent(4, 24, tokens=12, kind=nn.GRU), partial(recall, 6), epochs=5, tags=TRAINER)

words = Family("order-of-two-words", lambda: Transformer(2, 10), order, good=0.95, lr=2e-3, epochs=10)
words.run("warm-up-linear", optimizer="adamw", schedule="warm-up-linear", log_rate=True, tags=STEPS)
words.run("post-norm-warm-up", lambda: Transformer(2, 10, post=True), schedule="warm-up", lr=1e-3)
words.run("dropout", lambda: Transformer(2, 10, drop=0.1), optimizer="adamw", weight_decay=0.1, tags=TRAINER)

small = Family("small-language-model", lambda: Transformer(causal=True), text, good=0.4, lr=4e-3, epochs=8)
small.run("cosine", optimizer="adamw", weight_decay=0.1, schedule="cosine", clip=1.0, tags=STEPS)
small.run("accumulated", accumulate=2, batch=16, optimizer="adamw", tags=TRAINER)
small.run("one-layer", lambda: Transformer(causal=True, depth=1), schedule="warm-up", optimizer="adamw", tags=KERAS)

older = Family("recurrent-language-model", lambda: Writer(), text, good=0.4, lr=4e-3, epochs=8)
older.run("gru", clip=1.0)
older.run(
    "lstm-descent", lambda: Writer(kind=nn.LSTM), optimizer="sgd", lr=4.0, clip=0.5, epochs=14, tags=STEPS, good=0.3
)
older.run("not-told", told="nothing", optimizer="adamw", tags=CAMEL)


def tied() -> nn.Module:
    model = Writer(48)
    nn.init.normal_(model.embed.weight, std=0.1)
    model.head.weight = model.embed.weight
    return model


twins = Family("head-tied-to-embedding", tied, text, good=0.38, lr=5e-3, epochs=8)
twins.run("adam")
twins.run("adamw-cosine", optimizer="adamw", schedule="cosine", tags=STEPS)
twins.run("observed", told="observed", clip=1.0, tags=TRAINER)

tides = Family("tide-in-an-hour", lambda: Recurrent(1, 24), series, good=0.85, lr=5e-3, epochs=8)
tides.run("lstm")
tides.run("plain-recurrence-clipped", lambda: Recurrent(1, 24, kind=nn.RNN), clip=0.5, lr=3e-3, tags=STEPS)
tides.run("gru-one-cycle", lambda: Recurrent(1, 24, kind=nn.GRU), schedule="one-cycle", lr=1e-2, tags=CAMEL)

tastes = Family("ratings-by-factors", lambda: Factors(6, 0.3), ratings, good=0.6, lr=2e-2, epochs=10, batch=64)
tastes.run("adam", weight_decay=1e-5)
tastes.run("sparse", lambda: Factors(6, 0.3, sparse=True), optimizer="sparse", tags=STEPS)
tastes.run("adagrad", optimizer="adagrad", lr=0.2, tags=TRAINER)


def nodes(writer: SummaryWriter, *, depth: int, residual: bool, lr: float, drop: float, epochs: int) -> None:
    """All nodes at once, as people train graphs: the same batch at every step, by design."""
    data = graph()
    model = GraphNet(data.adjacency, depth, residual=residual)
    optimizer = Adam(model.parameters(), lr, weight_decay=5e-4)
    writer.watch(model, optimizer)
    for epoch in range(epochs):
        logits = model(F.dropout(data.x, drop))
        loss = F.cross_entropy(logits[data.train], data.y[data.train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), epoch)
        with torch.no_grad():
            told = model(data.x)
        writer.add_scalar("loss/val", F.cross_entropy(told[~data.train], data.y[~data.train]).item(), epoch)
        score = (told.argmax(1) == data.y)[~data.train].float().mean().item()
        writer.add_scalar("acc/val", score, epoch)
    expect(score, 0.8)


alone("nodes-of-a-graph", "two-layers", partial(nodes, depth=2, residual=False, lr=1e-2, drop=0.5, epochs=120))
alone("nodes-of-a-graph", "residual-four", partial(nodes, depth=4, residual=True, lr=5e-3, drop=0.3, epochs=60))
alone("nodes-of-a-graph", "slower", partial(nodes, depth=2, residual=False, lr=3e-3, drop=0.2, epochs=150))
