"""Attention that breaks: logits that grow beyond what softmax can weigh, and heads that see one key alone."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.derive import ATTENTION_ENTROPY_HEALTHY, ATTENTION_LOGIT_HEALTHY, attention_heads
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import Floats, Table
from tb_nnhealth.rules.base import Case, Hit
from tb_nnhealth.rules.evidence.progress import Progress
from tb_nnhealth.rules.hits import hit, lasting, worst
from tb_nnhealth.rules.persistence import episodes
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

WINDOW = 10
"""Readings of the heads, which are not in every record."""
OPENING = 3
"""Readings whose median is where a module's heads began."""
RISING = 3.0
"""Times its own start, or the limit's tenth, that a logit must have grown."""
FALLEN = 0.2
"""Share of its own start to which a module's entropy must have fallen."""
SHARP, LARGE = 0.25, 40.0
"""Entropy, as a share of the logarithm of the keys, and logit, of attention that is of one key before any training."""
KEYS = 8
"""Fewest keys over which entropy says anything."""
GOES_ON = 0.8
"""A loss below this share of its start, and of a constant answer's, comes down all the same."""

CALM_LOGITS = (
    "Lower the learning rate, or warm it up longer: the logits grew during training.",
    "Normalize queries and keys (QK-norm: LayerNorm or RMSNorm on each head before the product).",
    "Scale the product by 1/sqrt of the head's width, as F.scaled_dot_product_attention does.",
    "Clip the gradients' norm: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).",
)
SCALED = (
    "Scale the product by 1/sqrt of the head's width, as F.scaled_dot_product_attention does.",
    "Initialize the projections to queries and keys by their fan: Xavier, or a standard deviation of 0.02.",
    "Normalize what goes into the attention (LayerNorm), or queries and keys (QK-norm).",
)
SPREAD_HEADS = (
    "Lower the learning rate, or warm it up longer: the heads collapsed during training.",
    "Normalize queries and keys (QK-norm), or reparametrize their weights by the spectral norm (σReparam).",
    "Scale the product by 1/sqrt of the head's width, as F.scaled_dot_product_attention does.",
)


@np.errstate(all="ignore")
def growing_logits(case: Case, seen: Progress | None) -> list[Hit]:
    """A hit for each module whose largest logit has outgrown the option ``logit`` and its own start."""
    assert case.history is not None
    hits = []
    modules = attention_heads(case.history, schema.MAX)
    limits = case.options.per_subject("logit", tuple(modules))
    for place, ((name, heads), limit) in enumerate(zip(modules.items(), limits.tolist(), strict=True)):
        largest = np.fmax.reduce(heads.values, axis=1)[:, None]
        measured = np.isfinite(largest)
        risen = largest > RISING * max(_start(largest), limit / 10)
        for episode in episodes((largest > limit) & risen, measured, heads.steps, window=WINDOW):
            value = worst(largest, episode, "above")
            ill = np.nanmax(heads.values[episode.first : episode.last + 1], axis=0) > limit
            hits.append(
                hit(
                    episode,
                    name,
                    severity=_severity(seen),
                    statistic="attention_logit",
                    unit="largest of the heads",
                    value=value,
                    limit=limit,
                    direction="above",
                    healthy=ATTENTION_LOGIT_HEALTHY,
                    message=f"The largest attention logit of `{name}` ({_named(heads, ill)}) has grown from "
                    f"{short(_start(largest))} to {short(value)}, beyond {short(limit)} from step "
                    f"{episode.first_step} on: softmax takes one key and passes no gradient to the others.",
                    advice=CALM_LOGITS,
                    more={"heads": [int(head) for head, bad in zip(heads.subjects, ill, strict=True) if bad]},
                    rank=-1000.0 - place,
                )
            )
    return hits


