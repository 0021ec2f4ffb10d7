"""One term of the loss outweighs the others a hundredfold, and the others are not learned.

## What it detects
A loss of several logged terms in which one is more than a hundred times the size of another throughout. It is a
warning where the small term stands where it began: it contributes nothing to the gradient, and nothing is done about
it.

## Why it matters
The optimizer lowers the sum, and the sum is the large term. A goal that is a hundredth of it is reached by accident
only, and the curve of the total shows nothing of this.

## How it is computed
Scalars that are losses of training and whose tags name a term (`loss/box`, `kl_loss`), at the steps they share.
Where the total is logged, the weight of each term is found by least squares; where the terms explain the total to 2
%, the weighted terms are compared, else the values as logged. A term is small where the largest is more than
`factor` times its size (absolute values, no unit) in nine tenths of the points. It is not learned where the median
of its last fifth is not below 0.9 of that of its first twentieth, or the fall is less than four standard errors,
while the large term fell by a quarter or is at rest. Information where the small term improves, began below a tenth of
where it ends (its weight is raised as it goes), is a regularizer by
its name (kl, l2, penalty, balance, entropy …), or is below `least` of the unit it is logged in, weights taken away.
A penalty that is larger than a term which is not learned is told whatever `factor`: it need not be many times as
large. At least `points` common points.

Where no tag calls a term a loss, scalars of the total's steps are its terms if the total is their sum, each times a
constant, to within 1e-5. A divergence (kl) that has fallen below 0.01 nats, from three tenths of the first total or
more, or to a tenth of what it was, has too much weight, not too little: for information, and a warning where another
term is at what a constant answer costs.

## What to try
1. Give each term a weight that brings them to the same size at the start; the finding names it.
2. Normalize the targets that the large term measures (a squared error of pixels from 0 to 255 is 65,000 times too
   large).
3. Use means rather than sums over pixels, positions or anchors, for all terms alike.
4. Learn the weights: uncertainty weighting, GradNorm.
5. A divergence that outweighs the reconstruction: anneal its weight from 0.

## When it is harmless
Penalties are small on purpose, and a term that has been solved is small for good.

## References
- [37 reasons why your network is not working, number 20](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Multi-task learning using uncertainty to weigh losses](https://arxiv.org/abs/1705.07115)
- [GradNorm](https://arxiv.org/abs/1711.02257)
- [Generating sentences from a continuous space (KL collapse)](https://arxiv.org/abs/1511.06349)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import Run, Series
from tb_nnhealth.phases import parts
from tb_nnhealth.rules.base import (
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
from tb_nnhealth.rules.evidence import curves, losses, tags
from tb_nnhealth.rules.evidence.tags import REGULARIZERS
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.judged_loss import chance
from tb_nnhealth.rules.loss.loss_terms import Terms, loss_terms
from tb_nnhealth.rules.wording import percent, round_rate, short

THROUGHOUT = 0.9
IMPROVED = 0.9
LARGE_FELL = 0.75
BROUGHT_IN = 0.1
SIGMAS = 4.0
NEAR_CONSTANT = 0.97
"""Share of a constant answer's cost from which a term has learned nothing more than it."""
DIVERGENCES = frozenset(("kl", "kld", "divergence"))
NO_NATS, MATTERED, DRIVEN_OUT = 0.01, 0.3, 0.1
"""Divergence below which a code tells nothing; share of the first loss from which it may have been driven there, or
share of what it was when it was first told."""
TERMS_NEED = 'log each term of the loss: writer.add_scalar("loss/reconstruction", reconstruction, step)'


