"""The gradient of a step is far larger than those of the steps before it.

## What it detects
Steps whose gradient, over all parameters, stands out of the last hundred, in a training that had settled.

## Why it matters
A gradient spike is the early sign of a loss spike: it comes from a batch unlike the others, from a logit that has
grown too far, or from a learning rate at the edge of what the network bears. One step along it can undo many. With
momentum or Adam its trace stays for tens of steps.

## How it is computed
The L2 norm of all gradients together, as the optimizer applies them: after clipping, so that clipping which works
shows no spikes. A record is a spike where the norm exceeds the median by `sigmas` robust standard deviations (1.4826 ×
median absolute deviation) and is `factor` times what all but the two largest of the last `window` records stayed
below. At least 24 records must lie before it: the opening, in which gradients fall or rise by themselves, is not
judged.

It is information, told last where no loss of that step or the next two leaps with it. It becomes a warning where harm
is seen: the median of the next ten losses lies six of the loss's own standard deviations above what it was, and has
lost a quarter of all that was gained. Losses that take both signs time and again, as those of policies do, tell no
harm.

## What to try
1. Clip the gradients' norm: `torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)` before `optimizer.step()`.
2. Look at the batch of that step: a broken sample, a mislabelled or very long one.
3. Lower the learning rate, or warm it up longer; with Adam, lower beta2 to 0.95.

## When it is harmless
Once in a while, in small batches and where samples differ much. That the next losses are as they were tells.

## References
- [OLMo 2, training stability](https://arxiv.org/abs/2501.00656)
- [ZClip: adaptive spike mitigation](https://arxiv.org/abs/2504.02507)
- [Chowdhery et al. 2022, PaLM (loss spikes)](https://arxiv.org/abs/2204.02311)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.derive import numel
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    ASIDE,
    Case,
    Closest,
    CouldNotCheck,
    Example,
    Hit,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence.curves import SIGMA_OF_MAD, sigma
from tb_nnhealth.rules.evidence.losses import LossCurve, criterion_loss, training_loss
from tb_nnhealth.rules.evidence.tags import moving_target
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

Norms = NDArray[np.float64]

SETTLED = 24
"""Records before the first that is judged."""
EXCEPTIONS = 2
"""Largest records of a window that do not count: earlier spikes."""
AFTER = 10
BEFORE = 50
LOSS_SIGMAS = 6.0
AT_ONCE = 3
"""Points of the loss in which a spike shows, if it does."""
LOST_AGAIN = 0.25
SIGN_CHANGES = 8
ADVICE = (
    "Clip the gradients' norm before optimizer.step(): torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).",
    "Look at the batch of this step for broken, mislabelled or unusually long samples.",
    "Lower the learning rate or warm it up longer; with Adam, lower beta2 to 0.95.",
)


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.rows(schema.GRADIENT):
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    norms = total_norms(history)
    at = np.flatnonzero(np.isfinite(norms) & (norms > 0))
    if not at.size:
        return NotApplicable("no gradient above 0 was measured")
    if len(at) <= SETTLED:
        return TooLittleData(f"{len(at)} records with gradients so far, more than {SETTLED} are needed")
    limits = spike_limits(norms[at], int(case.options["window"]), case.options["sigmas"], case.options["factor"])
    spikes = np.flatnonzero(norms[at] > limits)
    if not spikes.size:
        share = norms[at] / limits
        nearest = int(np.nanargmax(share))
        step = int(history.steps[at[nearest]])
        return Passed(Closest(float(min(1.0, share[nearest])), "", step, "gradient norm"))
    curve = None if moving_target(case.run) else criterion_loss(history) or training_loss(case.run)
    curve = None if curve is None else curve.finite()
    harmful = [i for i in spikes if curve is not None and did_harm(curve, int(history.steps[at[i]]))]
    told = _hit(history, norms, at, np.array(harmful or spikes, np.int64), limits, harm=bool(harmful))
    unheard = curve is not None and not any(_leaps(curve, int(history.steps[at[i]])) for i in spikes)
    return Ill([replace(told, more={**told.more, ASIDE: True}) if unheard else told])


def total_norms(history: History) -> Norms:
    """L2 norm of all gradients of each record, shape (records,); NaN where none was measured or one is not finite."""
    rms = history.table(schema.GRADIENT, schema.RMS).values.astype(np.float64)
    squares = np.square(rms) * numel(history, schema.GRADIENT)
    bad = sum(
        np.nan_to_num(history.table(schema.GRADIENT, name).values).sum(axis=1)
        for name in (schema.NAN_COUNT, schema.INF_COUNT)
    )
    usable = np.isfinite(rms).any(axis=1) & (np.asarray(bad) == 0)
    return np.asarray(np.where(usable, np.sqrt(np.nansum(squares, axis=1)), np.nan))


def spike_limits(norms: Norms, window: int, sigmas: float, factor: float) -> Norms:
    """Above what each record counts as a spike against the ``window`` before it, shape of ``norms``; inf at first."""

    limits = np.full(len(norms), np.inf)
    opening, whole = np.arange(SETTLED, min(window, len(norms))), max(window, SETTLED)
    if len(opening):
        so_far = np.where(np.arange(opening[-1]) < opening[:, None], norms[: opening[-1]], np.inf)
        ordered = np.sort(so_far, axis=1)
        middle = _middle(ordered, opening)
        spread = SIGMA_OF_MAD * _middle(np.sort(np.abs(so_far - middle[:, None]), axis=1), opening)
        usual = ordered[np.arange(len(opening)), opening - 1 - EXCEPTIONS]
        limits[opening] = np.maximum(middle + sigmas * spread, factor * usual)
    if len(norms) > whole:
        before = np.lib.stride_tricks.sliding_window_view(norms, window)[whole - window : -1]
        middle = np.median(before, axis=1)
        spread = SIGMA_OF_MAD * np.median(np.abs(before - middle[:, None]), axis=1)
        usual = np.partition(before, -1 - EXCEPTIONS, axis=1)[:, -1 - EXCEPTIONS]
        limits[whole:] = np.maximum(middle + sigmas * spread, factor * usual)
    return limits


def _middle(ordered: Norms, counts: NDArray[np.int64]) -> Norms:
    """The median of the first ``counts`` of each row."""
    rows = np.arange(len(counts))
    return np.asarray((ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]) / 2)


def did_harm(curve: LossCurve, step: int) -> bool:
    """Whether the losses right after ``step`` lie far above those before it."""
    here = int(np.searchsorted(curve.steps, step))
    before, after = curve.values[max(0, here - BEFORE) : here], curve.values[here + 1 : here + 1 + AFTER]
    if len(before) < AFTER or len(after) < AFTER // 2 or _score(curve.values):
        return False
    level, now, start = float(np.median(before)), float(np.median(after)), float(np.median(curve.values[:5]))
    return now > level + LOSS_SIGMAS * sigma(before) and now - level > LOST_AGAIN * max(start - level, 0.1 * abs(level))


def _leaps(curve: LossCurve, step: int) -> bool:
    """Whether a loss at ``step`` or right after it lies far above those before; of few points nobody can tell."""
    here = int(np.searchsorted(curve.steps, step))
    before, then = curve.values[max(0, here - BEFORE) : here], curve.values[here : here + AT_ONCE]
    if len(before) < AFTER or not len(then):
        return True
    return bool(then.max() > float(np.median(before)) + LOSS_SIGMAS * sigma(before))


def _score(losses: Norms) -> bool:
    """Whether losses change their sign time and again, as those of policies do: their height tells no harm.

    One that falls through zero, as a density's may, changes it once, and a few times more by its noise.
    """
    signs = np.sign(losses[losses != 0])
    return int(np.count_nonzero(np.diff(signs))) >= SIGN_CHANGES


def _loudest(history: History, record: int) -> str:
    """The parameter whose gradient rose most above its own median."""
    table = history.table(schema.GRADIENT, schema.RMS)
    usual = np.nanmedian(np.where(np.isfinite(table.values), table.values, 0.0), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = np.where(usual > 0, table.values[record] / usual, 0.0)
    return table.subjects[int(np.nanargmax(rise))]


def _hit(
    history: History, norms: Norms, at: NDArray[np.int64], told: NDArray[np.int64], limits: Norms, *, harm: bool
) -> Hit:
    largest = int(told[np.argmax(norms[at[told]] / limits[told])])
    first, last = int(at[told[0]]), int(at[told[-1]])
    steps = history.steps
    episode = Episode(
        0, int(steps[first]), int(steps[first]), int(steps[last]), len(told), last >= len(steps) - 1, first, first, last
    )
    value, usual = float(norms[at[largest]]), float(np.median(norms[at][max(0, largest - BEFORE) : largest]))
    follows = " The losses after it lie far above those before." if harm else ""
    return hit(
        episode,
        _loudest(history, int(at[largest])),
        severity="warning" if harm else "info",
        statistic="total_gradient_norm",
        unit="L2",
        value=value,
        limit=float(limits[largest]),
        direction="above",
        message=f"The gradient's norm is {short(value)} at step {int(steps[at[largest]]):,}, where {short(usual)} was"
        f" usual; {len(told)} such step{'s' if len(told) > 1 else ''} so far.{follows}",
        advice=ADVICE,
        more={"usual": usual, "step": int(steps[at[largest]])},
        rank=value,
    )


def _spiked(factor: float, record: int = 120, *, harm: float = 0.0, steps: int = 200, every: int = 1) -> Network:
    """All gradients times ``factor`` in one record; the loss is raised by ``harm`` for the next twenty."""
    network = Network(steps=steps, every=every)
    t = np.arange(len(network.at))
    for parameter in network.layout.parameters:
        network.scale(schema.GRADIENT, parameter.name, np.where(t == record, factor, 1.0))
    loss = network.get(schema.LOSS, "", schema.MEAN) + np.where((t > record) & (t <= record + 20), harm, 0.0)
    return network.set(schema.LOSS, "", mean=loss)


def _noisy(spread: float) -> Run:
    """Gradients that vary from batch to batch by a factor of e^spread, as in batches of four."""
    network = Network(steps=300)
    wild = np.exp(spread * np.random.default_rng(3).standard_normal(300))
    for parameter in network.layout.parameters:
        network.scale(schema.GRADIENT, parameter.name, wild)
    return network.run()


def _clipped() -> Run:
    network = Network()
    for parameter in network.layout.parameters:
        network.set(schema.GRADIENT, parameter.name, rms=np.asarray(1e-2 + 1e-8 * (np.arange(200) % 3), np.float64))
    return network.run()


def _one_layer(layer: int) -> Run:
    network = Network()
    network.scale(schema.GRADIENT, network.weight(layer), np.where(np.arange(200) == 90, 100.0, 1.0))
    return network.run()


EXAMPLES = (
    Example("One step, twenty times the usual", lambda: _spiked(20).run(), True, first_step=120),
    Example("A spike that the loss pays for", lambda: _spiked(20, harm=2.0).run(), True, first_step=120),
    Example("In one layer alone", lambda: _one_layer(3), True, "layers.3.weight", 90),
    Example("Every fiftieth step recorded", lambda: _spiked(20, 80, steps=6000, every=50).run(), True, first_step=4000),
    Example("Just above the limit", lambda: _spiked(2.6).run(), True, first_step=120),
    Example("Just below the limit", lambda: _spiked(1.9).run(), False, outcome="Passed"),
    Example("A healthy network", lambda: Network().run(), False, outcome="Passed"),
    Example("In the opening", lambda: _spiked(50, 10).run(), False, outcome="Passed"),
    Example("Small batches: wild, and always so", lambda: _noisy(0.6), False, outcome="Passed"),
    Example("Clipped to the same norm in every step", _clipped, False, outcome="Passed"),
    Example("Twenty records", lambda: _spiked(50, 18, steps=20).run(), False, outcome="TooLittleData"),
)

RULE = Rule(
    id="gradient-spike",
    healthy="No gradient stands out",
    ill="Gradient spike",
    group="gradients",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option(
            "window",
            128,
            "records",
            "records that a gradient is compared with",
            "OLMo 2 and ZClip look back 100 to 1,000 steps",
        ),
        Option(
            "sigmas",
            6,
            "robust standard deviations",
            "how far above the median a spike lies",
            "OLMo 2's spike score counts from six",
        ),
        Option(
            "factor",
            2,
            "1",
            "how far above all but the largest two of the window",
            "gradient norms of small batches are log-normal: six deviations alone are common there",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "loss-spike",
        "loss-oscillating",
    ),
)
