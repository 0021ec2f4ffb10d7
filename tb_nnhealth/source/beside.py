"""The validation of a training that writes it as a run of its own, beside that of the training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tb_nnhealth.history import Run, Series
from tb_nnhealth.phases import PHASES, parts


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


def _of_training(tag: str) -> bool:
    return any(PHASES.get(word) == "train" for word in parts(tag))