@np.errstate(all="ignore")
def collapsed_entropy(case: Case, seen: Progress | None) -> list[Hit]:
    """A hit for each module half of whose heads have come to see one key, while the loss does not come down.

    Sharp heads are what training makes of many (a head that looks at the token before): only a collapse from what the
    module was, of most of its heads and with a loss that stays up, is an illness.
    """
    assert case.history is not None
    history = case.history
    if seen is None or not (seen.stuck or seen.diverged or not seen.fell_below(GOES_ON)):
        return []
    keys = {
        row.subject.rpartition(schema.HEAD_SEPARATOR)[0]: max(row.shape, default=0)
        for row in history.layout.rows
        if row.kind == schema.ATTENTION
    }
    hits = []
    modules = attention_heads(history, schema.MEAN)
    limits = case.options.per_subject("entropy", tuple(modules))
    for place, ((name, heads), limit) in enumerate(zip(modules.items(), limits.tolist(), strict=True)):
        if keys.get(name, 0) < KEYS:
            continue
        entropy = _medians(heads.values)[:, None]
        measured = np.isfinite(entropy)
        collapsed = entropy < min(limit, FALLEN * _start(entropy))
        for episode in episodes(collapsed, measured, heads.steps, window=WINDOW, share=0.8):
            value = worst(entropy, episode, "below")
            ill = np.nanmin(heads.values[episode.first : episode.last + 1], axis=0) < limit
            hits.append(
                hit(
                    episode,
                    name,
                    severity=_severity(seen),
                    statistic="attention_entropy",
                    unit="share of log keys, median of heads",
                    value=value,
                    limit=limit,
                    direction="below",
                    healthy=ATTENTION_ENTROPY_HEALTHY,
                    message=f"The attention of `{name}` ({_named(heads, ill)}) has collapsed onto single keys from "
                    f"step {episode.first_step} on: its entropy fell from {short(_start(entropy))} to {short(value)} "
                    "of the logarithm of the keys.",
                    advice=SPREAD_HEADS,
                    more={"heads": [int(head) for head, bad in zip(heads.subjects, ill, strict=True) if bad]},
                    rank=-1000.0 - place,
                )
            )
    return hits


@np.errstate(all="ignore")
def sharp_from_the_start(case: Case, seen: Progress | None) -> list[Hit]:
    """A hit for each module whose heads saw one key each before they had learned anything.

    Not where the network had been trained before: then heads may be sharp.
    """
    assert case.history is not None
    if seen is not None and seen.fine_tuning:
        return []
    history, hits = case.history, []
    largest = attention_heads(history, schema.MAX)
    for place, (name, heads) in enumerate(attention_heads(history, schema.MEAN).items()):
        entropy = _medians(heads.values)[:OPENING]
        logits = np.fmax.reduce(largest[name].values, axis=1)[:OPENING]
        told = len(heads.values) >= WINDOW and np.median(entropy) < SHARP and np.median(logits) > LARGE
        if not told or not (entropy[0] < SHARP and logits[0] > LARGE):
            continue  # what was not so in the first record is what steps have made of it
        steps = heads.steps
        severity = _severity(seen) if seen is not None and not math.isnan(seen.naive) else "info"
        hits.append(
            Hit(
                subject=name, **lasting(steps, WINDOW - 1), severity=severity, statistic="attention_entropy",
                unit="share of log keys, median of heads", value=float(np.median(entropy)), limit=SHARP,
                direction="below", healthy=ATTENTION_ENTROPY_HEALTHY, advice=SCALED,
                message=f"The attention of `{name}` sees single keys from the start: its scores reach "
                f"{short(float(np.median(logits)))} before anything was learned, and softmax passes no gradient to the "
                "other keys.",
                rank=-1000.0 - place,
            )
        )  # fmt: skip
    return hits


def _severity(seen: Progress | None) -> Severity:
    if seen is not None and (seen.diverged or seen.stuck):
        return "critical"
    return "info" if seen is not None and seen.fell_below(GOES_ON) else "warning"


def _start(values: Floats) -> float:
    first = values[np.isfinite(values)][:OPENING]
    return float(np.median(first)) if first.size else float("nan")


def _medians(values: Floats) -> Floats:
    known = np.isfinite(values).any(axis=1)
    result = np.full(len(values), np.nan, np.float32)
    if known.any():
        result[known] = np.nanmedian(values[known], axis=1)
    return result


def _named(heads: Table, ill: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
    names = [head for head, bad in zip(heads.subjects, ill, strict=True) if bad]
    if len(names) == len(heads.subjects) > 1:
        return f"all {len(names)} heads"
    return ("head " if len(names) == 1 else "heads ") + ", ".join(names[:8]) + (" and more" if len(names) > 8 else "")


def attending(
    *, logit: float = 8.0, entropy: float = 0.6, heads: int = 4, ill: int = 4, since: int = 60, keys: int = 64,
    loss: float = 2.3, before: tuple[float, float] = (8.0, 0.6),
) -> Network:  # fmt: skip
    """A network with one attention module; ``ill`` of its heads go from ``before`` to ``logit`` and ``entropy``."""
    network = Network()
    at = np.arange(200)
    for head in range(heads):
        reached = (logit, entropy) if head < ill else before
        values = [np.where(at < since, first, then) for first, then in zip(before, reached, strict=True)]
        unread = (at >= 16) & (at % 4 != 0)  # the heads are read in one of four records
        largest, spread = (np.where(unread, np.nan, value) for value in values)
        network.add_row(schema.ATTENTION, f"attention:{head}", (keys,), max=largest, mean=spread)
    return network.set(schema.LOSS, "", mean=loss, rms=loss)
