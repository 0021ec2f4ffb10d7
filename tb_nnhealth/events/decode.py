"""From an event to plain typed values: scalars of any TensorBoard writer, and our own records.

Whose a tag is, its first event says (its metadata); so a ``Decoder`` sees all events of a run in the order
of writing. What is neither a scalar nor ours (images, graphs, other plugins' tensors) gives nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorboard.compat.proto import event_pb2

from tb_nnhealth import checks, schema
from tb_nnhealth.events import filter_pictures
from tb_nnhealth.events.tensor import FormatError, number, tensor_data
from tb_nnhealth.history import Filters, Floats, Problem
from tb_nnhealth.messages import Capture, Layout, PluginData

SCALARS_PLUGIN = "scalars"
PROBLEMS_TOLD = 100
"""Of one run; more say nothing new."""
_START = event_pb2.SessionLog.START


class Scalar(NamedTuple):
    """One point of a scalar tag."""

    tag: str
    step: int
    wall: float
    value: float


class Record(NamedTuple):
    """One record of statistics, float32, read-only: (rows, columns), from level 1 on (3, rows, columns)."""

    watch: str
    level: int
    step: int
    wall: float
    values: Floats


class Histograms(NamedTuple):
    """One record of histograms, int32, read-only, shape (rows, ``schema.HISTOGRAM_BINS``)."""

    watch: str
    step: int
    wall: float
    counts: NDArray[np.int32]


class LayoutSeen(NamedTuple):
    """What the rows of a watch's records mean from here on: a ``messages.Layout``."""

    watch: str
    step: int
    wall: float
    layout: Any


class CaptureSeen(NamedTuple):
    """What the capture says of itself: a ``messages.Capture``."""

    step: int
    capture: Any


class FindingsSeen(NamedTuple):
    """The findings as the recording process saw them: UTF-8 JSON, for readers without the rules."""

    step: int
    text: str


class FiltersSeen(NamedTuple):
    """Filters of the first convolution, as they were at their step."""

    watch: str
    filters: Filters


class PreflightSeen(NamedTuple):
    """What the sanity checks before the training said: the report, as ``checks.decode`` gives it."""

    step: int
    report: dict[str, Any]


class SessionStart(NamedTuple):
    """Training (re)started: what was written before, from ``step`` on, is obsolete."""

    step: int


Value = (
    Scalar | Record | Histograms | LayoutSeen | CaptureSeen | FindingsSeen | FiltersSeen | PreflightSeen | SessionStart
)


class Tag(NamedTuple):
    """One of our tags taken apart: ``series`` is "stats", "layout", "histograms", "filters", "capture",
    "findings" or "preflight"."""

    series: str
    watch: str = ""
    level: int = 0

    @staticmethod
    def parse(tag: str) -> Tag | None:
        """None for a tag that is none of this format's."""
        if tag in (schema.CAPTURE_TAG, schema.FINDINGS_TAG, schema.PREFLIGHT_TAG):
            return Tag(tag.removeprefix(schema.TAG_PREFIX))
        name = tag.removeprefix(schema.TAG_PREFIX)
        if name == tag:
            return None
        watch, _, series = name.rpartition("/")
        if watch and series in ("layout", "histograms", "filters"):
            return Tag(series, watch)
        if watch.endswith("/stats") and series.isascii() and series.isdigit() and len(series) < 3:
            return Tag("stats", watch.removesuffix("/stats"), int(series))
        return None


def check_version(content: bytes) -> None:
    """Raises FormatError where a tag's ``PluginData`` is of a format that this version does not know."""
    try:
        version = PluginData.FromString(content).version
    except DecodeError as error:
        raise FormatError(f"its plugin data is no PluginData message: {error}") from error
    if version > schema.FORMAT_VERSION:
        raise FormatError(
            f"written in format version {version}; this tb-nnhealth understands up to version "
            f"{schema.FORMAT_VERSION}. Upgrade tb-nnhealth to read it."
        )


