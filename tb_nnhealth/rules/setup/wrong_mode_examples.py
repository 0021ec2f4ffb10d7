"""Synthetic runs with modules in right and wrong modes: the examples of ``wrong-mode``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.messages import Module, Parameter
from tb_nnhealth.rules.base import Example
from tb_nnhealth.rules.synthetic import Network


def _modes(
    dropout: NDArray[np.float64] | float,
    norm: NDArray[np.float64] | float,
    *,
    gain: float = 1.0,
    only_norm: bool = False,
) -> Network:
    """A network with one Dropout and one BatchNorm, in the modes given over its 200 records."""
    network = Network()
    if not only_norm:
        network.layout.modules.append(Module(name="drop", type="Dropout", called=True))
        network.add_row(schema.MODE, "drop", mean=dropout)
    network.layout.modules.append(Module(name="norm", type="BatchNorm1d", called=True))
    network.layout.parameters.append(
        Parameter(name="norm.weight", module="norm", shape=(64,), trainable=True, optimizer=0, initial_rms=gain)
    )
    return network.add_row(schema.MODE, "norm", mean=norm)


def _keeping(momentum: float, validation: float = 1.0, *, evaluated: bool = True) -> Run:
    """200 steps with a BatchNorm of such a momentum; validation ends at so many times the training loss."""
    network = _modes(1.0, 1.0, only_norm=True)
    network.layout.modules[-1].momentum = momentum
    if evaluated:
        network.add_row(schema.EVALUATION, "eval", mean=np.where(np.arange(200) % 20 == 19, 3.0, 0.0))
    loss = 2.3 * np.exp(-np.arange(200) / 40)
    network.loss(loss).loss(validation * loss[19::20], tag="loss/val")
    return network.run()


def _normalizing(samples: int, *, gain: float = 1.0, frozen: bool = False) -> Run:
    """A BatchNorm in train mode on batches of so many samples, behind layers that are ``frozen`` or train."""
    network = _modes(1.0, 1.0, gain=gain, only_norm=True)
    largest = min(3.0, samples / 2)
    network.add_row(schema.ACTIVATION, "norm", (samples, 64), rms=1.0, min=-largest, max=largest)
    for parameter in network.layout.parameters if frozen else ():
        parameter.trainable = False
    network.layout.parameters.append(
        Parameter(name="head.weight", module="head", shape=(10, 64), trainable=True, optimizer=0, initial_rms=0.1)
    )
    return network.run()


def _recurrent(
    dimension: int,
    answers: tuple[int, ...],
    *,
    positions: int = 0,
    inputs: tuple[int, ...] = (32, 20, 8),
    given: tuple[int, ...] = (32, 20, 64),
) -> Run:
    """A recurrent module is given 32 samples of 20 steps; ``dimension``: which one it takes for the samples."""
    network = Network()
    network.layout.modules.append(Module(name="rnn", type="LSTM", called=True, samples_dimension=dimension))
    for row in network.layout.rows:
        if row.kind == schema.INPUT:
            row.shape[:] = inputs
        elif row.kind in (schema.PREDICTION, schema.TARGET):
            row.shape[:] = answers
    if positions:
        network.layout.parameters.append(Parameter(name="pos", shape=(1, positions, 64), trainable=True))
    return network.add_row(schema.ACTIVATION, "rnn", given, rms=0.5).run()


def _teacher(learns: bool) -> Run:
    """A dropout called with gradients off, in a part of the model that learns or does not."""
    network = _modes(1.0, 1.0).add_row(schema.DROPPING, "teacher.1", mean=1.0)
    network.layout.parameters.append(
        Parameter(name="teacher.0.weight", module="teacher.0", shape=(64, 64), trainable=learns, optimizer=learns - 1)
    )
    return network.run()


_SWITCHED = (np.arange(200) < 80).astype(np.float64)


def _with_gradients(forwards: int, usual: int = 1, evaluation: int = 0, last: int = 0) -> Run:
    """A logged validation of so many forwards with gradients every forty steps, and one of ``last`` every twenty."""
    at = np.arange(200)
    burst, short = at % 40 == 39, at % 20 == 9
    network = _modes(1.0, 1.0)
    network.add_row(schema.EVALUATION, "train with gradients", mean=usual + burst * forwards + short * last)
    network.add_row(schema.EVALUATION, "eval with gradients", mean=burst * float(evaluation))
    network.scalars["loss/val"] = [(int(step), 1.0) for step in network.at[burst]]
    return network.run()


def _masked(records: int) -> Run:
    """Nothing but functions, one of which drops 0.3 in the evaluations before so many records."""
    at = np.arange(200)
    seen = (at % 40 == 39) & (at < 40 * records)
    return Network().add_row(schema.EVALUATION_MASK, "layers.3", mean=np.where(seen, 0.3, np.nan)).run()


def _evaluating(train: int, evaluation: int, every: int = 40, logged: bool = False) -> Run:
    """A validation of so many forwards, in train or evaluation mode, every so many steps; ``logged``: its loss."""
    burst = (np.arange(200) % every == every - 1).astype(np.float64)
    network = _modes(1.0, 1.0)
    network.set(schema.EVALUATION, "train", mean=train * burst).set(schema.EVALUATION, "eval", mean=evaluation * burst)
    if logged:
        network.scalars["loss/val"] = [(int(step), 1.0) for step in network.at[burst > 0]]
    return network.run()


def _dip(records: int) -> NDArray[np.float64]:
    at = np.arange(200)
    return ((at < 50) | (at >= 50 + records)).astype(np.float64)


def _viewed(before: tuple[int, ...], after: tuple[int, ...], records: int = 3) -> Run:
    """A model of 32 samples in whose graph a view was found that mixes them."""
    network = Network()
    network.layout.batch_size = 32
    told = np.where(np.arange(200) < records, 1.0, np.nan)
    network.add_row(schema.MIXED, "before", before, mean=told).add_row(schema.MIXED, "after", after, mean=told)
    return network.run()


EXAMPLES = (
    Example("States of two directions viewed as samples", lambda: _viewed((2, 32, 24), (32, 48)), True, ""),
    Example(
        "A view found in one graph alone", lambda: _viewed((2, 32, 24), (32, 48), 1), False, outcome="NotApplicable"
    ),
    Example(
        "train() forgotten after a validation",
        lambda: _modes(_SWITCHED, _SWITCHED).run(),
        ill=True,
        subject="",
        first_step=80,
    ),
    Example("never in train mode, with Dropout", lambda: _modes(0.0, 0.0).run(), ill=True, subject="", first_step=0),
    Example("untrained BatchNorms frozen", lambda: _modes(0.0, 0.0, only_norm=True).run(), ill=True, first_step=0),
    Example(
        "an untrained BatchNorm frozen, Dropout at work",
        lambda: _modes(1.0, 0.0).run(),
        ill=True,
        subject="norm",
        first_step=0,
    ),
    Example("validated in train mode", lambda: _evaluating(10, 0), ill=True, subject="", first_step=39),
    Example(
        "validated in one forward each, in train mode",
        lambda: _evaluating(1, 0, logged=True),
        ill=True,
        subject="",
        first_step=39,
    ),
    Example("validated in train mode, with gradients", lambda: _with_gradients(12), ill=True, first_step=39),
    Example(
        "validated in evaluation mode, with gradients",
        lambda: _with_gradients(0, evaluation=12),
        ill=False,
        outcome="Passed",
    ),
    Example("a step on one batch more", lambda: _with_gradients(0, 4, last=1), ill=False, outcome="Passed"),
    Example("F.dropout that knows no mode", lambda: _masked(3), ill=True, subject="layers.3", first_step=39),
    Example("a mask seen once", lambda: _masked(1), ill=False, outcome="NotApplicable"),
    Example(
        "a pseudo-label in every step",
        lambda: _evaluating(1, 0, every=1, logged=True),
        ill=False,
        outcome="Passed",
    ),
    Example(
        "pre-trained BatchNorms frozen",
        lambda: _modes(0.0, 0.0, gain=0.7, only_norm=True).run(),
        ill=False,
        outcome="Passed",
    ),
    Example(
        "pre-trained BatchNorm frozen, Dropout at work",
        lambda: _modes(1.0, 0.0, gain=0.7).run(),
        ill=False,
        outcome="Passed",
    ),
    Example(
        "in evaluation mode for seven records", lambda: _modes(_dip(7), _dip(7)).run(), ill=False, outcome="Passed"
    ),
    Example("in evaluation mode for eight records", lambda: _modes(_dip(8), _dip(8)).run(), ill=True, first_step=50),
    Example("validated in evaluation mode", lambda: _evaluating(0, 10), ill=False, outcome="Passed"),
    Example("BatchNorm recalibrated before validation", lambda: _evaluating(20, 10), ill=False, outcome="Passed"),
    Example("one sample drawn now and then", lambda: _evaluating(1, 0), ill=False, outcome="Passed"),
    Example("fakes drawn in every step", lambda: _evaluating(2, 0, every=1), ill=False, outcome="Passed"),
    Example("normalized by two samples", lambda: _normalizing(2), ill=True, subject="norm", first_step=0),
    Example("normalized by three samples", lambda: _normalizing(3), ill=False, outcome="Passed"),
    Example(
        "BatchNorm of a frozen network in train mode",
        lambda: _normalizing(32, gain=0.7, frozen=True),
        ill=True,
        subject="norm",
    ),
    Example("BatchNorm that trains", lambda: _normalizing(32, gain=0.7), ill=False, outcome="Passed"),
    Example("batch_first forgotten", lambda: _recurrent(1, (32,)), ill=True, subject="rnn", first_step=0),
    Example("batch_first forgotten behind a view", lambda: _recurrent(1, (32,), inputs=(32, 160)), True, "rnn", 0),
    Example(
        "windows of each sample, as many steps as samples",
        lambda: _recurrent(1, (32,), inputs=(32, 160), given=(32, 64, 8)),
        ill=False,
        outcome="NotApplicable",
    ),
    Example("batch_first", lambda: _recurrent(0, (32,)), ill=False, outcome="NotApplicable"),
    Example("time first, an answer each time", lambda: _recurrent(1, (32, 20)), ill=False, outcome="NotApplicable"),
    Example("all answers in one row", lambda: _recurrent(1, (640,)), ill=False, outcome="NotApplicable"),
    Example("positions along the samples", lambda: _recurrent(1, (640,), positions=20), ill=True, subject="rnn"),
    Example("a teacher in train mode", lambda: _teacher(False), ill=True, subject="teacher.1", first_step=0),
    Example("a part that learns elsewhere", lambda: _teacher(True), ill=False, outcome="Passed"),
    Example("statistics that hardly move, validation behind", lambda: _keeping(5e-4, 5.0), ill=True, subject="norm"),
    Example("statistics that hardly move: information", lambda: _keeping(5e-4), ill=True, subject="norm"),
    Example("the same, and never evaluated", lambda: _keeping(5e-4, evaluated=False), ill=False, outcome="Passed"),
    Example("statistics that have arrived", lambda: _keeping(0.01, 5.0), ill=False, outcome="Passed"),
    Example("no Dropout and no BatchNorm", lambda: Network().run(), ill=False, outcome="NotApplicable"),
)
