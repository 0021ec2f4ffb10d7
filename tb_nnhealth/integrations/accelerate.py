"""``tracker = NNHealthTracker("exp1", "runs")`` for ``Accelerator(log_with=tracker)``, then ``tracker.watch``."""

from __future__ import annotations

import os
from typing import Any

import torch

from tb_nnhealth.findings import Finding
from tb_nnhealth.integrations.missing import missing
from tb_nnhealth.record.summary_writer import SummaryWriter
from tb_nnhealth.record.watch import Watch

try:
    from accelerate.tracking import TensorBoardTracker, on_main_process
except ImportError as error:
    raise missing("accelerate", "accelerate", error) from error


class NNHealthTracker(TensorBoardTracker):  # type: ignore[misc]
    """Accelerate's TensorBoardTracker, with the same arguments, on our writer, which can watch.

    ``watch`` is called on every process, after ``accelerator.prepare``; the others write no records of their own.
    """

    name = "nnhealth"
    requires_logging_directory = True

    def __init__(self, run_name: str, logging_dir: str | os.PathLike[str], **kwargs: Any) -> None:
        super().__init__(run_name, logging_dir, **kwargs)
        self._directory = os.path.join(logging_dir, run_name)
        self._arguments = kwargs
        self._writer: SummaryWriter | None = None

    @property
    def writer(self) -> SummaryWriter:
        """Opened when it is first asked for."""
        if self._writer is None:
            self._writer = SummaryWriter(self._directory, **self._arguments)
        return self._writer

    @on_main_process  # type: ignore[untyped-decorator]
    def start(self) -> None:
        self.logging_dir = self.writer.log_dir

    def watch(self, model: torch.nn.Module, optimizer: Any = None, **options: Any) -> Watch:
        """``SummaryWriter.watch`` of a prepared model and its prepared optimizer or optimizers.

        ``options`` are those of ``watch``; ``scaler`` is that of the prepared optimizer.
        """
        first = optimizer[0] if isinstance(optimizer, (list, tuple)) and optimizer else optimizer
        scaler = getattr(first, "scaler", None)
        found = {"scaler": scaler} if isinstance(scaler, torch.amp.GradScaler) else {}
        return self.writer.watch(model, optimizer, **{**found, **options})

    def findings(self) -> list[Finding]:
        """What the rules say of this run so far, also after ``accelerator.end_training()``."""
        return [] if self._writer is None else self._writer.findings()
