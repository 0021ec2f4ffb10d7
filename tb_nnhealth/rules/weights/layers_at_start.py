"""Every trained linear layer as the first record shows it: the scale of its weights, and of what it gave out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Floats, History
from tb_nnhealth.rules.evidence.depth import BREAKING_TYPES
from tb_nnhealth.rules.evidence.weights import SMALLEST_MATRIX, aligned
from tb_nnhealth.rules.weights.initial_scale import Scale, scale_of


@dataclass(frozen=True)
class Layer:
    """A trained weight matrix with what its module gave out in the first record.

    ``std``: of the output; ``inflow``: estimated root mean square of the input. Both NaN where not measured.
    """

    scale: Scale
    module: str
    std: float
    inflow: float
    normalized: bool
    renormalized: bool
    """A normalization is called after the layer, if not upon its output."""

    @property
    def high(self) -> float:
        """The largest root mean square that He's or Xavier's scheme gives such weights."""
        return max(math.sqrt(2 / self.scale.fan_in), math.sqrt(2 / (self.scale.fan_in + self.scale.fan_out)))

    @property
    def low(self) -> float:
        """The least that PyTorch's default or Xavier's scheme gives them."""
        return min(1 / math.sqrt(3 * self.scale.fan_in), math.sqrt(2 / (self.scale.fan_in + self.scale.fan_out)))


def layers_at_start(history: History) -> list[Layer]:
    """In forward order, those of known fans whose module has this one matrix and is no recurrent or attention layer.

    The inflow is what the output's variance leaves after the bias, over ‖w‖ per unit (root mean square × √fan_in).
    """
    called = [m for m in history.layout.modules if m.called]
    std = _first(history, schema.ACTIVATION, [m.name for m in called])
    matrices: dict[str, list[Any]] = {}
    biases: dict[str, str] = {}
    for p in history.layout.parameters:
        if len(p.shape) > 1:
            matrices.setdefault(p.module, []).append(p)
        elif p.name.endswith("bias"):
            biases[p.module] = p.name
    bias = np.nan_to_num(_first(history, schema.WEIGHT, [biases.get(m.name, "") for m in called]))
    last_norm = max((i for i, m in enumerate(called) if "Norm" in m.type), default=-1)
    found = []
    for i, module in enumerate(called):
        of_module = matrices.get(module.name, [])
        if len(of_module) != 1 or any(part in module.type for part in (*BREAKING_TYPES, "Bilinear")):
            continue
        p = of_module[0]
        if not _is_judged(p):
            continue
        scale = scale_of(p, module)
        own = math.sqrt(max(std[i] ** 2 - bias[i] ** 2, 0.0)) if math.isfinite(std[i]) else math.nan
        found.append(
            Layer(
                scale=scale,
                module=module.name,
                std=float(std[i]),
                inflow=own / (scale.rms * math.sqrt(scale.fan_in)),
                normalized=bool(module.normalized),
                renormalized=i < last_norm,
            )
        )
    return found


def _is_judged(p: Any) -> bool:
    """Trained, no handful of scalars, its scale and fans known; and no factor of a product (weight normalization)."""
    return bool(
        p.trainable
        and p.fan_in > 0
        and p.fan_out > 0
        and p.initial_rms > 0
        and math.isfinite(p.initial_rms)
        and math.prod(p.shape) >= SMALLEST_MATRIX
        and not p.name.endswith(("_v", "_g", "original0", "original1"))
    )


def _first(history: History, kind: str, subjects: Sequence[str]) -> Floats:
    """The standard deviations in the first record, shape (subjects,)."""
    return np.asarray(aligned(history.table(kind, schema.STD), subjects)[0], np.float64)
