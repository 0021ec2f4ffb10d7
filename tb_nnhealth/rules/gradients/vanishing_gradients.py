"""The gradient dies on its way back to the first layers.

## What it detects
Layers that receive a hundredth or less of the gradient that later layers receive, falling off layer by layer, where
that leaves their weights standing still or the loss does not move.

## Why it matters
The gradient of an early layer is a product over all later ones. If each factor is below one (the slope of a sigmoid
is at most 0.25, weights may be too small), it shrinks exponentially with depth: the first layers stay at their random
values, and the later ones can only learn from the noise that these make of the input.

## How it is computed
For each weight matrix, in forward order, the root mean square of its gradient over the median of that of the matrices
in the later half of the network (no unit); of a network with several ways through it (two towers, actor and critic), in
that of its own way. A record is ill where this is below `depth_ratio`, the logarithm falls steadily towards the input
(correlation with depth of at least 0.5), and the gradient does harm: the layer's update is below `moving` of its
weights' norm per step, or the loss stands where it began; there a hundredth is told where a sigmoid follows every
matrix but the last, for each takes at least three quarters. The gradient times its weights must else be as small beside
the later ones: weights written a hundred times as large, under a learning rate multiplier, receive a hundredth of the
gradient and mean the same. It must hold in half of `window` records, or of the eight and more that there are after a
hundred steps.

Adam divides by the gradient's own size, so a small gradient alone is no illness. Gradients of exactly zero belong to
no-gradient; embeddings, of which a batch touches few rows, are not judged, nor a layer before one that started at zero
and has hardly left it (LoRA's A before B), nor one further in front that got no gradient in the first record for that
reason. Critical below a ten-thousandth with a loss that has not been learned; for information only where the loss has
fallen to less than half.

## What to try
1. Replace sigmoid and tanh between layers by ReLU, GELU or SiLU.
2. Initialize for the non-linearity: `torch.nn.init.kaiming_normal_` for ReLU, `xavier_normal_` for tanh;
   `tb_nnhealth.init.lsuv_(model, batch)` measures instead of assuming.
3. Add normalization layers (`BatchNorm`, `LayerNorm`).
4. Add residual connections; in recurrent networks use LSTM or GRU and shorter sequences.

## When it is harmless
Where the layers move all the same (Adam), in a branch that starts at zero by design, and once the loss is learned.

## References
- [Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural
  networks](https://proceedings.mlr.press/v9/glorot10a.html)
- [He et al. 2015, Delving Deep into Rectifiers](https://arxiv.org/abs/1502.01852)
- [Mishkin and Matas 2015, All you need is a good init (LSUV)](https://arxiv.org/abs/1511.06422)
- [Hochreiter 1991; Bengio et al. 1994, Learning long-term dependencies is
  difficult](https://doi.org/10.1109/72.279181)
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Floats, History
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
    Hit,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence.asleep import asleep
from tb_nnhealth.rules.evidence.depth import slopes
from tb_nnhealth.rules.evidence.flow import flow_of
from tb_nnhealth.rules.evidence.progress import Progress, progress, untold
from tb_nnhealth.rules.evidence.weights import Weights, weights_of
from tb_nnhealth.rules.gradients.vanishing_gradients_examples import EXAMPLES
from tb_nnhealth.rules.hits import closest, hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes, share_of, window_of
from tb_nnhealth.rules.weights.initial_scale import with_scale
from tb_nnhealth.rules.wording import short

FEWEST_LAYERS = 4
FEWEST_RECORDS, LEAST = 8, 6
LONG = 100
"""Steps over which so few records suffice."""
STEADY = 0.5
SQUEEZED = 1e-2
"""Share below which a layer beneath nothing but sigmoids is told where the loss stands: each has a slope of 1/4."""
SEVERE = 1e-4
UNDERFLOW = 1e-6
"""Share below which the layers before it may well have underflowed to zero."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.GRADIENT):
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    weights = weights_of(history).matrices_in_depth()
    if len(weights.names) < FEWEST_LAYERS:
        return NotApplicable(f"the network has {len(weights.names)} weight matrices in depth, {FEWEST_LAYERS} needed")
    usual = int(case.options["window"])
    window = window_of(history.steps, usual, LEAST)
    if len(history) < window and not (len(history) >= FEWEST_RECORDS and np.ptp(history.steps) >= LONG):
        return TooLittleData(f"{len(history)} records so far, {window} needed")
    window = min(window, len(history))

    strands = [
        strand
        for strand in flow_of(history).strands([p.module for p in weights.parameters])
        if len(strand.along) >= FEWEST_LAYERS
    ]
    if not strands:
        return NotApplicable(f"no way through the network has {FEWEST_LAYERS} weight matrices")
    share, told, steady = (np.full_like(weights.gradient, np.nan) for _ in range(3))
    for strand in strands:
        along = weights.gradient[:, strand.along]
        own = np.searchsorted(strand.along, strand.judged)
        share[:, strand.judged] = with_underflow(share_of_later(along), along)[:, own]
        steady[:, strand.judged] = slopes(along)[1][:, None]
        told[:, strand.judged] = share_of_later(along * weights.weight[:, strand.along])[:, own]
    judged = np.isfinite(share)
    if not judged.any():
        return NotApplicable("no gradients reach the weights")
    seen = progress(case.run, history)
    stuck = seen is not None and seen.stuck
    limit = case.options.per_subject("depth_ratio", weights.names)
    squeezed = stuck and _sigmoids_throughout(weights, history)
    if squeezed:
        limit = np.maximum(limit, SQUEEZED)
    still = ~(weights.ratio >= case.options.per_subject("moving", weights.names))
    harmful = (steady >= STEADY) & (still | stuck) & (squeezed | ~(told >= limit))
    share[asleep(weights) | (weights.lr == 0)] = np.nan
    judged &= np.isfinite(share)
    found = episodes((share < limit) & harmful, judged, weights.steps, window=window, share=share_of(window, usual))
    if not found:
        near = closest(
            np.where(harmful, share, np.nan),
            float(limit.max()),
            "below",
            weights.names,
            weights.steps,
            "gradient relative to later layers",
        )
        return Passed(near)
    unknown = untold(case.run, seen)
    hits = [_hit(weights, episode, share, float(limit[episode.column]), seen, unknown=unknown) for episode in found]
    return Ill(with_scale(hits, history.layout, "below"))


