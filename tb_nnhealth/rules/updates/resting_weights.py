"""Weight matrices that do not train because ``requires_grad`` is off, where nothing says that they are meant to rest.

Whoever freezes on purpose freezes weights that were trained before, and from the start. So told are matrices that
trained and stopped, and matrices that rest while they still have the scale of a fresh initialization.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.evidence.weights import Weights, aligned, awake, weights_of
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.wording import percent, short

FEWEST_ELEMENTS = 256
"""Of fewer the scale tells nothing, neither for nor against."""
SIGMAS = 4.0
"""Within which the scale of a sample counts as that of its distribution."""
FEWEST_RECORDS = 10
SMALL = (0.02, 0.01)
"""Standard deviations that are given to all weights of a transformer (GPT-2, BERT), or to a head."""
NORMAL = (1.0, 0.1, *SMALL)
"""Standard deviations of embeddings as they are initialized, beside one over the root of their width."""


def resting(history: History) -> list[Hit]:
    """For information, one hit for each such matrix; none where all rest, or none does."""
    everything = weights_of(history)
    if len(history) < FEWEST_RECORDS or not everything.trained.any():
        return []
    rests = np.array([not p.trainable for p in everything.parameters], bool) & ~awake(everything)
    rests &= ~_averaged(everything)
    off = everything.matrix & rests & ~everything.sparse
    tables = _random_tables(history, everything.only(everything.sparse & everything.matrix & rests))
    if not off.any():
        return tables
    weights = everything.only(off)
    trained_before = np.asarray(np.isfinite(weights.gradient).any(axis=0))
    zeros = np.nanmax(weights.weight, axis=0) == 0
    telling = ~trained_before & ~zeros & (weights.numel >= FEWEST_ELEMENTS)
    fresh = telling if _fresh(weights)[telling].all() else np.zeros_like(telling)
    share = float(weights.numel.sum() / everything.numel.sum())
    hits = [
        _hit(weights, int(i), bool(trained_before[i]), share, len(history))
        for i in np.flatnonzero(trained_before | fresh)
    ]
    return hits + tables


def _averaged(weights: Weights) -> NDArray[np.bool_]:
    """Parameters that change although they never had a gradient, shape (n,): a moving average of the trained ones."""
    with np.errstate(invalid="ignore"):
        changed = np.fmax.reduce(weights.weight, axis=0) > np.fmin.reduce(weights.weight, axis=0)
    return np.asarray(changed & ~np.isfinite(weights.gradient).any(axis=0))


def _random_tables(history: History, tables: Weights) -> list[Hit]:
    """Embeddings that rest from the start and are as if drawn at random: nothing was learned that they could keep."""
    if not tables.names:
        return []
    mean, rms, low, high = (
        np.nanmedian(aligned(history.table(schema.WEIGHT, statistic), tables.names), axis=0)
        for statistic in (schema.MEAN, schema.RMS, schema.MIN, schema.MAX)
    )
    hits = []
    for i, (name, parameter) in enumerate(zip(tables.names, tables.parameters, strict=True)):
        count, scale = float(tables.numel[i]), float(rms[i])
        if np.isfinite(tables.gradient[:, i]).any() or count < FEWEST_ELEMENTS or not scale > 0:
            continue
        off, scales = SIGMAS / math.sqrt(2 * count), (*NORMAL, parameter.shape[-1] ** -0.5)
        centred = abs(float(mean[i])) < SIGMAS * scale / math.sqrt(count)
        ends = (abs(float(low[i])) / scale, float(high[i]) / scale)
        uniform = all(abs(end / math.sqrt(3) - 1) < off for end in ends)
        longest = math.sqrt(2 * math.log(count)) + 1
        normal = any(abs(scale / usual - 1) < off for usual in scales) and max(ends) < longest
        if centred and (uniform or normal):
            told = f"as of a table drawn at random between {short(float(low[i]))} and {short(float(high[i]))}"
            told = told if uniform else f"as of a table drawn at random with a standard deviation of {short(scale)}"
            hits.append(_table_hit(tables, name, told, count))
    return hits


def _table_hit(tables: Weights, name: str, told: str, count: float) -> Hit:
    steps = tables.steps
    return Hit(
        subject=name,
        **lasting(steps, FEWEST_RECORDS - 1),
        severity="info",
        statistic="numbers of a frozen embedding drawn at random",
        unit="numbers",
        value=count,
        limit=FEWEST_ELEMENTS,
        direction="above",
        message=f"`{name}` has requires_grad=False, and its {count:,.0f} numbers are {told}: no learned vectors.",
        advice=(
            "Look whether the vectors were found and loaded: words that are spelled otherwise keep random ones.",
            "If there are none to load, train them: nn.Embedding.from_pretrained(vectors, freeze=False).",
        ),
        more={GIVEN: True},
        rank=math.log(count),
    )


def _fresh(weights: Weights) -> NDArray[np.bool_]:
    """Whether each matrix has the scale of a usual initialization, shape (n,): by its fans, or a small one by habit."""
    fan_in = np.array([p.fan_in for p in weights.parameters], np.float64)
    fan_out = np.array([p.fan_out for p in weights.parameters], np.float64)
    scale = np.nanmedian(weights.weight, axis=0)
    schemes = np.stack([1 / (3 * fan_in), 2 / fan_in, 1 / fan_in, 2 / (fan_in + fan_out)]) ** 0.5
    schemes = np.concatenate((schemes, np.broadcast_to(np.array([SMALL]).T, (len(SMALL), len(fan_in)))))
    near = np.abs(scale / schemes - 1) < SIGMAS / np.sqrt(2 * weights.numel)
    return np.asarray(near.any(axis=0))


def _hit(weights: Weights, column: int, trained_before: bool, share: float, records: int) -> Hit:
    name = weights.names[column]
    since = 0
    if trained_before:
        since = min(int(np.flatnonzero(np.isfinite(weights.gradient[:, column]))[-1]) + 1, len(weights.steps) - 1)
        told = f"`{name}` has had requires_grad=False since step {int(weights.steps[since]):,}, having trained before"
    else:
        scale = float(np.nanmedian(weights.weight[:, column]))
        told = (
            f"`{name}` has requires_grad=False, and a root mean square of {short(scale)} as of a fresh initialization"
        )
    return Hit(
        subject=name,
        first_step=int(weights.steps[since]),
        fired_step=int(weights.steps[since]),
        last_step=int(weights.steps[-1]),
        count=max(1, records - since),
        active=True,
        severity="info",
        statistic="share_of_weights_without_requires_grad",
        unit="share of the model's weights",
        value=share,
        limit=0.0,
        direction="above",
        message=f"{told}; {percent(share)} of the model's weights rest like it.",
        advice=(
            f"If it is to train: model.get_parameter({name!r}).requires_grad_(True), and give it to the optimizer.",
            "If it is meant to rest, all is well.",
        ),
        more={GIVEN: True},
        rank=float(np.log(weights.numel[column])),
    )
