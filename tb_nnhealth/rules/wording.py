"""How numbers and names are written in messages and advice."""

from __future__ import annotations

import math
from collections.abc import Sequence


def short(value: float) -> str:
    """Two significant digits, the way people write learning rates: 0.021, 12, 3e-5, 2.5e7."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("infinity" if value > 0 else "-infinity")
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 9.95e3:
        rounded = float(f"{value:.2g}")
        return f"{rounded:.0f}" if abs(rounded) >= 10 or rounded == int(rounded) else f"{rounded:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers with the fewest digits, two or more, that tell them apart: 2.3 and 4.1, but 2.312 and 2.345."""
    told = short(one), short(other)
    for digits in range(3, 7):
        if told[0] != told[1] or not (math.isfinite(one) and math.isfinite(other)):
            break
        told = f"{one:.{digits}g}", f"{other:.{digits}g}"
    return told


def round_rate(value: float) -> str:
    """A learning rate to try, one significant digit: 3e-4, 0.02."""
    return short(float(f"{value:.0e}"))


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def names(subjects: Sequence[str], shown: int = 3) -> str:
    """The first few subjects, set as code, and how many more there are."""
    listed = ", ".join(f"`{name}`" for name in subjects[:shown])
    return f"{listed} and {len(subjects) - shown} more" if len(subjects) > shown else listed
