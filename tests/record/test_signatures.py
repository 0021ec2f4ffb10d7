"""Whatever a model returns and a criterion takes: the training is the same, all is recorded, and nothing fails."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn
from torch.nn import functional as F

from tb_nnhealth.record.watch import Watch

STEPS = 6
Pair = namedtuple("Pair", "logits more")


@dataclass
class Answer:
    logits: torch.Tensor
    more: torch.Tensor
    note: str = "of a user's own class"


RETURNED: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "tensor": lambda z, more: z,
    "changed in place": lambda z, more: z.mul_(2),
    "tuple": lambda z, more: (z, more),
    "list with no tensors": lambda z, more: [z, None, 3, "name"],
    "mapping": lambda z, more: {"logits": z, "more": more, "count": 1},
    "nested": lambda z, more: ((z,), {"more": [more]}),
    "named tuple": Pair,
    "object": Answer,
    "distribution": lambda z, more: torch.distributions.Categorical(logits=z),
    "beside numbers of other kinds": lambda z, more: (z, more.detach(), more.argmax(1), more > 0),
    "complex": torch.complex,
    "sparse": lambda z, more: z.to_sparse(),
    "beside an empty tensor": lambda z, more: (z, more[:0]),
    "one for each class": lambda z, more: z.unbind(1),
}


def logits(returned: Any) -> torch.Tensor:
    """What a user's loss takes of it."""
    if isinstance(returned, (torch.distributions.Categorical, Answer)):
        return returned.logits
    if isinstance(returned, torch.Tensor):
        return returned.real if returned.is_complex() else returned.to_dense() if returned.is_sparse else returned
    parts = list(returned.values()) if isinstance(returned, dict) else list(returned)
    if len(parts) == 3 and all(isinstance(part, torch.Tensor) and part.dim() == 1 for part in parts):
        return torch.stack(parts, 1)
    return logits(parts[0])


class Takes(nn.Module):
    """A criterion that is given what the model returned, and returns its loss as it is."""

    def forward(self, returned: Any, target: torch.Tensor) -> Any:
        return F.cross_entropy(logits(returned), target)


class TellsMore(Takes):
    def forward(self, returned: Any, target: torch.Tensor) -> Any:
        loss = super().forward(returned, target)
        return loss, {"cross-entropy": loss.item()}


class TakesNames(Takes):
    def forward(self, *, output: Any, labels: torch.Tensor) -> Any:  # type: ignore[override]
        return {"loss": super().forward(output, labels)}


class TakesOneBatch(Takes):
    def forward(self, batch: dict[str, Any]) -> Any:  # type: ignore[override]
        return [super().forward(batch["returned"], batch["target"])]


class Learns(Takes):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.zeros(1)), nn.CrossEntropyLoss()

    def forward(self, returned: Any, target: torch.Tensor) -> Any:
        return ((-self.scale).exp() * self.inner(logits(returned), target) + self.scale).sum()


CRITERIA: list[tuple[type[Takes], Callable[[Any, Any, torch.Tensor], torch.Tensor]]] = [
    (Takes, lambda criterion, returned, y: criterion(returned, y)),
    (TellsMore, lambda criterion, returned, y: criterion(returned, y)[0]),
    (TakesNames, lambda criterion, returned, y: criterion(output=returned, labels=y)["loss"]),
    (TakesOneBatch, lambda criterion, returned, y: criterion({"returned": returned, "target": y})[0]),
    (Learns, lambda criterion, returned, y: criterion(returned, y)),
]


class Returns(nn.Module):
    def __init__(self, made: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
        super().__init__()
        self.body, self.head, self.other = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        self.made = made

    def forward(self, x: torch.Tensor) -> Any:
        hidden = self.body(x).relu()
        return self.made(self.head(hidden), self.other(hidden))


def trained(returned: str, of: int, watched: str) -> tuple[list[float], list[torch.Tensor], MemoryStream | None]:
    """The losses, the parameters at the end, and what was recorded."""
    torch.manual_seed(0)
    kind, loss_of = CRITERIA[of]
    model, criterion, recorder = Returns(RETURNED[returned]), kind(), MemoryRecorder()
    parameters = [*model.parameters(), *criterion.parameters()]
    optimizer, watch, losses = torch.optim.SGD(parameters, 0.1), None, []
    if watched:
        watch = Watch(recorder, model, optimizer, criterion=criterion if watched == "named" else None, every=1)
    for i in range(STEPS):
        x, y = torch.randn(6, 4), torch.randint(0, 3, (6,))
        optimizer.zero_grad()
        loss = loss_of(criterion, model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if i == STEPS // 2:
            with torch.no_grad():
                loss_of(criterion, model.eval()(x), y)
            model.train()
    if watch is not None:
        watch.remove()
    return losses, [parameter.detach().clone() for parameter in parameters], recorder.stream if watch else None


@pytest.mark.parametrize("of", range(len(CRITERIA)), ids=[kind.__name__ for kind, _ in CRITERIA])
@pytest.mark.parametrize("returned", RETURNED)
def test_of_any_form(returned: str, of: int) -> None:
    losses, parameters, _ = trained(returned, of, "")
    for watched in ("named", "found"):
        with_us, learned, stream = trained(returned, of, watched)
        assert with_us == losses
        assert all(torch.equal(one, other) for one, other in zip(learned, parameters, strict=True))
        assert stream is not None
        assert stream.errors == []
        assert len(stream.records) == STEPS
