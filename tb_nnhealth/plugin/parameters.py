"""Parameters of a request, checked and bounded. Whatever is wrong is told as a 400."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from tensorboard import errors

QUERY_BYTES = 8192
TAGS_MOST = 50


def text(request: Any, name: str) -> str:
    """A parameter that must be there; it may be empty."""
    value = request.args.get(name)
    if value is None:
        raise errors.InvalidArgumentError(f"expected a parameter {name!r}, found none")
    return str(value)


def integer(request: Any, name: str, default: int | None, low: int, high: int) -> int | None:
    """An integer between ``low`` and ``high``; one beyond is moved to the nearer of them."""
    value = request.args.get(name)
    if value is None:
        return default
    try:
        return min(max(int(value), low), high)
    except ValueError:
        raise errors.InvalidArgumentError(f"expected an integer for {name!r}, found {value[:80]!r}") from None


def number(request: Any, name: str) -> float:
    """A finite number that must be there."""
    value = text(request, name)
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise errors.InvalidArgumentError(f"expected a finite number for {name!r}, found {value[:80]!r}")
    return found


def count(request: Any, name: str, default: int, most: int) -> int:
    value = integer(request, name, default, 1, most)
    return default if value is None else value


def span(request: Any) -> tuple[int | None, int | None]:
    """Steps ``from`` and ``to``, both included; None is open."""
    bound = 2**62
    start, end = (integer(request, name, None, -bound, bound) for name in ("from", "to"))
    if start is not None and end is not None and start > end:
        raise errors.InvalidArgumentError(f"expected 'from' not to exceed 'to', found from={start}, to={end}")
    return start, end


def tags(request: Any) -> list[str]:
    """The tags asked for, each once."""
    asked = list(dict.fromkeys(request.args.getlist("tag")))
    if len(asked) > TAGS_MOST:
        raise errors.InvalidArgumentError(f"expected at most {TAGS_MOST} tags, found {len(asked)}")
    return asked


def several(request: Any, name: str, known: Collection[str]) -> list[str]:
    """Names of ``known``, one at least, each once."""
    asked = list(dict.fromkeys(request.args.getlist(name)))
    if not asked or not set(asked) <= set(known):
        found = ", ".join(repr(value[:80]) for value in asked[:10]) or "none"
        raise errors.InvalidArgumentError(f"expected parameters {name!r} ({', '.join(known)}), found {found}")
    return asked
