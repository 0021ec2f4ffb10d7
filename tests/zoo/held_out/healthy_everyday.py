"""Healthy: what people train every day, on digits, images, tables and signals."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from tests.zoo.held_out.bodies import ConvNet, Plain, ResNet, Signal, dense
from tests.zoo.held_out.habits import CAMEL, KERAS, STEPS, TRAINER
from tests.zoo.held_out.household import Family
from tests.zoo.held_out.readers import Buyers
from tests.zoo.held_out.shelf import (
    Batch,
    Data,
    cancer,
    diabetes,
    digit_images,
    digits,
    gratings,
    iris,
    signals,
    spirals,
    spots,
    visits,
    waves,
    wine,
)  # fmt: skip

plain = Family("dense-on-digits", lambda: dense(64, 64, 64, 10), digits, good=0.93)
plain.run("adam")
plain.run("momentum-in-stairs", optimizer="momentum", lr=0.03, schedule="stairs", tags=STEPS, log_rate=True)
plain.run("adamw-cosine", optimizer="adamw", weight_decay=0.01, schedule="cosine", tags=TRAINER)
plain.run("tanh-rmsprop", lambda: dense(64, 48, 48, 10, act=nn.Tanh), optimizer="rmsprop", lr=1e-3, tags=CAMEL)

normed = Family("batch-norm-and-filters", lambda: ConvNet(10, 12, 24), digit_images, good=0.93, epochs=5)
normed.run("one-cycle", optimizer="momentum", lr=0.1, schedule="one-cycle", log_rate=True, tags=STEPS)
normed.run("nesterov", optimizer="nesterov", lr=0.02, weight_decay=5e-4)
normed.run("bfloat16", optimizer="adamw", autocast=torch.bfloat16, tags=TRAINER)

residual = Family("residual-filters", lambda: ResNet(6), gratings, good=0.85, epochs=5, lr=4e-3)
residual.run("last-norms-at-zero", lambda: ResNet(6, zero=True), schedule="warm-up")
residual.run("warm-restarts", optimizer="momentum", lr=0.05, schedule="restarts", tags=STEPS, log_rate=True)
residual.run("adam", tags=KERAS)

stripes = Family("filters-without-norm", lambda: ConvNet(6, 16, 24, norm=None), gratings, good=0.75, epochs=8, lr=3e-3)
stripes.run("adam")
stripes.run("group-norm", lambda: ConvNet(6, 16, 24, norm=partial(nn.GroupNorm, 4)), schedule="cosine", tags=STEPS)
stripes.run("silu-clipped", lambda: ConvNet(6, 16, 24, norm=None, act=nn.SiLU), clip=1.0, told="nothing", tags=TRAINER)

curved = Family("spirals-in-the-plane", lambda: dense(2, 64, 64, 3), spirals, good=0.9, lr=1e-2, epochs=15)
curved.run("relu")
curved.run("gelu-cosine", lambda: dense(2, 64, 64, 3, act=nn.GELU), schedule="cosine", tags=STEPS)
curved.run("long", lambda: dense(2, 48, 48, 3, act=nn.Tanh), epochs=45, lr=5e-3, tags=KERAS)

smooth = Family("smooth-regression", lambda: dense(8, 64, 64, 1), waves, good=0.75, lr=3e-3, epochs=12)
smooth.run("squares")
smooth.run("huber", criterion=nn.SmoothL1Loss, optimizer="adamw", schedule="decay", tags=STEPS)
smooth.run("absolute", criterion=nn.L1Loss, tags=TRAINER, epochs=15)
smooth.run("momentum-layer-norm", lambda: dense(8, 64, 64, 1, norm=nn.LayerNorm), optimizer="momentum", lr=0.02)

sugar = Family(
    "noisy-small-table", lambda: dense(10, 24, 1), diabetes, good=0.33, lr=3e-3, epochs=60, batch=20, patience=4
)
sugar.run("early-stopping")
sugar.run("decay", weight_decay=1e-2, optimizer="adamw", lr=1e-3, tags=STEPS)
sugar.run("linear", lambda: nn.Linear(10, 1), optimizer="sgd", lr=0.01, epochs=25, tags=TRAINER)
sugar.run("dropout", lambda: dense(10, 64, 64, 1, drop=0.3), lr=1e-3)

flowers = Family("hundred-flowers", lambda: dense(4, 16, 3), iris, good=0.9, lr=1e-2, epochs=30, batch=16)
flowers.run("adam")
flowers.run("five-at-a-time", optimizer="sgd", lr=0.02, batch=5, tags=STEPS)
flowers.run("all-at-once", optimizer="adam", lr=0.03, batch=0, epochs=80, tags=KERAS)

bottles = Family("bottles-of-wine", lambda: dense(13, 16, 3, act=nn.ELU), wine, good=0.93, lr=5e-3, epochs=15, batch=12)
bottles.run("nadam", optimizer="nadam")
bottles.run("batch-norm", lambda: dense(13, 24, 3, norm=nn.BatchNorm1d), tags=STEPS)
bottles.run("scalars-alone", told="unwatched", tags=KERAS)

tumours = Family("two-kinds-of-tumours", lambda: dense(30, 24, 1), cancer, good=0.93, lr=2e-3, epochs=12, batch=16)
tumours.run("adam")
tumours.run("logistic-regression", lambda: nn.Linear(30, 1), optimizer="sgd", lr=0.05, tags=TRAINER)
tumours.run("observed", told="observed", optimizer="radam", tags=STEPS)

waveforms = Family("sensor-windows", lambda: Signal(4), signals, good=0.9, lr=3e-3, epochs=8)
waveforms.run("adam")
waveforms.run("smoothed-labels", criterion=partial(nn.CrossEntropyLoss, label_smoothing=0.1), tags=STEPS)
waveforms.run("without-norm", lambda: Signal(4, norm=False), optimizer="adamw", schedule="one-cycle", tags=TRAINER)


def jittered(x: Tensor, y: Tensor) -> Batch:
    return x * (0.8 + 0.4 * torch.rand(len(x), 1, 1)) + 0.2 * torch.randn_like(x), y


waveforms.run("augmented", prepare=jittered, epochs=10)

places = Family("places-of-spots", lambda: ConvNet(2, 12, 24), spots, good=0.85, lr=4e-3, epochs=8)
places.run("squares")
places.run("smooth-absolute", criterion=nn.SmoothL1Loss, schedule="cosine", optimizer="adamw", tags=STEPS)
places.run("tanh-outputs", lambda: nn.Sequential(ConvNet(2, 12, 24), nn.Tanh()), tags=CAMEL)

shops = Family("shops-and-hours", lambda: Buyers(), visits, good=0.85, lr=4e-3, epochs=8)
shops.run("adam")
shops.run("dropout-adamw", lambda: Buyers(48, drop=0.2), optimizer="adamw", weight_decay=0.01, tags=STEPS)
shops.run("adagrad", optimizer="adagrad", lr=0.05, tags=TRAINER)

deep = Family("deep-with-shortcuts", lambda: Plain(64, 10, 48, 16), digits, good=0.93, lr=1e-3, epochs=7)
deep.run("adamw", optimizer="adamw")
deep.run("warm-up-momentum", optimizer="momentum", lr=0.02, schedule="warm-up", tags=STEPS)
deep.run("waves", lambda: Plain(8, 1, 48, 8), waves, good=0.7, tags=TRAINER)


def of_each_alike(data: Data, batch: int) -> list[Batch]:
    """Batches in which rare classes are drawn as often as others."""
    y = data.y.flatten().long()
    chance = (1.0 / y.bincount())[y]
    rows = torch.multinomial(chance, len(y), replacement=True)
    return [(data.x[r], data.y[r]) for r in rows.split(batch)]


def rare() -> Data:
    """One in eight is ill."""
    data = cancer()
    ill, well = torch.nonzero(data.y[:, 0] < 0.5)[:36, 0], torch.nonzero(data.y[:, 0] > 0.5)[:, 0]
    rows = torch.cat([ill, well])
    return data.change(x=data.x[rows], y=data.y[rows])


balanced = Family("rare-class-drawn-often", lambda: dense(30, 16, 1), rare, good=0.9, lr=2e-3, epochs=15, batch=16)
balanced.run("sampler", feed=of_each_alike)
balanced.run("sampler-momentum", feed=of_each_alike, optimizer="momentum", lr=0.01, tags=STEPS)
balanced.run("sampler-dropout", lambda: dense(30, 32, 1, drop=0.2), feed=of_each_alike, tags=TRAINER)
