"""Small real trainings that prove the rules: for each one ill and its healthy twin, and many more healthy ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tb_nnhealth import SummaryWriter

Train = Callable[[SummaryWriter], None]


@dataclass(frozen=True)
class Pair:
    """A rule's proof: ``train(writer, ill)`` trains the same way but for the one fault."""

    rule: str
    train: Callable[[SummaryWriter, bool], None]
    subject: str
    """Glob that the finding's subject must match."""
    onset: tuple[int, int] = (0, 20)
    """Steps between which the finding must say that the fault began."""
    first: bool = True
    """Whether this rule must be the first finding, the one to act on; else one of the first five."""
    timed: bool = False
    """Whether the fault shows in how long things take: proved by ``make proof`` on a quiet machine alone."""


PAIRS: dict[str, Pair] = {}
HEALTHY: dict[str, Train] = {}


def pair(
    rule: str, *, subject: str = "*", onset: tuple[int, int] = (0, 20), first: bool = True, timed: bool = False
) -> Callable[[Callable[[SummaryWriter, bool], None]], Callable[[SummaryWriter, bool], None]]:
    def register(train: Callable[[SummaryWriter, bool], None]) -> Callable[[SummaryWriter, bool], None]:
        assert train.__name__ not in PAIRS
        PAIRS[train.__name__] = Pair(rule, train, subject, onset, first, timed)
        return train

    return register


def healthy(train: Train) -> Train:
    HEALTHY[train.__name__] = train
    return train
