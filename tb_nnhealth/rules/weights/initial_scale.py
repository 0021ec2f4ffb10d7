"""The scale at which a layer's weights should begin, by He's and Xavier's schemes, and advice that names it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tb_nnhealth.findings import Direction
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.depth import LINEAR_TYPES
from tb_nnhealth.rules.wording import short

RECTIFYING = ("relu", "relu6", "leaky_relu", "prelu", "gelu", "silu", "elu", "mish", "threshold")
OFF = 1.5
"""How far the initial weights must be from the expected scale for advice to name it."""
FAR_OFF = 3.0
"""How far they must be for it to be the first advice; PyTorch's default is up to 2.5 off."""


@dataclass(frozen=True)
class Scale:
    """``rms``: root mean square of a weight matrix before the first step; ``expected``: what a scheme gives it."""

    parameter: str
    rms: float
    fan_in: int
    fan_out: int
    rectified: bool

    @property
    def expected(self) -> float:
        """√(2 / fan_in) before a rectifier (He et al.), else √(2 / (fan_in + fan_out)) (Glorot and Bengio)."""
        return math.sqrt(2 / (self.fan_in if self.rectified else self.fan_in + self.fan_out))

    @property
    def scheme(self) -> str:
        return "He's scheme" if self.rectified else "Xavier's scheme"

    @property
    def call(self) -> str:
        return f"torch.nn.init.{'kaiming_normal_' if self.rectified else 'xavier_normal_'}(weight)"


def scale_of(parameter: Any, module: Any) -> Scale:
    """Of a matrix with known fans. Where the module is no layer of PyTorch's, which axis is the input is not known."""
    fans = int(parameter.fan_in), int(parameter.fan_out)
    if not any(part in module.type for part in LINEAR_TYPES):
        fans = (min(fans),) * 2
    return Scale(parameter.name, float(parameter.initial_rms), *fans, module.nonlinearity in RECTIFYING)


def layer_scale(layout: Any, subject: str) -> Scale | None:
    """Of the weights of ``subject``: a matrix, a module that has one, or a module called right after such a layer.

    None where the module has several matrices, as recurrent ones have: the schemes do not speak of those.
    """
    modules = {module.name: module for module in layout.modules}
    of_modules = Counter(p.module for p in layout.parameters if len(p.shape) > 1)
    known = [p for p in layout.parameters if len(p.shape) > 1 and p.fan_in > 0 and p.fan_out > 0]
    matrices = {p.module: p for p in known if of_modules[p.module] == 1}
    named = next((p for p in matrices.values() if p.name == subject), None) or matrices.get(subject)
    if named is None and subject in modules and modules[subject].called:
        order = [module.name for module in layout.modules if module.called]
        before = order[max(0, order.index(subject) - 1)]
        named = matrices.get(before)
    if named is None or named.module not in modules or not math.isfinite(named.initial_rms):
        return None
    return scale_of(named, modules[named.module])


def with_scale(hits: Sequence[Hit], layout: Any, direction: Direction) -> list[Hit]:
    """``hits``, with advice that names the scale expected where the layer's weights began off it in ``direction``."""
    return [replace(hit, advice=_advised(hit.advice, layer_scale(layout, hit.subject), direction)) for hit in hits]


def _advised(advice: tuple[str, ...], scale: Scale | None, direction: Direction) -> tuple[str, ...]:
    if scale is None or scale.rms <= 0:
        return advice
    off = scale.rms / scale.expected if direction == "above" else scale.expected / scale.rms
    if off < OFF:
        return advice
    place = 0 if off >= FAR_OFF else 1
    named = (
        f"`{scale.parameter}` began at {short(scale.rms)} (root mean square); {scale.scheme} for fan-in {scale.fan_in}"
        f" gives {short(scale.expected)}: {scale.call}."
    )
    return (*advice[:place], named, *advice[place:])
