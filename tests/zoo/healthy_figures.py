"""Healthy on images: coordinates, restoration, codes, distances, bags, single samples, forty residual blocks."""

from __future__ import annotations

from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.builders import material
from tests.zoo.builders.branching import HalfUnet, convolutional
from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import group_norm, mlp, residual_mlp
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Task, accuracy, explained, images, reconstruction, vectors
from tests.zoo.builders.tasks import split as split_task
from tests.zoo.healthy_tables import as_task


@cache
def centres() -> Task:
    image, _, centre = material.discs()
    return split_task(image, centre, 150, criterion=nn.SmoothL1Loss, score=explained, good=0.7)


class SoftArgmax(nn.Module):
    """Where the heat of an image is, on average: in -1 … 1, and a little beyond."""

    def __init__(self) -> None:
        super().__init__()
        self.heat = HalfUnet(6)
        self.sharpness = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        share = (self.sharpness * self.heat(x)).flatten(1).softmax(1).view(-1, 16, 16)
        axis = (torch.arange(16) - 8) / 4
        return torch.stack([(share.sum(2) * axis).sum(1), (share.sum(1) * axis).sum(1)], 1)


points = Family("keypoints", lambda: convolutional(12, 24, outputs=2), centres, Recipe(lr=4e-3, steps=200, batch=32))
points.specimen("regressed")
points.specimen("soft-argmax", SoftArgmax, lr=5e-3, steps=150)
points.specimen("group-norm-momentum", lambda: convolutional(12, 24, outputs=2, norm=group_norm), optimizer="momentum",
                lr=0.05, schedule="cosine")  # fmt: skip
points.specimen("plain-silu-trainer", lambda: convolutional(16, 24, outputs=2, norm=None, activation=nn.SiLU),
                logs="trainer")  # fmt: skip


@cache
def damaged() -> Task:
    """Noisy figures and the same without their noise."""
    image, mask, _ = material.discs()
    return split_task(image, mask - mask.mean(), 150, criterion=nn.MSELoss, score=explained, good=0.7)


restoration = Family("restoration", lambda: HalfUnet(8), damaged, Recipe(lr=4e-3, steps=130, batch=16))
restoration.specimen("adam")
restoration.specimen("absolute-error", lambda: HalfUnet(8, norm=False), task=lambda: absolute(), schedule="one-cycle")
restoration.specimen("averaged", ema=0.95, logs="tens")
restoration.specimen("float16-scaled", precision="float16", logs="steps", steps=100)


@cache
def absolute() -> Task:
    image, mask, _ = material.discs()
    return split_task(image, mask - mask.mean(), 150, criterion=nn.L1Loss, score=explained, good=0.6)


class Deep(nn.Module):
    """Residual blocks of which each adds a fraction that falls with their number (De and Smith, 2020)."""

    def __init__(self, depth: int = 40, width: int = 24, *, scale: float | None = None) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.blocks = nn.ModuleList(mlp(width, width, width) for _ in range(depth))
        self.scale = depth**-0.5 if scale is None else scale

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = h + self.scale * block(h)
        return self.head(F.layer_norm(h, h.shape[1:]))


deep = Family("forty-blocks", Deep, vectors, Recipe(lr=1e-3, steps=130))
deep.specimen("scaled", good=0.9)
deep.specimen("gated-at-zero", lambda: residual_mlp(30, 24, zero="gate"), lr=2e-3)
deep.specimen("norm-first-warm-up", lambda: residual_mlp(24, 32), optimizer="adamw", schedule="warm-up and cosine")
deep.specimen("momentum-clipped", partial(Deep, 24), optimizer="momentum", lr=0.02, clip=1.0, steps=180)


def self_normalizing(*widths: int) -> nn.Sequential:
    """SELU between weights of variance 1 / fan-in (Klambauer et al., 2017)."""
    model = mlp(*widths, activation=nn.SELU)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
    return model


def orthogonal(*widths: int) -> nn.Sequential:
    """Tanh between orthogonal matrices."""
    model = mlp(*widths, activation=nn.Tanh)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain=1.1)
            nn.init.zeros_(layer.bias)
    return model


unnormalized = Family("self-normalizing", lambda: self_normalizing(64, *[48] * 8, 10), vectors,
                      Recipe("momentum", 0.01, steps=250))  # fmt: skip
unnormalized.specimen("selu-eight-deep", good=0.9)
unnormalized.specimen("tanh-ten-deep", lambda: orthogonal(64, *[48] * 10, 10), lr=0.01, good=0.9)
unnormalized.specimen("tanh-ten-deep-adam", lambda: orthogonal(64, *[48] * 10, 10), optimizer="adam", lr=1e-3, good=0.9)
unnormalized.specimen("selu-houses", lambda: self_normalizing(7, *[32] * 6, 1),
                      task=lambda: as_task(material.prices(), 0.75),
                      optimizer="adam", lr=1e-3)  # fmt: skip

single = Family("one-figure-at-a-time", lambda: convolutional(12, 24, norm=group_norm),
                lambda: as_task(material.figures(), 0.6),
                Recipe("adam", 2e-3, steps=900, batch=1, logs="tens", schedule="linear to zero"))  # fmt: skip