def _sigmoids_throughout(weights: Weights, history: History) -> bool:
    """Whether a sigmoid follows each weight matrix but the last."""
    follows = {m.name: m.nonlinearity for m in history.layout.modules}
    return all(follows.get(p.module) == "sigmoid" for p in weights.parameters[:-1])


def share_of_later(gradient: Floats) -> Floats:
    """Each gradient over the median of the later half's, shape (records, n); NaN where either is zero or missing."""
    usable = np.where(np.isfinite(gradient) & (gradient > 0), gradient, np.nan)
    later = usable[:, (usable.shape[1] + 1) // 2 :]
    reference = np.full(len(usable), np.nan, np.float32)
    measured = ~np.isnan(later).all(axis=1)
    reference[measured] = np.nanmedian(later[measured], axis=1)
    return np.asarray(usable / reference[:, None], np.float32)


def with_underflow(share: Floats, gradient: Floats) -> Floats:
    """``share`` where gradients of exactly zero, before a layer whose own has almost vanished, count as that one's."""
    positive = np.isfinite(share)
    first = np.argmax(positive, axis=1)
    smallest = share[np.arange(len(share)), first]
    almost = positive.any(axis=1) & (smallest < UNDERFLOW)
    before = np.arange(share.shape[1])[None, :] < first[:, None]
    return np.asarray(np.where((gradient == 0) & before & almost[:, None], smallest[:, None], share), np.float32)


def _severity(value: float, still: bool, seen: Progress | None) -> Severity:
    if seen is not None and seen.learned:
        return "info"
    return "critical" if value < SEVERE or (still and seen is not None and seen.stuck) else "warning"


def _hit(
    weights: Weights, episode: Episode, share: Floats, limit: float, seen: Progress | None, *, unknown: bool
) -> Hit:
    name, column = weights.names[episode.column], episode.column
    stretch = slice(episode.first, episode.last + 1)
    usual = float(np.nanmedian(share[stretch, column]))
    moved = weights.ratio[stretch, column]
    ratio = float(np.nanmedian(moved)) if np.isfinite(moved).any() else float("nan")
    moves = "" if np.isnan(ratio) else f", and a step changes it by {short(ratio)} of its norm"
    stuck = f"; the loss stands at {short(seen.now)}" if seen is not None and seen.stuck else ""
    return hit(
        episode,
        name,
        severity="info" if unknown else _severity(usual, not ratio >= 1e-5, seen),
        statistic="gradient_share_of_later_layers",
        unit="1",
        value=worst(share, episode, "below"),
        limit=limit,
        direction="below",
        healthy=(0.1, 10),
        message=f"`{name}` receives {short(usual)} of the gradient of the later layers{moves}{stuck}.",
        advice=(
            "Put ReLU, GELU or SiLU in the place of sigmoid and tanh between layers.",
            "Initialize for the non-linearity: torch.nn.init.kaiming_normal_ (ReLU), xavier_normal_ (tanh), or"
            " tb_nnhealth.init.lsuv_.",
            "Add normalization layers or residual connections.",
        ),
        more={"update_ratio": ratio, "depth": int(np.sum(weights.position < weights.position[column]))},
        rank=-float(np.log(usual)),
    )


RULE = Rule(
    id="vanishing-gradients",
    healthy="Gradients reach every layer",
    ill="Gradients vanishing",
    group="gradients",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "depth_ratio",
            1e-2,
            "1",
            "gradient over that of the later layers",
            "healthy trainings of ours stay above 0.04",
        ),
        Option(
            "moving",
            1e-4,
            "per step",
            "update : weight ratio above which a layer learns",
            "a tenth of the 1e-3 of CS231n",
        ),
        Option("window", 20, "records", "records of which half must be ill", "a few batches of noise"),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "over-regularized",
        "constant-output",
        "update-ratio-too-low",
        "loss-not-decreasing",
        "slow-start",
        "frozen-parameters",
        "no-gradient",
        "underfitting",
        "learning-rate-too-low",
        "still-improving",
        "activation-mean-shift",
    ),
    statistic="gradient-norm",
)
