"""Parameters that two optimizers hold, and both step on one and the same gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_table import Record

_SAMPLE = 64
"""Elements by which a gradient is known again."""
_MOST = 32
"""Parameters told of."""


class SteppedTwice:
    """Of one watch. Who alternates, with a backward pass of its own before each step, is not meant."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._shared: frozenset[int] | None = None
        self._gradients: dict[int, Any] = {}
        self._twice: dict[str, float] = {}

    def before(self, optimizer: Any, optimizers: Sequence[Any]) -> None:
        """``optimizer``, one of ``optimizers``, is about to make its step."""
        if self._shared is None:
            held = Counter(key for each in optimizers for key in {id(p) for p in _parameters(each)})
            self._shared = frozenset(key for key, count in held.items() if count > 1)
        if not self._shared:
            return
        for parameter in _parameters(optimizer):
            gradient = parameter.grad
            if id(parameter) not in self._shared or gradient is None or gradient.device.type != "cpu":
                continue
            sample = gradient.detach().reshape(-1)[:_SAMPLE].clone()
            entry, before = self._catalog.known_parameter(parameter), self._gradients.get(id(parameter))
            if entry is not None and before is not None and len(self._twice) < _MOST:
                self._twice[entry.name] = float(torch.equal(before, sample) and bool(sample.any()))
            self._gradients[id(parameter)] = sample

    def write(self, record: Record) -> None:
        for name, twice in self._twice.items():
            record.share(self._catalog.row(schema.STEPPED_TWICE, name), schema.MEAN, twice)
        self._gradients, self._twice = {}, {}


def _parameters(optimizer: Any) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
