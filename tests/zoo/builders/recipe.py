"""How a network is trained: optimizer, schedule, precision, batches, logging. Each field is a habit of the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from tests.zoo.builders.tasks import Task


@dataclass(frozen=True)
class Recipe:
    optimizer: str = "adam"
    lr: float = 2e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    steps: int = 250
    batch: int = 64
    """Samples; 0 is the whole training set."""
    order: Literal["drawn", "epochs", "loader", "easy first"] = "epochs"
    precision: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    accumulate: int = 1
    clip: float = 0.0
    ema: float = 0.0
    """Decay of an averaged copy of the weights, which is validated in place of the model."""
    label_smoothing: float = 0.0
    told: Literal["criterion", "observed", "nothing"] = "criterion"
    logs: Literal["steps", "validated", "tens", "epochs", "trainer", "nothing"] = "validated"
    every: int | None = None
    compiled: bool = False
    jitter: float = 0.0
    """Noise added to the inputs as augmentation."""


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    lr, decay = recipe.lr, recipe.weight_decay
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "sgd": lambda: torch.optim.SGD(trained, lr, weight_decay=decay),
        "momentum": lambda: torch.optim.SGD(trained, lr, momentum=0.9, weight_decay=decay),
        "nesterov": lambda: torch.optim.SGD(trained, lr, momentum=0.9, nesterov=True, weight_decay=decay),
        "sgd-foreach": lambda: torch.optim.SGD(trained, lr, momentum=0.9, foreach=True, weight_decay=decay),
        "sgd-fused": lambda: torch.optim.SGD(trained, lr, momentum=0.9, fused=True, weight_decay=decay),
        "adam": lambda: torch.optim.Adam(trained, lr, weight_decay=decay),
        "adam-foreach": lambda: torch.optim.Adam(trained, lr, foreach=True),
        "amsgrad": lambda: torch.optim.Adam(trained, lr, amsgrad=True),
        "adamw": lambda: torch.optim.AdamW(trained, lr, weight_decay=decay or 0.01),
        "adamw-fused": lambda: torch.optim.AdamW(trained, lr, fused=True),
        "adamw-groups": lambda: torch.optim.AdamW(
            [
                {"params": [p for p in trained if p.dim() > 1], "weight_decay": 0.05},
                {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
            ],
            lr,
        ),
        "radam": lambda: torch.optim.RAdam(trained, lr),
        "nadam": lambda: torch.optim.NAdam(trained, lr),
        "rmsprop": lambda: torch.optim.RMSprop(trained, lr),
        "adagrad": lambda: torch.optim.Adagrad(trained, lr),
        "adadelta": lambda: torch.optim.Adadelta(trained, lr),
        "rprop": lambda: torch.optim.Rprop(trained, lr),
        "adamax": lambda: torch.optim.Adamax(trained, lr),
        "lbfgs": lambda: torch.optim.LBFGS(trained, lr, max_iter=4, line_search_fn="strong_wolfe"),
    }
    return makers[recipe.optimizer]()


def make_optimizers(recipe: Recipe, model: nn.Module) -> list[torch.optim.Optimizer]:
    """One optimizer; for Muon, which takes hidden matrices alone, AdamW beside it for all else."""
    if recipe.optimizer != "muon":
        return [make_optimizer(recipe, model)]
    matrices = [p for p in model.parameters() if p.dim() == 2 and min(p.shape) > 16]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [torch.optim.Muon(matrices, lr=recipe.lr), torch.optim.AdamW(rest, lr=recipe.lr / 5)]


def make_schedules(recipe: Recipe, optimizers: list[torch.optim.Optimizer]) -> list[Any]:
    n = recipe.steps
    factors: dict[str, Callable[[int], float]] = {
        "warm-up": lambda step: min(1.0, (step + 1) / (0.1 * n)),
        "warm-up from zero": lambda step: min(1.0, step / (0.1 * n)),
        "warm-up and cosine": lambda step: min(
            (step + 1) / (0.1 * n), 0.5 * (1 + math.cos(math.pi * min(1.0, step / n)))
        ),
        "linear to zero": lambda step: max(0.0, 1 - step / n),
        "inverse root": lambda step: min((step + 1) / (0.1 * n), math.sqrt(0.1 * n / (step + 1))),
        "exponential": lambda step: 0.05 ** (step / n),
        "stable then decay": lambda step: min(1.0, (step + 1) / (0.05 * n), max(0.01, 4 * (1 - step / n))),
    }
    makers: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
        "constant": lambda o: None,
        "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, n),
        "one-cycle": lambda o: lr_scheduler.OneCycleLR(o, recipe.lr, total_steps=n + 1),
        "steps": lambda o: lr_scheduler.MultiStepLR(o, [int(0.6 * n), int(0.85 * n)], gamma=0.1),
        "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, max(1, n // 4)),
        "cyclic": lambda o: lr_scheduler.CyclicLR(o, recipe.lr / 5, recipe.lr, step_size_up=20, cycle_momentum=False),
        **{name: (lambda o, f=f: lr_scheduler.LambdaLR(o, f)) for name, f in factors.items()},
    }
    made = [makers[recipe.schedule](optimizer) for optimizer in optimizers]
    return [schedule for schedule in made if schedule is not None]


def batches(recipe: Recipe, task: Task, generator: torch.Generator) -> Iterator[tuple[Any, Tensor]]:
    """Batches without end, in the recipe's order."""
    n, size = len(task), recipe.batch or len(task)
    if recipe.order == "loader":
        indices = torch.utils.data.TensorDataset(torch.arange(n))
        loader = torch.utils.data.DataLoader(indices, size, shuffle=True, drop_last=size <= n // 2, generator=generator)
        while True:
            for (chosen,) in loader:
                yield task.batch(chosen)
    epoch = 0
    while True:
        if recipe.order == "drawn":
            yield task.batch(torch.randint(n, (size,), generator=generator))
            continue
        seen = n if recipe.order == "epochs" else min(n, max(size, n * (epoch + 2) // 6))
        order = torch.randperm(seen, generator=generator)
        for start in range(0, seen - size + 1, size):
            yield task.batch(order[start : start + size])
        epoch += 1
