"""``Trainer(logger=NNHealthLogger("runs"), callbacks=[NNHealthCallback()])`` of the package ``pytorch_lightning``."""

from __future__ import annotations

from tb_nnhealth.integrations.lightning_hooks import HealthExperiment, HealthHooks
from tb_nnhealth.integrations.missing import missing

try:
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers import TensorBoardLogger
except ImportError as error:
    raise missing("pytorch_lightning", "pytorch_lightning", error) from error


class NNHealthCallback(HealthHooks, Callback):  # type: ignore[misc]
    """Watches the LightningModule while it trains; ``log_dir`` and options of ``watch`` as ``HealthHooks`` has them."""


class NNHealthLogger(HealthExperiment, TensorBoardLogger):  # type: ignore[misc]
    """Lightning's TensorBoardLogger, with the same arguments, on our writer: scalars and health in one file."""
