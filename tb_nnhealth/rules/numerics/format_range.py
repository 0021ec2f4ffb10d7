"""Tensors in a format of low precision whose numbers leave its range: too large for it, or too small.

The ranges are those of IEEE 754 (float16), of bfloat16, and of Micikevicius et al. 2022, *FP8 Formats for Deep
Learning* (float8). ``kind`` is throughout a kind of rows (``schema.KINDS``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import hit, worst
from tb_nnhealth.rules.persistence import Episode, episodes
from tb_nnhealth.rules.weights.octaves import share_below
from tb_nnhealth.rules.wording import percent, short


@dataclass(frozen=True)
class Format:
    """``largest`` finite number; ``normal``: exponent of two of the smallest normal one."""

    largest: float
    normal: int


FORMATS = {
    "float16": Format(65504.0, -14),
    "bfloat16": Format(3.3895e38, -126),
    "float8_e4m3fn": Format(448.0, -6),
    "float8_e4m3fnuz": Format(240.0, -7),
    "float8_e5m2": Format(57344.0, -14),
    "float8_e5m2fnuz": Format(57344.0, -15),
}
CALLED = {
    schema.WEIGHT: "The weights of",
    schema.GRADIENT: "The gradient of",
    schema.ACTIVATION: "The outputs of",
    schema.ACTIVATION_GRADIENT: "The gradient by the outputs of",
    schema.PREDICTION: "The predictions",
}
NEAR = 0.5
"""Share of the format's largest number from which the next one may overflow."""
AT_ITS_END = 0.999
"""Share of it from which a number is a mask."""
GONE = 0.75
"""Share of zeros from which a gradient is lost."""
LAST = 3
"""Newest histograms that must agree."""
AUTOCAST = 'Run forward and loss under torch.autocast("cuda", dtype=torch.bfloat16), which has the range of float32.'
SCALE = "With float16 scale the loss: torch.amp.GradScaler(), scaler.scale(loss).backward(), scaler.step(optimizer)."
NORMALIZE = "Normalize what feeds this layer, so that its numbers lie around 1."


def overflowing(history: History, kind: str) -> list[Hit]:
    """Tensors whose largest absolute value is above ``NEAR`` of the format's largest, in three of ten records."""
    names, dtypes = _in_low_precision(history, kind)
    if not names:
        return []
    largest = np.array([FORMATS[dtype].largest for dtype in dtypes])
    ends = [np.abs(aligned(history.table(kind, statistic), names)) for statistic in (schema.MIN, schema.MAX)]
    size = np.fmax(*(np.where(end >= AT_ITS_END * largest, np.nan, end) for end in ends)).astype(np.float32)
    found = episodes(size > NEAR * largest, np.isfinite(size), history.steps, window=10, share=0.3)
    return [
        _hit(
            kind, names[e.column], e, "largest_absolute_value", "1", worst(size, e, "above"),
            NEAR * float(largest[e.column]), "warning",
            f"reach {short(worst(size, e, 'above'))}; {dtypes[e.column]} ends at {short(float(largest[e.column]))}.",
            (AUTOCAST, SCALE, NORMALIZE),
        )
        for e in found
    ]  # fmt: skip


def underflowing(history: History, kind: str, limit: float, severity: Severity) -> list[Hit]:
    """Tensors in which a share above ``limit`` of what is not zero lies below the format's smallest normal number.

    In each of the newest ``LAST`` histograms. bfloat16, whose smallest normal number is smaller than their first
    octave, is not judged.
    """
    names, dtypes = _in_low_precision(history, kind)
    hits = []
    for name, dtype in zip(names, dtypes, strict=True):
        normal = FORMATS[dtype].normal
        steps, counts = history.histograms(kind, name)
        measured = counts.sum(axis=1) > 0
        steps, counts = steps[measured], counts[measured]
        if normal < schema.EXPONENT_LOW or len(steps) < LAST:
            continue
        shares = np.array([share_below(of, normal) for of in counts[-LAST:]])
        if not (shares > limit).all():
            continue
        first, last = int(steps[-LAST]), int(steps[-1])
        episode = Episode(0, first, last, last, LAST, True, 0, 0, 0)
        hits.append(
            _hit(
                kind, name, episode, "share_below_smallest_normal", "share of elements that are not zero",
                float(shares.max()), limit, severity,
                f"lie below the smallest normal number of {dtype} in {percent(float(shares[-1]))} of the elements that"
                " are not zero.",
                (SCALE, AUTOCAST, NORMALIZE),
            )
        )  # fmt: skip
    return hits


def gradient_gone(history: History, severity: Severity) -> list[Hit]:
    """The gradient by the output of the last module, where it sets out: exactly 0 in most of its elements.

    In half of ten records. bfloat16, which has the range of float32, does not lose it so.
    """
    names, dtypes = _in_low_precision(history, schema.ACTIVATION_GRADIENT)
    called = [m.name for m in history.layout.modules if m.name in names]
    if not called or dtypes[names.index(called[-1])] == "bfloat16":
        return []
    dtype = dtypes[names.index(called[-1])]
    gone = aligned(history.table(schema.ACTIVATION_GRADIENT, schema.ZERO_SHARE), called[-1:])
    return [
        _hit(
            schema.ACTIVATION_GRADIENT, called[-1], e, "share_of_zeros", "share of elements", worst(gone, e, "above"),
            GONE, severity,
            f"is exactly 0 in {percent(worst(gone, e, 'above'))} of its elements: it is too small for {dtype}.",
            (SCALE, AUTOCAST),
        )
        for e in episodes(gone > GONE, np.isfinite(gone), history.steps, window=10)
    ]  # fmt: skip


def _in_low_precision(history: History, kind: str) -> tuple[tuple[str, ...], list[str]]:
    """Subjects of a kind's rows with one of ``FORMATS``, and beside them the formats."""
    rows = [history.layout.rows[i] for i in history.rows(kind)]
    low = [row for row in rows if row.dtype in FORMATS]
    return tuple(row.subject for row in low), [row.dtype for row in low]


def _hit(
    kind: str, subject: str, episode: Episode, statistic: str, unit: str, value: float, limit: float,
    severity: Severity, told: str, advice: Sequence[str],
) -> Hit:  # fmt: skip
    """``told``: what is to be said of the tensor, as the rest of a sentence that begins with its name."""
    named = f" `{subject}`" if subject else ""
    return hit(
        episode,
        subject,
        severity=severity,
        statistic=statistic,
        unit=unit,
        value=value,
        limit=limit,
        direction="above",
        message=f"{CALLED[kind]}{named} {told}",
        advice=advice,
        more={"kind": kind},
        rank=value / limit,
    )
