"""Whether a loss has been learned, told from few points."""

from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.synthetic import Network


@pytest.mark.parametrize(("steps", "learned"), [(400, True), (24, False)])
def test_few_points_tell_where_each_stands_for_many_steps(steps: int, learned: bool) -> None:
    network = Network(steps=steps).absent(schema.LOSS, "")
    values = np.maximum(2.3 * 0.6 ** np.arange(12.0), 0.1)
    points = [(i, steps / 12 * i, float(value)) for i, value in enumerate(values)]
    run = Run("run", network.run().watches, {"loss/train": Series(points)})
    seen = progress(run, next(iter(run.watches.values())))
    assert seen is not None
    assert seen.learned == learned


def test_of_few_epochs_the_first_alone_is_the_beginning() -> None:
    """A variational autoencoder's sums, which never come near 0: the fifth epoch is most of the way down."""
    network = Network(steps=400).absent(schema.LOSS, "")
    epochs = (454.0, 372.0, 359.0, 346.0, 332.0, 325.0, 319.0, 315.0)
    run = Run("run", network.run().watches, {"loss/train": Series([(50 * i, i, v) for i, v in enumerate(epochs)])})
    seen = progress(run, next(iter(run.watches.values())))
    assert seen is not None
    assert seen.start == 454.0
