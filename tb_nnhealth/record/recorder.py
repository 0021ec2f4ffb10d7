"""The recorder of a run, without torch: its event file, its watches' streams, ``record`` for any framework."""

from __future__ import annotations

import json
import os
import re
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import event_pb2

from tb_nnhealth import messages, schema
from tb_nnhealth.checks import PreflightReport
from tb_nnhealth.events import encode
from tb_nnhealth.findings import Finding
from tb_nnhealth.record import plain_arrays
from tb_nnhealth.record.entries import Kind, Serialized, Tally
from tb_nnhealth.record.event_file import FLUSH_SECONDS, EventFile
from tb_nnhealth.record.faults import Faults, describe
from tb_nnhealth.record.health_entries import (
    FiltersNote,
    HistogramRecord,
    LayoutNote,
    NumberEvent,
    PreflightNote,
    SessionStart,
    StatsRecord,
)
from tb_nnhealth.record.health_log import CaptureState, HealthLog
from tb_nnhealth.record.plain_table import PlainTable, Shaped
from tb_nnhealth.record.row_order import RowOrder, placed

if TYPE_CHECKING:
    from tb_nnhealth.rules.configuration import Tuning
    from tb_nnhealth.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class WatchStream:
    """The way of one watch into the log. Methods return at once and never raise."""

    def __init__(self, recorder: Recorder, name: str, tuning: Tuning) -> None:
        self.name = name
        self.capture = recorder._health.captures.setdefault(name, CaptureState())
        """What the watch says of its own measuring; to be changed in place."""
        self._rules_json = json.dumps(tuning.rules) if tuning.rules else ""
        self._scalars_json = json.dumps(tuning.scalars) if tuning.scalars else ""
        self._recorder = recorder
        self._pending: bytes | None = None
        self._closed = False
        self._order = recorder._orders.setdefault(name, RowOrder())
        self._places: NDArray[np.intp] | None = None
        self._again = self._order.used

    @property
    def active(self) -> bool:
        """Records are taken: not while the writer is closed (the next ``add_...`` reopens it), nor after ``close``."""
        return not self._closed and self._recorder.is_open

    @property
    def background_seconds(self) -> float:
        """What the writer's thread has worked for the records so far; of several watches each bears an equal part."""
        return self._recorder._file.seconds / max(1, len(self._recorder._watches))

    def layout(self, layout: Any) -> None:
        """Says what the rows of all records mean, past and to come: a ``messages.Layout``, rows only ever appended.

        It is written before the next record, at its step: a reader takes a layout to be in force from its step on.
        """
        try:
            copy = messages.Layout()
            copy.CopyFrom(layout)
            copy.watch = self.name
            copy.rules_json = copy.rules_json or self._rules_json
            copy.scalars_json = copy.scalars_json or self._scalars_json
            self._order.used = True
            if self._again:
                self._places = self._order.merge(copy)
            else:
                self._order.note(copy)
            self._pending = copy.SerializeToString()
        except Exception as error:
            self.error(error)

    def stats(
        self,
        step: int,
        values: NDArray[np.float32] | Callable[[], NDArray[np.float32] | None],
        *,
        size: int = 0,
    ) -> None:
        """Records statistics: float32 of shape (rows, columns), handed over, or a callable that makes them.

        A callable runs on the writer's thread; None from it drops the record, counted. ``size`` is the memory that it
        holds until then, in bytes.
        """
        self._put(StatsRecord, step, values, np.nan, size)

    def histograms(
        self,
        step: int,
        counts: NDArray[np.int32] | Callable[[], NDArray[np.int32] | None],
        *,
        size: int = 0,
    ) -> None:
        """Records histograms, int32 of shape (rows, ``schema.HISTOGRAM_BINS``), as ``stats`` does statistics."""
        self._put(HistogramRecord, step, counts, 0, size)

    def filters(self, step: int, make: Callable[[], bytes | None], *, size: int = 0) -> None:
        """Records pictures of filters; ``make`` runs on the writer's thread and gives them encoded."""
        if not self.active:
            return
        try:
            self._recorder._file.put(FiltersNote(self._recorder._health, self.name, step, make, size))
        except Exception as error:
            self.error(error)

    def _put(
        self, kind: type[StatsRecord] | type[HistogramRecord], step: int, values: Any, missing: float, size: int
    ) -> None:
        if not self.active:
            return
        try:
            file, health = self._recorder._file, self._recorder._health
            if self._pending is not None:
                file.put(LayoutNote(health, self.name, step, self._pending))
                self._pending = None
            size = values.nbytes if isinstance(values, np.ndarray) else size
            file.put(kind(health, self.name, step, self._table(values, missing), size))
        except Exception as error:
            self.error(error)

    def _table(self, values: Any, missing: float) -> Any:
        """``values`` as the log orders its rows."""
        places = self._places
        if places is None:
            return values

        def table() -> Any:
            made = values() if callable(values) else values
            return None if made is None else placed(np.asarray(made), places, missing)

        return table

    def error(self, error: BaseException | str) -> None:
        """Tells of a fault inside the shim: once as a warning, and in the log."""
        message = error if isinstance(error, str) else describe(error)
        self._recorder._faults.tell(f"watch {self.name!r}: {message}")

    def close(self) -> None:
        """Takes no further records; the name may be opened again, and its table goes on."""
        self._closed = True
        self._recorder._watches.discard(self.name)

    def findings(self) -> list[Finding]:
        """Findings of this watch, and of the run's scalars."""
        return self._recorder.findings(watch=self.name)


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
        TypeError for a name, kind, statistic or value that is none; nothing is written then.
        """
        self._record(step, statistics)

    def _record(
        self, step: int, statistics: Mapping[str, Mapping[str, float]], arrays: Mapping[str, Shaped] | None = None
    ) -> None:
        step = int(step)
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
    recorder._pid = None
    recorder._is_open = False
    recorder._prepare(0.0, "")
    recorder._file.detach()
    return recorder
