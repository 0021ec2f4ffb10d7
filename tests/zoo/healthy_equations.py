"""Equations to be met, and networks whose own answers are their targets."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.habits import descend
from tests.zoo.builders.loop import examine
from tests.zoo.builders.tasks import vectors
from tests.zoo.registry import healthy


def equation(
    writer: SummaryWriter,
    *,
    activation: type[nn.Module] = nn.Tanh,
    quasi_newton: bool = False,
    weight: float = 10.0,
    decaying: bool = False,
    steps: int = 500,
) -> None:
    """u'' = -pi² sin(pi x) with u(-1) = u(1) = 0, by its residual at random points; its solution is sin(pi x)."""
    model = mlp(1, 32, 32, 1, activation=activation)
    optimizer: Optimizer = (
        torch.optim.LBFGS(model.parameters(), 1.0, max_iter=5, line_search_fn="strong_wolfe")
        if quasi_newton
        else Adam(model.parameters(), 5e-3)
    )
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.995) if decaying else None
    writer.watch(model, optimizer)
    ends, fixed = torch.tensor([[-1.0], [1.0]]), torch.linspace(-1, 1, 64)[:, None]
    told: list[float] = [0.0, 0.0]

    def loss_at(points: Tensor) -> Tensor:
        x = points.clone().requires_grad_()
        u = model(x)
        (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        residual = (second / math.pi**2 + torch.sin(math.pi * x)).square().mean()
        boundary = model(ends).square().mean()
        told[:] = [residual.item(), boundary.item()]
        return residual + weight * boundary  # type: ignore[no-any-return]

    for step in range(steps):
        points = fixed if quasi_newton else 2 * torch.rand(64, 1) - 1

        def closure(points: Tensor = points) -> Tensor:
            optimizer.zero_grad()
            loss = loss_at(points)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        writer.add_scalar("loss/total", float(optimizer.step(closure)), step)  # type: ignore[arg-type]
        writer.add_scalar("loss/residual", told[0], step)
        writer.add_scalar("loss/boundary", told[1], step)
        if schedule is not None:
            schedule.step()
    with torch.no_grad():
        error = (model(fixed) - torch.sin(math.pi * fixed)).abs().mean().item()
    examine("minus the mean error of the solution", -error, -0.05)


for name, train in (
    ("adam", equation),
    ("decaying-rate", partial(equation, decaying=True)),
    ("silu", partial(equation, activation=nn.SiLU)),
    ("quasi-newton", partial(equation, quasi_newton=True, steps=60)),
    ("weak-boundary", partial(equation, weight=1.0, steps=600)),
):
    healthy("equations", f"equations-{name}", train)


def self_distilled(
    writer: SummaryWriter, *, decay: float = 0.98, stop: bool = False, norm: bool = True, steps: int = 250
) -> None:
    """One view's answer is told from the other's by a slow copy of the network (Grill et al., 2020), or by itself
    where ``stop`` (Chen and He, 2021). The loss says little; what was learned is whether neighbours are of one class.
    """
    data, layer = vectors(), nn.BatchNorm1d if norm else None
    encoder, predictor = mlp(64, 96, 32, norm=layer), mlp(32, 48, 32, norm=layer)
    slow = copy.deepcopy(encoder).requires_grad_(False)
    optimizer = Adam([*encoder.parameters(), *predictor.parameters()], 2e-3)
    writer.watch(nn.ModuleDict({"encoder": encoder, "predictor": predictor}), optimizer)

    def near(a: Tensor, b: Tensor) -> Tensor:
        return 2 - 2 * F.cosine_similarity(predictor(encoder(a)), (encoder if stop else slow)(b).detach()).mean()

    def loss_of(step: int) -> Tensor:
        x, _ = data.batch(torch.randint(len(data), (128,)))
        a, b = x + 0.4 * torch.randn_like(x), x + 0.4 * torch.randn_like(x)
        return near(a, b) + near(b, a)

    @torch.no_grad()
    def follow(step: int) -> None:
        for kept, new in zip(slow.parameters(), encoder.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)

    descend(writer, optimizer, loss_of, steps, tag="byol/loss", after_step=follow)
    with torch.no_grad():
        told: Sequence[Tensor] = [F.normalize(encoder.eval()(x), dim=1) for x in (data.val_x, data.train_x)]
        nearest = (told[0] @ told[1].T).argmax(1)
        examine("neighbours of one class", (data.train_y[nearest] == data.val_y).float().mean().item(), 0.85)


for name, train in (
    ("slow-copy", self_distilled),
    ("slower-copy", partial(self_distilled, decay=0.995)),
    ("stopped-gradient", partial(self_distilled, stop=True)),
    ("without-normalization", partial(self_distilled, norm=False)),
):
    healthy("self-distilled", f"self-distilled-{name}", train)
