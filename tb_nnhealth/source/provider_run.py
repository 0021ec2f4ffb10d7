"""One run as TensorBoard's DataProvider gives it, read anew only where it has grown."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Protocol

from tb_nnhealth import schema
from tb_nnhealth.events.decode import (
    CaptureSeen,
    Decoder,
    PreflightSeen,
    SessionStart,
    Tag,
    Value,
    check_version,
    health_value,
)
from tb_nnhealth.events.reader import EventFile
from tb_nnhealth.events.tensor import FormatError
from tb_nnhealth.events.walk import event_files
from tb_nnhealth.history import History, Problem, Run, Series
from tb_nnhealth.source.build import WatchBuilder, in_order
from tb_nnhealth.source.run_files import RunFiles
from tb_nnhealth.source.watch_tensors import build_watch

TAGS_AT_ONCE = 50
"""Scalar tags asked for in one reply, which may not exceed 256 MiB."""

BEGINNING_BYTES = 1 << 20
"""Of an event file, which tell whether it is worth reading before TensorBoard has."""

TRIES = 3
"""Of a tag whose data TensorBoard could not give, before it is left alone until it grows."""


class ReadData(Protocol):
    """Reads all data of some tags of one run: ``TensorDatum`` or ``ScalarDatum`` by tag. May raise anything."""

    def __call__(self, tags: Sequence[str]) -> Mapping[str, Sequence[Any]]: ...


ReadFiles = Callable[[], Run | None]


class ProviderRun:
    """One run.

    TensorBoard lists a run long before it has read it. So long the run is read from its event files below ``logdir``.

    Of a scalar tag with ``samples`` points TensorBoard may have kept only a sample (0: it keeps all). Such a tag
    is read from the event files below ``logdir``, or named in ``Run.sampled`` where there are none.
    """

    def __init__(
        self, name: str, tensors: ReadData, scalars: ReadData, *, samples: int, logdir: str | None = None
    ) -> None:
        self.run = Run(name)
        self.scalars: dict[str, Series] = {}
        """The run's own; ``run.scalars`` may hold others' besides."""
        self._tensors, self._scalars = tensors, scalars
        self._samples, self._logdir = samples, logdir
        self._files = RunFiles(name)
        self._listed: dict[str, tuple[Any, ...]] | None = None
        self._read_to = -math.inf
        """Newest wall time that was read ahead of TensorBoard."""
        self._grown_to: dict[str, tuple[Any, ...]] = {}
        self._watches: dict[str, WatchBuilder] = {}
        self._problems: dict[str, str] = {}
        self._failures: dict[str, int] = {}

    def update(self, health: Mapping[str, Any], scalars: Mapping[str, Any]) -> Run:
        """The run with all data of these time series, as ``list_tensors`` and ``list_scalars`` describe them."""
        grown_to = {tag: (series.max_step, series.max_wall_time) for tag, series in {**scalars, **health}.items()}
        retried = {tag for tag, tries in self._failures.items() if tries < TRIES}
        if grown_to == self._listed and not retried:
            return self.run
        self._listed = grown_to
        if max((wall for _, wall in grown_to.values()), default=-math.inf) < self._read_to or (
            not grown_to and self.holds_data
        ):
            return self._read_ahead()
        self._read_to = -math.inf
        grown = {tag for tag, to in grown_to.items() if tag in retried or to != self._grown_to.get(tag)}
        self._problems = {tag: why for tag, why in self._problems.items() if tag in grown_to and tag not in grown}
        self._grown_to = grown_to
        local = functools.cache(self._read_files)
        self._update_health(health, grown, local)
        self._update_scalars(scalars, grown, local)
        where = f"run '{self.run.name}'"
        self.run.problems = [Problem(where, f"tag '{tag}': {why}") for tag, why in self._problems.items()]
        if not local.cache_info().currsize:
            self._files = RunFiles(self.run.name)
        return self.run

    def _read_ahead(self) -> Run:
        """The run from its event files, until TensorBoard has read what they hold now."""
        read, run = self._read_files(), self.run
        if read is not None:
            self.scalars = dict(read.scalars)
            run.watches, run.scalars, run.problems = dict(read.watches), self.scalars, list(read.problems)
            run.capture, run.preflight, run.sampled = read.capture, read.preflight, frozenset()
            of_watches = [history.walls[-1] for history in run.watches.values() if len(history)]
            of_scalars = [series.walls[-1] for series in run.scalars.values() if len(series)]
            self._read_to = max(filter(math.isfinite, map(float, (*of_watches, *of_scalars))), default=-math.inf)
        return run

    def _update_health(self, listed: Mapping[str, Any], grown: set[str], local: ReadFiles) -> None:
        ours = {tag: parsed for tag, series in listed.items() if (parsed := self._understood(tag, series))}

        def read(tag: str) -> list[Value]:
            return self._values(tag, ours[tag]) if tag in ours else []

        def whole(watch: str) -> History | None:
            run = local()
            return run.watches.get(watch) if run else None

        if schema.CAPTURE_TAG in grown:
            for value in read(schema.CAPTURE_TAG)[-1:]:
                self.run.capture = value.capture if isinstance(value, CaptureSeen) else None
        if schema.PREFLIGHT_TAG in grown or schema.PREFLIGHT_TAG not in ours:
            seen = read(schema.PREFLIGHT_TAG)[-1:]
            self.run.preflight = seen[0].report if seen and isinstance(seen[0], PreflightSeen) else None
        watches = {tag.watch for tag in ours.values() if tag.watch}
        self._watches = {name: builder for name, builder in self._watches.items() if name in watches}
        for name in {tag.watch for spelled, tag in ours.items() if tag.watch and spelled in grown}:
            builder = self._watches[name] = build_watch(name, read, functools.partial(whole, name))
            if builder.problem:
                self._problems[schema.layout_tag(name)] = builder.problem
        self.run.watches = in_order(self._watches)

    def _understood(self, tag: str, series: Any) -> Tag | None:
        try:
            check_version(series.plugin_content)
        except FormatError as error:
            self._problems[tag] = str(error)
            return None
        return Tag.parse(tag)

    def _values(self, spelled: str, tag: Tag) -> list[Value]:
        values = []
        for datum in increasing(self._read(self._tensors, [spelled]).get(spelled, ())):
            data = datum.numpy
            try:
                if data.dtype == object and data.ndim == 0:
                    data = data.item()
                values.append(health_value(tag, datum.step, datum.wall_time, data))
            except FormatError as error:
                self._problems.setdefault(spelled, str(error))
        return values

    def _update_scalars(self, listed: Mapping[str, Any], grown: set[str], local: ReadFiles) -> None:
        kept = {tag: series for tag, series in self.scalars.items() if tag in listed}
        sampled = set(self.run.sampled & kept.keys()) - grown
        tags = sorted(tag for tag in listed if tag in grown)
        for i in range(0, len(tags), TAGS_AT_ONCE):
            for tag, data in self._read(self._scalars, tags[i : i + TAGS_AT_ONCE]).items():
                if not all(isinstance(x.value, Real) for x in data):  # TensorBoard hands on texts and complex numbers
                    self._problems[tag] = f"expected numbers, found {_types(x.value for x in data)}"
                    kept.pop(tag, None)
                    continue
                kept[tag] = Series([(x.step, x.wall_time, x.value) for x in data])
                if self._samples and len(data) >= self._samples:
                    whole = run.scalars.get(tag) if (run := local()) else None
                    if whole is not None and len(whole) >= len(kept[tag]):
                        kept[tag] = whole
                    else:
                        sampled.add(tag)
        self.run.scalars = self.scalars = dict(sorted(kept.items()))
        self.run.sampled = frozenset(sampled)

    def _read(self, read: ReadData, tags: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        """The data of ``tags``, as far as it can be read; a reply that fails is asked for again tag by tag."""
        try:
            found = read(tags)
            for tag in tags:
                self._failures.pop(tag, None)
            return found
        except Exception as error:  # gRPC's and TensorBoard's errors have no common class
            if len(tags) == 1:
                self._failures[tags[0]] = self._failures.get(tags[0], 0) + 1
                self._problems[tags[0]] = f"TensorBoard could not give its data: {describe(error)}"
                return {}
        return {tag: data for one in tags for tag, data in self._read(read, [one]).items()}

    def _read_files(self) -> Run | None:
        """The run from its event files; None where the log directory is not on this machine."""
        files = self._event_files()
        self._files.leave()
        return self._files.refresh(files) if files else None

    def _event_files(self) -> tuple[str, ...]:
        if not self._logdir:
            return ()
        root = os.path.expanduser(self._logdir)
        return event_files(os.path.join(root, self.run.name), root)

    @functools.cached_property
    def holds_data(self) -> bool:
        """Whether, when first asked, an event file begins with what is read here.

        Files of pictures may be large, and tell nothing.
        """
        for path in self._event_files():
            file, decoder = EventFile(path), Decoder()
            for event in file.read():
                if any(not isinstance(value, SessionStart) for value in decoder.values(event, path)):
                    return True
                if file.offset > BEGINNING_BYTES:
                    break
        return False


def increasing(data: Iterable[Any]) -> list[Any]:
    """``data`` without what a later datum of no greater step makes obsolete."""
    kept: list[Any] = []
    for datum in data:
        while kept and kept[-1].step >= datum.step:
            kept.pop()
        kept.append(datum)
    return kept


def _types(values: Iterable[Any]) -> str:
    return ", ".join(sorted({type(value).__name__ for value in values if not isinstance(value, Real)}))


def describe(error: Exception) -> str:
    """An exception in one line."""
    details = getattr(error, "details", None)
    text = str(details() if callable(details) else error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no details'}"
