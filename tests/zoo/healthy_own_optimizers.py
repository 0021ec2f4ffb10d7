"""Optimizers that users write by themselves, and what they do around the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.feedforward import cnn, mlp
from tests.zoo.builders.habits import Lion, descend, look
from tests.zoo.builders.loop import examine
from tests.zoo.builders.tasks import images, vectors
from tests.zoo.registry import healthy


class Ahead(SGD):
    """Every fifth step goes back half of the way since the fifth before it (Zhang et al., Lookahead, 2019)."""

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        result = super().step(closure)
        with torch.no_grad():
            for p in (p for group in self.param_groups for p in group["params"]):
                state = self.state[p]
                slow = state.setdefault("slow", p.clone())
                state["count"] = state.get("count", 0) + 1
                if state["count"] % 5 == 0:
                    p.copy_(slow.lerp_(p, 0.5))
        return result


class Factored(Optimizer):
    """Second moments of a matrix as a product of its rows' and columns' (Shazeer and Stern, Adafactor, 2018)."""

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                g, state = p.grad, self.state[p]
                square = g.square() + 1e-12
                if p.dim() == 2:
                    row = state.setdefault("row", square.mean(1)).lerp_(square.mean(1), 0.05)
                    column = state.setdefault("column", square.mean(0)).lerp_(square.mean(0), 0.05)
                    second = row[:, None] * column / row.mean()
                else:
                    second = state.setdefault("second", square.clone()).lerp_(square, 0.05)
                update = g / second.sqrt()
                p.sub_(group["lr"] * update / max(1.0, update.square().mean().sqrt().item()))
        return None


def digits(
    writer: SummaryWriter,
    make: Callable[[Iterable[nn.Parameter]], Optimizer],
    *,
    tag: str = "train_loss",
    steps: int = 250,
    after_backward: Callable[[nn.Module], object] = lambda model: None,
    after_step: Callable[[nn.Module, int], object] = lambda model, step: None,
    criterion: nn.Module | None = None,
    images_too: bool = False,
) -> None:
    """Digits as classes, learned by an optimizer of the user's own."""
    task = images() if images_too else vectors()
    model = cnn(12, 24, pooled=False) if images_too else mlp(64, 64, 64, 10)
    optimizer = make(model.parameters())
    writer.watch(model, optimizer, criterion=criterion)
    generator = torch.Generator().manual_seed(torch.initial_seed() % 2**31)

    def loss_of(step: int) -> Tensor:
        x, y = task.batch(torch.randint(len(task), (64,), generator=generator))
        return criterion(model(x), y) if criterion else F.cross_entropy(model(x), y)  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        outputs = model(task.val_x)
        return {"valid_loss": F.cross_entropy(outputs, task.val_y).item(), "valid_acc": task.score(outputs, task.val_y)}

    descend(
        writer, optimizer, loss_of, steps, tag=tag, after_backward=lambda step: after_backward(model),
        after_step=lambda step: after_step(model, step), examine=validation, modes=model,
    )  # fmt: skip
    with torch.no_grad():
        examine("accuracy", task.score(model(task.val_x), task.val_y), 0.92)


def centralized(model: nn.Module) -> None:
    """Takes the mean of each unit's gradient away (Yong et al., 2020)."""
    for p in model.parameters():
        if p.dim() > 1 and p.grad is not None:
            p.grad -= p.grad.flatten(1).mean(1).view(-1, *[1] * (p.dim() - 1))


def noisy(model: nn.Module) -> None:
    """A little noise on each gradient (Neelakantan et al., 2015)."""
    for p in model.parameters():
        if p.grad is not None:
            p.grad += 0.003 * torch.randn_like(p.grad)


@torch.no_grad()
def unit_columns(model: nn.Module, step: int) -> None:
    """No unit's weights are longer than three (Srivastava et al., 2014)."""
    for p in model.parameters():
        if p.dim() == 2:
            p.mul_((3 / p.norm(dim=1, keepdim=True)).clamp_max(1))


def sharpness_aware(writer: SummaryWriter, *, radius: float = 0.05, base: str = "sgd", steps: int = 200) -> None:
    """Each step takes the gradient where the loss nearby is highest (Foret et al., 2021)."""
    task, model = vectors(), mlp(64, 64, 64, 10)
    parameters = list(model.parameters())
    optimizer: Optimizer = SGD(parameters, 0.05, momentum=0.9) if base == "sgd" else AdamW(parameters, 2e-3)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(steps):
        x, y = task.batch(torch.randint(len(task), (64,)))
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        with torch.no_grad():
            length = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm() + 1e-12
            away = [radius * p.grad / length for p in parameters if p.grad is not None]
            for p, a in zip(parameters, away, strict=True):
                p.add_(a)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        with torch.no_grad():
            for p, a in zip(parameters, away, strict=True):
                p.sub_(a)
        optimizer.step()
        writer.add_scalar("Loss/Train", loss.item(), step)
        if step % 25 == 24:
            look(writer, lambda: {"Loss/Val": criterion(model(task.val_x), task.val_y).item()}, step)
    with torch.no_grad():
        examine("accuracy", task.score(model(task.val_x), task.val_y), 0.92)


for name, train in (
    ("lion", partial(digits, make=partial(Lion, lr=3e-4), steps=300)),
    (
        "lion-convolutional",
        partial(
            digits, make=partial(Lion, lr=8e-4), images_too=True, steps=300, criterion=nn.CrossEntropyLoss(), tag="loss"
        ),
    ),
    ("lookahead", partial(digits, make=partial(Ahead, lr=0.1, momentum=0.9), criterion=nn.CrossEntropyLoss())),
    ("factored-moments", partial(digits, make=partial(Factored, lr=3e-3), tag="loss/train")),
    ("centralized-gradients", partial(digits, make=partial(SGD, lr=0.1, momentum=0.9), after_backward=centralized)),
    ("noise-on-gradients", partial(digits, make=partial(Adam, lr=2e-3), after_backward=noisy, tag="train/loss")),
    ("bounded-columns", partial(digits, make=partial(SGD, lr=0.1, momentum=0.9), after_step=unit_columns)),
    ("sharpness-aware", sharpness_aware),
    ("sharpness-aware-adamw", partial(sharpness_aware, base="adamw")),
):
    healthy("own-optimizers", f"own-optimizers-{name}", train)