def health_value(tag: Tag, step: int, wall: float, data: NDArray[Any] | bytes) -> Value:
    """The value of one of our tags: ``data`` is its tensor's array, or its one string.

    Raises FormatError where type, shape or message are not those of the tag.
    """
    if tag.series in ("stats", "histograms"):
        if isinstance(data, bytes):
            raise FormatError("expected a numeric tensor, found a string")
        if tag.series == "stats":
            _check(data, np.float32, (None, None) if tag.level == 0 else (len(schema.LEVEL_PLANES), None, None))
            return Record(tag.watch, tag.level, step, wall, data)
        _check(data, np.int32, (None, schema.HISTOGRAM_BINS))
        return Histograms(tag.watch, step, wall, data)
    if not isinstance(data, bytes):
        raise FormatError(f"expected one string, found {data.dtype} of shape {data.shape}")
    try:
        if tag.series == "layout":
            return LayoutSeen(tag.watch, step, wall, Layout.FromString(data))
        if tag.series == "capture":
            return CaptureSeen(step, Capture.FromString(data))
        if tag.series == "filters":
            return FiltersSeen(tag.watch, filter_pictures.decode(step, data))
        if tag.series == "preflight":
            return PreflightSeen(step, checks.decode(data))
        return FindingsSeen(step, data.decode())
    except (DecodeError, ValueError) as error:
        raise FormatError(f"its {len(data)} bytes are no valid {tag.series}: {error}") from error


def _check(values: NDArray[Any], dtype: type, shape: tuple[int | None, ...]) -> None:
    fits = values.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, values.shape, strict=True)
    )
    if values.dtype != dtype or not fits:
        wanted = f"{np.dtype(dtype)} of shape ({', '.join('n' if size is None else str(size) for size in shape)})"
        raise FormatError(f"expected {wanted}, found {values.dtype} of shape {values.shape}")


class Decoder:
    """Decodes the events of one run. What cannot be understood is left out, and told once per file and tag."""

    def __init__(self) -> None:
        self._plugin_of: dict[str, str] = {}
        self._ours: dict[str, Tag | None] = {}
        self._refused: dict[tuple[str, str], str] = {}

    @property
    def problems(self) -> list[Problem]:
        return [Problem(path, f"tag '{tag}': {why}") for (path, tag), why in self._refused.items()]

    def owner(self, tag: str) -> str | None:
        """The plugin whose the tag is; None for a tag not met yet."""
        return self._plugin_of.get(tag)

    def ours(self, tag: str) -> Tag | None:
        """A tag of ours taken apart; None for one that is not read."""
        return self._ours.get(tag)

    def met_scalar(self, tag: str) -> None:
        """Notes a tag of scalars, whose first values were read elsewhere."""
        self._plugin_of.setdefault(tag, SCALARS_PLUGIN)

    def values(self, event: Any, path: str) -> Iterator[Value]:
        """The values of one ``event_pb2.Event``; ``path`` is the file it stands in."""
        kind = event.WhichOneof("what")
        if kind == "session_log":
            if event.session_log.status == _START:
                yield SessionStart(event.step)
        elif kind == "summary":
            for value in event.summary.value:
                try:
                    decoded = self._value(value, event)
                except FormatError as error:
                    if len(self._refused) < PROBLEMS_TOLD:
                        self._refused.setdefault((path, value.tag), str(error))
                else:
                    if decoded is not None:
                        yield decoded

    def _value(self, value: Any, event: Any) -> Value | None:
        tag, kind = value.tag, value.WhichOneof("value")
        if kind not in ("simple_value", "tensor"):
            return None
        plugin = self._plugin_of.get(tag)
        if plugin is None:
            plugin = self._plugin_of[tag] = _plugin(value, kind)
        if plugin == SCALARS_PLUGIN:
            scalar = value.simple_value if kind == "simple_value" else number(value.tensor)
            return Scalar(tag, event.step, event.wall_time, scalar)
        if plugin == schema.PLUGIN_NAME and kind == "tensor":
            return self._health_value(value, event)
        return None

    def _health_value(self, value: Any, event: Any) -> Value | None:
        if value.HasField("metadata"):
            self._ours[value.tag] = None  # until its version has passed
            check_version(value.metadata.plugin_data.content)
            self._ours[value.tag] = Tag.parse(value.tag)
        elif value.tag not in self._ours:
            self._ours[value.tag] = Tag.parse(value.tag)
        tag = self._ours[value.tag]
        return tag and health_value(tag, event.step, event.wall_time, tensor_data(value.tensor))


def _plugin(first: Any, kind: str) -> str:
    """Whose the tag is, by its first value. A plain number without a data class is a scalar, as TensorBoard has it."""
    if kind == "simple_value":
        if not schema.is_users_scalar(first.tag):
            return schema.PLUGIN_NAME
        return str(first.metadata.plugin_data.plugin_name) if first.metadata.data_class else SCALARS_PLUGIN
    if not first.HasField("metadata") and first.tag.startswith(schema.TAG_PREFIX):
        return schema.PLUGIN_NAME  # the event that said so was damaged
    return str(first.metadata.plugin_data.plugin_name)
