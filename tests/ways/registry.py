"""The ways of training that are tried: a line of the matrix for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.ways.trial import Trial


@dataclass(frozen=True)
class Way:
    """``run(trial, **given)`` trains for a few steps, as a user would. ``compiles``: with torch.compile.

    ``says`` is what the watch is expected to complain of, "" for nothing.
    """

    group: str
    name: str
    run: Callable[..., None]
    given: dict[str, Any]
    compiles: bool
    says: str

    def train(self, trial: Trial) -> None:
        self.run(trial, **self.given)


WAYS: dict[str, Way] = {}


def way(
    group: str, *, compiles: bool = False, says: str = "", **variants: dict[str, Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a training under its function's name, or under that and the name of each of ``variants``."""

    def register(run: Callable[..., None]) -> Callable[..., None]:
        plain = run.__name__.replace("_", " ")
        for variant, given in (variants or {"": {}}).items():
            name = f"{plain}, {variant.replace('_', ' ')}" if variant else plain
            key = f"{group}: {name}"
            assert key not in WAYS, key
            WAYS[key] = Way(group, name, run, given, compiles, says)
        return run

    return register
