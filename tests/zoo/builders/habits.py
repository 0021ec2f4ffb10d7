"""A plain loop with the names that users give their scalars, and an optimizer of their own. It does not watch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tb_nnhealth import SummaryWriter

Told = Mapping[str, float]


def descend(
    writer: SummaryWriter,
    optimizers: Optimizer | Sequence[Optimizer],
    loss_of: Callable[[int], Tensor],
    steps: int,
    *,
    tag: str = "train_loss",
    every: int = 1,
    after_backward: Callable[[int], object] = lambda step: None,
    after_step: Callable[[int], object] = lambda step: None,
    examine: Callable[[], Told] | None = None,
    examine_every: int = 25,
    modes: nn.Module | None = None,
) -> None:
    """``zero_grad``, ``backward`` and ``step`` on ``loss_of(step)``; logs the mean of ``every`` losses under ``tag``.

    ``examine`` is called without gradients, and with ``modes`` in evaluation mode, and returns scalars by tag.
    """
    held = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)
    seen: list[float] = []
    for step in range(steps):
        for optimizer in held:
            optimizer.zero_grad()
        loss = loss_of(step)
        loss.backward()  # type: ignore[no-untyped-call]
        after_backward(step)
        for optimizer in held:
            optimizer.step()
        after_step(step)
        seen.append(loss.item())
        if step % every == every - 1:
            writer.add_scalar(tag, sum(seen[-every:]) / every, step)
        if examine is not None and step % examine_every == examine_every - 1:
            look(writer, examine, step, modes)


@torch.no_grad()
def look(writer: SummaryWriter, examine: Callable[[], Told], step: int, modes: nn.Module | None = None) -> None:
    if modes is not None:
        modes.eval()
    for tag, value in examine().items():
        writer.add_scalar(tag, value, step)
    if modes is not None:
        modes.train()


class Lion(Optimizer):
    """Signs of an average of gradient and momentum (Chen et al., 2023)."""

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.sub_(group["lr"] * m.lerp(p.grad, 0.1).sign())
                m.lerp_(p.grad, 0.01)
        return None
