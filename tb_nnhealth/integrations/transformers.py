"""``trainer.add_callback(NNHealthCallback())``, or ``report_to="nnhealth"``, of Hugging Face's Trainer."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

from tb_nnhealth.findings import Finding
from tb_nnhealth.integrations.missing import missing
from tb_nnhealth.integrations.watching import directory_of_rank_zero, own_criterion, watch_options
from tb_nnhealth.record.faults import warn
from tb_nnhealth.record.summary_writer import SummaryWriter
from tb_nnhealth.record.watch import Watch

try:
    from transformers.integrations import TensorBoardCallback
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
except ImportError as error:
    raise missing("transformers", "transformers", error) from error


class NNHealthCallback(TensorBoardCallback):  # type: ignore[misc]
    """Hugging Face's TensorBoardCallback on our writer, which also watches the model while it trains.

    It logs what that one logs, to ``log_dir`` or where that one would; use it instead of ``report_to="tensorboard"``.
    ``options`` are those of ``SummaryWriter.watch``; by default ``step`` is the trainer's global step. Raises TypeError
    for an unknown option.
    """

    def __init__(self, log_dir: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__()
        self._options = watch_options("NNHealthCallback", options)
        self._watch: Watch | None = None
        self._writer: SummaryWriter | None = None
        self._SummaryWriter = self._open
        if log_dir is not None:
            self.logging_dir = os.fspath(log_dir)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_watch": None, "_writer": None, "tb_writer": None}

    @property
    def writer(self) -> SummaryWriter | None:
        """What the last training was recorded with; None before the first."""
        return self._writer

    def findings(self) -> list[Finding]:
        """What the rules say of the last training, also while it runs."""
        return [] if self._writer is None else self._writer.findings()

    def _open(self, log_dir: str) -> SummaryWriter:
        """The writer for ``log_dir``; one that a training has closed is opened again by what an evaluation logs."""
        if self._writer is None or str(self._writer.log_dir) != log_dir:
            self._writer = SummaryWriter(log_dir)
        return self._writer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        self._unwatch()
        if "tensorboard" in (args.report_to or ()):
            warn("report_to names tensorboard, whose callback logs the same scalars to its own directory; leave it out")
        directory = directory_of_rank_zero(self.logging_dir or "")
        model, optimizer = kwargs["model"], kwargs.get("optimizer")
        writer = self._writer if state.is_world_process_zero else self._open(directory)
        options = {"criterion": own_criterion(model), "step": _step_of(state), **self._options}
        if writer is not None:
            self._watch = writer.watch(model, optimizer, **options)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._unwatch()
        super().on_train_end(args, state, control, **kwargs)
        if self._writer is not None:
            self._writer.close()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.remove()
            self._watch = None


def _step_of(state: Any) -> Callable[[], int]:
    """The step at which the Trainer logs what the optimizer's step under way brings about."""
    reference = weakref.ref(state)

    def step() -> int:
        state = reference()
        return 0 if state is None else int(state.global_step) + 1

    return step


INTEGRATION_TO_CALLBACK.setdefault("nnhealth", NNHealthCallback)
