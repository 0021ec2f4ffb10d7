"""A model of sequences that is given what it is asked for: the next token, or the very token that it has read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.derive import attention_heads
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.evidence.losses import CRITERION, criterion_loss
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.evidence.tokens import FEWEST, MOSTLY, cost_of_frequencies, several_inputs, usual_share
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.wording import names, percent, short

FIRST = 3
"""Readings of the heads, before they may have closed keys themselves."""
ALWAYS = 0.95
"""Share of the tokens asked for from which all are given."""
SEES, BLIND = 0.05, 0.95
"""Share of the later keys without weight, under which a head looks ahead, and from which it does not."""
FAR_BELOW, NEXT_TO_NOTHING = 0.3, 0.05
"""Shares of ln C under which the loss shows what was given."""
LAST, AGAIN, HALF = 10, 0.3, 0.5
"""Of so many last records, the share of samples that were seen before from which texts may be known by heart; and the
share of what the first token of a text costs, under which they are not.
"""
EVEN = 1.5
"""Share of the most frequent token, over that of each among as many as the entropy tells, below which all are alike."""
REVERSED = "_reverse"
"""Ends the names of what an RNN that reads both ways learns with."""


def answer_given(run: Run, history: History) -> list[Hit]:
    """Hits on the loss and on the modules that see ahead; none where the answers are not among the inputs."""
    same, following, twice, before = (usual_share(history, name) for name in ("same", "next", "after_next", "before"))
    come = progress(run, history)
    classes = int(history.layout.criterion.classes)
    known = come is not None and criterion_loss(history) is not None and classes >= 2
    if come is None or not known or max(same, following, twice, before) < MOSTLY:
        return []
    now = come.now
    share = now / math.log(classes)
    several = several_inputs(history)
    if twice >= ALWAYS:
        skips = not several and max(same, following) < MOSTLY
        return [_hit(history, CRITERION, "warning", twice, _skipped(twice, now), _SHIFT_ONCE)] if skips else []
    heads = _heads(history)
    if several and 0 <= usual_share(history, "next_first") < MOSTLY <= following:
        return []  # a decoder's tokens: its attention may be to an encoder's states, and sees them all
    if following >= ALWAYS:
        ahead = [name for name, blind in heads.items() if blind < SEES]
        if several and len(ahead) < len(heads):
            ahead = []  # an encoder may read its input as a whole
        if not several:
            ahead += _both_ways(history)
        if ahead:
            severity: Severity = "critical" if share < FAR_BELOW else "warning"
            return _looking_ahead(history, ahead, following, now, severity)
        if share < NEXT_TO_NOTHING:
            return [replace(_hit(history, CRITERION, "info", share, _so_sure(now, classes), _LOOK), **_OF_THE_LOSS)]
        return []
    decoding = usual_share(history, "same_later") if several else -1.0
    if decoding >= ALWAYS and share < NEXT_TO_NOTHING:
        return [_hit(history, CRITERION, "info", decoding, _unshifted(decoding, now), _SHIFT_DECODER)]
    if several:
        return []
    causal = bool(heads) and all(blind >= BLIND for blind in heads.values())
    if before >= ALWAYS > same and share < NEXT_TO_NOTHING:
        sure = causal and not _drawn_at_random(history)
        return [_hit(history, CRITERION, "warning" if sure else "info", before, _backwards(before, now), _FORWARD)]
    if same < ALWAYS:
        common = usual_share(history, "common")
        copied = same >= MOSTLY and 0 <= common < same / 2 and not any(blind >= BLIND for blind in heads.values())
        return (
            [replace(_hit(history, CRITERION, "info", same, _copied(same, now), _MASKED_ONLY), limit=MOSTLY)]
            if copied
            else []
        )
    if share < NEXT_TO_NOTHING:  # a model that puts a begin in front inside has more to learn
        sure = causal and not _may_be_known_by_heart(history, now)
        return [_hit(history, CRITERION, "warning" if sure else "info", same, _unshifted(same, now), _SHIFT)]
    return []


def _may_be_known_by_heart(history: History, now: float) -> bool:
    """Whether few texts come again and again, and a model that shifts them inside could have learned them all.

    It cannot tell the first token of a text that begins anywhere, which costs about the tokens' entropy.
    """
    seen = history.table(schema.SEEN, schema.MEAN)
    again = aligned(seen, ("samples",))[:, 0]
    again, cost = again[np.isfinite(again)], cost_of_frequencies(history)
    if not len(again) or math.isnan(cost) or float(np.median(again[-LAST:])) < AGAIN:
        return False
    length = max(history.layout.rows[history.rows(schema.INPUT)[0]].shape)
    return not now < HALF * cost / length


def _drawn_at_random(history: History) -> bool:
    """Whether all tokens are as frequent as another: an exercise in echoing, and no text."""
    return usual_share(history, "common") < EVEN * math.exp(-cost_of_frequencies(history))


def _heads(history: History) -> dict[str, float]:
    """Share of the later keys without weight of each module's heads, at first, where it attends over the positions."""
    lengths = {int(length) for row in history.rows(schema.INPUT) for length in history.layout.rows[row].shape}
    keys = {
        row.subject.rpartition(schema.HEAD_SEPARATOR)[0]: int(row.shape[0])
        for row in history.layout.rows
        if row.kind == schema.ATTENTION and row.shape
    }
    found = {}
    for name, table in attention_heads(history, schema.ZERO_SHARE).items():
        blind = table.values[:FIRST]
        if keys.get(name) in lengths and blind.size and np.isfinite(blind).any():
            found[name] = float(np.nanmedian(blind))
    return found


