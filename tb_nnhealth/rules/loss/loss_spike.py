"""The training loss leaps up, and comes back.

## What it detects
Stretches in which the loss stands far above the level it had reached, by the measure of its own noise and of what
had been gained, and after which it returns. Several spikes are told as one finding. A loss that stays up is left to
loss-diverging, a single wild batch among hundreds of points is none.

## Why it matters
What was learned is lost and has to be learned again. Spikes that recur, or that rise above the untrained level, say
that steps are taken which the ground does not bear: one larger step, and the loss does not return.

## How it is computed
The curve is reduced to at most 2,000 medians; from a hundred points on the median of five stands for a point. Its
height above the lowest level so far must exceed `lost` (share of what had been gained since the start) and `sigmas`
times its own robust scatter (MAD); in the loss's unit. It ends where the height is half of that. The first twentieth
of the run is left out. Nothing is reported where the noise alone reaches a third as high, nor where the learning
rate rose to a value that it had had before (a schedule with restarts), nor spikes of less than `points` points in
curves of a hundred or more. A shorter one counts where it is rare (2 % of the points), rises by 30 sigma (MAD) of the
twenty points before and by three times the gain so far, and the median of the eight points after it lies above that
of the twenty before by four standard errors: it was more than a single costly sample, and did harm.

In shorter curves, whose points may be means of epochs, each point counts. Where they are the losses of single batches
instead, as of an epoch's last one, they differ by decades: a spike must exceed, as a ratio, six times the robust
scatter of the ratios from point to point.

A warning where there are three or more and the loss ends above half of the level before them, or where weights
changed between two steps of the optimizer; and, unless the loss ends where it had been before or lower (within 5 % of
the gain), where a spike rises above the untrained level by as much as had been gained, or the learning rate or the
gradient's norm leapt with it. Else information: the harm is repaired, or the data or the task may have been changed.

## What to try
1. Clip gradients by norm, at about their usual norm; the finding names it where it was recorded.
2. Lower the peak learning rate, or warm it up more slowly.
3. Adam: lower beta2 from 0.999 to 0.95, or raise eps, so that one burst does not find a tiny denominator.
4. Look at the batches just before: a broken sample, a sequence of unusual length.
5. Skip the batch, or go back to a checkpoint and change the order of the data.

## When it is harmless
A new task or harder data raise the loss on purpose, as do restarts of the learning rate.

## References
- [ZClip: adaptive spike mitigation for LLM pre-training](https://arxiv.org/abs/2504.02507)
- [PaLM, section 5.1: training instability](https://arxiv.org/abs/2204.02311)
- [A theory on Adam instability in large-scale machine learning](https://arxiv.org/abs/2304.09871)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import derive, schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run, Series
from tb_nnhealth.rules.base import Case, Closest, Example, Hit, Ill, NotApplicable, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.evidence.weights import weights_of
from tb_nnhealth.rules.loss.judged_loss import judged_loss, on_records, opening_level, rate_at, untrained
from tb_nnhealth.rules.loss.loss_spikes import LONG, Spike, find, wild_points
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import apart, short

FEWEST_POINTS = 12
MEDIANS = 2000
RAISED = 1.5
"""Growth of the learning rate, or ten times that of the gradient's norm, that goes with a spike."""
GRADIENT_LEAP = 10.0
BY_OTHERS = 2.0
ABOVE_UNTRAINED = 1.0
MANY = 3
MEANS = 3
"""Steps between two points from which they may be means."""
REPAIRED = 0.05
LEFT_BEHIND = 0.5
"""Share of the level before the spikes below which the loss has left them behind, however many there were."""
WITHOUT_A_STEP = "changed without a step"


