"""What the zoo holds: ill trainings with the diagnosis that is right, and healthy ones that must show nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tb_nnhealth import SummaryWriter

Train = Callable[[SummaryWriter], None]


@dataclass(frozen=True)
class Specimen:
    """One training. ``train(writer)`` watches the model as a user would, trains it, and ends by itself.

    ``kind`` is the fault of an ill one ("missing-zero-grad"), the family of a healthy one ("residual").
    """

    kind: str
    name: str
    train: Train
    rules: tuple[str, ...] = ()
    """Rules whose finding is the right cause; any one of them will do. Empty where the training is healthy."""
    subject: str = "*"
    """Glob that the finding's subject, or one of its further subjects, must match."""
    onset: int = 0
    """Step at which the fault begins; the delay counts from here."""
    source: str = ""
    """Where the fault is described: a paper and its name there, a forum's question."""
    held_out: bool = False

    @property
    def ill(self) -> bool:
        return bool(self.rules)


SPECIMENS: dict[str, Specimen] = {}


def add(specimen: Specimen) -> None:
    """Raises ValueError where the name is taken."""
    if specimen.name in SPECIMENS:
        raise ValueError(f"zoo: expected names to differ, found {specimen.name!r} twice")
    SPECIMENS[specimen.name] = specimen


def ill(
    kind: str, *rules: str, subject: str = "*", onset: int = 0, source: str, held_out: bool = False
) -> Callable[[Train], Train]:
    """Registers a training as an ill specimen, named as its function."""

    def register(train: Train) -> Train:
        add(Specimen(kind, train.__name__, train, rules, subject, onset, source, held_out))
        return train

    return register


def healthy(kind: str, name: str, train: Train, *, held_out: bool = False) -> None:
    """Registers a training that a competent practitioner would call fine."""
    add(Specimen(kind, name, train, held_out=held_out))
