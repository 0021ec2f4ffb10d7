"""A model of texts whose targets belong to other texts than its inputs: it learns how frequent each is."""

from __future__ import annotations

from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.losses import LossCurve, criterion_loss, training_loss
from tb_nnhealth.rules.evidence.progress import Progress, progress
from tb_nnhealth.rules.evidence.tokens import MOSTLY, cost_of_frequencies, several_inputs, usual_share
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.wording import percent, short

ELSEWHERE = "next_elsewhere"
STANDS = 0.9
"""Share of what the tokens' frequencies cost from which nothing else is learned."""
AT_REST = 0.02
"""Fall over the last half, of that cost, below which the loss rests."""
STEPS = 100


def mispaired_tokens(run: Run) -> Hit | None:
    """The finding; None where inputs and targets go together, and where more is learned than frequencies.

    A model that sorts its texts by length, as their targets are sorted, is seen to learn.
    """
    for history in run.watches.values():
        share, cost = usual_share(history, ELSEWHERE), cost_of_frequencies(history)
        come = progress(run, history) if share >= MOSTLY and not several_inputs(history) else None
        curve = _curve(run, history)
        if come is not None and curve is not None and come.now >= STANDS * cost:
            return _hit(curve, come, share, cost)
    return None


def _curve(run: Run, history: History) -> LossCurve | None:
    logged, recorded = training_loss(run), criterion_loss(history)
    return recorded if logged is None else logged


def _hit(curve: LossCurve, come: Progress, share: float, cost: float) -> Hit:
    values = curve.finite().values
    rests = come.enough and come.taken >= STEPS and line(values[len(values) // 2 :]).fall < AT_REST * cost
    severity: Severity = "critical" if rests else "info"
    return Hit(
        subject=curve.subject,
        **lasting(curve.steps, -1),
        severity=severity,
        statistic="sequences asked for that come next in another one",
        unit="share of sequences",
        value=share,
        limit=MOSTLY,
        direction="above",
        message=(
            f"{percent(share)} of the sequences that the model is asked for come next in another of the batch, not in "
            f"their own: inputs and targets do not belong together. The loss is {short(come.now)}, where how frequent "
            f"each token is costs {short(cost)} by itself."
        ),
        advice=(
            "Take both from one row: tokens = batch; inputs, targets = tokens[:, :-1], tokens[:, 1:].",
            "Look at one sample just before the loss: targets[0, :-1] are inputs[0, 1:] where the next is asked for.",
            "Shuffle pairs, never inputs and targets apart; where a model sorts its samples, sort the targets alike.",
        ),
        more={"loss": come.now, "constant_answer": cost},
    )
