"""``NeuralNetClassifier(..., callbacks=[NNHealthCallback(SummaryWriter("runs/exp1"))])`` of skorch."""

from __future__ import annotations

from typing import Any

from tb_nnhealth.findings import Finding
from tb_nnhealth.integrations.missing import missing
from tb_nnhealth.record.summary_writer import SummaryWriter

try:
    from skorch.callbacks import TensorBoard
    from skorch.callbacks.logging import rename_tensorboard_key
except ImportError as error:
    raise missing("skorch", "skorch", error) from error


class NNHealthCallback(TensorBoard):  # type: ignore[misc]
    """skorch's TensorBoard callback, with the same arguments, that also watches the net while it trains.

    ``writer`` is our ``SummaryWriter``; ``watch`` holds options of its ``watch``.
    """

    def __init__(
        self,
        writer: SummaryWriter,
        close_after_train: bool = True,
        keys_ignored: Any = None,
        key_mapper: Any = rename_tensorboard_key,
        watch: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(writer, close_after_train, keys_ignored, key_mapper)
        self.watch = watch

    def findings(self) -> list[Finding]:
        """What the rules say of this run so far, also after the training."""
        return list(self.writer.findings())

    def on_train_begin(self, net: Any, *args: Any, **kwargs: Any) -> None:
        super().on_train_begin(net, *args, **kwargs)
        self.writer.unwatch()
        self.writer.watch(net.module_, net.optimizer_, **{"criterion": net.criterion_, **(self.watch or {})})

    def on_train_end(self, net: Any, *args: Any, **kwargs: Any) -> None:
        self.writer.unwatch()
        super().on_train_end(net, *args, **kwargs)
