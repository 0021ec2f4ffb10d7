"""Targets that the network's last nonlinearity cannot reach: a sigmoid never gives 50."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History
from tb_nnhealth.rules.activations.silence import RECTIFIERS
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.progress import Progress
from tb_nnhealth.rules.wording import short

REGRESSION = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
BOUNDS = {
    "sigmoid": (0.0, 1.0), "hardsigmoid": (0.0, 1.0), "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0), "hardtanh": (-1.0, 1.0), "softsign": (-1.0, 1.0),
}  # fmt: skip
FEWEST, FEWEST_PRESSED = 3, 20
PRESSED = 0.02
"""Share of the range from its end within which answers lie that would go beyond if they could."""
EPSILON = 1e-5
FEWEST_CUT, MOST_CUT = 5, 0.5
"""Records, and share of all, whose extreme answer is the same number to the last digit where answers are cut there."""
BEYOND = 0.3
"""Share of the targets' variance that no answer within the bounds can do without; standard normal targets and a tanh
have 0.15."""
FAR_BEYOND = 0.45
"""The same from which the finding is a warning though the rest has been learned; a ReLU loses half of standard normal
targets."""
ADVICE = (
    "Leave the nonlinearity behind the last layer out: a regression's output is linear.",
    "Or scale the targets into the range of the output, and the predictions back.",
)


def out_of_reach(history: History, come: Progress | None) -> Hit | None:
    """The finding on the last module, None where its answers can reach the targets of a regression."""
    last = next((m for m in reversed(history.layout.modules) if m.called), None)
    if last is None or history.layout.criterion.type not in REGRESSION:
        return None
    kind = last.type.lower() if last.type.lower() in BOUNDS else last.nonlinearity
    low, high, mean, std = (_first(history, schema.TARGET, name) for name in _EXTREMES)
    least, most, answer, _ = (_first(history, schema.PREDICTION, name) for name in _EXTREMES)
    seen = np.isfinite(low) & np.isfinite(high) & np.isfinite(mean) & (std > 0)
    rectified = last.type in RECTIFIERS or (bool(kind) and kind not in BOUNDS)
    if seen.sum() < FEWEST or not np.isfinite(most).any():
        return None
    ends = f"`{last.name}` ends in a {kind}, whose answers"
    if function := kind not in BOUNDS:
        kind = "" if rectified else _pressed(least, most, low, high)
        ends = f"The predictions press against the bounds of a {kind}, and"
    bottom, top = BOUNDS.get(kind, (-math.inf, math.inf))
    if not kind and np.nanmax(answer) > np.nanmin(answer):  # else it is silent, and told of as such
        bottom, top = _cut_at(least, bottom), _cut_at(most, top)
        ends = "The predictions are cut off, and"
    if math.isinf(bottom) and math.isinf(top):
        return None
    if np.nanmin(least) < bottom - EPSILON or np.nanmax(most) > top + EPSILON:
        return None  # the answers are scaled behind it
    beyond = [
        _excess((m - top) / s) * (h > top) + _excess((bottom - m) / s) * (lo < bottom)
        for lo, h, m, s in zip(low[seen], high[seen], mean[seen], std[seen], strict=True)
    ]
    if (share := float(np.median(beyond))) <= BEYOND:
        return None
    steps = history.steps
    severity: Severity = "warning"
    if come is not None and (come.learned or come.stuck or share >= 1):
        severity = "critical" if not come.learned else "info" if share < FAR_BEYOND else "warning"
    return Hit(
        subject="prediction" if function else last.name,
        first_step=int(steps[0]),
        fired_step=int(steps[np.flatnonzero(seen)[FEWEST - 1]]),
        last_step=int(steps[-1]),
        count=int(seen.sum()),
        active=True,
        severity=severity,
        statistic="targets_out_of_reach",
        unit="share of the targets' variance",
        value=share,
        limit=BEYOND,
        direction="above",
        message=f"{ends} lie {_between(bottom, top)}; the"
        f" targets go from {short(float(np.nanmin(low)))} to {short(float(np.nanmax(high)))}, of which the answers miss"
        f" {short(share)} of the variance at least.",
        advice=ADVICE,
        more={"targets": [float(np.nanmin(low)), float(np.nanmax(high))]}
        | {name: bound for name, bound in (("bottom", bottom), ("top", top)) if math.isfinite(bound)},
        rank=2.0,
    )


_EXTREMES = (schema.MIN, schema.MAX, schema.MEAN, schema.STD)


def _pressed(least: np.ndarray, most: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """The function whose bound the answers press against and never pass, with targets far beyond, or ""."""
    seen = np.isfinite(least) & np.isfinite(most)
    if seen.sum() < FEWEST_PRESSED or not np.isfinite(low).any():
        return ""
    bottom, top = float(np.min(least[seen])), float(np.max(most[seen]))
    lowest, highest = float(np.nanmedian(low)), float(np.nanmedian(high))
    late = slice(-max(FEWEST_PRESSED, int(seen.sum()) // 2), None)
    for kind in ("sigmoid", "tanh"):
        start, end = BOUNDS[kind]
        span = end - start
        if bottom < start - EPSILON or top > end + EPSILON:
            continue
        if highest > end + span / 2 and np.median(most[seen][late]) > end - PRESSED * span:
            return kind
        if lowest < start - span / 2 and np.median(least[seen][late]) < start + PRESSED * span:
            return kind
    return ""


def _first(history: History, kind: str, statistic: str) -> np.ndarray:
    """One statistic of the first tensor of its kind, float64 of shape (records,)."""
    values = history.table(kind, statistic).values
    return values[:, 0].astype(np.float64) if values.shape[1] else np.full(len(history), np.nan)


def _cut_at(extremes: np.ndarray, otherwise: float) -> float:
    """The one extreme answer of most batches: a function behind the last layer gives no further one."""
    known, counts = np.unique(extremes[np.isfinite(extremes)], return_counts=True)
    often = len(known) and counts.max() >= max(FEWEST_CUT, MOST_CUT * counts.sum())
    return float(known[counts.argmax()]) if often else otherwise


def _between(bottom: float, top: float) -> str:
    if math.isinf(top):
        return f"above {short(bottom)}"
    return f"below {short(top)}" if math.isinf(bottom) else f"between {short(bottom)} and {short(top)}"


def _excess(z: float) -> float:
    """E[max(0, t - b)^2] / variance of normal t whose mean lies z standard deviations above the bound b."""
    if z < -30:
        return 0.0
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) if abs(z) < 30 else 0.0
    below = 0.5 * math.erfc(-z / math.sqrt(2))
    return (1 + z * z) * below + z * density
