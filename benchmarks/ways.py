"""The ways of recording a training: ours, PyTorch's writer as it is usually used, and other tools'.

A way is a generator. It sets itself up on a training, gives a ``Recording``, and ends it when it is asked again. What
cannot run raises ``AbsentError`` with the reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

from torch.utils.tensorboard import SummaryWriter as TorchWriter

from benchmarks.trainings import Training
from tb_nnhealth import SummaryWriter, native
from tb_nnhealth.record import judge
from tb_nnhealth.record.cadence import Cadence


class AbsentError(Exception):
    """Why a way cannot be measured here."""


def _nothing() -> None:
    return None


@dataclass
class Recording:
    """A training that is recorded. It rests between its blocks, so that others do not pay for its hooks."""

    step: Callable[[], None]
    written: Callable[[], object] = _nothing
    """Waits until all that was recorded is in the file."""
    rest: Callable[[], AbstractContextManager[object]] = nullcontext
    reason: Callable[[], str] = str
    """What a cadence that is chosen says of itself."""


Running = Iterator[Recording]
Way = Callable[[Training, str], Running]


def bare(training: Training, directory: str) -> Running:
    yield Recording(training.step)


def watched(every: int | None, *, histograms: str = "usual") -> Way:
    """``watch`` by its budget, or at every step; with histograms as "usual", at "every" record, or "never"."""

    def way(training: Training, directory: str) -> Running:
        with closing(SummaryWriter(directory)) as writer:
            watch = writer.watch(training.model, training.optimizer, criterion=training.criterion, every=every)
            cadence = watch._capture._cadence
            _take_histograms(cadence, histograms)
            yield Recording(training.step, writer.flush, watch.paused, lambda: cadence.reason)
            faults = list(writer._recorder._faults.messages)
            if faults:
                raise SystemExit(f"what was measured is of no worth, for not all was recorded: {'; '.join(faults)}")

    return way


@contextmanager
def pauses_unjudged() -> Iterator[None]:
    """Ours judges a run that pauses, as it stands; in a run that waits for its turn, another way would pay for it."""
    seconds = judge.IDLE_SECONDS
    judge.IDLE_SECONDS = threading.TIMEOUT_MAX / 2
    try:
        yield
    finally:
        judge.IDLE_SECONDS = seconds


def _take_histograms(cadence: Cadence, when: str) -> None:
    """Fixes how often histograms are taken, which is otherwise chosen by what they cost."""
    if when != "usual":
        cadence.__class__ = _CountedAlways if when == "every" else _CountedNever


class _CountedAlways(Cadence):
    @property
    def counted(self) -> bool:
        return True


class _CountedNever(Cadence):
    @property
    def counted(self) -> bool:
        return False


def without_native(way: Way) -> Way:
    """``way`` with the native core put away, but while it rests."""

    def other(training: Training, directory: str) -> Running:
        core = native.core
        if core is None:
            raise AbsentError("the native core is not built, and every figure of ours is one without it")

        @contextmanager
        def rest(of_way: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
            with of_way():
                native.core = core
                try:
                    yield
                finally:
                    native.core = None

        native.core = None
        try:
            for recording in way(training, directory):
                yield replace(recording, rest=partial(rest, recording.rest))
        finally:
            native.core = core

    return other


def add_histogram(training: Training, directory: str) -> Running:
    """The usual recipe: every weight and every gradient to ``add_histogram``, at every step."""
    with closing(TorchWriter(directory)) as writer:
        number = 0

        def step() -> None:
            nonlocal number
            training.step()
            for name, parameter in training.model.named_parameters():
                writer.add_histogram(name, parameter, number)
                writer.add_histogram(f"{name}.grad", parameter.grad, number)
            number += 1

        yield Recording(step, writer.flush)


def add_scalar(training: Training, directory: str) -> Running:
    """Mean, standard deviation, norm and largest element of every weight and gradient, each by ``.item()``."""
    with closing(TorchWriter(directory)) as writer:
        number = 0

        def step() -> None:
            nonlocal number
            training.step()
            for name, parameter in training.model.named_parameters():
                for tag, tensor in ((name, parameter.detach()), (f"{name}.grad", parameter.grad)):
                    assert tensor is not None
                    writer.add_scalar(f"{tag}/mean", tensor.mean().item(), number)
                    writer.add_scalar(f"{tag}/std", tensor.std(unbiased=False).item(), number)
                    writer.add_scalar(f"{tag}/norm", tensor.norm().item(), number)
                    writer.add_scalar(f"{tag}/max", tensor.abs().max().item(), number)
            number += 1

        yield Recording(step, writer.flush)
