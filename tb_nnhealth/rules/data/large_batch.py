"""The batch is far larger than the noise of its gradient asks for.

## What it detects
A batch many times the size at which the noise of the gradient equals the gradient, in every layer. Information.

## Why it matters
Up to about that size, twice the batch saves nearly half of the steps; beyond it, hardly any. The same computation in
smaller batches would take more steps of the same use, and what is learned with some noise often generalizes better.

## How it is computed
The noise scale of each layer's gradient: the summed variance of the samples' gradients over the squared norm of their
mean (unit: samples), median over the last half of the records, at least ten. It fires where the batch (unit: samples)
exceeds `factor` times the largest noise scale of any layer, and has more than 64 samples. Not judged where an opponent
or an environment moves the target: samples that agree on the next step say nothing of the way.

## What to try
1. A batch of one to four times the noise scale, and the learning rate with it: by the same factor for SGD, by its
   square root for Adam.
2. Or use what the device can hold all the same: the time counts, and not the samples.

## When it is harmless
Where a larger batch costs no more time. The noise scale grows as the loss falls: early in a training it is small.

## References
- [An empirical model of large-batch training](https://arxiv.org/abs/1812.06162)
- [On large-batch training for deep learning](https://arxiv.org/abs/1609.04836)
- [37 reasons why your network is not working](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import warnings

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import (
    Case,
    Closest,
    Example,
    Hit,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.data.whole_set import whole_set
from tb_nnhealth.rules.evidence.tags import moving_target
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.wording import short

RECORDS = 10
LARGE = 64
"""Samples up to which a batch is not large, whatever the noise: a smaller one would hardly be faster."""


def check(case: Case) -> Outcome:
    history = case.history
    if history is not None and (whole := whole_set(history)) is not None:
        return Ill([whole])
    if history is None or not history.rows(schema.NOISE_SCALE):
        return NotApplicable("the noise of the gradient was not measured: no layer of this model tells it")
    batch = int(history.layout.batch_size)
    if why := moving_target(case.run):
        return NotApplicable(why)
    if batch <= LARGE:
        return NotApplicable(f"a batch of {batch} samples is not large")
    table = history.table(schema.NOISE_SCALE, schema.MEAN)
    measured = np.isfinite(table.values)
    late = np.flatnonzero(measured.any(axis=1))
    if len(late) < 2 * RECORDS:
        return TooLittleData(f"{len(late)} records of the noise scale, {2 * RECORDS} are needed")
    late = late[len(late) // 2 :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a layer that was never measured has no median
        scales = np.nanmedian(table.values[late].astype(np.float64), axis=0)
    layer = int(np.nanargmax(scales)) if np.isfinite(scales).any() else -1
    if layer < 0 or not scales[layer] > 0:
        return TooLittleData("the noise scale of no layer is known")
    scale, limit = float(scales[layer]), case.options["factor"]
    if batch <= limit * scale:
        share = min(1.0, batch / (limit * scale))
        return Passed(Closest(share, table.subjects[layer], int(table.steps[-1]), "size of the batch"))
    return Ill(
        [
            Hit(
                subject="",
                first_step=int(table.steps[late[0]]),
                fired_step=int(table.steps[late[RECORDS - 1]]),
                last_step=int(table.steps[late[-1]]),
                count=len(late),
                active=True,
                severity="info",
                statistic="batch : noise scale",
                unit="1",
                value=batch / scale,
                limit=limit,
                direction="above",
                healthy=(0.1, 4.0),
                message=f"A batch of {batch} samples is {short(batch / scale)} times the noise scale of its gradient, "
                f"{short(scale)} samples in `{table.subjects[layer]}`, the noisiest layer.",
                advice=(f"Try a batch of about {_power_of_two(2 * scale)} samples, and a smaller learning rate.",),
                more={"batch_size": batch, "noise_scale": scale},
            )
        ]
    )


def _power_of_two(samples: float) -> int:
    return int(2 ** max(0, round(np.log2(max(samples, 1.0)))))


def _noise(scale: float, batch: int = 512, steps: int = 200) -> Run:
    network = Network(steps=steps)
    network.layout.batch_size = batch
    jitter = np.exp(0.3 * np.random.default_rng(0).standard_normal(steps))
    network.add_row(schema.NOISE_SCALE, "layers.0", mean=scale * jitter)
    return network.add_row(schema.NOISE_SCALE, "layers.5", mean=0.5 * scale * jitter).run()


def _opponents() -> Run:
    run = _noise(0.5)
    run.scalars = {tag: Series([(step, float(step), 0.7) for step in range(200)]) for tag in ("loss/G", "loss/D")}
    return run


def _of_one_length(scatter: float) -> Run:
    """Batches whose rows are sines and cosines, between -1 and 1 and of one length, and of which only the mean tells
    whether they hold the same samples.
    """
    network = Network()
    network.layout.batch_size = 512
    mean = scatter * np.random.default_rng(0).standard_normal(200)
    network.set(schema.INPUT, "", rms=0.5**0.5, min=-1.0, max=1.0, mean=mean)
    return network.add_row(schema.REPEATED, "input", mean=0.0).run()


RULE = Rule(
    id="large-batch",
    healthy="Batch of a useful size",
    ill="Batch larger than useful",
    group="data",
    severity="info",
    scope="watch",
    check=check,
    options=(
        Option("factor", 10.0, "batch : noise scale", "largest batch", "arXiv:1812.06162"),
    ),
    examples=(
        Example("a batch of 512 at a noise scale of 12", lambda: _noise(12.0), ill=True, subject=""),
        Example("just above the limit", lambda: _noise(48.0), ill=True, subject=""),
        Example("just below the limit", lambda: _noise(55.0), ill=False, outcome="Passed"),
        Example("much noise", lambda: _noise(3000.0), ill=False, outcome="Passed"),
        Example("a batch of 64", lambda: _noise(0.5, batch=64), ill=False, outcome="NotApplicable"),
        Example("a generator and its opponent", _opponents, ill=False, outcome="NotApplicable"),
        Example("the whole set in each batch, in another order", lambda: _of_one_length(1e-8), ill=True, subject=""),
        Example("other samples of one length", lambda: _of_one_length(0.01), ill=False, outcome="NotApplicable"),
        Example("noise not measured", lambda: Network().run(), ill=False, outcome="NotApplicable"),
        Example("five records", lambda: _noise(1.0, steps=5), ill=False, outcome="TooLittleData"),
    ),
    page=__doc__ or "",
)  # fmt: skip
