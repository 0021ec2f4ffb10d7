"""Units of a rectified layer that are silent for every sample: they pass nothing on and learn nothing.

## What it detects
Units (features of a linear layer, channels of a convolution) behind a ReLU whose output is zero for every sample of
ten measured steps in a row.

## Why it matters
A silent unit has no gradient, so it stays silent: the layer is narrower than it looks, for good. Past a half the
layer becomes a bottleneck; a layer that is dead altogether cuts the network in two.

## How it is computed
Share of a layer's units that were silent in each of the last ten measured steps (unit: share of units): for a ReLU
module from its output; where the ReLU is applied as a function, from the gradient of the layer's output, which is zero
for a unit that the ReLU shuts off. A gradient counts only where the network's last layer receives one and no later
module's is silent altogether. A layer of which a ReLU lets nothing through is silent at once. Zero *elements* are not
counted: half of a ReLU's outputs are zero in the best of networks. Nor does silence count where the predictions are
exactly the same for all samples: what is silent for one of them is so for all, and half the units of a healthy layer
are. At least `units` silent units and `samples` samples in ten steps are asked for. It fires where the share exceeds
`share` in four of five records, and at any width where a layer is silent altogether. It is critical beyond `critical`
where the loss stands still, and where a whole layer is silent (a warning where the loss was learned without it); a
warning where the loss gives no sign, information where a policy or an opponent moves it and no reward rose. Up to
`critical` it is information, and nothing follows from it: the other half of the layer could learn, and of labels that
cannot be learned units die as well. Where the loss comes down it is information (networks that learn well were
measured with up to 83 % of a layer dead), unless the units died at one blow after a settled time, most were dead from
the start, or nine tenths are. So it is where no loss is known and most of the silent units were so at the start: small
inputs beside default biases leave half of a layer silent, and no training has made it so. The first step is the one
since which the units have been silent.

## What to try
1. Lower the learning rate, or warm it up: most units die in one large step.
2. Kaiming initialization with biases at 0; look at what pushed the biases down.
3. LeakyReLU, GELU or SiLU, which leave a gradient below zero.
4. Batch or layer normalization before the rectifier.
5. Normalize the inputs, where the first layer is the one.

## When it is harmless
A wide layer on an easy task prunes itself. Some dead units in a network that keeps learning are a waste, no illness.
Sparse by design (k-winners, mixtures of experts, sparse autoencoders) is no illness either: silence the layer.

## References
- [Stanford CS231n: ReLU](https://cs231n.github.io/neural-networks-1/#actfun)
- [Dying ReLU and initialization](https://arxiv.org/abs/1903.06733)
- [Delving deep into rectifiers](https://arxiv.org/abs/1502.01852)
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.activations.silence import ALL, rectified, samples_are_one, silent_altogether, silent_share
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
from tb_nnhealth.rules.evidence.progress import Progress, progress, untold
from tb_nnhealth.rules.hits import hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes, window_of
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.weights.initial_scale import with_scale
from tb_nnhealth.rules.wording import percent

WINDOW, LEAST = 5, 6
"""Records that are judged; where they lie apart, so many are needed in all."""
HELD = 0.8
MOST = 0.9
"""Beyond this share a layer is a warning however well the network learns."""
BORN_DEAD = 0.7
COMING_DOWN = 0.8
"""A loss below this share of its start shows that the network learns."""
SETTLED = 25
"""Records judged before an accident; ``_accident`` says why."""
SETTLED_LEVEL = 10
SUDDEN = 0.25
"""A share that rises by so much within ``SUDDEN_RECORDS`` records was an accident, no gradual pruning."""
SUDDEN_RECORDS = 10

ADVICE = (
    "Lower the learning rate, or warm it up: most units die in one large step.",
    "Initialize with Kaiming's scheme and biases at 0.",
    "Use LeakyReLU, GELU or SiLU, which leave a gradient below zero.",
    "Normalize before the rectifier (BatchNorm, LayerNorm), and the inputs.",
)


def check(case: Case) -> Outcome:
    history = case.history
    if history is None:
        return CouldNotCheck("call writer.watch(model, optimizer)")
    subjects, units, samples = rectified(history)
    if not subjects:
        return NotApplicable("no layer is rectified")
    enough = samples >= case.options["samples"]
    wide = units >= 2 * case.options["units"]
    same = samples_are_one(history)
    if not enough.any():
        return NotApplicable("the batches are small: silence may be chance")
    share = silent_share(history, subjects)
    whole = silent_altogether(history, subjects)
    share[whole] = 1.0
    share[:, ~enough] = np.nan
    share[same] = np.where(share[same] > ALL, 1.0, np.nan)
    share[:, ~wide] = np.where(share[:, ~wide] > ALL, 1.0, np.where(np.isfinite(share[:, ~wide]), 0.0, np.nan))
    judged = np.isfinite(share)
    if same.any() and not judged.any():
        return NotApplicable("all samples of a batch have the same prediction")
    needed = window_of(history.steps, schema.SILENCE_WINDOW + WINDOW, LEAST)
    if len(history) < needed or judged.sum(axis=0).max(initial=0) < WINDOW:
        return TooLittleData(f"{needed} records are needed")
    limits = case.options.per_subject("share", subjects)
    few = np.nan_to_num(share) * units < case.options["units"]
    ill = judged & (share > limits) & (~few | (share > ALL))
    found = episodes(ill, judged, history.steps, window=WINDOW, share=HELD)
    come = progress(case.run, history)
    if not found:
        return Passed(_closest(share, limits, subjects, history))
    hits = [_hit(history, case, share, whole, episode, subjects[episode.column], come) for episode in found]
    return Ill(with_scale(hits, history.layout, "above"))


def _hit(
    history: History, case: Case, share: NDArray[np.float32], whole: NDArray[np.bool_], episode: Episode, subject: str,
    come: Progress | None,
) -> Hit:  # fmt: skip
    if whole[episode.first, episode.column]:
        before = np.flatnonzero(~whole[: episode.first, episode.column])
        began = int(before[-1]) + 1 if len(before) else 0
    else:
        began = max(0, episode.first - (schema.SILENCE_WINDOW - 1))
    value = worst(share, episode, "above")
    since = replace(episode, first=began, first_step=int(history.steps[began]))
    severity = _severity(share, episode, value, case.options["critical"], come, untold=untold(case.run, come))
    told = f"{percent(value)} of the units of `{subject}` are silent for every sample, since step {since.first_step:,}."
    if value > ALL:
        told = f"`{subject}` is silent altogether since step {since.first_step:,}: nothing passes it either way."
    if come is not None and severity == "info" and _learns(come):
        told += f" {come.outcome} all the same."
    return hit(
        since,
        subject,
        severity=severity,
        statistic="dead_fraction",
        unit="share of units",
        value=value,
        limit=case.options.of("share", subject),
        direction="above",
        healthy=(0.0, 0.3),
        message=told,
        advice=ADVICE,
        more={ASIDE: True} if value <= case.options["critical"] and not _accident(share, episode) else {},
        rank=value,
    )


def _severity(
    share: NDArray[np.float32], episode: Episode, value: float, critical: float, come: Progress | None, *, untold: bool
) -> Severity:
    if value > ALL:
        return "warning" if come is not None and come.learned else "critical"
    if value <= critical:
        return "info"
    if come is not None and come.stuck:
        return "critical"
    harmless = untold or (_learns(come) if come is not None else value < 2 * _at_first(share, episode))
    return "info" if harmless and value <= MOST and not _accident(share, episode) else "warning"


def _at_first(share: NDArray[np.float32], episode: Episode) -> float:
    told = share[:, episode.column]
    return float(told[np.isfinite(told)][0])


def _learns(come: Progress) -> bool:
    return come.learned or come.now < COMING_DOWN * come.start


def _accident(share: NDArray[np.float32], episode: Episode) -> bool:
    """Whether the units were born dead or died at one blow after a settled time.

    In the opening a network that learns well loses units too: measured up to 83 % of a layer. Small inputs beside
    default biases leave half of the first layer silent from the start.
    """
    if _at_first(share, episode) > BORN_DEAD:
        return True
    before = share[: episode.first, episode.column]
    before = before[np.isfinite(before)]
    after = share[episode.first : episode.first + SUDDEN_RECORDS, episode.column]
    return len(before) >= SETTLED and float(np.nanmax(after) - np.median(before[-SETTLED_LEVEL:])) > SUDDEN


def _closest(
    share: NDArray[np.float32], limits: NDArray[np.float64], subjects: tuple[str, ...], history: History
) -> Closest | None:
    if not np.isfinite(share).any():
        return None
    relative = share / limits
    record, column = divmod(int(np.nanargmax(relative)), len(subjects))
    near = min(1.0, float(relative[record, column]))
    return Closest(near, subjects[column], int(history.steps[record]), "share of dead units")


def _network(flat: bool = False, **given: int) -> Network:
    """A network whose loss comes down well, or stays where it began."""
    network = Network(**given)  # type: ignore[arg-type]
    at = network.at / network.steps
    curve = np.log(10) * (np.ones(len(at)) if flat else 0.02 + np.exp(-10 * at))
    return network.set(schema.LOSS, "", mean=curve, rms=curve)


def _dead(share: float, since: int = 60, *, flat: bool = False, gradual: bool = False, **given: int) -> Run:
    """A hidden layer of which ``share`` is seen silent from record ``since`` on, or more and more of it."""
    network = _network(flat, **given)
    at = np.arange(len(network.at))
    grown = share * np.clip((at - since) / (len(at) - since - 20), 0, 1) if gradual else share * (at >= since)
    return network.set(schema.ACTIVATION_GRADIENT, "layers.2", silent_share=np.where(at < 9, np.nan, grown)).run()


def _loss_unknown(first: float) -> Run:
    """``first`` and in the end 0.6 of a layer are silent, and no loss was logged."""
    network = Network().set(schema.LOSS, "", mean=math.nan)
    share = np.where(network.at < 60, first, 0.6)
    return network.set(schema.ACTIVATION_GRADIENT, "layers.2", silent_share=share).run()


def _in_the_opening() -> Run:
    """Units fall silent one after the other in the first thirty steps, and the loss comes down."""
    network = _network()
    share = 0.2 + 0.4 * np.clip((network.at - 15) / 15, 0, 1)
    silent = np.where(network.at < 9, np.nan, share)
    return network.set(schema.ACTIVATION_GRADIENT, "layers.2", silent_share=silent).run()


def _all_dead() -> Run:
    """One layer dies altogether: no gradient reaches those before it."""
    network = _network(flat=True)
    dead = (network.at >= 69).astype(np.float64)
    for layer in range(3):
        network.set(schema.ACTIVATION_GRADIENT, network.layer(layer), silent_share=dead)
    return network.run()


def _nothing_to_learn() -> Run:
    """The loss is zero, and so are all gradients."""
    network = _network()
    for layer in range(network.depth):
        network.set(
            schema.ACTIVATION_GRADIENT, network.layer(layer), silent_share=(network.at > 100).astype(np.float64)
        )
    return network.run()


def _averaged_over_the_batch() -> Run:
    """Every sample is the same: three quarters of a layer are silent for it."""
    network = _network(flat=True).set(schema.ACTIVATION_GRADIENT, "layers.2", silent_share=0.75)
    return network.add_row(schema.SPREAD, "prediction", mean=0.0).run()


def _small_batches() -> Run:
    network = _network()
    for row in network.layout.rows:
        if row.kind in schema.MODULE_KINDS:
            row.shape[0] = 2
    return network.set(schema.ACTIVATION_GRADIENT, "layers.2", silent_share=0.5).run()


def _sparse_elements() -> Run:
    return _network().set(schema.ACTIVATION, "layers.2", zero_share=0.9).run()


RULE = Rule(
    id="dead-units",
    healthy="Units alive",
    ill="Dead units",
    group="activations",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "share", 0.3, "share of units", "silent units of a layer", "CS231n: up to 40 % with a rate set too high"
        ),
        Option("critical", 0.5, "share of units", "critical beyond, unless the network learns", "judgement"),
        Option(
            "units", 8, "units", "least silent units; layers of less than twice as many are not judged", "judgement"
        ),
        Option("samples", 100, "samples", "least samples in ten steps", "a unit that fires for 3 % is then seen"),
    ),
    examples=(
        Example(
            "three quarters die at once",
            lambda: _dead(0.75, 69, flat=True),
            ill=True,
            subject="layers.2",
            first_step=60,
        ),
        Example(
            "three quarters die, the rest learns", lambda: _dead(0.75, 69), ill=True, subject="layers.2", first_step=60
        ),
        Example("dead from the start", lambda: _dead(0.6, 0, flat=True), ill=True, subject="layers.2", first_step=0),
        Example("from the start, and no loss known: information", lambda: _loss_unknown(0.55), ill=True),
        Example("died, and no loss known", lambda: _loss_unknown(0.1), ill=True, subject="layers.2", first_step=51),
        Example("a whole layer, and none before it", _all_dead, ill=True, subject="layers.2", first_step=60),
        Example("just above a third", lambda: _dead(0.33, flat=True), ill=True, subject="layers.2"),
        Example("just below", lambda: _dead(0.28, flat=True), ill=False, outcome="Passed"),
        Example("a wide layer that prunes itself", lambda: _dead(0.5, gradual=True), ill=True, subject="layers.2"),
        Example("half of a layer in the opening: information", _in_the_opening, ill=True, subject="layers.2"),
        Example("nine tenths of the elements are zero", _sparse_elements, ill=False, outcome="Passed"),
        Example("all gradients zero, the loss too", _nothing_to_learn, ill=False, outcome="Passed"),
        Example("batches of two samples", _small_batches, ill=False, outcome="NotApplicable"),
        Example("every sample the same", _averaged_over_the_batch, ill=False, outcome="NotApplicable"),
        Example("half of ten units", lambda: _dead(0.5, width=10), ill=False, outcome="Passed"),
        Example("all of ten units", lambda: _dead(1.0, width=10, flat=True), ill=True, subject="layers.2"),
        Example("tanh", lambda: Network(nonlinearity="tanh").run(), ill=False, outcome="NotApplicable"),
        Example("ten records", lambda: _dead(0.75, 0, steps=10), ill=False, outcome="TooLittleData"),
    ),
    page=__doc__ or "",
    causes=(
        "no-gradient",
        "loss-not-decreasing",
        "vanishing-gradients",
        "constant-output",
        "loss-diverging",
        "activation-mean-shift",
        "update-ratio-too-low",
        "underfitting",
        "frozen-parameters",
        "slow-start",
        "learning-rate-too-high",
    ),
    statistic="dead-units",
)
