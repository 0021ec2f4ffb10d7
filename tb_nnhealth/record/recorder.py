"""The recorder of a run, without torch: its event file, its watches' streams, ``record`` for any framework."""

from __future__ import annotations

import operator
import os
import re
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto import event_pb2

from tb_nnhealth import schema
from tb_nnhealth.checks import PreflightReport
from tb_nnhealth.events import encode
from tb_nnhealth.findings import Finding
from tb_nnhealth.record import plain_arrays
from tb_nnhealth.record.entries import Entry, Kind, Serialized, Tally
from tb_nnhealth.record.event_file import FLUSH_SECONDS, EventFile
from tb_nnhealth.record.faults import Faults, describe
from tb_nnhealth.record.health_entries import (
    NumberEvent,
    PreflightNote,
    SessionStart,
)
from tb_nnhealth.record.health_log import HealthLog
from tb_nnhealth.record.plain_table import PlainTable, Shaped
from tb_nnhealth.record.row_order import RowOrder
from tb_nnhealth.record.watch_stream import WatchStream

if TYPE_CHECKING:
    from tb_nnhealth.rules.configuration import Tuning
    from tb_nnhealth.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class Recorder:
    """Writes health records, from any framework, into an event file that TensorBoard reads.

    ``purge_step`` hides from TensorBoard what earlier files of ``log_dir`` hold from that step on, as
    ``SummaryWriter``'s does; ``rules`` and ``scalars`` tune the judgement as those of ``watch`` do; ``framework`` is
    told in the log. Raises OSError where ``log_dir`` cannot be written, and ValueError for unknown rules. After that
    no fault of the disk raises: it is told once as a ``ShimWarning``, and what is lost is counted.

    In a forked child, and in the copy that pickling makes, every method does nothing.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        *,
        purge_step: int | None = None,
        flush_secs: float = 30.0,
        filename_suffix: str = "",
        rules: Mapping[str, Any] | None = None,
        scalars: Mapping[str, Any] | None = None,
        framework: str = "",
    ) -> None:
        self.log_dir = os.fspath(log_dir)
        self._framework = framework
        self._given = rules, scalars
        if rules is not None or scalars is not None:
            tuning(rules, scalars)
        self._pid: int | None = os.getpid()
        self.first_step = purge_step or 0
        """Where a watch begins to count whose optimizer keeps no count."""
        self._prepare(flush_secs, filename_suffix)
        self._file.open()
        self.is_open = True
        if purge_step is not None:
            self._restart(purge_step)

    def _prepare(self, flush_secs: float, filename_suffix: str) -> None:
        self._faults = Faults()
        run_name = os.path.basename(os.path.abspath(self.log_dir))
        self._health = HealthLog(run_name, self._faults)
        self._file = EventFile(
            self.log_dir, suffix=filename_suffix, flush_secs=flush_secs, faults=self._faults, companion=self._health
        )
        self._health.counts = self._file.counts
        self._orders: dict[str, RowOrder] = {}
        self._watches: set[str] = set()
        self._marked = False
        self._own: tuple[WatchStream, PlainTable] | None = None
        weakref.finalize(self, self._file.begin_close).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (self.log_dir,)

    @property
    def is_open(self) -> bool:
        """Between construction, or the last add or record, and ``close``; never in another process."""
        return self._is_open and os.getpid() == self._pid

    @is_open.setter
    def is_open(self, value: bool) -> None:
        self._is_open = value

    def _restart(self, step: int) -> None:
        self._marked = True
        for event in (
            event_pb2.Event(wall_time=time.time(), step=step, file_version=encode.FILE_VERSION).SerializeToString(),
            encode.session_start(time.time(), step),
        ):
            self._file.put(Serialized(event, keep=True))

    # --- ordinary events --------------------------------------------------------------------------------------------

    def add_event(self, event: Any) -> None:
        """Adds an ``event_pb2.Event`` of the user's. Raises TypeError where it is none, as PyTorch's writer does."""
        if not isinstance(event, event_pb2.Event):
            raise TypeError(f"expected an event_pb2.Event, found {type(event).__name__}")
        self._is_open = True
        data = event.SerializeToString()
        numbers = any(value.WhichOneof("value") in ("simple_value", "tensor") for value in event.summary.value)
        self._file.put(NumberEvent(self._health, data) if numbers else Serialized(data))

    def line(self, name: str, data: bytes) -> Entry:
        """An event for another file, that of a line of this run's plots, which this run's judge reads as well."""
        return NumberEvent(self._health, data, name)

    # --- health -----------------------------------------------------------------------------------------------------

    def open_watch(
        self,
        name: str | None = None,
        rules: Mapping[str, Any] | None = None,
        scalars: Mapping[str, Any] | None = None,
    ) -> WatchStream:
        """Opens the stream of the watch ``name``, by default ``schema.DEFAULT_WATCH``.

        What neither this nor the recorder was given stands in the user's settings file. Raises ValueError where the
        name cannot stand in a tag or is in use, or where ``rules``, ``scalars`` or that file name what is unknown.
        """
        name = schema.DEFAULT_WATCH if name is None else name
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"watch: expected a name of letters, digits, '_', '.' and '-', found {name!r}")
        if name in self._watches:
            raise ValueError(
                f"watch: there is already a watch named {name!r} in {self.log_dir}; give this one another name=, "
                f"or call unwatch({name!r}) first"
            )
        if rules is None:
            rules = self._given[0]
        if scalars is None:
            scalars = self._given[1]
        settings = _settings()
        wanted = tuning(rules, scalars).over(settings.tuning)
        self._health.open_findings.on = settings.open_findings
        if not self._marked:
            self._marked = True
            self._file.put(SessionStart(self._health))
        self._is_open = True
        self._watches.add(name)
        self._health.judge.prepare()
        return WatchStream(self, name, wanted)

    def record(self, step: int, statistics: Mapping[str, Mapping[str, float]]) -> None:
        """Records ``{name: {statistic: value}}`` at ``step``, from any framework.

        A name is that of a parameter or module and, after a colon, of a kind: ``"encoder.weight:gradient"``. Without a
        kind it is a weight; ``"loss"``, ``"input"``, ``"prediction"`` and ``"target"`` alone are kinds. Kinds are
        ``schema.KINDS``, statistics ``schema.STATISTICS``; what is left out was not measured. Raises ValueError or
        TypeError for a step, name, kind, statistic or value that is none; nothing is written then.
        """
        self._record(step, statistics)

    def _record(
        self, step: int, statistics: Mapping[str, Mapping[str, float]], arrays: Mapping[str, Shaped] | None = None
    ) -> None:
        step = _whole(step)
        if self._own is None:
            self._own = self.open_watch(), PlainTable(self._framework)
        stream, table = self._own
        values, grown = table.values(statistics, arrays)
        self._is_open = True
        if grown:
            stream.layout(table.layout)
        stream.stats(step, values)

    def measure(
        self,
        step: int,
        *,
        weights: Any = None,
        gradients: Any = None,
        updates: Any = None,
        activations: Any = None,
        activation_gradients: Any = None,
        inputs: Any = None,
        predictions: Any = None,
        targets: Any = None,
        loss: Any = None,
        learning_rate: float | None = None,
    ) -> None:
        """Records the statistics of arrays at ``step``, from any framework whose arrays NumPy can read.

        Arrays of any shape and real dtype stand alone or nested in mappings, sequences and dataclasses, whose keys,
        places and fields make their names: ``{"hidden": {"weight": w}}`` is ``hidden.weight``. Weights, gradients and
        updates of one parameter must have one name; ``updates`` are weights after the step minus before, and a matrix's
        last dimension is its outputs. Activations are named after their layers. What has a gradient or an update counts
        as trained. Of nested inputs, predictions, targets and losses the first is taken. Raises TypeError for what is
        no array of real numbers; nothing is written then.
        """
        given = {
            schema.WEIGHT: weights, schema.GRADIENT: gradients, schema.UPDATE: updates,
            schema.ACTIVATION: activations, schema.ACTIVATION_GRADIENT: activation_gradients,
            schema.INPUT: inputs, schema.PREDICTION: predictions, schema.TARGET: targets, schema.LOSS: loss,
            schema.LEARNING_RATE: None if learning_rate is None else {"0": learning_rate},
        }  # fmt: skip
        self._record(step, *plain_arrays.measured(given))

    def add_preflight(self, report: PreflightReport) -> None:
        """Adds what the checks before training said, which ``preflight(writer=...)`` does by itself."""
        self._is_open = True
        self._file.put(PreflightNote(self._health, report.encode()))

    def findings(self, watch: str | None = None, *, timeout: float = FLUSH_SECONDS) -> list[Finding]:
        """What the rules say of all that was added so far; also after ``close``. Waits at most ``timeout`` seconds."""
        if os.getpid() != self._pid:
            return []
        self._file.flush(timeout)
        try:
            return list(self._health.judge.findings(watch))
        except Exception as error:
            self._faults.tell(f"the rules could not be asked: {describe(error)}")
            return []

    # --- life -------------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Mapping[Kind, Tally]:
        """What was produced, written and dropped of "event", "record" and "extra" entries, since construction."""
        return self._file.counts

    def reopen(self) -> None:
        """Takes records again after ``close``; a new file is begun with the next event."""
        self._is_open = True

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Waits until all is in the file; whether it is, after at most ``timeout`` seconds."""
        return self._file.flush(timeout)

    def close(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Ends the file in order. Watches rest until something is added again, which begins a new file."""
        self._is_open = False
        return self._file.close(timeout)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _whole(step: Any) -> int:
    """A step as TensorBoard counts them, whatever library's number it is."""
    try:
        number = operator.index(step)
    except TypeError:
        raise TypeError(f"record: expected a whole number as the step, found {step!r}") from None
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"record: expected a step of 64 bits, found {number}")
    return number


def tuning(rules: Mapping[str, Any] | None, scalars: Mapping[str, Any] | None) -> Tuning:
    """What was given, checked. Raises TypeError and ValueError for what no rule understands."""
    from tb_nnhealth.rules.configuration import Tuning

    return Tuning({} if rules is None else rules, {} if scalars is None else scalars)


def _settings() -> Settings:
    from tb_nnhealth.settings import Settings, discover

    try:
        here = Path.cwd()
    except OSError:  # the directory that the training runs in is gone
        return Settings()
    return discover(here)


def _detached(log_dir: str) -> Recorder:
    """What a pickled recorder becomes elsewhere: one that does nothing."""
    recorder = Recorder.__new__(Recorder)
    recorder.log_dir, recorder._framework, recorder._given = log_dir, "", (None, None)
    recorder._pid, recorder.first_step = None, 0
    recorder._is_open = False
    recorder._prepare(0.0, "")
    recorder._file.detach()
    return recorder
