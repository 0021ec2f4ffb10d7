"""What a model of sequences is asked for, beside what it is given: how the tokens lie, and what their shares cost."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.evidence.constant_answer import CROSS_ENTROPIES
from tb_nnhealth.rules.evidence.weights import aligned

FEWEST = 3
"""Records of how the tokens lie."""
MOSTLY = 0.5
"""Share of the tokens asked for from which most are given."""
ALIKE = 0.5
"""Difference of the most common token's shares among those asked for and those given, relative."""
EVERYWHERE = 0.9
"""Share of the places from which a token is asked for at all of them, and not only where one is hidden."""


def usual_share(history: History, subject: str) -> float:
    """Median over the records of one share of the tokens asked for; -1 where too few tell it."""
    shares = aligned(history.table(schema.TOKENS, schema.MEAN), (subject,))[:, 0]
    seen = shares[np.isfinite(shares)]
    return float(np.median(seen)) if len(seen) >= FEWEST else -1.0


def _is_tokens(history: History, row: int) -> bool:
    entry = history.layout.rows[row]
    return entry.dtype.startswith(("int", "uint")) and len(entry.shape) > 1


def several_inputs(history: History) -> bool:
    """Whether a decoder may be given tokens behind those of an encoder."""
    return sum(_is_tokens(history, row) for row in history.rows(schema.INPUT)) > 1


def cost_of_frequencies(history: History) -> float:
    """Nats for each token of an answer that knows how frequent each is, and nothing of those before; NaN if unknown."""
    criterion = history.layout.criterion
    plain = not criterion.label_smoothing and not len(criterion.class_weights) and criterion.reduction in ("", "mean")
    told = aligned(history.table(schema.TOKENS, schema.MEAN), ("entropy",))[:, 0]
    told = told[np.isfinite(told)]
    known = plain and criterion.type in ("", *CROSS_ENTROPIES) and len(told) >= FEWEST
    return float(told[-1]) if known else math.nan


def unrelated(history: History) -> bool:
    """Whether a token is asked for at each place, of the kinds that are given, and hardly ever one that is given there,
    before or behind it."""
    shares = [usual_share(history, subject) for subject in ("same", "next", "after_next")]
    everywhere = usual_share(history, "asked") >= EVERYWHERE
    most = max(*shares, usual_share(history, "before"))
    if not everywhere or several_inputs(history) or min(shares) < 0 or most >= MOSTLY:
        return False
    asked, given = usual_share(history, "common"), usual_share(history, "common_given")
    return abs(asked - given) < ALIKE * asked  # tags of words are other kinds
