"""Other tools' ways of recording, each as its documentation has it. What does not run here raises ``AbsentError``."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter as TorchWriter

from benchmarks.trainings import Training
from benchmarks.ways import AbsentError, Recording, Running

_LONGEST_STEP = 10.0
"""Seconds that a peer's step may take; a longer one is told instead of measured."""


@contextmanager
def _limited(package: str) -> Iterator[None]:
    """Leaves a tool out whose step takes too long. Where there is no timer it takes what it takes."""

    def ring(*_: Any) -> None:
        raise AbsentError(f"{package}: a step takes more than {_LONGEST_STEP:.0f} s")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST_STEP)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _imported(package: str) -> Iterator[None]:
    """What goes wrong while a tool is imported and set up is the reason why it cannot be measured."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except AbsentError:
        raise
    except ModuleNotFoundError as error:
        missing = f"without {error.name}" if error.name != package else "not installed"
        raise AbsentError(f"{package}: {missing}") from error
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise AbsentError(f"{package}: {type(error).__name__}: {said}") from error


def wandb_watch(training: Training, directory: str) -> Running:
    """``wandb.watch(log="all", log_freq=1)`` offline, with one ``log`` a step, which sends what it gathered."""
    with _imported("wandb"):
        os.environ.update(WANDB_SILENT="true", WANDB_ERROR_REPORTING="false")
        import wandb

        run = wandb.init(mode="offline", dir=directory, settings=wandb.Settings(console="off", silent=True))
        run.watch(training.model, log="all", log_freq=1)

    def step() -> None:
        training.step()
        run.log({})

    yield Recording(step)
    run.finish()


def lightning_norms(training: Training, directory: str) -> Running:
    """Lightning's ``grad_norm(module, 2)`` with each norm logged, as its documentation advises."""
    with _imported("lightning"):
        from lightning.pytorch.utilities import grad_norm
    with closing(TorchWriter(directory)) as writer:
        number = 0
        hooked = training.optimizer.register_step_pre_hook

        def before(*_: Any) -> None:
            for tag, norm in grad_norm(training.model, norm_type=2).items():
                writer.add_scalar(tag, float(norm), number)

        def step() -> None:
            nonlocal number
            training.step()
            number += 1

        handle = hooked(before)
        yield Recording(step, writer.flush)
        handle.remove()


def cockpit(training: Training, directory: str) -> Running:
    """Cockpit's quantities of its economy configuration, at every step."""
    with _imported("cockpit"):
        from backpack import extend
        from cockpit import Cockpit
        from cockpit.utils.configuration import configuration

        extend(training.model, use_converter=not isinstance(training.model, torch.nn.Sequential))
        each = extend(torch.nn.CrossEntropyLoss(reduction="none"))
        extend(training.criterion)
        instrument = Cockpit(training.model.parameters(), quantities=configuration("economy"))
    number = 0

    def step() -> None:
        nonlocal number
        training.optimizer.zero_grad()
        outputs = training.model(training.x)
        loss, losses = training.criterion(outputs, training.y), each(outputs, training.y)
        info = {"batch_size": len(losses), "individual_losses": losses, "loss": loss, "optimizer": training.optimizer}
        with instrument(number, info=info):
            loss.backward(create_graph=instrument.create_graph(number))
        training.optimizer.step()
        number += 1

    with _imported("cockpit"), _limited("cockpit"):
        step()
    yield Recording(step)


def composer_monitor(training: Training, directory: str) -> Running:
    """Composer's ``OptimizerMonitor``, at every step: the metrics that it makes after the backward pass, logged."""
    with _imported("composer"):
        from composer.callbacks import OptimizerMonitor
        from composer.core import State
        from composer.loggers import Logger, TensorboardLogger

        state = State(
            model=training.model,
            rank_zero_seed=0,
            run_name="bench",
            device="cpu",
            optimizers=training.optimizer,
            device_train_microbatch_size=len(training.x),
        )
        logger = Logger(state=state, destinations=[TensorboardLogger(log_dir=directory)])
        monitor = OptimizerMonitor(log_optimizer_metrics=True)
        handle = training.optimizer.register_step_pre_hook(lambda *_: monitor.batch_end(state, logger))
    yield Recording(training.step)
    handle.remove()
