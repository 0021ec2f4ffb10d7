"""What a training writes as runs of their own: its validation beside it, the lines of its plots below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tb_nnhealth.history import Run, Series
from tb_nnhealth.phases import PHASES, line_of, parts


def with_validation(own: Mapping[str, Series], others: Iterable[tuple[str, Run]]) -> dict[str, Series]:
    """The scalars ``own`` of a run, and those of the ``others``, each under the word that names its phase.

    A run that was watched, or logs what names the training, is a training of its own and lends nothing.
    """
    lent = {
        f"{word}/{tag}": series
        for word, run in others
        if not run.watches and not any(_of_training(tag) for tag in run.scalars)
        for tag, series in run.scalars.items()
    }
    return dict(sorted({**lent, **own}.items()))


def with_lines(own: Mapping[str, Series], below: Iterable[tuple[str, Run]]) -> dict[str, Series]:
    """The scalars ``own`` of a run, and the lines among the runs ``below`` it, given by name, as ``tag/line``."""
    lent = {
        f"{tag}/{line_of(tag, name)}": series
        for name, run in below
        if is_line(name, run)
        for tag, series in run.scalars.items()
    }
    return dict(sorted({**lent, **own}.items()))


def is_line(name: str, run: Run) -> bool:
    """Whether ``run`` holds nothing but one line, which its name tells with the plot's."""
    return not run.watches and len(run.scalars) == 1 and line_of(next(iter(run.scalars)), name) is not None


def _of_training(tag: str) -> bool:
    return any(PHASES.get(word) == "train" for word in parts(tag))