single.specimen("group-norm")
single.specimen("accumulated-eight", accumulate=8, steps=220, lr=4e-3, logs="steps")
single.specimen("momentum-trainer", optimizer="momentum", lr=3e-3, steps=1000, logs="trainer")


class Bags(nn.Module):
    """Attention over the eight images of a bag (Ilse et al., 2018)."""

    def __init__(self, *, gated: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Sequential(mlp(64, 48, 32), nn.ReLU())
        self.weigh, self.gate = nn.Linear(32, 16), nn.Linear(32, 16) if gated else None
        self.attend, self.head = nn.Linear(16, 1), nn.Linear(32, 2)

    def forward(self, bags: Tensor) -> Tensor:
        h = self.encoder(bags)
        weighed = torch.tanh(self.weigh(h))
        if self.gate is not None:
            weighed = weighed * torch.sigmoid(self.gate(h))
        return self.head((self.attend(weighed).softmax(1) * h).sum(1))


@cache
def bags() -> Task:
    """Eight digits each: is there a seven?"""
    task, g = vectors(), torch.Generator().manual_seed(62)

    def drawn(x: Tensor, y: Tensor, n: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(y), (n, 8), generator=g)
        return x[chosen], (y[chosen] == 7).any(1).long()

    (x, y), (val_x, val_y) = drawn(task.train_x, task.train_y, 2500), drawn(task.val_x, task.val_y, 400)
    return Task(x, y, val_x, val_y, nn.CrossEntropyLoss, accuracy, 0.85)


bagged = Family("bags", Bags, bags, Recipe(lr=2e-3, steps=300, batch=32))
bagged.specimen("attention")
bagged.specimen("gated-adamw", lambda: Bags(gated=True), optimizer="adamw", schedule="cosine", logs="trainer")
bagged.specimen("rmsprop-observed", optimizer="rmsprop", lr=1e-3, told="observed")


class Quantized(nn.Module):
    """An autoencoder whose code is one of a book for each of its parts; gradients pass straight through."""

    def __init__(self, parts: int = 8, book: int = 32) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 96, 4 * parts), mlp(4 * parts, 96, 64)
        self.book = nn.Parameter(torch.randn(book, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x).view(len(x), -1, 4)
        near = self.book[torch.cdist(h, self.book.expand(len(x), -1, -1)).argmin(2)]
        straight = h + (near - h).detach()
        return self.decoder(straight.flatten(1)), h, near


class Committed(nn.Module):
    """Squared error, and how far code and book are apart, each drawn to the other (van den Oord et al., 2017)."""

    def forward(self, outputs: tuple[Tensor, Tensor, Tensor], y: Tensor) -> Tensor:
        answer, h, near = outputs
        return F.mse_loss(answer, y) + F.mse_loss(near, h.detach()) + 0.25 * F.mse_loss(h, near.detach())


def restored(outputs: tuple[Tensor, Tensor, Tensor], y: Tensor) -> float:
    return explained(outputs[0], y)


@cache
def coded() -> Task:
    task = reconstruction()
    return Task(task.train_x, task.train_y, task.val_x, task.val_y, Committed, restored, 0.4)


quantizing = Family("vector-quantized", Quantized, coded, Recipe(lr=3e-3, steps=300))
quantizing.specimen("adam")
quantizing.specimen("larger-book-cosine", lambda: Quantized(8, 64), schedule="cosine", logs="tens")
quantizing.specimen("four-parts-loss-unknown", lambda: Quantized(4, 32), told="nothing", good=0.3)


class Angular(nn.Module):
    """Cosines with one direction for each class, sixteenfold but of the right one a margin less (CosFace, 2018)."""

    def forward(self, cosines: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(16 * (cosines - 0.2 * F.one_hot(y, cosines.shape[1])), y)


class Directions(nn.Module):
    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.classes = encoder, nn.Parameter(torch.randn(classes, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.encoder(x), dim=1) @ F.normalize(self.classes, dim=1).T


@cache
def directed() -> Task:
    task = images()
    return Task(task.train_x, task.train_y, task.val_x, task.val_y, Angular, accuracy, 0.93)


@cache
def directed_figures() -> Task:
    data = material.figures()
    return Task(data.train_x, data.train_y, data.val_x, data.val_y, Angular, accuracy, 0.8)


metric = Family("margins", lambda: Directions(nn.Sequential(nn.Flatten(), mlp(64, 96, 24)), 24, 10), directed,
                Recipe(lr=2e-3, steps=200))  # fmt: skip
metric.specimen("digits")
metric.specimen(
    "figures", lambda: Directions(convolutional(12, 24, 24, outputs=16), 16, 4), task=directed_figures, steps=250
)
metric.specimen("nesterov-steps", optimizer="nesterov", lr=0.05, schedule="steps", logs="steps")
metric.specimen("augmented-bfloat16", jitter=0.3, precision="bfloat16", schedule="one-cycle", lr=5e-3)
