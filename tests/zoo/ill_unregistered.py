"""Ill for layers that the model calls and does not have: in a list or dict, made in the forward pass, plain tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.problems import images, pixels, tumours
from tests.zoo.registry import ill

HIDDEN = (
    "Forum: layers in a Python list or dict are no parameters; Humbatova et al. (ICSE 2020): missing layer's training"
)
ANEW = "Forum: a layer is built in forward(), so that its weights are random in each step"
PLAIN = "Forum: torch.randn(..., requires_grad=True) in place of nn.Parameter is not in model.parameters()"


class Branches(nn.Module):
    """Two halves of a table through layers of their own, kept in a dict."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        layers = {"left": nn.Linear(15, 32), "right": nn.Linear(15, 32)}
        self.branches = layers if plain else nn.ModuleDict(layers)
        self.head = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.branches["left"](x[:, :15]), self.branches["right"](x[:, 15:])
        return self.head(torch.cat([left, right], 1).relu())  # type: ignore[no-any-return]


@ill("layers-never-registered", "optimizer-misses-parameters", subject="branches*", source=HIDDEN)
def branches_of_a_dict(writer: SummaryWriter, fault: bool = True) -> None:
    model = Branches(plain=fault)
    train(writer, model, SGD(model.parameters(), lr=0.1, momentum=0.9), tumours(), steps=250)


class Blocks(nn.Module):
    """Residual blocks of convolutions, kept in a list."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 10)
        blocks = [nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)) for _ in range(3)]
        self.blocks = blocks if plain else nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = h + block(h)
        return self.head(h.mean((2, 3)))  # type: ignore[no-any-return]


@ill("layers-never-registered", "optimizer-misses-parameters", subject="blocks*", source=HIDDEN)
def residual_blocks_of_a_list(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = images(), Blocks(plain=fault)
    optimizer, batches = AdamW(model.parameters(), lr=3e-3), data.shuffled(64)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return F.cross_entropy(model(x), y)

    descend(writer, optimizer, loss_of, 250, tag="train/loss", every=25)


class Between(nn.Module):
    """A layer between two others, made where it is used, or once."""

    def __init__(self, *, anew: bool) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(64, 24), nn.Linear(24, 10)
        if not anew:
            self.between = nn.Linear(24, 24)
        self.anew = anew

    def forward(self, x: Tensor) -> Tensor:
        between = nn.Linear(24, 24) if self.anew else self.between
        return self.out(between(self.into(x).relu()).relu())  # type: ignore[no-any-return]


@ill("layers-never-registered", "optimizer-misses-parameters", source=ANEW)
def layer_between_made_anew(writer: SummaryWriter, fault: bool = True) -> None:
    model = Between(anew=fault)
    train(writer, model, Adam(model.parameters(), lr=2e-3), pixels(), steps=250)


class Shifted(nn.Module):
    """Rows of an image, each shifted and scaled by numbers of its own; ``plain`` does not register them."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        shift, scale = 0.5 * torch.randn(1, 64), 1 + 0.5 * torch.randn(1, 64)
        self.shift = shift.requires_grad_() if plain else nn.Parameter(shift)
        self.scale = scale.requires_grad_() if plain else nn.Parameter(scale)
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.scale * x + self.shift)  # type: ignore[no-any-return]


@ill("layers-never-registered", "optimizer-misses-parameters", subject="s*", source=PLAIN)
def shifts_that_are_no_parameters(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = pixels(), Shifted(plain=fault)
    optimizer, batches = Adam(model.parameters(), lr=2e-3), data.shuffled(48)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return F.cross_entropy(model(x), y)

    descend(writer, optimizer, loss_of, 250)
