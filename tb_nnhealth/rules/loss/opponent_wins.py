"""A discriminator that tells every fake from the first hundreds of steps on: the generator has nobody to learn from."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.history import Run, Series
from tb_nnhealth.phases import parts
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.wording import short

GENERATOR = frozenset(("g", "gen", "generator"))
DISCRIMINATOR = frozenset(("d", "dis", "disc", "discriminator"))
FEWEST = 100
EVEN = (0.3, 3.0)
"""Nats within which both cross-entropies lie while neither wins: ln 2 each, twice that where two are summed."""
SURE, LOST = 0.02, 4.0
"""Nats of a discriminator that knows, and of a generator whose fakes pass for real in less than two of a hundred."""
HELD = 0.9


def opponent_wins(run: Run) -> Hit | None:
    """A warning, on the generator's loss, where that holds for the whole second half of the log."""
    generator, discriminator = (_loss_of(run, names) for names in (GENERATOR, DISCRIMINATOR))
    if generator is None or discriminator is None or not np.array_equal(generator[1].steps, discriminator[1].steps):
        return None
    (tag, ours), (their_tag, theirs) = generator, discriminator
    g, d = np.asarray(ours.values, np.float64), np.asarray(theirs.values, np.float64)
    if len(g) < FEWEST or not (np.isfinite(g).all() and np.isfinite(d).all()):
        return None
    began = [float(values[0]) for values in (g, d)]
    if not all(EVEN[0] < level < EVEN[1] for level in began):
        return None  # another loss than cross-entropy
    lost = (g > LOST) & (d < SURE)
    half = len(g) // 2
    if d.min() < 0 or lost[half:].mean() < HELD:
        return None
    since = int(np.flatnonzero(lost)[0])
    now, theirs_now = float(np.median(g[half:])), float(np.median(d[half:]))
    steps = ours.steps
    return Hit(
        subject=tag,
        first_step=int(steps[since]),
        fired_step=int(steps[half]),
        last_step=int(steps[-1]),
        count=int(lost.sum()),
        active=True,
        severity="warning",
        statistic="loss of the generator",
        unit="nats",
        value=now,
        limit=LOST,
        direction="above",
        message=(
            f"`{tag}` rose from {short(began[0])} to {short(now)} while `{their_tag}` fell to {short(theirs_now)}: the "
            f"discriminator tells every fake since step {int(steps[since]):,}."
        ),
        advice=(
            "Lower the discriminator's learning rate, or give the generator more steps for each of its own.",
            "Make its task harder: label smoothing, noise on its inputs, spectral normalization, a smaller network.",
            "Check that real and fake samples have the same range: a scale that differs gives fakes away.",
        ),
        more={"start": began[0], "discriminator": theirs_now},
    )


def _loss_of(run: Run, names: frozenset[str]) -> tuple[str, Series] | None:
    found = [
        (tag, series)
        for tag, series in run.scalars.items()
        if (words := set(parts(tag))) & names and words & {"loss", "err"} and "val" not in words
    ]
    return found[0] if len(found) == 1 else None