def check(case: Case) -> Outcome:
    if why := tags.moving_target(case.run):
        return NotApplicable(why)
    terms = loss_terms(case.run)
    if terms is None:
        return _nothing_to_compare(case.run)
    if len(terms.steps) < case.options["points"]:
        return TooLittleData(f"{len(terms.steps)} points at which all terms are logged")
    sizes = np.abs(terms.weighted)
    largest = int(np.argmax(np.median(sizes[: max(3, len(sizes) // 10)], axis=0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(sizes > 0, sizes[:, [largest]] / sizes, np.inf)
    opening = max(3, len(times) // 10)
    times = _since_they_set_in(times, sizes)
    usual = np.nanquantile(times, 1 - THROUGHOUT, axis=0, method="lower")
    large_fell = _fell(terms.values[:, largest])
    drowned = [_stands(v) and not _brought_in(v) and large_fell for v in terms.values.T]
    usual = np.where(drowned, np.maximum(usual, _medians_of_first(times, opening)), usual)
    usual[largest] = 1.0
    penalty = bool(set(parts(terms.tags[largest])) & REGULARIZERS)
    held = penalty & np.array(drowned) & (usual > 1.0)  # a penalty need not be many times as large to forbid learning
    small = np.flatnonzero((usual > case.options["factor"]) | held)
    if (gone := _divergence_gone(case.run, terms)) is not None:
        return Ill([gone])
    if not len(small):
        at = int(np.argmax(usual))
        return Passed(
            Closest(min(1.0, float(usual[at]) / case.options["factor"]), terms.tags[at], int(terms.steps[-1]), "size")
        )
    return Ill([_hit(terms, int(i), largest, float(usual[i]), case) for i in small])


def _since_they_set_in(times: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """``times`` with NaN where a term is still exactly 0, shape (points, terms); one that is 0 throughout is left.

    A penalty that is warmed up, or has nothing to hold on to before a second task, is no term until then.
    """
    waits = np.logical_and.accumulate(sizes == 0, axis=0) & (sizes > 0).any(axis=0)
    return np.where(waits, np.nan, times)


def _medians_of_first(times: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The median of each term's first ``count`` points, shape (terms,)."""
    return np.array([np.median(column[~np.isnan(column)][:count]) for column in times.T])


def _nothing_to_compare(run: Run) -> Outcome:
    if losses.training_loss(run) is None:
        return CouldNotCheck(TERMS_NEED)
    return NotApplicable("the log has no two terms of a loss")


def _divergence_gone(run: Run, terms: Terms) -> Hit | None:
    """The finding on a divergence that is 0: the code that it is taken of tells nothing.

    It mattered at first, or has fallen to a tenth of what it was when it was first told: more weight is not what it
    lacks. A warning where the loss is then at what a constant answer costs.
    """
    if not terms.known:
        return None
    sizes = np.abs(terms.weighted)
    for i, tag in enumerate(terms.tags):
        start, end = float(terms.values[0, i]), _levels(terms.values[:, i])[1]
        share = float(sizes[0, i] / max(sizes[0].sum(), 1e-300))
        mattered = share > MATTERED and start > NO_NATS
        if not (set(parts(tag)) & DIVERGENCES and 0 <= end < NO_NATS and (mattered or end < DRIVEN_OUT * start)):
            continue
        gone = int(np.argmax(terms.values[:, i] < (NO_NATS if mattered else DRIVEN_OUT * start)))
        nothing, others = chance(run), np.delete(terms.values, i, axis=1)
        unlearned = max((_levels(other)[1] for other in others.T), default=0.0) > NEAR_CONSTANT * nothing
        weight = float(np.median(sizes[:, i] / np.maximum(np.abs(terms.values[:, i]), 1e-300)))
        was = f"was {percent(share)} of the loss at first and has fallen" if mattered else f"went from {short(start)}"
        guess = f" What is left of the loss is what an answer that ignores the input costs, {short(nothing)}."
        return Hit(
            subject=tag,
            **lasting(terms.steps, -1, since=gone),
            severity="warning" if unlearned else "info",
            statistic="divergence of the latent code",
            unit="nats",
            value=end,
            limit=NO_NATS,
            direction="below",
            message=(
                f"`{tag}` {was} to {short(end)}: the latent code is the prior's for every sample, and tells the decoder"
                f" nothing.{guess if unlearned else ''}"
            ),
            advice=(
                f"Give the divergence a smaller weight than {short(weight)}, or raise it from 0 over the first epochs.",
                "Leave some nats free: take the maximum of the divergence and a constant for each dimension.",
            ),
            more={"start": start, "share": share},
        )
    return None


def _levels(values: curves.Values) -> tuple[float, float]:
    """Where a term began, and where it ends."""
    n = len(values)
    return float(np.median(values[: max(3, n // 20)])), float(np.median(values[-max(3, n // 5) :]))


def _stands(values: curves.Values) -> bool:
    """Whether a term has not improved, beyond its noise and by a tenth."""
    n, (start, end) = len(values), _levels(values)
    error = curves.noise(values) * math.sqrt(1 / max(3, n // 20) + 1 / max(3, n // 5))
    return not (end < IMPROVED * start and start - end > SIGMAS * error)


def _brought_in(values: curves.Values) -> bool:
    """Whether a term began at next to nothing: its weight is raised step by step, as that of a consistency is."""
    start, end = _levels(values)
    return abs(start) < BROUGHT_IN * abs(end)


def _fell(values: curves.Values) -> bool:
    start, end = _levels(values)
    return end < LARGE_FELL * start


def _hit(terms: Terms, i: int, largest: int, times: float, case: Case) -> Hit:
    tag, large, steps = terms.tags[i], terms.tags[largest], terms.steps
    values = terms.values[:, i]
    start, end = _levels(values)
    improves, brought_in = not _stands(values), _brought_in(values)
    regularizer = bool(set(parts(tag)) & REGULARIZERS)
    matters = abs(start) >= case.options["least"] or terms.known
    neglected = not (improves or brought_in or regularizer) and start > 0
    harmful = _fell(terms.values[:, largest]) and neglected and matters
    ratio = times if math.isfinite(times) else 1e300
    weights = "with their weights, " if terms.known else ""
    course = f"went from {short(start)} to {short(end)}" if improves or brought_in else f"stayed at {short(end)}"
    balanced = round_rate(ratio) if ratio < 1e300 else "more"
    return Hit(
        subject=tag,
        **lasting(steps, -1),
        severity="warning" if harmful else "info",
        statistic="largest term over this one",
        unit="1",
        value=ratio,
        limit=case.options["factor"] if ratio > case.options["factor"] else 1.0,
        direction="above",
        message=(
            f"`{large}` is more than {short(ratio) if ratio < 1e300 else 'any number of'} times `{tag}`, "
            f"{weights}at the start or throughout, and `{tag}` {course}."
        ),
        advice=(
            f"Multiply `{tag}` by about {balanced}, or divide `{large}` by it, and watch both.",
            "Take means rather than sums over pixels, positions or anchors, for all terms alike.",
            "Normalize what the large term measures to a standard deviation of 1.",
        ),
        more={"start": start, "end": end, "largest": large},
    )


_STEPS = np.arange(300.0)


def _logged(noise: float = 0.05, **terms: curves.Values) -> Run:
    rng = np.random.default_rng(0)
    scalars = {}
    noisy = {name: curve * (1 + noise * rng.standard_normal(len(curve))) for name, curve in terms.items()}
    if "total" in noisy:
        noisy["total"] = np.sum([curve for name, curve in noisy.items() if name != "total"], axis=0)
    for name, curve in noisy.items():
        tag = f"loss/{name.replace('_', '/')}"
        scalars[tag] = Series([(i, float(i), float(v)) for i, v in enumerate(curve)])
    return Run("plain", scalars=scalars)


def _summed(one: str, other: str, of_one: curves.Values, of_other: curves.Values, apart: float = 0.0) -> Run:
    """Two scalars whose tags are no losses', and their sum, which departs from it by ``apart`` of itself."""
    noise = np.random.default_rng(1).standard_normal((3, len(_STEPS)))
    parts = [of_one * (1 + 0.02 * noise[0]), of_other * (1 + 0.02 * noise[1])]
    whole = sum(parts) * (1 + apart * noise[2])
    logged = {f"train/{one}": parts[0], f"train/{other}": parts[1], "train/loss": whole}
    return Run(
        "summed",
        scalars={
            tag: Series([(i, float(i), float(v)) for i, v in enumerate(values)]) for tag, values in logged.items()
        },
    )


def _fall(start: float, to: float = 0.1) -> curves.Values:
    return np.asarray(start * (to + (1 - to) * np.exp(-_STEPS / 50)))


_FLAT = 0.69 + 0 * _STEPS
_VANISHING = np.asarray(30 * np.exp(-_STEPS / 15))


def _driven_out() -> Run:
    """Logged from when most of it is gone, and small ever since, as a mean over the numbers of a code may be."""
    run = _logged(0.0, reconstruction=_fall(0.7, 0.6), kl=_fall(2e-3, 1e-3))
    pixels, code = (run.scalars[f"loss/{name}"].values for name in ("reconstruction", "kl"))
    run.scalars["loss/total"] = Series([(i, float(i), float(v)) for i, v in enumerate(pixels + 10 * code)])
    return run


def _weighted() -> Run:
    """The regularizer counts for 1e-4 of what is logged of it: small in the sum alone."""
    run = _logged(pixels=_fall(3.0), classes=_FLAT)
    pixels, classes = (run.scalars[f"loss/{name}"].values for name in ("pixels", "classes"))
    run.scalars["loss/total"] = Series([(i, float(i), float(v)) for i, v in enumerate(pixels + 1e-4 * classes)])
    return run


RULE = Rule(
    id="loss-term-imbalance",
    healthy="Terms of the loss in proportion",
    ill="One term of the loss outweighs the others",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("factor", 100.0, "1", "largest term over a small one", "37 reasons, number 20; judgement"),
        Option("least", 0.05, "unit of the term", "first value that leaves something to gain", "judgement"),
        Option("points", 20, "points", "common points needed", "judgement"),
    ),
    examples=(
        Example("the small term stands", lambda: _logged(box=_fall(5000.0), cls=_FLAT), True, "loss/cls", 0),
        Example("with its total", lambda: _logged(box=_fall(3000.0), cls=_FLAT, total=_FLAT), True, "loss/cls"),
        Example("small in the total alone", _weighted, ill=True, subject="loss/classes"),
        Example("it improves: information", lambda: _logged(box=_fall(5000.0), cls=_fall(0.69)), True, "loss/cls"),
        Example(
            "a weight that is raised",
            lambda: _logged(data=_fall(5.0), cons=1e-5 + 0.02 * _STEPS / len(_STEPS)),
            ill=False,
            outcome="Passed",
        ),
        Example("a penalty: information", lambda: _logged(data=_fall(5000.0), kl=_FLAT), True, "loss/kl"),
        Example("a fiftieth", lambda: _logged(box=_fall(35.0), cls=_FLAT), ill=False, outcome="Passed"),
        Example("of one size", lambda: _logged(box=_fall(2.0), cls=_fall(0.69)), ill=False, outcome="Passed"),
        Example(
            "large at the start alone",
            lambda: _logged(box=_fall(200.0, 1e-3), cls=_fall(0.69)),
            ill=False,
            outcome="Passed",
        ),
        Example("terms told by their sum", lambda: _summed("ce", "l1", _FLAT, _fall(230.0)), True, "train/ce"),
        Example("no such sum", lambda: _summed("ce", "l1", _FLAT, _fall(230.0), 0.1), False, outcome="NotApplicable"),
        Example("a latent code that is gone", lambda: _summed("mse", "kl", _fall(20.0), _VANISHING), True, "train/kl"),
        Example("a code that is driven out", _driven_out, ill=True, subject="loss/kl"),
        Example("one term", lambda: _logged(box=_fall(2.0)), ill=False, outcome="NotApplicable"),
        Example(
            "a generator and its opponent",
            lambda: _logged(generator=_fall(500.0), discriminator=_FLAT),
            ill=False,
            outcome="NotApplicable",
        ),
        Example("no loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=("underfitting", "loss-not-decreasing", "constant-output", "vanishing-activations"),
)
