"""Training steps with Dropout and BatchNorm in evaluation mode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import episodes, window_of

WINDOW, LEAST = 10, 5
"""Records that are judged, and where they lie apart."""
SHARE = 0.8


def training_in_evaluation(history: History) -> list[Hit]:
    """All of them in most records; or single BatchNorms that are new, in every record."""
    modes = history.table(schema.MODE, schema.MEAN)
    judged: NDArray[np.bool_] = np.asarray(np.isfinite(modes.values).any(axis=1))
    off = np.nan_to_num(modes.values) == 0
    all_off: NDArray[np.bool_] = np.asarray(judged & off.all(axis=1))
    window = window_of(history.steps, WINDOW, LEAST)
    found = episodes(all_off[:, None], judged[:, None], history.steps, window=window, share=SHARE)
    if not found:
        return _new_norms_in_evaluation_mode(history)
    episode = found[0]
    trained_before = bool((judged & ~all_off)[: episode.first].any())
    if not trained_before and _deliberate(history):
        return []
    since = (
        f"since step {episode.first_step:,}; before, they were in train mode"
        if trained_before
        else f"from step {episode.first_step:,} on"
    )
    return [
        hit(
            episode, "", severity="warning", statistic="modules in train mode", unit="share of modules", value=0.0,
            limit=0.5, direction="below", healthy=(1.0, 1.0),
            message=f"{_all(len(modes))} in evaluation mode while training, {since}.",
            advice=(
                "Call model.train() at the head of each training epoch"
                + (", after every validation." if trained_before else "."),
                "Let the validation restore the mode that it found.",
            ),
            more={"modules": list(modes.subjects[:10])},
        )
    ]  # fmt: skip


def _new_norms_in_evaluation_mode(history: History) -> list[Hit]:
    """BatchNorms that are trained from their initial gains of 1, and never in train mode, while other modules are.

    Whoever freezes statistics on purpose has some: those of an earlier training, whose gains are no longer 1.
    """
    modes = history.table(schema.MODE, schema.MEAN)
    types = {module.name: module.type for module in history.layout.modules}
    gains = {p.module: p for p in history.layout.parameters if p.name == f"{p.module}.weight"}
    told = np.isfinite(modes.values).sum(axis=0)
    off = [
        name
        for i, name in enumerate(modes.subjects)
        if "BatchNorm" in types.get(name, "")
        and told[i] >= WINDOW
        and np.nanmax(modes.values[:, i]) == 0
        and name in gains
        and gains[name].trainable
        and abs(gains[name].initial_rms - 1) <= 1e-6
    ]
    if not off or not (np.nan_to_num(modes.values) > 0).any():
        return []
    steps, names = history.steps, ", ".join(f"`{name}`" for name in off[:3]) + (" …" if len(off) > 3 else "")
    return [
        Hit(
            subject=off[0],
            first_step=int(steps[0]),
            fired_step=int(steps[WINDOW - 1]),
            last_step=int(steps[-1]),
            count=int(told[modes.subjects.index(off[0])]),
            active=True,
            severity="warning",
            statistic="modules ever in train mode",
            unit="share of modules",
            value=1 - len(off) / len(modes.subjects),
            limit=1.0,
            direction="below",
            healthy=(1.0, 1.0),
            message=f"{names} (BatchNorm) trained from the start in evaluation mode, while other modules are in train"
            " mode: their statistics are those of initialization, mean 0 and variance 1, and nothing is normalized.",
            advice=(
                "Call train() on the whole model, not on parts of it, at the head of each epoch.",
                "Look for eval() on a part of the model, or an overridden train() that puts it back.",
            ),
            more={"modules": off[:10]},
        )
    ]


def _all(modules: int) -> str:
    if modules == 1:
        return "The only Dropout or BatchNorm module is"
    return f"All {modules} Dropout and BatchNorm modules are"


def _deliberate(history: History) -> bool:
    """Whether all modules in evaluation mode are BatchNorms that had been trained before: frozen for fine-tuning."""
    types = {module.name: module.type for module in history.layout.modules}
    subjects = history.subjects(schema.MODE)
    if any("Dropout" in types.get(subject, "") for subject in subjects):
        return False
    names = {f"{subject}.weight" for subject in subjects}
    initial = [parameter.initial_rms for parameter in history.layout.parameters if parameter.name in names]
    return not initial or any(abs(rms - 1) > 1e-6 for rms in initial)