def check(case: Case) -> Outcome:
    curve = judged_loss(case.run, FEWEST_POINTS)
    if not isinstance(curve, losses.LossCurve):
        return curve
    steps, values = curves.blocks(curve.steps, curve.values, MEDIANS)
    start = max(opening_level(values), untrained(case.run, values))
    means = len(values) < LONG and not _of_batches(case.run, curve)
    search = find(steps, values, start, case.options["sigmas"], case.options["lost"], means=means)
    rates = rate_at(case.run, steps)
    long = 1 if means else case.options["points"]
    spikes = [spike for spike in search.spikes if spike.last - spike.first + 1 >= long]
    wild = wild_points(values, start) if len(values) >= LONG else []
    apart = [point for point in wild if not any(s.first <= point.last and point.first <= s.last for s in spikes)]
    spikes = sorted(spikes + apart, key=lambda spike: spike.first)
    unplanned = [spike for spike in spikes if not _restart(rates, spike)]
    if spikes and not unplanned:
        return NotApplicable(f"the loss rises {len(spikes)} times, each time with the schedule of the learning rate")
    if not unplanned:
        top = int(np.argmax(search.smoothed))
        return Passed(Closest(min(1.0, search.highest), curve.subject, int(steps[top]), "leap of the loss"))
    norms = _gradient_norms(case.history)
    recorded = on_records(case.run, steps)
    told = [_caused(case.history, norms, rates, recorded, spike) for spike in unplanned]
    worst = max(range(len(unplanned)), key=lambda i: unplanned[i].peak - unplanned[i].level)
    low = min(spike.level for spike in unplanned)
    high = start + ABOVE_UNTRAINED * (start - low)
    lasting = [spike for spike in unplanned if spike not in apart]  # a single wild batch is for information
    end = float(np.median(values[-max(3, len(values) // 20) :]))
    repaired = end < unplanned[worst].level + REPAIRED * (start - unplanned[worst].level)
    great = any(told) or any(spike.peak > high for spike in lasting)
    many = len(lasting) >= MANY and not end < LEFT_BEHIND * low
    harmful = many or any(WITHOUT_A_STEP in cause for cause in told) or (great and not repaired)
    return Ill([_hit(curve.subject, steps, unplanned, worst, told, search.limit, harmful, _usual(norms))])


def _of_batches(run: Run, curve: losses.LossCurve) -> bool:
    """Whether each point is known to be the loss of a step of the optimizer, not a mean over an epoch."""
    return bool(run.watches) and float(np.median(np.diff(curve.at_optimizer(run).steps))) < MEANS


def _restart(rates: curves.Values, spike: Spike) -> bool:
    """Whether the learning rate rose with the spike to what it had been before."""
    before, with_it = rates[: max(1, spike.first - 3)], rates[max(0, spike.first - 3) : spike.last + 1]
    if not np.isfinite(before).any() or not np.isfinite(with_it).any():
        return False
    recent = before[-max(3, len(rates) // 50) :]
    return bool(np.nanmax(with_it) > RAISED * np.nanmin(recent) and np.nanmax(with_it) <= 1.05 * np.nanmax(before))


def _gradient_norms(history: History | None) -> tuple[NDArray[np.int64], curves.Values] | None:
    """Steps and L2 norm of the whole gradient; None where it was not recorded."""
    if history is None or not len(history) or not history.rows(schema.GRADIENT):
        return None
    norms = derive.norm(history, schema.GRADIENT).values.astype(np.float64)
    with np.errstate(over="ignore"):
        whole = np.sqrt(np.nansum(norms**2, axis=1))
    seen = ~np.isnan(norms).all(axis=1) & np.isfinite(whole)
    return (history.steps[seen], whole[seen]) if seen.any() else None


def _usual(norms: tuple[NDArray[np.int64], curves.Values] | None) -> float:
    return float("nan") if norms is None else float(np.median(norms[1]))


def _moved_by_others(history: History, first: int, last: int) -> str:
    """The first matrix whose norm, between two records in the steps given, changed by more than steps can: or "".

    |‖w'‖ - ‖w‖| is at most the sum of the ‖Δw‖ between, which those of both records stand for.
    """
    weights = weights_of(history)
    weights = weights.only(weights.matrix & weights.trained)
    near = np.flatnonzero((history.steps >= first) & (history.steps <= last))
    for i in near[near > 0]:
        between = history.steps[i] - history.steps[i - 1]
        with np.errstate(all="ignore"):
            steps_can = between * np.fmax(weights.update[i - 1], weights.update[i])
            change = np.abs(weights.weight[i] - weights.weight[i - 1])
            moved = change > steps_can * BY_OTHERS + 1e-2 * weights.weight[i - 1]
        if moved.any():
            return weights.names[int(np.argmax(moved))]
    return ""


def _caused(
    history: History | None, norms: tuple[NDArray[np.int64], curves.Values] | None, rates: curves.Values,
    steps: NDArray[np.int64], spike: Spike,
) -> str:  # fmt: skip
    """What leapt together with the loss, as the end of a sentence, or ""."""
    around = slice(max(0, spike.first - 3), spike.last + 1)
    before, with_it = rates[: around.start], rates[around]
    if np.isfinite(before).any() and np.isfinite(with_it).any() and spike.first > len(steps) // 10:
        usual = float(np.nanmax(before))
        if np.nanmax(with_it) > RAISED * usual:
            return f"the learning rate rose from {short(usual)} to {short(float(np.nanmax(with_it)))}"
    if history is not None and (name := _moved_by_others(history, int(steps[around.start]), int(steps[spike.at]))):
        return f"`{name}` {WITHOUT_A_STEP} of the optimizer (was it initialized or loaded anew?)"
    if norms is not None:
        near = norms[1][(norms[0] >= steps[around.start]) & (norms[0] <= steps[spike.last])]
        past = norms[1][norms[0] < steps[around.start]][-50:]
        if near.size and past.size >= 5 and near.max() > GRADIENT_LEAP * np.median(past):
            return f"the gradient's norm rose from {short(float(np.median(past)))} to {short(float(near.max()))}"
    return ""


def _hit(
    subject: str, steps: NDArray[np.int64], spikes: Sequence[Spike], worst: int, told: Sequence[str], limit: float,
    harmful: bool, usual: float,
) -> Hit:  # fmt: skip
    highest = spikes[worst]
    severity: Severity = "warning" if harmful else "info"
    length = max(1, int(steps[highest.last] - steps[highest.first]))
    low, high = apart(highest.level, highest.peak)
    message = (
        f"`{subject}` leapt from {low} to {high} at step {int(steps[highest.at]):,} "
        f"and was back after {length:,} {'step' if length == 1 else 'steps'}"
    )
    if len(spikes) > 1:
        message += f"; it did so {len(spikes)} times, first at step {int(steps[spikes[0].first]):,}"
    if cause := told[worst] or next(filter(None, told), ""):
        message += f"; at the same time {cause}"
    clip = (
        f"Clip gradients by norm at {short(usual)}, their usual norm: torch.nn.utils.clip_grad_norm_."
        if usual > 0
        else "Clip gradients by norm: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)."
    )
    return Hit(
        subject=subject,
        first_step=int(steps[spikes[0].first]),
        fired_step=int(steps[spikes[0].last]),
        last_step=int(steps[spikes[-1].last]),
        count=sum(spike.last - spike.first + 1 for spike in spikes),
        active=False,
        severity=severity,
        statistic="height of the loss above the level it had reached",
        unit="unit of the loss",
        value=highest.peak - highest.level,
        limit=min(limit, highest.peak - highest.level),
        direction="above",
        message=message + ".",
        advice=(
            clip,
            "Lower the peak learning rate, or raise it more slowly.",
            f"Look at the batches just before step {int(steps[spikes[0].first]):,}.",
        ),
        more={"spikes": len(spikes), "peak": highest.peak, "level": highest.level},
    )


_STEPS = np.arange(600.0)
_FALL = 0.1 + 2.2 * np.exp(-_STEPS / 60)


def _spiky(*at: int, to: float = 2.0, decay: float = 20.0) -> curves.Values:
    """A healthy curve, and from each of ``at`` on a leap to ``to`` that dies down over ``decay`` steps."""
    values = _FALL.copy()
    for step in at:
        values[step:] += (to - 0.1) * np.exp(-(_STEPS[step:] - step) / decay)
    return values


def _plain(values: curves.Values, noise: float = 0.05, rates: curves.Values | None = None) -> Run:
    noisy = values * (1 + noise * np.random.default_rng(0).standard_normal(len(values)))
    scalars = {"loss": Series([(i, float(i), float(v)) for i, v in enumerate(noisy)])}
    if rates is not None:
        scalars["lr"] = Series([(i, float(i), float(v)) for i, v in enumerate(rates)])
    return Run("plain", scalars=scalars)


def _harmed() -> curves.Values:
    """Two batches in the wrong unit, after each of which the loss is higher for thirty steps."""
    since = np.minimum((_STEPS - 300) % 150, 150.0)
    after = (_STEPS >= 300) & (since < 30)
    return np.asarray(_FALL + after * 0.4 * np.exp(-since / 10) + 300 * (after & (since == 0)))


def _wild_batches() -> Run:
    """Batches of one: most samples cost nothing, one in fifteen a lot."""
    rng = np.random.default_rng(1)
    return _plain(_FALL * 0.1 + (rng.random(600) < 0.07) * rng.exponential(2.0, 600))


def _restarts() -> Run:
    rates = 1e-3 * 0.5 * (1 + np.cos(np.pi * (_STEPS % 150) / 150))
    return _plain(_spiky(300, 450, to=1.4), rates=rates)


def _rate_leaps() -> Run:
    rates = np.where((_STEPS >= 300) & (_STEPS < 305), 1e-2, 1e-3)
    return _plain(_spiky(300, to=1.6), rates=rates)


def _gradient_leaps() -> Run:
    network = Network(steps=600)
    leap = np.where((_STEPS >= 300) & (_STEPS < 303), 100.0, 1.0)
    for i in range(network.depth):
        network.scale(schema.GRADIENT, network.weight(i), leap)
    return network.loss(_spiky(300, to=1.6)).run()


def _sixty_batches() -> Run:
    network = Network(steps=60).absent(schema.LOSS, "")
    return network.loss(0.2 + 1.5 * np.exp(-network.at / 10.0) + 4.0 * (network.at == 40), noise=0.02).run()


def _last_batches() -> Run:
    """One small batch of each epoch, of a task that is nearly solved: most cost next to nothing."""
    epochs = np.arange(80)
    values = 0.003 * np.exp(np.random.default_rng(3).normal(0.0, 1.8, 80)) + 2.0 * np.exp(-epochs / 3.0)
    return Run("epochs", scalars={"loss": Series([(i, float(i), float(v)) for i, v in enumerate(values)])})


_EPOCHS = 0.2 + 1.5 * np.exp(-np.arange(24) / 4.0)

RULE = Rule(
    id="loss-spike",
    healthy="Loss without spikes",
    ill="Loss spikes",
    group="loss",
    severity="warning",
    scope="run",
    check=check,
    options=(
        Option("lost", 0.4, "share of what had been gained", "least height of a spike", "judgement"),
        Option("sigmas", 10.0, "1", "least height, in robust sigmas of the loss's own noise", "ZClip uses 2.5 to 10"),
        Option(
            "points", 8, "points", "least length, in curves of a hundred points or more", "the median's five, and more"
        ),
    ),
    examples=(
        Example("three spikes", lambda: _plain(_spiky(200, 320, 470)), ill=True, subject="loss", first_step=200),
        Example("one far above the start", lambda: _plain(_spiky(300, to=9.0)), ill=True, first_step=300),
        Example("the learning rate leaps", _rate_leaps, ill=True, first_step=300),
        Example("the gradient leaps", _gradient_leaps, ill=True, subject="loss/train"),
        Example("once, below the start: information", lambda: _plain(_spiky(300, to=2.2, decay=20)), ill=True),
        Example("one bad epoch", lambda: _plain(_EPOCHS + 4.0 * (np.arange(24) == 15), 0.02), ill=True, first_step=15),
        Example("half of the gain is lost", lambda: _plain(_spiky(300, to=1.35, decay=30.0)), ill=True),
        Example("a fifth of the gain", lambda: _plain(_spiky(300, to=0.55, decay=30.0)), ill=False, outcome="Passed"),
        Example("one wild batch", lambda: _plain(_FALL + 30 * (_STEPS == 300)), ill=False, outcome="Passed"),
        Example("wild batches that do harm", lambda: _plain(_harmed()), ill=True, subject="loss", first_step=300),
        Example("one wild batch of sixty", _sixty_batches, ill=False, outcome="Passed"),
        Example("batches of one", _wild_batches, ill=False, outcome="Passed"),
        Example("last batches of epochs", _last_batches, ill=False, outcome="Passed"),
        Example("stays up", lambda: _plain(np.where(_STEPS < 300, _FALL, 3.0)), ill=False, outcome="Passed"),
        Example("a healthy curve", lambda: _plain(_FALL), ill=False, outcome="Passed"),
        Example("a very noisy healthy curve", lambda: _plain(_FALL, 0.5), ill=False, outcome="Passed"),
        Example("restarts of the learning rate", _restarts, ill=False, outcome="NotApplicable"),
        Example("eight epochs", lambda: _plain(_EPOCHS[:8]), ill=False, outcome="TooLittleData"),
        Example("no loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=(
        "gradient-spike",
        "loss-diverging",
        "non-finite",
        "loss-oscillating",
    ),
)
