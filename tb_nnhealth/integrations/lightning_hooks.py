"""The Lightning callback and logger without Lightning, which exists as ``lightning`` and as ``pytorch_lightning``."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

import torch

from tb_nnhealth.findings import Finding
from tb_nnhealth.integrations.watching import directory_of_rank_zero, own_criterion, watch_options
from tb_nnhealth.record.faults import describe, warn
from tb_nnhealth.record.rank_store import job
from tb_nnhealth.record.summary_writer import SummaryWriter
from tb_nnhealth.record.watch import Watch


class HealthHooks:
    """A callback's hooks: the model is watched from the first training batch to the last.

    ``log_dir`` is where to write; by default the run's own: into the file of an ``NNHealthLogger``, beside that of
    another logger, else ``nnhealth`` in the trainer's ``default_root_dir``. ``options`` are those of
    ``SummaryWriter.watch``; by default ``criterion`` is the one loss module that the LightningModule holds, ``scaler``
    that of the precision plugin, and ``step`` the step at which Lightning logs. A ``fast_dev_run`` is not watched.
    Raises TypeError for an unknown option; where training starts, what ``watch`` raises.
    """

    activated = False
    """Brought by the entry point: gives way to a callback of the user's, and warns where that one would raise."""

    def __init__(self, log_dir: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__()
        self._log_dir = None if log_dir is None else os.fspath(log_dir)
        self._options = watch_options(type(self).__name__, options)
        self._watch: Watch | None = None
        self._writer: SummaryWriter | None = None
        self._writer_is_own = self._observes_loss = False

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_watch": None, "_writer": None}

    @property
    def writer(self) -> SummaryWriter | None:
        """What the last training was recorded with; None before the first."""
        return self._writer

    def findings(self) -> list[Finding]:
        """What the rules say of the last training, also while it runs."""
        return [] if self._writer is None else self._writer.findings()

    # --- called by the trainer --------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._finish()
        if trainer.fast_dev_run or (self.activated and _users_own(trainer)):
            return
        try:
            self._begin(trainer, pl_module)
        except Exception as error:
            if not self.activated:
                raise
            warn(f"this training is not watched: {describe(error)}")

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        if self._observes_loss and self._watch is not None:
            self._watch.observe(loss=loss.detach() * trainer.accumulate_grad_batches)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._finish()

    # ----------------------------------------------------------------------------------------------------------------

    def _begin(self, trainer: Any, pl_module: Any) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        defaults = {
            "criterion": own_criterion(pl_module),
            "scaler": scaler if isinstance(scaler, torch.amp.GradScaler) else None,
            "step": _step_of(trainer),
        }
        options = {**defaults, **self._options}
        self._writer = self._writer_for(trainer)
        self._watch = self._writer.watch(pl_module, list(trainer.optimizers) or None, **options)
        losses_are_plain = scaler is None and pl_module.automatic_optimization
        self._observes_loss = losses_are_plain and options["criterion"] is None

    def _writer_for(self, trainer: Any) -> SummaryWriter:
        directory = directory_of_rank_zero(self._log_dir or _run_directory(trainer))
        if self._log_dir is None and not job()[0]:
            for logger in trainer.loggers:
                if isinstance(logger, HealthExperiment) and isinstance(logger.experiment, SummaryWriter):
                    self._writer_is_own = False
                    return logger.experiment
        self._writer_is_own = True
        if self._writer is not None and str(self._writer.log_dir) == directory:
            return self._writer
        return SummaryWriter(directory)

    def _finish(self) -> None:
        if self._watch is None:
            return
        self._watch.remove()
        self._watch = None
        if self._writer_is_own and self._writer is not None:
            self._writer.close()


class HealthExperiment:
    """A TensorBoardLogger's ``experiment``: our writer, so that scalars and health are one run in one file."""

    _experiment: Any
    _kwargs: dict[str, Any]
    log_dir: str

    @property
    def experiment(self) -> Any:
        """The ``SummaryWriter``; on other ranks than 0 what Lightning gives there, which does nothing."""
        if self._experiment is None and self._on_rank_zero():
            self._experiment = SummaryWriter(log_dir=self.log_dir, **self._kwargs)
        return super().experiment  # type: ignore[misc]

    def findings(self) -> list[Finding]:
        """What the rules say of this run so far, also after the training."""
        return [] if self._experiment is None else list(self._experiment.findings())

    def _on_rank_zero(self) -> bool:
        from lightning_utilities.core.rank_zero import rank_zero_only

        return not getattr(rank_zero_only, "rank", 0)


def _users_own(trainer: Any) -> bool:
    return any(isinstance(callback, HealthHooks) and not callback.activated for callback in trainer.callbacks)


def _run_directory(trainer: Any) -> str:
    """Of the logger that writes for TensorBoard, else of the first that has a directory."""
    ours = [logger for logger in trainer.loggers if isinstance(logger, HealthExperiment)]
    for_tensorboard = [logger for logger in trainer.loggers if "TensorBoard" in type(logger).__name__]
    for logger in (*ours, *for_tensorboard, *trainer.loggers):
        directory = getattr(logger, "log_dir", None)
        if isinstance(directory, str):
            return directory
    return os.path.join(trainer.default_root_dir, "nnhealth")


def _step_of(trainer: Any) -> Callable[[], int]:
    """The step at which Lightning logs what a training batch logs: batches that stepped, however many optimizers."""
    reference = weakref.ref(trainer)

    def step() -> int:
        trainer = reference()
        if trainer is None:
            return 0
        return int(getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step))

    return step
