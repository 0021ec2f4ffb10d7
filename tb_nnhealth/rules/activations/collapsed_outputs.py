"""What a model returns comes to be the same for every sample: embeddings that become one, codes that tell nothing.

Read where no criterion tells what the answers are compared with, or one that compares them with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.weights import aligned
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import episodes, since_last_well
from tb_nnhealth.rules.wording import percent, short

OF_EMBEDDINGS = ("CosineEmbeddingLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss")
"""Criteria that compare what the model returns with itself."""
OPENING = 3
FEATURES = 8
"""Fewest numbers for a sample that are an embedding."""
APART, TOGETHER = 0.3, 0.1
"""Spread over the samples : size, at first and where embeddings have become one."""
NEARER, OF_THE_FIRST = 0.2, 0.5
"""Spread : size, and share of what that was at first, from which embeddings are told, for information, on their way."""
CENTRED = 0.7
"""|mean| : size below which the features differ: answers that lie far from 0 are alike for that alone."""
FADED, SMALL, QUARTER = 0.05, 0.05, 0.25
"""Share of its first spread that a code must have left; a quarter where its size has come to be so small beside the
prior's standard deviation of 1, for untrained codes begin small.
"""
ONE_NUMBER = 0.01
"""Spread : size below which answers of one number are the same, for those may lie far from 0."""
FEWEST_STEPS = 50


@np.errstate(all="ignore")
def collapsed_outputs(history: History, records: int, advice: Sequence[str]) -> list[Hit]:
    """Hits on the model ("") for its first result, for information on further ones."""
    kind = schema.OUTPUT if history.rows(schema.OUTPUT) else schema.PREDICTION
    rows = [history.layout.rows[row] for row in history.rows(kind)]
    subjects = [row.subject for row in rows if len(row.shape) == 2 and row.shape[0] > 1]
    if not subjects or len(history) < records:
        return []
    spread = aligned(history.table(schema.SPREAD, schema.MEAN), [_spread(kind, subject) for subject in subjects])
    size, mean = (aligned(history.table(kind, s), subjects) for s in (schema.RMS, schema.MEAN))
    moving = aligned(history.table(schema.SPREAD, schema.MEAN), ("input",))[:, 0]
    widths = {row.subject: int(row.shape[1]) for row in rows if len(row.shape) == 2}
    hits = []
    for i, subject in enumerate(subjects):
        own = spread[:, i].astype(np.float64)
        judged = np.isfinite(own) & ~(moving == 0)
        known = own[judged]
        if len(known) < records:
            continue
        relative, first = own / size[:, i], float(np.median(known[:OPENING]))
        began = float(np.median(relative[judged][:OPENING]))
        embedding = widths[subject] >= FEATURES and began > APART
        centred = np.abs(mean[:, i]) < CENTRED * size[:, i]
        one = embedding & (relative < TOGETHER) & centred
        closer = relative < max(TOGETHER, min(NEARER, began))
        never = (widths[subject] >= FEATURES and began <= APART) & closer & centred
        nearer = embedding & (relative < min(NEARER, OF_THE_FIRST * began)) & centred
        left = np.where(size[:, i] < SMALL, QUARTER, FADED) if subject else FADED
        faded = (own < left * first) & ((relative < ONE_NUMBER) | (widths[subject] > 1))
        kinds = ((one, TOGETHER), (nearer, NEARER), (never, NEARER), (faded, QUARTER if subject else FADED))
        for ill, limit in kinds:
            value = own / first if ill is faded else relative
            severity: Severity = "warning" if ill is one and subject == "" else "info"
            for episode in episodes(ill[:, None], judged[:, None], history.steps, window=records, share=0.9)[-1:]:
                episode = since_last_well(episode, ill[:, None], judged[:, None], history.steps)
                if not episode.active or episode.last_step - episode.first_step < FEWEST_STEPS:
                    continue
                now = float(np.median(value[judged][-OPENING:]))
                by = f"{short(now)} of its size from sample to sample, {short(began)} at first"
                if ill is faded:
                    apart = short(float(np.median(known[-OPENING:])))
                    by = f"{apart} from sample to sample, {percent(now)} of what it did at first"
                of = "what the model returns" if subject == "" else f"result {subject} of the model"
                hits.append(
                    hit(
                        episode, "", severity=severity, statistic="spread of the output over samples", unit="1",
                        value=now, limit=limit, direction="below",
                        message=f"{of[0].upper()}{of[1:]} is nearly the same for every sample since step "
                        f"{episode.first_step}: it differs by {by}.",
                        advice=(*_ADVICE, *advice[2:]), more={"output": subject},
                    )
                )  # fmt: skip
                break
            else:
                continue
            break
    return hits[:1]


def _spread(kind: str, subject: str) -> str:
    return f"output {subject}".strip() if kind == schema.OUTPUT else "prediction"


_ADVICE = (
    "Embeddings: give the loss what keeps samples apart, as negatives, a stopped gradient or a variance term.",
    "Latent codes: lower the weight of what draws them together, as the KL term of a VAE, or warm it up.",
)
