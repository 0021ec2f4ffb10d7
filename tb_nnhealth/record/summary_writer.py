"""The drop-in for ``torch.utils.tensorboard.SummaryWriter``: the same, and it can watch a model."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.tensorboard import SummaryWriter as TorchSummaryWriter
from torch.utils.tensorboard.summary import hparams, scalar

from tb_nnhealth import schema
from tb_nnhealth.checks import PreflightReport
from tb_nnhealth.findings import Finding
from tb_nnhealth.phases import names_line
from tb_nnhealth.record.entries import Serialized
from tb_nnhealth.record.faults import describe, warn
from tb_nnhealth.record.file_writer import FileWriter, PlainEvents, RunEvents
from tb_nnhealth.record.recorder import Recorder

if TYPE_CHECKING:
    from tb_nnhealth.record.watch import Watch


class SummaryWriter(TorchSummaryWriter):  # type: ignore[misc]
    """PyTorch's writer with ``watch``; the same constructor, methods, files and errors of use.

    What differs is what happens to a fault of the disk. A ``log_dir`` that cannot be written raises OSError here;
    after that nothing raises: events wait in a bounded queue, what is lost is counted, and one ``ShimWarning`` tells
    of it. ``max_queue`` is taken and has no effect, as the queue never blocks. At the exit of the process all that was
    added is written, also without ``close``. In a forked child, and in a pickled copy, every method does nothing.
    """

    file_writer: FileWriter | None
    all_writers: Any
    purge_step: int | None

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
    ) -> None:
        self._recorder: Recorder | None = None
        self._watches: dict[str, Watch] = {}
        super().__init__(log_dir, comment, purge_step, max_queue, flush_secs, filename_suffix)

    def __getstate__(self) -> dict[str, Any]:
        own = ("_recorder", "_watches", "file_writer", "all_writers")
        return {**{key: value for key, value in vars(self).items() if key not in own}, "_recorder": self._recorder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # the recorder comes out of its pickle as one that does nothing
        self._watches = {}
        self.file_writer = self.all_writers = None

    def _get_file_writer(self) -> FileWriter:
        """PyTorch's way to the file, used by every ``add_...``; opens it again after ``close``."""
        if self.all_writers is None or self.file_writer is None:
            if self._recorder is None:
                self._recorder = Recorder(
                    str(self.log_dir),
                    purge_step=self.purge_step,
                    flush_secs=self.flush_secs,
                    filename_suffix=self.filename_suffix,
                )
            self._recorder.reopen()
            self.file_writer = FileWriter(RunEvents(self._recorder))
            self.all_writers = {self.file_writer.get_logdir(): self.file_writer}
            self.purge_step = None
        return self.file_writer

    # --- PyTorch's methods that open files of their own -------------------------------------------------------------

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Adds scalars that share a plot, as PyTorch's: each into a run of its own beneath this one."""
        torch._C._log_api_usage_once("tensorboard.logging.add_scalars")
        walltime = time.time() if walltime is None else walltime
        directory = self._get_file_writer().get_logdir()
        for tag, value in tag_scalar_dict.items():
            place = directory + "/" + main_tag.replace("/", "_") + "_" + tag
            if place not in self.all_writers:
                line = tag if "/" not in tag and names_line(os.path.basename(place)) else ""
                self.all_writers[place] = self._plain_writer(place, self.filename_suffix, line)
            self.all_writers[place].add_summary(scalar(main_tag, value), global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Adds hyperparameters and their metrics, as PyTorch's: into a run of their own beneath this one."""
        torch._C._log_api_usage_once("tensorboard.logging.add_hparams")
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        summaries = hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        place = os.path.join(self._get_file_writer().get_logdir(), run_name or str(time.time()))
        writer = self._plain_writer(place, "")
        try:
            for summary in summaries:
                writer.add_summary(summary, global_step)
            for tag, value in metric_dict.items():
                writer.add_summary(scalar(tag, value), global_step)
        finally:
            writer.close()

    def add_embedding(self, *args: Any, **kwargs: Any) -> None:
        """Adds an embedding, as PyTorch's; its files are written here and now, and a fault of the disk only warns."""
        self._get_file_writer()
        if not self._recording:
            return
        try:
            super().add_embedding(*args, **kwargs)
        except NotADirectoryError:  # PyTorch's own word on a tag that names a file
            raise
        except OSError as error:
            warn(f"add_embedding could not write to {self.log_dir}: {describe(error)}")

    def close(self) -> None:
        """Ends the files, as PyTorch's; on a rank other than 0 only once rank 0 has been told of the last steps."""
        for watch in list(self._watches.values()):
            watch.settle()
        self._flush_lines()
        super().close()

    def _plain_writer(self, directory: str, suffix: str, line: str = "") -> FileWriter:
        """Events of a directory beneath the run's; those of a ``line`` of a plot go to the run's judge, too."""
        told = functools.partial(self._recorder.line, line) if line and self._recorder is not None else Serialized
        events = PlainEvents(directory, self.flush_secs, suffix, told)
        if not self._recording:
            events.detach()
        return FileWriter(events)

    def _flush_lines(self) -> None:
        """Waits until the run's judge has seen what ``add_scalars`` added."""
        for writer in (self.all_writers or {}).values():
            if writer is not self.file_writer:
                writer.flush()

    @property
    def _recording(self) -> bool:
        return self._recorder is not None and self._recorder.is_open

    # --- health -----------------------------------------------------------------------------------------------------

    def watch(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
        *,
        criterion: torch.nn.Module | None = None,
        scaler: torch.amp.GradScaler | None = None,
        name: str | None = None,
        every: int | None = None,
        budget: float = 0.02,
        step: Callable[[], int] | None = None,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        rules: Mapping[str, Any] | None = None,
        scalars: Mapping[str, Any] | None = None,
        shards: str = "store",
        updates: str = "exact",
        compiled: bool = False,
    ) -> Watch:
        """Records the health of ``model`` while ``optimizer`` trains it; returns a handle.

        ``criterion`` is the loss module: with it, what goes into the loss is seen; left out, it is found where a module
        outside the model takes what the model returns and gives a loss. ``scaler`` is the gradient scaler of
        mixed precision: its scale is recorded. ``every=N`` measures every N-th step; without it, as many as keep the
        cost below ``budget``, a share of the step's time. ``step`` returns the number of the step where it is the
        user's own; without it the optimizer's steps are counted, those before the watch included. ``include`` and
        ``exclude`` are globs on module names. ``rules`` tunes or silences rules; ``scalars`` gives scalar tags names
        that the rules understand: ``{"objective": "loss/train"}``. The file ``nnhealth.toml`` may say both
        (docs/tuning.md). ``shards`` says how statistics of parameters that are spread over the ranks of a job come
        together (docs/distributed.md). With ``updates="sampled"`` what a step changes is known from a sample of each
        weight, which takes no memory, and ``compiled=True`` sees activations in code that ``torch.compile`` takes after
        this call (docs/capture.md). Call ``watch`` again for another model, best with a ``name`` of its own: without
        one it is ``model``, and for further models ``model-2`` and so on.

        Raises TypeError and ValueError for what cannot be watched, before anything is touched.
        """
        from tb_nnhealth.record.watch import Watch

        self._get_file_writer()
        name = self._free_name(model) if name is None else name
        watch = Watch(
            self._recorder,
            model,
            optimizer,
            criterion=criterion,
            scaler=scaler,
            name=name,
            every=every,
            budget=budget,
            step=step,
            include=include,
            exclude=exclude,
            rules=rules,
            scalars=scalars,
            shards=shards,
            updates=updates,
            compiled=compiled,
        )
        self._watches[name] = watch
        return watch

    def _free_name(self, model: torch.nn.Module) -> str:
        """The default, numbered where other models go by it: a loop over folds watches one model after the other."""
        names = chain([schema.DEFAULT_WATCH], (f"{schema.DEFAULT_WATCH}-{number}" for number in count(2)))
        return next(n for n in names if n not in self._watches or not self._watches[n].holds_name_from(model))

    def unwatch(self, name: str | torch.nn.Module | None = None) -> None:
        """Takes away the hooks of the watch ``name``, of all watches of a model, or of all there are.

        Raises ValueError where there is no such watch.
        """
        if name is None:
            ended = list(self._watches)
        elif isinstance(name, str):
            ended = [name] if name in self._watches else []
        else:
            ended = [each for each, watch in self._watches.items() if watch.is_of(name)]
        if not ended and name is not None:
            meant = f"named {name!r}" if isinstance(name, str) else f"of this {type(name).__name__}"
            there = ", ".join(map(repr, self._watches)) or "none"
            raise ValueError(f"unwatch: there is no watch {meant} in {self.log_dir}; there is {there}")
        for each in ended:
            self._watches.pop(each).remove()

    def observe(
        self,
        inputs: Any = None,
        targets: Any = None,
        outputs: Any = None,
        loss: Any = None,
        *,
        probe: Any = None,
        unclipped: bool = False,
    ) -> None:
        """Shows a batch to the watches, where the loss is a function and not a module given as ``criterion``.

        ``probe`` is the predictions on a batch that stays the same, and ``unclipped=True`` records the gradients before
        clipping, as in ``Watch.observe``.
        """
        for watch in list(self._watches.values()):
            watch.observe(inputs=inputs, targets=targets, outputs=outputs, loss=loss, probe=probe, unclipped=unclipped)

    def add_preflight(self, report: PreflightReport) -> None:
        """Adds what the checks before training said, which ``preflight(writer=...)`` does by itself."""
        self._get_file_writer()
        if self._recorder is not None:
            self._recorder.add_preflight(report)

    def findings(self) -> list[Finding]:
        """What the rules say of this run so far, the one to act on first; also after ``close``."""
        self._flush_lines()
        return self._recorder.findings() if self._recorder is not None else []
