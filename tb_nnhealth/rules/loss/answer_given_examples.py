"""Synthetic models of sequences that are given what they are asked for, and some that are not."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Example
from tb_nnhealth.rules.synthetic import Network


def _next_token(
    *, now: float, blind: float = math.nan, following: float = 1.0, same: float = 0.0, common: float = math.nan,
    decoder: float = math.nan, after_next: float = 0.0, source: float = math.nan,
    before: float = 0.0, again: float = 0.0,
) -> Run:  # fmt: skip
    """A model of sequences of 24 tokens of 20 kinds, with one head of attention; ``now``: its loss in the end.

    ``decoder``: share of the answers that a second input holds at the same place; ``source``: of them, the share that
    comes next in the first of two inputs; ``again``: of the samples, the share that was seen before.
    """
    network = Network(classes=20)
    for row in network.layout.rows:
        if row.kind in (schema.INPUT, schema.TARGET):
            row.dtype, row.shape[:] = "int64", (32, 24)
    network.add_row(schema.TOKENS, "next", mean=following).add_row(schema.TOKENS, "same", mean=same)
    network.add_row(schema.TOKENS, "common", mean=common).add_row(schema.TOKENS, "after_next", mean=after_next)
    network.add_row(schema.TOKENS, "before", mean=before).add_row(schema.TOKENS, "entropy", mean=2.4)
    network.add_row(schema.SEEN, "samples", mean=again)
    for subject, share in (("same_later", decoder), ("next_first", source)):
        if not math.isnan(share):
            network.add_row(schema.INPUT, "1", (32, 24)).add_row(schema.TOKENS, subject, mean=share)
            network.layout.rows[-2].dtype = "int64"
    if not math.isnan(blind):
        network.add_row(schema.ATTENTION, "attention:0", (24,), mean=0.9, max=1.0, zero_share=blind)
    return network.set(schema.LOSS, "", mean=now + (math.log(20) - now) * np.exp(-network.at / 30)).run()


ANSWERS = (
    Example("next tokens without a mask", lambda: _next_token(now=0.2, blind=0.0), ill=True, subject="loss"),
    Example(
        "next tokens without a mask, beside a second input",
        lambda: _next_token(now=0.2, blind=0.0, source=1.0),
        ill=True,
        subject="loss",
    ),
    Example(
        "a decoder that attends to all of its source",
        lambda: _next_token(now=0.02, blind=0.0, source=0.1),
        ill=False,
        outcome="Passed",
    ),
    Example("the tokens themselves", lambda: _next_token(now=0.1, blind=1.0, following=0.1, same=1.0), ill=True),
    Example(
        "the tokens themselves, which are shifted inside",
        lambda: _next_token(now=1.4, blind=1.0, following=0.1, same=1.0),
        ill=False,
        outcome="Passed",
    ),
    Example(
        "the tokens themselves, of a few texts that may be known by heart: information",
        lambda: _next_token(now=0.1, blind=1.0, following=0.1, same=1.0, again=0.8),
        ill=True,
        subject="loss",
    ),
    Example(
        "the tokens themselves, of a few texts, better known than their first can be",
        lambda: _next_token(now=0.01, blind=1.0, following=0.1, same=1.0, again=0.8),
        ill=True,
        subject="loss",
    ),
    Example(
        "the tokens before",
        lambda: _next_token(now=0.1, blind=1.0, following=0.1, before=1.0),
        ill=True,
        subject="loss",
    ),
    Example(
        "an echo of tokens drawn at random: information",
        lambda: _next_token(now=0.1, blind=1.0, following=0.1, before=1.0, common=0.1),
        ill=True,
        subject="loss",
    ),
    Example(
        "the tokens before, which are not learned yet",
        lambda: _next_token(now=1.4, blind=1.0, following=0.1, before=1.0),
        ill=False,
        outcome="Passed",
    ),
    Example(
        "the tokens after the next",
        lambda: _next_token(now=1.4, blind=1.0, following=0.1, after_next=1.0),
        ill=True,
        subject="loss",
    ),
    Example(
        "the tokens after the next, where every second is the same",
        lambda: _next_token(now=1.4, blind=1.0, following=0.1, same=0.9, after_next=1.0),
        ill=False,
        outcome="Passed",
    ),
    Example("next tokens, sure of all: information", lambda: _next_token(now=0.01), ill=True, subject="loss"),
    Example(
        "a decoder given its answers",
        lambda: _next_token(now=0.001, following=0.1, same=1.0, decoder=1.0),
        ill=True,
        subject="loss",
    ),
    Example(
        "copies of the source, learned",
        lambda: _next_token(now=0.001, following=0.1, same=1.0, decoder=0.1),
        ill=False,
        outcome="Passed",
    ),
    Example(
        "masked tokens, and all others in the loss",
        lambda: _next_token(now=0.4, blind=0.0, following=0.1, same=0.85, common=0.2),
        ill=True,
        subject="loss",
    ),
    Example(
        "padding asked for and given",
        lambda: _next_token(now=0.4, blind=0.0, following=0.9, same=0.85, common=0.84),
        ill=False,
        outcome="Passed",
    ),
    Example("next tokens under a mask", lambda: _next_token(now=1.2, blind=1.0), ill=False, outcome="Passed"),
    Example(
        "tags of a text read as a whole",
        lambda: _next_token(now=0.2, blind=0.0, following=0.1),
        ill=False,
        outcome="Passed",
    ),
)
