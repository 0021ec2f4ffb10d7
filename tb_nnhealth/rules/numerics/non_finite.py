"""NaN or Infinity: names the tensor in which it first appeared, what fed that, and the likely cause.

## What it detects
The first record in which an element is NaN or infinite, and in it the first such tensor in the order in which a step
computes them: inputs, activations in forward order (each after its module's weights), prediction, target, loss, then
gradients in backward order, updates. In a log of plain scalars, a loss that is NaN or infinite.

## Why it matters
One NaN reaches every weight within a step or two, and from then on the training computes nothing. By the time it
shows in the loss it is everywhere; the place where it began is the place to mend.

## How it is computed
Counts of NaN and infinite elements (unit: elements) of every watched tensor. A record counts where the loss, a
gradient, an update or a weight holds one; then the first bad tensor in order of computation is named. It fires at
once. A step that a gradient scaler skipped (non-finite gradients, no update, weights still finite) counts only where
more than `skipped` of the last hundred records were skipped. It is critical, or a warning where later records are
finite again.

## What to try
1. Look at the tensor named and at what fed it: the logarithm or the root of a number that can be 0 or less, a
   division by a count, norm or variance that can be 0. Clamp it or add an epsilon.
2. NaN in the inputs or targets: find the samples (`torch.isfinite(x).all()` in the data set) and drop or fill them.
3. Values that grew for some steps before: lower the learning rate, add warm-up, clip gradients by norm.
4. float16: keep the layer in float32 (`autocast(enabled=False)`), use bfloat16, or a gradient scaler.
5. A loss of probabilities: use the form that takes logits (`BCEWithLogitsLoss`, `CrossEntropyLoss`).
6. To find the line of code: `torch.autograd.set_detect_anomaly(True)` for one run.

## When it is harmless
Infinity as a mask (scores of -inf before a softmax), where loss and gradients stay finite: not reported. The first
steps that a gradient scaler skips while it looks for its scale: not reported.

## References
- [PyTorch: anomaly detection](https://pytorch.org/docs/stable/autograd.html#anomaly-detection)
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
- [Mixed precision training](https://arxiv.org/abs/1710.03740)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run, Series
from tb_nnhealth.rules.base import Case, CouldNotCheck, Example, Hit, Ill, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.evidence import losses, tags
from tb_nnhealth.rules.numerics import non_finite_origin
from tb_nnhealth.rules.synthetic import Network

SPREADING = (schema.LOSS, schema.GRADIENT, schema.UPDATE, schema.WEIGHT)
"""Kinds that no mask makes infinite on purpose."""
BACKWARD_ONLY = (schema.GRADIENT, schema.ACTIVATION_GRADIENT, schema.UNCLIPPED)
RECOVERED_AFTER = 5
SKIPS_WATCHED = 100
SKIPS_AT_LEAST = 5


@dataclass(frozen=True)
class Bad:
    """Which rows of each record hold non-finite elements; ``rows`` bool of shape (records, rows)."""

    rows: NDArray[np.bool_]
    records: NDArray[np.bool_]
    """Records that count: the values reached the loss, a gradient, an update or a weight."""
    skipped: NDArray[np.bool_]
    """Records of a step that a gradient scaler skipped."""


def check(case: Case) -> Outcome:
    hits, counted = [], False
    for prefix, history in case.run.histories():
        counted |= len(history) > 0
        hit = _in_history(history, prefix, case.options["skipped"])
        if hit is not None:
            hits.append(hit)
    curves = list(_losses(case.run))
    if not hits:
        hits = [hit for tag, series in curves if (hit := _in_scalar(tag, series)) is not None]
    if hits:
        return Ill(hits)
    if not counted and not curves:
        return CouldNotCheck(losses.NEEDS)
    return Passed()


def bad_values(history: History) -> Bad:
    """Reads the counts of NaN and infinite elements of all rows."""
    rows_bad = np.zeros((len(history), len(history.layout.rows)), bool)
    absent = np.ones(rows_bad.shape, bool)
    still = np.zeros(rows_bad.shape, bool)
    recorded = [kind for kind in schema.KINDS if history.rows(kind)]
    for kind in recorded:
        rows = history.rows(kind)
        nan, inf, rms = (history.table(kind, name).values for name in (schema.NAN_COUNT, schema.INF_COUNT, schema.RMS))
        rows_bad[:, rows] = (nan > 0) | (inf > 0)
        absent[:, rows] = np.isnan(rms) & np.isnan(nan)
        still[:, rows] = rms == 0
    of = {kind: rows_bad[:, history.rows(kind)].any(axis=1) for kind in recorded}
    updates = history.rows(schema.UPDATE)
    no_update = (absent | still)[:, updates].all(axis=1) if updates else np.zeros(len(history), bool)
    none = np.zeros(len(history), bool)
    records = np.any(
        [none, *(of[kind] for kind in recorded if kind in (*SPREADING, schema.ACTIVATION_GRADIENT))], axis=0
    )
    elsewhere = np.any([none, *(of[kind] for kind in recorded if kind not in BACKWARD_ONLY)], axis=0)
    skipped = records & ~elsewhere & no_update
    return Bad(rows_bad, records & ~skipped, skipped)


def _in_history(history: History, prefix: str, skips_allowed: float) -> Hit | None:
    if not len(history):
        return None
    bad = bad_values(history)
    recent = bad.skipped[-SKIPS_WATCHED:]
    repeated = recent.sum() >= SKIPS_AT_LEAST and recent.mean() > skips_allowed
    counting = bad.records | (bad.skipped if repeated else False)
    if not counting.any():
        return None
    at = int(np.argmax(counting))
    habitual = (bad.rows & ~counting[:, None])[:at].any(axis=0)
    row = non_finite_origin.first_row(history, at, bad.rows[at] & ~habitual | bad.rows[at] & _spreading(history))
    origin = non_finite_origin.describe(history, at, row, prefix)
    finite_again = not counting[-RECOVERED_AFTER:].any() and len(counting) - at > RECOVERED_AFTER
    again = " Later records are finite again." if finite_again else ""
    severity: Severity = "warning" if finite_again or not bad.records.any() else "critical"
    steps = history.steps
    bad_at = np.flatnonzero(counting)
    step = int(steps[at])
    return Hit(
        subject=origin.subject,
        first_step=step,
        fired_step=step,
        last_step=int(steps[bad_at[-1]]),
        count=len(bad_at),
        active=bool(counting[-1]),
        severity=severity,
        statistic="non-finite elements",
        unit="elements",
        value=origin.count,
        limit=0,
        direction="above",
        healthy=(0.0, 0.0),
        message=_skipping(bad.skipped) if not bad.records.any() else origin.message + again,
        advice=origin.advice,
        more=origin.more,
        rank=origin.count,
    )


def _skipping(skipped: NDArray[np.bool_]) -> str:
    recent = skipped[-SKIPS_WATCHED:]
    return (
        f"In {int(recent.sum())} of the last {len(recent)} records the gradients were not finite and the gradient "
        "scaler skipped the step: its scale does not settle, and gradients overflow at any useful scale."
    )


def _spreading(history: History) -> NDArray[np.bool_]:
    return np.array([row.kind in SPREADING for row in history.layout.rows], bool)


def _losses(run: Run) -> Iterator[tuple[str, Series]]:
    for tag, series in run.scalars.items():
        if len(series) and tags.role_in(run, tag).metric == "loss":
            yield tag, series


def _in_scalar(tag: str, series: Series) -> Hit | None:
    values, steps = series.values, series.steps
    bad = ~np.isfinite(values)
    if not bad.any():
        return None
    at = int(np.argmax(bad))
    finite_again = not bad[-RECOVERED_AFTER:].any()
    before = values[:at]
    what = "NaN" if np.isnan(values[at]) else "infinite"
    last = f" The last finite value was {before[-1]:.4g}." if len(before) else " It was never finite."
    grown = len(before) >= 3 and bool(before[-1] > 10 * np.median(np.abs(before))) and before[-1] > before[0]
    why = " It had grown before: the learning rate is too high." if grown else ""
    again = " Later values are finite again." if finite_again else ""
    bad_at = np.flatnonzero(bad)
    return Hit(
        subject=tag,
        first_step=int(steps[at]),
        fired_step=int(steps[at]),
        last_step=int(steps[bad_at[-1]]),
        count=len(bad_at),
        active=bool(bad[-1]),
        severity="warning" if finite_again else "critical",
        statistic="non-finite values",
        unit="points",
        value=len(bad_at),
        limit=0,
        direction="above",
        healthy=(0.0, 0.0),
        message=f"`{tag}` is {what} from step {int(steps[at]):,}.{last}{why}{again}",
        advice=(
            "Watch the model (writer.watch(model, optimizer, criterion=...)): the first bad tensor is then named.",
            "Lower the learning rate or clip gradients by norm, where the loss grew before.",
            "Check the loss for logarithms and roots of 0, divisions by 0, and the data for NaN.",
        ),
    )


def _layer_breaks(since: int = 50, until: int | None = None, every: int = 1) -> Run:
    network = Network(every=every, steps=200 * every)
    for layer in range(3, network.depth):
        network.spoil(schema.ACTIVATION, network.layer(layer), since, until, nan=32)
    for layer in range(network.depth):
        network.spoil(schema.GRADIENT, network.weight(layer), since, until, nan=4096)
        network.spoil(schema.WEIGHT, network.weight(layer), since + 1, until, nan=4096)
    return network.spoil(schema.LOSS, "", since, until).run()


def _skips(nth: int) -> Run:
    """A gradient scaler that skips every ``nth`` step: infinite gradients, no update."""
    network = Network()
    for step in range(0, network.steps, nth):
        for layer in range(network.depth):
            network.spoil(schema.GRADIENT, network.weight(layer), step, step + 1, nan=0, inf=9)
    for layer in range(network.depth):
        for name in (network.weight(layer), f"{network.layer(layer)}.bias"):
            skipped = network.at % nth == 0
            network.set(schema.UPDATE, name, rms=np.where(skipped, 0.0, 1e-4), nan_count=0.0)
    return network.run()


def _masked() -> Run:
    return Network().spoil(schema.ACTIVATION, "layers.3", 0, nan=0, inf=500).run()


def _bad_input() -> Run:
    network = Network().spoil(schema.INPUT, "", 20).spoil(schema.LOSS, "", 20)
    for layer in range(network.depth):
        network.spoil(schema.ACTIVATION, network.layer(layer), 20)
    return network.run()


def _scalar(bad: int, again: bool = False) -> Run:
    points = [(s, float(s), float("nan") if s == bad or (s > bad and not again) else 1.0) for s in range(100)]
    return Run("plain", scalars={"train/loss": Series(points)})


RULE = Rule(
    id="non-finite",
    healthy="All values finite",
    ill="NaN or Infinity",
    group="numerics",
    severity="critical",
    scope="run",
    check=check,
    options=(
        Option(
            "skipped", 0.1, "share of records", "steps that a scaler may skip", "a scale is raised every 2,000 steps"
        ),
    ),
    examples=(
        Example("the output of one layer turns NaN", _layer_breaks, ill=True, subject="layers.3", first_step=50),
        Example("seen in the very first record", lambda: _layer_breaks(0), ill=True, subject="layers.3", first_step=0),
        Example(
            "recorded every tenth step", lambda: _layer_breaks(5, every=10), ill=True, subject="layers.3", first_step=50
        ),
        Example("for one step only", lambda: _layer_breaks(50, 51), ill=True, subject="layers.3", first_step=50),
        Example("a sample with NaN", _bad_input, ill=True, subject="input", first_step=20),
        Example("a plain log whose loss turns NaN", lambda: _scalar(40), ill=True, subject="train/loss", first_step=40),
        Example("a scaler skips one step in three", lambda: _skips(3), ill=True, subject="layers.5.weight"),
        Example("a scaler skips every hundredth step", lambda: _skips(100), ill=False, outcome="Passed"),
        Example("scores masked by -inf", _masked, ill=False, outcome="Passed"),
        Example("a healthy network", lambda: Network().run(), ill=False, outcome="Passed"),
        Example("a log without a loss", lambda: Run("plain"), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
    causes=(
        "symmetric-units",
        "update-ratio-too-low",
        "frozen-parameters",
        "no-gradient",
        "loss-not-decreasing",
        "constant-output",
    ),
    statistic="non-finite",
)
