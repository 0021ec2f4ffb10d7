"""A family of healthy trainings: one network and task under many recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.loop import fit
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import Task
from tests.zoo.registry import healthy


@dataclass(frozen=True)
class Family:
    """``specimen(name, ...)`` registers one training: the family's own, with what is given changed."""

    kind: str
    model: Callable[[], nn.Module]
    task: Callable[[], Task]
    recipe: Recipe = field(default_factory=Recipe)
    held_out: bool = False
    fit: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of ``loop.fit``."""

    def specimen(
        self,
        name: str,
        model: Callable[[], nn.Module] | None = None,
        *,
        task: Callable[[], Task] | None = None,
        good: float | None = None,
        **changes: Any,
    ) -> None:
        recipe, make, data = replace(self.recipe, **changes), model or self.model, task or self.task

        def train(writer: SummaryWriter) -> None:
            fit(writer, make(), data(), recipe, good=good, **self.fit)

        healthy(self.kind, f"{self.kind}-{name}", train, held_out=self.held_out)