def _both_ways(history: History) -> list[str]:
    called = {module.name for module in history.layout.modules if module.called}
    reading = dict.fromkeys(p.module for p in history.layout.parameters if p.name.endswith(REVERSED))
    return [name for name in reading if name in called]


def _looking_ahead(history: History, ahead: list[str], share: float, now: float, severity: Severity) -> list[Hit]:
    told = (
        f"The model is asked for the next token of its own input ({percent(share)} of them), and {names(ahead)} "
        f"look{'s' if len(ahead) == 1 else ''} at later positions, where it stands: the loss, now {short(now)}, is of "
        "no use."
    )
    hits = [_hit(history, CRITERION, severity, share, told, _MASK)]
    return hits + [_hit(history, name, severity, share, told, _MASK) for name in ahead]


def _so_sure(now: float, classes: int) -> str:
    return (
        f"The loss is {short(now)} for each next token, of {classes} kinds: unless they follow from those before by "
        "rule, or the texts are few and known by heart, the model sees them."
    )


def _unshifted(share: float, now: float) -> str:
    return (
        f"{percent(share)} of the tokens that the model is asked for are those that it is given at the same place: "
        f"unless it shifts them inside, it learns to copy. The loss is {short(now)}."
    )


def _skipped(share: float, now: float) -> str:
    return (
        f"{percent(share)} of the tokens that the model is asked for are those that come after the next one: the "
        f"labels are shifted twice, and it learns to skip a token. The loss is {short(now)}."
    )


def _backwards(share: float, now: float) -> str:
    return (
        f"{percent(share)} of the tokens that the model is asked for are those that it was given one place before: "
        f"they are shifted the wrong way, and it learns to repeat what it has read. The loss is {short(now)}."
    )


def _copied(share: float, now: float) -> str:
    return (
        f"{percent(share)} of the tokens that the model is asked for are given to it at the same place, by layers that "
        f"may look there: the loss, now {short(now)}, is mostly of copying."
    )


_MASKED_ONLY = (
    "Masked tokens alone belong into the loss: labels[~masked] = -100, which CrossEntropyLoss ignores.",
    "Where most tokens are to stay as they are, as in correcting text, look at the loss of the others too.",
)
_SHIFT_DECODER = (
    "Shift by one: the decoder is given begin and target[:, :-1], and asked for target.",
    "Prove it: preflight(..., causal=True) checks that no output depends on a later input.",
)
_MASK = (
    "Mask what comes later: F.scaled_dot_product_attention(q, k, v, is_causal=True), or for torch's Transformer "
    "mask=nn.Transformer.generate_square_subsequent_mask(length).",
    "Recurrent layers that are to foretell must not be bidirectional.",
    "Prove it: preflight(..., causal=True) checks that no output depends on a later input.",
)
_LOOK = (
    "Change one token of an input, and see that no output before it changes; preflight(..., causal=True) does that.",
    "Pad convolutions on the left alone.",
)
_SHIFT_ONCE = (
    "Shift once: a causal model of Transformers shifts inside, and takes labels=input_ids as they are.",
    "Where the loss shifts the labels it is given, hand it the logits of all positions.",
)
_FORWARD = (
    "What comes next is tokens[:, 1:] for inputs tokens[:, :-1], or tokens.roll(-1, 1) but for the last place.",
    "A task that is to repeat what came before, as an echo, is well as it is.",
)
_SHIFT = ("Shift by one: inputs tokens[:, :-1], targets tokens[:, 1:].", *_MASK[2:])


_OF_THE_LOSS: dict[str, Any] = {
    "statistic": "loss : that of a guess", "unit": "1", "limit": NEXT_TO_NOTHING, "direction": "below",
}  # fmt: skip


def _hit(
    history: History, subject: str, severity: Severity, value: float, message: str, advice: tuple[str, ...]
) -> Hit:
    steps = history.steps
    return Hit(
        subject=subject,
        **lasting(steps, min(FEWEST, len(steps)) - 1),
        severity=severity,
        statistic="share of the answers that are given",
        unit="share of tokens",
        value=value,
        limit=ALWAYS,
        direction="above",
        message=message,
        advice=advice,
        more={GIVEN: True} if severity != "info" else {},
        rank=1.0 if subject == CRITERION else 0.0,
    )
