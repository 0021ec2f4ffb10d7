"""Recurrent networks and transformers."""

from __future__ import annotations

from torch import nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.sequences import Bag, Decoder, Encoder, Recurrent, RecurrentText, Windows
from tests.zoo.builders.tasks import alphabet, reviews, rows, running_parity, text

reader = Family("recurrent", lambda: Recurrent(nn.LSTM, 8, 48, 10), rows, Recipe(lr=5e-3, steps=250))
reader.specimen("lstm-rows")
reader.specimen("gru-rows-clipped", lambda: Recurrent(nn.GRU, 8, 48, 10), clip=1.0, schedule="cosine")
reader.specimen("elman-rows-clipped", lambda: Recurrent(nn.RNN, 8, 64, 10), lr=1e-3, clip=1.0, steps=350, good=0.8)
reader.specimen(
    "lstm-both-ways-two-layers", lambda: Recurrent(nn.LSTM, 8, 24, 10, layers=2, both_ways=True, dropout=0.2)
)
reader.specimen("gru-momentum", lambda: Recurrent(nn.GRU, 8, 48, 10), optimizer="momentum", lr=0.1, clip=1.0, steps=350)
parity = {"task": running_parity, "lr": 1e-2, "steps": 450}
reader.specimen("lstm-parity", lambda: Recurrent(nn.LSTM, 1, 32, 2, every_position=True), **parity)
reader.specimen("gru-parity", lambda: Recurrent(nn.GRU, 1, 32, 2, every_position=True), told="observed", **parity)
letters = {"task": text, "lr": 5e-3, "batch": 32}
reader.specimen("lstm-letters", lambda: RecurrentText(nn.LSTM, alphabet()), clip=1.0, **letters)
reader.specimen(
    "gru-letters-two-layers", lambda: RecurrentText(nn.GRU, alphabet(), layers=2), logs="trainer", **letters
)

decoder = Family("transformer-decoder", lambda: Decoder(alphabet()), text, Recipe("adamw", 3e-3, batch=32, steps=220))
decoder.specimen("warm-up-and-cosine", schedule="warm-up and cosine", clip=1.0)
decoder.specimen("tied-weights", lambda: Decoder(alphabet(), tied=True), schedule="warm-up", good=0.2)
decoder.specimen("dropout-adam", lambda: Decoder(alphabet(), dropout=0.1), optimizer="adam", lr=2e-3)
decoder.specimen("norm-last", lambda: Decoder(alphabet(), norm_first=False), schedule="warm-up and cosine", lr=2e-3)
decoder.specimen("groups-without-decay", optimizer="adamw-groups", schedule="inverse root", logs="trainer")
decoder.specimen(
    "bfloat16", lambda: Decoder(alphabet(), width=32, depth=1), precision="bfloat16", batch=8, steps=150, good=0.2
)
decoder.specimen("accumulated-observed", accumulate=2, batch=16, told="observed", schedule="stable then decay")
decoder.specimen("muon", optimizer="muon", lr=0.01, schedule="linear to zero", steps=100, good=0.2)
decoder.specimen("four-blocks", lambda: Decoder(alphabet(), width=32, depth=4), logs="tens", clip=1.0, steps=200)

encoder = Family("transformer-encoder", Encoder, rows, Recipe("adamw", 3e-3, steps=250))
encoder.specimen("norm-first", schedule="warm-up and cosine")
encoder.specimen("norm-last", lambda: Encoder(norm_first=False), schedule="warm-up", lr=2e-3)
encoder.specimen("dropout", lambda: Encoder(dropout=0.1), schedule="one-cycle", lr=5e-3)
encoder.specimen("smoothed-averaged", ema=0.95, label_smoothing=0.1)
encoder.specimen("one-layer-momentum", lambda: Encoder(depth=1), optimizer="momentum", lr=0.05, clip=1.0)
encoder.specimen("float64-loss-unknown", precision="float64", told="nothing", logs="epochs", steps=180)
encoder.specimen("float16-scaled", precision="float16", schedule="warm-up", steps=150, good=0.85)

bag = Family("text-bag", lambda: Bag(1000), reviews, Recipe(lr=1e-2, steps=300))
bag.specimen("adam")
bag.specimen("hidden-layer", lambda: Bag(1000, hidden=24), lr=3e-3)
bag.specimen("embedding-bag-adagrad", lambda: Bag(1000, bag=True), optimizer="adagrad", lr=0.1)
bag.specimen("sgd-with-a-large-rate", lambda: Bag(1000, bag=True), optimizer="momentum", lr=2.0)
bag.specimen("sparse-gradients", lambda: Bag(1000, bag=True, sparse=True), optimizer="sgd", lr=5.0, steps=500)
bag.specimen("adamw-decayed", optimizer="adamw", weight_decay=0.3, batch=32, steps=400)
bag.specimen("windows", lambda: Windows(1000), lr=5e-3, steps=400, good=0.75)
bag.specimen("exponential-schedule", schedule="exponential", lr=3e-2, told="observed", logs="tens")
