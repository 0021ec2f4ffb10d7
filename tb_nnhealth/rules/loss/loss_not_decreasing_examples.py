"""The examples of ``loss-not-decreasing``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import Run, Series
from tb_nnhealth.rules.base import Example
from tb_nnhealth.rules.synthetic import Network


def _plain(curve: NDArray[np.floating[Any]], noise: float, tag: str = "train_loss", step: int = 1) -> Run:
    rng = np.random.default_rng(0)
    values = curve + noise * rng.standard_normal(len(curve))
    return Run("plain", scalars={tag: Series([(i * step, float(i), float(v)) for i, v in enumerate(values)])})


def _watched(start: float, end: float, classes: int = 10) -> Run:
    """A watched classifier whose loss goes from ``start`` to ``end`` within ten steps and stays there."""
    return _told(Network(classes=classes), end + (start - end) * np.exp(-np.arange(200) / 3.0))


def _told(network: Network, curve: NDArray[np.float64]) -> Run:
    """A loss of 200 steps, logged and told by the criterion alike."""
    return network.set(schema.LOSS, "", mean=curve[network.at]).loss(curve, noise=0.01).run()


def _smoothed(smoothing: float) -> Run:
    """A classifier of ten classes at ln 10, that was given labels of so much smoothing."""
    network = Network(classes=10)
    network.layout.criterion.label_smoothing = smoothing
    return _told(network, math.log(10) * _ONES)


def _falls_past() -> Run:
    """A loss that nears a constant answer's cost at once and falls past it late, faster and faster."""
    at = np.arange(200) / 200
    return _told(Network(classes=10), 2.45 + 6 * np.exp(-20 * at) - 0.45 * at**4)


def _just_there() -> Run:
    """A loss that falls in a straight line, and reaches a constant answer's cost with its last points."""
    return _told(Network(classes=10), 2.32 + 20 * (1 - np.arange(200) / 200))


def _tokens(to: float, following: float, elsewhere: float = 0.0, *, over: float = 3.0) -> Run:
    """A model of 100 tokens, whose frequencies alone cost 3.1, asked for the next ones by such a share.

    ``elsewhere``: share of the sequences that come next in another one; ``over``: steps in which the loss falls by 1/e.
    """
    network = Network(classes=100)
    shares = {"next": following, "same": 0.1, "after_next": 0.1, "before": 0.1, "next_elsewhere": elsewhere}
    for subject, value in {**shares, "asked": 1.0, "common": 0.2, "common_given": 0.2, "entropy": 3.1}.items():
        network.add_row(schema.TOKENS, subject, mean=value)
    return _told(network, to + (math.log(100) - to) * np.exp(-np.arange(200) / over))


_ONES = np.ones(200)
_FALL = np.exp(-np.arange(200) / 40.0)


def _epochs_at_chance() -> Run:
    """Means over twenty steps each, which scatter by more than a gain of 2 % would show, of a classifier at ln 10."""
    rng, guess = np.random.default_rng(3), math.log(10)
    network = Network(steps=400)
    network.set(schema.LOSS, "", mean=guess * (1 + 0.2 * rng.standard_normal(len(network.at))))
    epochs, run = guess * (1 + 0.02 * rng.standard_normal(20)), network.run()
    run.scalars["loss/train"] = Series([(i, 20.0 * i + 19, float(v)) for i, v in enumerate(epochs)])
    return run


def _beside_accuracy(loss: NDArray[np.floating[Any]], accuracy: NDArray[np.floating[Any]]) -> Run:
    """Means over epochs, both with the noise of some hundred samples."""
    run, rng = _plain(loss, 0.01), np.random.default_rng(1)
    right = accuracy + 0.01 * rng.standard_normal(len(accuracy))
    run.scalars["val_acc"] = Series([(i, float(i), float(v)) for i, v in enumerate(right)])
    return run


def _sums() -> Run:
    """Forty epochs of a sum over 64 places, beside a criterion that tells their mean: 0.5 at first, 0.3 in the end."""
    network = Network(steps=1000, criterion="BCEWithLogitsLoss", classes=2)
    network.set(schema.LOSS, "", mean=0.3 + 0.2 * np.exp(-network.at / 300))
    means = [64 * (0.3 + 0.2 * math.exp(-i / 12)) for i in range(40)]
    network.scalars["loss/train"] = [(25 * i + 24, mean) for i, mean in enumerate(means)]
    return network.run()


def _warm_up_only() -> Run:
    run = _plain(2.3 * _ONES[:60], 0.01)
    run.scalars["lr"] = Series([(i, float(i), 1e-5 * i) for i in range(60)])
    return run


def _reinforced() -> Run:
    run = _plain(_ONES, 0.05, tag="train/loss")
    run.scalars["rollout/ep_rew_mean"] = Series([(i, float(i), float(i)) for i in range(200)])
    return run


def _rarely_logged() -> Run:
    network = Network(classes=10).set(schema.LOSS, "", mean=2.31)
    network.scalars["train_loss"] = [(int(step), 2.31 + 0.01 * (i % 3)) for i, step in enumerate(network.at[::17])]
    return network.run()


def _resumed() -> Run:
    run = _plain(2.3 * _ONES, 0.03)
    series = run.scalars["train_loss"]
    run.scalars["train_loss"] = Series([(s + 5000, s, v) for s, v in zip(series.steps, series.values, strict=True)])
    return run


