"""Small networks on tables: regression, two classes, several answers at once."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Task, attributes, diabetes, line, moons, surface, tumours


def robust() -> Task:
    return replace(surface(), criterion=nn.SmoothL1Loss)


def absolute() -> Task:
    return replace(surface(), criterion=nn.L1Loss)


def in_thousands() -> Task:
    """Targets around 3000, as prices are, and a loss in their squares; the network answers in thousands."""
    task = surface()
    return replace(task, train_y=3 + task.train_y, val_y=3 + task.val_y)


curve = Family("regression", lambda: mlp(8, 64, 64, 1), surface, Recipe(lr=3e-3, steps=300))
curve.specimen("adam")
curve.specimen("tanh-momentum", lambda: mlp(8, 64, 64, 1, activation=nn.Tanh), optimizer="momentum", lr=0.05, steps=400)
curve.specimen("robust-loss", task=robust, optimizer="rmsprop", lr=1e-3)
curve.specimen("absolute-error", task=absolute, schedule="exponential", lr=5e-3)
curve.specimen("targets-off-zero", task=in_thousands, lr=5e-3)
curve.specimen("lbfgs", optimizer="lbfgs", lr=1.0, batch=0, steps=15, logs="steps", precision="float64")
curve.specimen("full-batch", batch=0, lr=1e-2, logs="steps", told="observed")
curve.specimen(
    "few-noisy-samples", lambda: mlp(10, 16, 1), task=diabetes, weight_decay=0.1, optimizer="adamw", steps=80, lr=5e-3
)
curve.specimen("linear-and-without-noise", lambda: mlp(4, 1), task=line, lr=0.05, optimizer="sgd", logs="steps")
curve.specimen(
    "loss-down-to-nothing", lambda: mlp(4, 32, 1, activation=nn.Tanh), task=line, lr=1e-2, schedule="cosine", steps=500
)
curve.specimen("layer-norm-cyclic", lambda: mlp(8, 64, 64, 1, norm=nn.LayerNorm), schedule="cyclic", lr=5e-3)

two = Family("two-classes", lambda: mlp(2, 32, 32, 1), moons, Recipe(lr=5e-3, steps=250))
two.specimen("moons")
two.specimen("moons-tanh-sgd", lambda: mlp(2, 32, 1, activation=nn.Tanh), optimizer="nesterov", lr=0.1, steps=400)
two.specimen("moons-full-batch-observed", batch=0, lr=1e-2, told="observed", steps=200)
two.specimen("moons-batch-norm", lambda: mlp(2, 32, 32, 1, norm=nn.BatchNorm1d), batch=32, logs="epochs")
two.specimen("tumours", lambda: mlp(30, 16, 2), task=tumours, steps=100, weight_decay=1e-2, optimizer="adamw", batch=32)
two.specimen("tumours-logistic", lambda: mlp(30, 2), task=tumours, optimizer="sgd", lr=0.05, batch=16, steps=250)
two.specimen("tumours-dropout", lambda: mlp(30, 32, 2, dropout=0.5), task=tumours, batch=32, lr=2e-3, steps=150)

several = Family("several-answers", lambda: mlp(64, 64, 4), attributes, Recipe(lr=3e-3, steps=250))
several.specimen("adam")
several.specimen("layer-norm-warm-up", lambda: mlp(64, 64, 64, 4, norm=nn.LayerNorm), schedule="warm-up from zero")
several.specimen("rmsprop-clipped", optimizer="rmsprop", lr=1e-3, clip=1.0, logs="trainer")
several.specimen("sgd-loss-unknown", optimizer="momentum", lr=0.2, told="nothing")
