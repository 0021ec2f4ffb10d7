"""``NNHealthLogger(log_dir="runs/exp1").watch(trainer, model, optimizer)`` of PyTorch-Ignite."""

from __future__ import annotations

from typing import Any

import torch

from tb_nnhealth.findings import Finding
from tb_nnhealth.integrations.missing import missing
from tb_nnhealth.record.summary_writer import SummaryWriter
from tb_nnhealth.record.watch import Watch

try:
    from ignite.engine import Engine
    from ignite.handlers.tensorboard_logger import TensorboardLogger
except ImportError as error:
    raise missing("pytorch-ignite", "ignite", error) from error


class NNHealthLogger(TensorboardLogger):  # type: ignore[misc]
    """Ignite's TensorboardLogger on our writer: handlers attach as to it, arguments are those of ``SummaryWriter``."""

    writer: SummaryWriter

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.writer = SummaryWriter(*args, **kwargs)

    def watch(self, engine: Engine, model: torch.nn.Module, optimizer: Any = None, **options: Any) -> Watch:
        """``SummaryWriter.watch`` of what ``engine`` trains; steps are the engine's iterations.

        ``options`` are those of ``watch``.
        """
        return self.writer.watch(model, optimizer, **{"step": lambda: int(engine.state.iteration), **options})

    def findings(self) -> list[Finding]:
        """What the rules say of this run so far, also after ``close``."""
        return self.writer.findings()

    def close(self) -> None:
        """Takes every hook away and ends the file."""
        self.writer.unwatch()
        self.writer.close()
