"""Healthy for all that they resemble what is not: products of low rank, linear models, layers in a list and trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.builders.loop import examine
from tests.zoo.builders.tasks import Task, line, reconstruction, vectors
from tests.zoo.registry import healthy


def trained(
    writer: SummaryWriter, make: Callable[[], nn.Module], task: Callable[[], Task], parameters: str = "own"
) -> None:
    """``parameters``: "hidden" also hands over those of ``model.hidden``, "apart" to an optimizer of their own."""
    model, data = make(), task()
    criterion = data.criterion()
    kept = [p for layer in getattr(model, "hidden", ()) for p in layer.parameters()]
    optimizers = [Adam([*model.parameters(), *(kept if parameters == "hidden" else ())], lr=3e-3)]
    writer.watch(model, optimizers[0])
    if parameters == "apart":
        optimizers.append(Adam(kept, lr=3e-3))

    def loss_of(step: int) -> Tensor:
        x, y = data.batch(torch.randint(len(data), (64,)))
        return criterion(model(x), y)  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        return {"val/loss": criterion(model(data.val_x), data.val_y).item()}

    descend(writer, optimizers, loss_of, 300, tag="train/loss", examine=validation, modes=model)
    with torch.no_grad():
        examine("score", data.score(model(data.val_x), data.val_y), data.good)


class Hidden(nn.Module):
    """Layers kept in a list, so that they are no parameters of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [nn.Linear(64, 48), nn.Linear(48, 48)]
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.head(x)  # type: ignore[no-any-return]


def low_rank() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 12, bias=False), nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 10))


def principal_components() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.Linear(16, 64))


def two_linear_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 1))


for name, train in (
    ("low-rank-layer", partial(trained, make=low_rank, task=vectors)),
    ("principal-components", partial(trained, make=principal_components, task=reconstruction)),
    ("linear-task", partial(trained, make=two_linear_layers, task=line)),
    ("layers-handed-over", partial(trained, make=Hidden, task=vectors, parameters="hidden")),
    ("layers-with-an-optimizer-apart", partial(trained, make=Hidden, task=vectors, parameters="apart")),
):
    healthy("unusual-parts", f"unusual-parts-{name}", train)
