"""A softmax in the place of a non-linearity between two layers: units that share a sum of 1 carry next to nothing.

Not the softmax of attention, of a gate or of a mixture: what those weigh has another width than their own.
"""

from __future__ import annotations

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence.progress import ENOUGH, progress
from tb_nnhealth.rules.hits import lasting

FEWEST_UNITS = 8
"""Below it a layer is a gate among a few, or a choice, more likely than features."""


def normalized_to_one(run: Run, history: History) -> list[Hit]:
    """One hit for each such layer, in forward order; none where the loss has been learned or too few points tell."""
    seen = progress(run, history)
    found = squashed_layers(history)
    if not found or seen is None or seen.points < ENOUGH or seen.learned:
        return []
    steps = history.steps
    fired = min(ENOUGH, len(steps)) - 1
    return [
        Hit(
            subject=name,
            **lasting(steps, fired),
            severity="critical" if seen.stuck else "warning",
            statistic="mean_activation_after_softmax",
            unit="1",
            value=1 / units,
            limit=1 / FEWEST_UNITS,
            direction="below",
            message=f"A softmax follows `{name}` and goes into the next layer: its {units} units share a sum of 1, so"
            f" that each gives out {1 / units:.2g} on average and hardly differs between samples.",
            advice=(
                "Put ReLU, GELU or tanh in its place: a softmax belongs behind the last layer, or in attention.",
                "Where the units are meant to compete, add a normalization behind the softmax.",
            ),
            rank=-float(i),
        )
        for i, (name, units) in enumerate(found)
    ]


def squashed_layers(history: History) -> list[tuple[str, int]]:
    """Layers that feed a softmax whose output the next weight matrix takes as its inputs, each with its units."""
    matrices = {p.module: p for p in history.layout.parameters if len(p.shape) > 1}
    called = [m for m in history.layout.modules if m.called and m.name in matrices]
    measured = {history.layout.rows[i].subject for i in history.rows(schema.ACTIVATION)}
    found = []
    for i, module in enumerate(called[:-1]):
        own, following = matrices[module.name].shape, matrices[called[i + 1].name].shape
        same = own[0] == following[1] and len(own) == len(following)
        if module.nonlinearity == "softmax" and module.name in measured and same and own[0] >= FEWEST_UNITS:
            found.append((module.name, int(own[0])))
    return found
