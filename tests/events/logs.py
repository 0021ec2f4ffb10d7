"""Logs for tests, written event by event with the package's own encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2

from tb_nnhealth import schema
from tb_nnhealth.checks import PreflightReport
from tb_nnhealth.events import encode
from tb_nnhealth.events.framing import frame
from tb_nnhealth.messages import Capture
from tb_nnhealth.rules.synthetic import Network

FILE = "events.out.tfevents.0000000001.host.1.0"


def scalar_event(tag: str, step: int, value: float, wall: float = 1.0) -> bytes:
    summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=value)])
    return bytes(event_pb2.Event(wall_time=wall, step=step, summary=summary).SerializeToString())


class Log:
    """One event file, appended to at each call; ``frames`` holds its records."""

    def __init__(self, directory: Path | str, name: str = FILE) -> None:
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / name
        self.frames: list[bytes] = []
        self._known: set[str] = set()
        self._blocks: dict[tuple[str, int], list[np.ndarray]] = {}
        self.event(encode.file_version(1.0))

    def event(self, serialized: bytes) -> None:
        self.frames.append(frame(serialized))
        with self.path.open("ab") as file:
            file.write(self.frames[-1])

    def scalar(self, tag: str, step: int, value: float, wall: float | None = None) -> None:
        self.event(scalar_event(tag, step, value, float(step) if wall is None else wall))

    def start(self, step: int) -> None:
        self.event(encode.session_start(1.0, step))

    def layout(self, layout: Any, step: int = 0, wall: float | None = None, watch: str = schema.DEFAULT_WATCH) -> None:
        tag, wall = schema.layout_tag(watch), float(step) if wall is None else wall
        self.event(encode.text(tag, step, wall, layout.SerializeToString(), self._first(tag)))

    def record(
        self,
        step: int,
        values: np.ndarray,
        wall: float | None = None,
        watch: str = schema.DEFAULT_WATCH,
        level: int = 0,
    ) -> None:
        """A record, and the coarser ones that it completes."""
        tag, wall = schema.stats_tag(watch, level), float(step) if wall is None else wall
        self.event(encode.stats(tag, step, wall, values, self._first(tag)))
        block = self._blocks.setdefault((watch, level), [])
        block.append(values if level else np.stack([values] * 3))
        if len(block) == schema.LEVEL_FACTOR and level + 1 < schema.LEVELS:
            low, high, mean = (np.stack([planes[i] for planes in block]) for i in range(3))
            self._blocks[watch, level] = []
            with np.errstate(invalid="ignore"):
                planes = np.stack([np.fmin.reduce(low), np.fmax.reduce(high), mean.mean(axis=0)])
            self.record(step, planes.astype(np.float32), wall, watch, level + 1)

    def histogram(self, step: int, counts: np.ndarray, wall: float | None = None) -> None:
        tag = schema.histograms_tag(schema.DEFAULT_WATCH)
        self.event(encode.histograms(tag, step, float(step) if wall is None else wall, counts, self._first(tag)))

    def capture(self, step: int, **fields: Any) -> None:
        payload = Capture(**fields).SerializeToString()
        self.event(encode.text(schema.CAPTURE_TAG, step, float(step), payload, self._first(schema.CAPTURE_TAG)))

    def preflight(self, step: int, report: PreflightReport) -> None:
        self.event(encode.text(schema.PREFLIGHT_TAG, step, 1.0, report.encode(), self._first(schema.PREFLIGHT_TAG)))

    def findings(self, step: int, findings: list[dict[str, Any]]) -> None:
        payload = json.dumps(findings).encode()
        self.event(encode.text(schema.FINDINGS_TAG, step, float(step), payload, self._first(schema.FINDINGS_TAG)))

    def network(self, network: Network, every_histogram: int = 10) -> None:
        """All that a watch of ``network`` writes."""
        self.layout(network.layout, int(network.at[0]))
        rng = np.random.default_rng(network.seed)
        for i, step in enumerate(network.at):
            self.record(int(step), network.values[i])
            if i % every_histogram == 0:
                shape = (len(network.layout.rows), schema.HISTOGRAM_BINS)
                self.histogram(int(step), rng.integers(0, 1000, shape, dtype=np.int32))
        for tag, points in network.scalars.items():
            for step, value in points:
                self.scalar(tag, step, value)
        self.capture(int(network.at[-1]), written=len(network.at), closed=True)

    def _first(self, tag: str) -> bool:
        first = tag not in self._known
        self._known.add(tag)
        return first


def small_log(directory: Path) -> Log:
    """A file of every kind of event, short enough to be cut at every byte."""
    log = Log(directory)
    log.start(0)
    network = Network(depth=1, width=4, steps=3)
    log.layout(network.layout)
    for i in range(3):
        log.record(i, network.values[i, :2, :3])
        log.scalar("loss/train", i, 1.0 / (i + 1))
    log.histogram(2, np.ones((1, schema.HISTOGRAM_BINS), np.int32))
    log.capture(2, written=3)
    log.findings(2, [])
    return log
