"""The predictions on one fixed batch keep jumping from look to look, and the loss does not fall.

## What it detects
Predictions on a fixed batch of inputs that change by a large part of their own spread from one look to the next,
long after the opening, while the loss stands.

## Why it matters
A network that converges changes its mind less and less. Where the answers to the same questions jump, the learning
rate is too high, or single batches carry it about; which answer is kept is a matter of the step it was saved at.

## How it is computed
The root mean square change of the predictions on the batch handed over as `probe`, since they were last seen,
divided by their standard deviation (no unit). It fires where the median over the last half of the looks exceeds
`change`, and that of the last quarter does as well. A warning where the loss does not fall over that half, by a line
through it, and rests above half of the untrained level; else information. At least `looks` looks.

## What to try
1. Lower the learning rate three- to tenfold; the finding names the present one.
2. Larger batches, or gradients accumulated over several.
3. Average the weights (an exponential moving average), and evaluate those.
4. Put the model into eval mode for the probe: dropout makes predictions jump by itself.

## When it is harmless
Predictions of chaotic or generative models, and looks that lie thousands of steps apart, change a lot by nature.

## References
- [A recipe for training neural networks: visualize prediction dynamics](https://karpathy.github.io/2019/04/25/recipe/)
- [Stanford CS231n: learning rates](https://cs231n.github.io/neural-networks-3/#loss)
"""

from __future__ import annotations

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    Case,
    Closest,
    CouldNotCheck,
    Example,
    Hit,
    Ill,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.loss.judged_loss import judged_loss, untrained
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import round_rate, short

POOR = 0.5
PROBE_NEEDS = "hand a fixed batch's predictions over: writer.observe(probe=model(fixed_batch))"
SUBJECT = "probe"


def check(case: Case) -> Outcome:
    history = case.history
    if history is None or not history.rows(schema.PROBE):
        return CouldNotCheck(PROBE_NEEDS)
    table = history.table(schema.PROBE, schema.MEAN)
    changes = table.values[:, 0].astype(np.float64) if len(table) else np.zeros(0)
    seen = np.isfinite(changes)
    steps, changes = table.steps[seen], changes[seen]
    if len(changes) < case.options["looks"]:
        return TooLittleData(f"{len(changes)} looks at the fixed batch, {case.options['looks']:.0f} are needed")
    half = len(changes) // 2
    median, late = float(np.median(changes[half:])), float(np.median(changes[-max(1, len(changes) // 4) :]))
    limit = case.options["change"]
    if min(median, late) <= limit:
        return Passed(Closest(min(1.0, median / limit), SUBJECT, int(steps[-1]), "change of the predictions"))
    over = np.flatnonzero(changes > limit)
    stands = _loss_stands(case, int(steps[half]))
    apart = int(np.median(np.diff(steps[half:])))
    rate = _rate(history)
    lower = f"from {short(rate)} to about {round_rate(rate / 5)}" if rate > 0 else "three- to tenfold"
    return Ill(
        [
            Hit(
                subject=SUBJECT,
                first_step=int(steps[over[over >= half // 2][0]] if (over >= half // 2).any() else steps[half]),
                fired_step=int(steps[-1]),
                last_step=int(steps[-1]),
                count=len(over),
                active=True,
                severity="warning" if stands else "info",
                statistic="change of the predictions on a fixed batch",
                unit="share of their standard deviation",
                value=late,
                limit=limit,
                direction="above",
                message=(
                    f"The predictions on the fixed batch change by {short(late)} of their spread at each look, "
                    f"{apart:,} {'step' if apart == 1 else 'steps'} apart"
                    + (", and the loss does not fall." if stands else ".")
                ),
                advice=(
                    f"Lower the learning rate {lower}.",
                    "Take larger batches, or average the weights.",
                    "Put the model into eval mode for the probe: dropout makes predictions jump by itself.",
                ),
                more={"median": median, "steps_apart": apart} | ({"learning_rate": rate} if rate > 0 else {}),
            )
        ]
    )


def _loss_stands(case: Case, since: int) -> bool:
    curve = judged_loss(case.run, int(case.options["looks"]))
    if not isinstance(curve, losses.LossCurve):
        return False
    _, values = curves.blocks(curve.steps, curve.values, 1000)
    late = curve.values[curve.steps >= since]
    if len(late) < 8:
        return False
    start = untrained(case.run, values)
    return start > 0 and not line(late).surely_falls and float(np.median(late)) > POOR * start


def _rate(history: History) -> float:
    rates = history.table(schema.LEARNING_RATE, schema.MEAN).values
    rates = rates[np.isfinite(rates)]
    return float(rates[-1]) if rates.size else float("nan")


def _probed(change: float | curves.Values, loss: float = 1.8) -> Run:
    network = Network()
    network.add_row(schema.PROBE, "", mean=change * (1 + 0.1 * np.sin(np.arange(200))))
    return network.loss(loss + (2.3 - loss) * np.exp(-np.arange(200) / 10)).run()


_SETTLES = 0.8 * np.exp(-np.arange(200) / 30)

RULE = Rule(
    id="prediction-jitter",
    healthy="Predictions settle",
    ill="Predictions jump",
    group="loss",
    severity="warning",
    scope="watch",
    check=check,
    options=(
        Option("change", 0.3, "share of their standard deviation", "change from look to look", "judgement"),
        Option("looks", 20, "looks", "looks needed", "judgement"),
    ),
    examples=(
        Example("jump, and the loss stands", lambda: _probed(0.9), ill=True, subject="probe"),
        Example("just above the limit", lambda: _probed(0.35), ill=True, subject="probe"),
        Example("just below the limit", lambda: _probed(0.26), ill=False, outcome="Passed"),
        Example("jump, and it is learned: information", lambda: _probed(0.9, 0.1), ill=True),
        Example("settle", lambda: _probed(_SETTLES), ill=False, outcome="Passed"),
        Example(
            "seen too rarely",
            lambda: _probed(np.where(np.arange(200) % 20, np.nan, 0.9)),
            ill=False,
            outcome="TooLittleData",
        ),
        Example("no fixed batch", lambda: Network().run(), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
)