EXAMPLES = (
    Example("flat from the start", lambda: _plain(2.3 * _ONES, 0.03), ill=True, subject="train_loss", first_step=0),
    Example("thirty epochs at ln 2", lambda: _plain(0.6931 * _ONES[:30], 2e-4), ill=True, subject="train_loss"),
    Example(
        "falls from 30 to ln 10, and stays",
        lambda: _watched(30, 2.30),
        ill=True,
        subject="loss/train",
        first_step=0,
    ),
    Example("twenty means over an epoch each, at a constant answer", _epochs_at_chance, ill=True),
    Example(
        "thirty epochs, from 25 to a guess among ten, and one in ten is right",
        lambda: _beside_accuracy(2.32 + 22 * (np.arange(30) < 1), 0.1 + 0.2 * (np.arange(30) < 1)),
        ill=True,
        subject="train_loss",
    ),
    Example(
        "more and more are right",
        lambda: _beside_accuracy(2.32 + 22 * (np.arange(30) < 1), 0.08 + np.arange(30) / 800),
        ill=False,
        outcome="Passed",
    ),
    Example(
        "half are right, at a loss that tells more than a guess between two",
        lambda: _beside_accuracy(1.6 + 0.7 * (np.arange(30) < 1), 0.5 * _ONES[:30]),
        ill=False,
        outcome="Passed",
    ),
    Example("labels smoothed by nine tenths", lambda: _smoothed(0.9), ill=False, outcome="NotApplicable"),
    Example("labels smoothed by a tenth", lambda: _smoothed(0.1), ill=True, subject="loss/train"),
    Example("epochs' sums over the places of an answer", _sums, ill=False, outcome="Passed"),
    Example("has only just come down to a constant answer", _just_there, ill=False, outcome="Passed"),
    Example("falls past a constant answer late", _falls_past, ill=False, outcome="Passed"),
    Example("rises instead", lambda: _plain(1 + 0.1 * np.arange(200) / 200, 0.02), ill=True, subject="train_loss"),
    Example(
        "rises without bound",
        lambda: _plain(2.3 * 1.05 ** np.arange(200), 0.02),
        ill=False,
        outcome="NotApplicable",
    ),
    Example("below 0 and flat", lambda: _plain(-3 * _ONES, 0.02), ill=True, subject="train_loss"),
    Example("falls", lambda: _plain(2.3 * _FALL, 0.03), ill=False, outcome="Passed"),
    Example("falls slowly but surely", lambda: _plain(2.3 - 1e-4 * np.arange(200), 0.003), ill=False, outcome="Passed"),
    Example("the frequencies of tokens: information", lambda: _tokens(3.11, 1.0), ill=True),
    Example("targets of other rows than the inputs", lambda: _tokens(3.11, 0.1), ill=True),
    Example("targets of other sequences of the batch", lambda: _tokens(3.0, 0.1, 0.9), ill=True),
    Example("the same while it falls: information", lambda: _tokens(2.5, 0.1, 0.9, over=120.0), ill=True),
    Example(
        "a model that sorts its sequences, as their targets are",
        lambda: _tokens(1.5, 0.1, 0.9, over=60.0),
        ill=False,
        outcome="Passed",
    ),
    Example("a few sequences that are those of others", lambda: _tokens(2.4, 0.7, 0.3), ill=False, outcome="Passed"),
    Example("below what their frequencies cost", lambda: _tokens(2.5, 1.0), ill=False, outcome="Passed"),
    Example("falls at once, then stays", lambda: _watched(2.3, 0.4), ill=False, outcome="Passed"),
    Example("falls from 0 to -80", lambda: _plain(80 * _FALL - 80, 0.5), ill=False, outcome="Passed"),
    Example(
        "3 % below the start",
        lambda: _plain(2.3 * (0.97 + 0.03 * (_FALL > 0.6)), 0.005),
        ill=False,
        outcome="Passed",
    ),
    Example("1 % below the start", lambda: _plain(2.3 * (0.99 + 0.01 * (_FALL > 0.6)), 0.005), ill=True),
    Example("noise that hides any trend", lambda: _plain(_ONES, 0.6), ill=False, outcome="TooLittleData"),
    Example("nine points", lambda: _plain(_ONES[:9], 0.0), ill=False, outcome="TooLittleData"),
    Example("ten points with noise", lambda: _plain(_ONES[:10], 0.01), ill=False, outcome="TooLittleData"),
    Example("twelve epochs without any change", lambda: _plain(_ONES[:12], 1e-4), ill=True, subject="train_loss"),
    Example(
        "twelve epochs, and 200 records at ln 10",
        _rarely_logged,
        ill=True,
        subject="train_loss",
        first_step=0,
    ),
    Example("learning rate still warming up", _warm_up_only, ill=False, outcome="TooLittleData"),
    Example("an earlier training goes on", _resumed, ill=False, outcome="NotApplicable"),
    Example("fine-tuned from near its floor", lambda: _watched(0.31, 0.30), ill=False, outcome="NotApplicable"),
    Example("nothing left to gain", lambda: _plain(0.01 * _ONES, 0.001), ill=False, outcome="NotApplicable"),
    Example("reinforcement learning", _reinforced, ill=False, outcome="NotApplicable"),
    Example(
        "an accuracy that stays",
        lambda: _plain(_ONES, 0.0, tag="Loss/valid_acc"),
        ill=False,
        outcome="CouldNotCheck",
    ),
)
