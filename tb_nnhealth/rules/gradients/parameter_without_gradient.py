"""Single parameters without a gradient, or with one of exactly zero, beside others of their optimizer that have one.

``arrived``, of shape (records, n), says where a parameter had a finite gradient above 0; n parameters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import ASIDE, GIVEN, Hit
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.evidence.weights import Mask, Weights
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.wording import percent

MOST = 0.5
"""Share of the trained elements from which the cut concerns the model as a whole."""
SMALL = 0.05
"""Share of them below which what stands behind all that gets a gradient is a result on the side."""


def others_alive(weights: Weights, arrived: Mask) -> NDArray[np.bool_]:
    """Whether, at each record, another parameter of the same optimizer received a gradient; shape (records, n).

    Not before the optimizer held the parameter: a group added on the way has no learning rate until then.
    """
    optimizer, rate = np.array([p.optimizer for p in weights.parameters]), np.isfinite(weights.lr)
    alive = np.zeros(arrived.shape, bool)
    for index in np.unique(optimizer):
        of = optimizer == index
        held = rate[:, of] | ~rate[:, of].any(axis=1, keepdims=True)
        alive[:, of] = held & ((arrived[:, of].sum(axis=1, keepdims=True) - arrived[:, of]) > 0)
    return alive


def parameters_without_gradient(
    run: Run, history: History, weights: Weights, arrived: Mask, alive: Mask, records: int
) -> list[Hit]:
    """One hit for each parameter without, in ``records`` records running in which others have one (``alive``).

    A gradient of exactly zero counts for weight matrices at a learning rate above 0 only.
    """
    absent = ~np.isfinite(weights.gradient)
    zero = (weights.gradient == 0) & weights.matrix & ~(weights.lr == 0)
    judged = alive & np.isfinite(weights.weight) & (absent | zero | arrived)
    found = episodes(absent | zero, judged, weights.steps, window=records, share=1.0)
    if not found:
        return []
    concerned = {episode.column for episode in found if episode.active}
    share = float(weights.numel[list(concerned)].sum() / weights.numel.sum())
    seen = progress(run, history)
    learned = seen is not None and seen.learned
    return [_hit(weights, episode, absent, arrived, share, records, learned) for episode in found]


def makes_one_step(name: str, weights: Weights, arrived: Mask) -> bool:
    """Whether ``name`` is a recurrent matrix whose direction gets gradients, but only for a step from a state of zero.

    Names are those of ``torch.nn.RNNBase``: weight_hh_l1_reverse beside weight_ih_l1_reverse.
    """
    beside = name.replace("weight_hh_", "weight_ih_")
    if beside == name or beside not in weights.names:
        return False
    own, other = weights.names.index(name), weights.names.index(beside)
    return bool(arrived[:, other].any() and not arrived[:, own].any())


def only_for_the_next(name: str, weights: Weights, arrived: Mask) -> bool:
    """Whether ``name`` is of the last of like blocks and makes what only a further one would take.

    The blocks before get gradients for theirs, and so does another parameter of this block: N-BEATS' last backcast,
    WaveNet's last residual, the edges after the last layer of a graph network. Blocks are told by their number.
    """
    alive = {weights.names[i] for i in np.flatnonzero(arrived.any(axis=0))}
    parts = name.split(".")
    for place in (i for i, part in enumerate(parts) if part.isdecimal() and int(part) > 0):
        number, row, rest = int(parts[place]), ".".join([*parts[:place], ""]), ".".join(["", *parts[place + 1 :]])
        others = [f"{row}{i}{rest}" in alive for i in range(number)]
        further = any(known.startswith(f"{row}{number + 1}.") for known in weights.names)
        if all(others) and not further and any(known.startswith(f"{row}{number}.") for known in alive):
            return True
    return False


def lies_behind(column: int, weights: Weights, arrived: Mask) -> bool:
    """Whether the parameter is used after all that get gradients, as BERT's pooler where the loss takes the tokens."""
    alive = weights.position[arrived.any(axis=0)]
    return bool(alive.size and weights.position[column] > alive.max())


def _severity(matrix: bool, active: bool, share: float, *, before: bool, learned: bool, by_design: bool) -> Severity:
    if not matrix or not active or by_design or (before and learned):
        return "info"
    return "critical" if share >= MOST and not learned else "warning"


def _hit(
    weights: Weights, episode: Episode, absent: Mask, arrived: Mask, share: float, records: int, learned: bool
) -> Hit:
    """``share``: of the trained elements that are without one now; ``learned``: the loss has fallen all the same."""
    column = episode.column
    name, matrix = weights.names[column], bool(weights.matrix[column])
    none = bool(absent[episode.fired, column])
    until = slice(episode.first + 1)
    before = bool(np.nanmax(np.where(absent[until, column], 0, weights.gradient[until, column])) > 0)
    one_step = makes_one_step(name, weights, arrived)
    since = f"from step {episode.first_step} on" if before else "at any step" if episode.active else "at first"
    whole = f", {percent(share)} of all trained weights are without" if episode.active and share > 0 else ""
    began_zero = not none and not before and bool(weights.sparse[column] and weights.initial_rms[column] == 0)
    if began_zero:
        whole += "; it began at zero, as did what it is multiplied with, and zero it stays"
    for_the_next = only_for_the_next(name, weights, arrived)
    aside = not before and 0 < share < SMALL and lies_behind(column, weights, arrived)
    if one_step:
        whole += "; of this direction only one step is used"
    elif for_the_next:
        whole += "; in the blocks before it a like one serves the next block, and it is in the last"
    elif aside:
        whole += "; it stands behind all that gets one, as a result that the loss does not take"
    return hit(
        episode,
        name,
        severity=_severity(
            matrix,
            episode.active,
            share,
            before=before,
            learned=learned,
            by_design=one_step or for_the_next or aside,
        ),
        statistic="records_without_gradient",
        unit="records",
        value=float(episode.count),
        limit=float(records),
        direction="above",
        healthy=(0.0, 0.0),
        message=f"`{name}` gets {'no gradient' if none else 'a gradient of exactly zero'} {since}:"
        f" {episode.count} records, while other parameters of its optimizer do{whole}.",
        advice=(
            f"Nothing has to be done where the loss does without it; else let the loss take what `{name}` makes."
            if aside
            else f"Search between `{name}` and the loss for .detach(), .data, torch.no_grad(), .item(), .numpy() or "
            "argmax."
            if none
            else f"Initialize one of the factors at random; only the other may begin at zero, as `{name}` does."
            if began_zero
            else f"Look behind `{name}` for dead rectifiers, a factor of zero or a loss that is masked out.",
            *(() if aside else ("Check that the module is called in forward() and that its output enters the loss.",)),
            f"If it is meant to rest, freeze it: {name}.requires_grad_(False), and leave it out of the optimizer.",
        ),
        more={
            "share_of_weights": share,
            "absent": none,
            **({GIVEN: True} if none or began_zero else {}),
            **({ASIDE: True} if aside else {}),
        },
        rank=(1e9 if matrix else 0.0) - float(weights.position[column]),
    )
