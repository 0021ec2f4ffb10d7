"""Fine-tuning, adapters, frozen and pruned parts; pairs compared by one encoder."""

from __future__ import annotations

from torch import nn

from tests.zoo.builders.adapted import (
    Twins,
    biases_alone,
    frozen_but_last,
    low_rank,
    pretrained,
    pruned,
    same_class,
    two_views,
    weight_normalized,
)
from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import batch_norm, cnn, mlp
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import images, vectors


def trained_mlp(below: int = 10) -> nn.Sequential:
    model = mlp(64, 96, 96, 10)
    pretrained(model, vectors(), below=below)
    return model


def trained_cnn(below: int = 5) -> nn.Sequential:
    model = cnn(12, 24, 24, norm=batch_norm)
    pretrained(model, images(), below=below, lr=5e-3)
    return model


tuned = Family("fine-tuned", trained_mlp, vectors, Recipe("adamw", 1e-4, steps=150))
tuned.specimen("small-rate")
tuned.specimen("sgd", optimizer="momentum", lr=2e-3, logs="epochs")
tuned.specimen("new-classes", lambda: trained_mlp(5), lr=1e-3, steps=250)
tuned.specimen("convolutional", trained_cnn, task=images, lr=1e-3, steps=200, schedule="warm-up")
tuned.specimen(
    "head-on-a-frozen-body", lambda: frozen_but_last(trained_mlp(7), nn.Linear(96, 10)), lr=5e-3, steps=250, good=0.9
)
tuned.specimen(
    "head-on-frozen-convolutions", lambda: frozen_but_last(trained_cnn(8), nn.Linear(24, 10)), task=images, lr=1e-2,
    steps=250, good=0.8,
)  # fmt: skip
tuned.specimen("low-rank-adapters", lambda: low_rank(trained_mlp(6)), lr=3e-3, steps=250)
tuned.specimen("biases-alone", lambda: biases_alone(trained_mlp(8)), lr=1e-2, steps=250, good=0.85)
tuned.specimen("pruned", lambda: pruned(trained_mlp()), lr=5e-4)
tuned.specimen(
    "pruned-with-momentum", lambda: pruned(trained_mlp(), 0.8), optimizer="momentum", lr=5e-3, told="observed"
)
tuned.specimen("weight-normalized-from-scratch", lambda: weight_normalized(64, 64, 64, 10), lr=3e-3, steps=250)

pairs = Family("pairs", Twins, lambda: two_views(vectors()), Recipe(lr=2e-3, steps=250, batch=128))
pairs.specimen("contrast")
pairs.specimen("contrast-batch-norm-cosine", lambda: Twins(norm=True), schedule="cosine", optimizer="adamw")
pairs.specimen("contrast-momentum", optimizer="momentum", lr=0.1, told="observed")
pairs.specimen("margin", lambda: Twins(normalized=False), task=lambda: same_class(vectors()), lr=1e-3, batch=64)
pairs.specimen(
    "margin-loss-unknown", lambda: Twins(normalized=False), task=lambda: same_class(vectors()), told="nothing", lr=1e-3
)
