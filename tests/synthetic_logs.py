"""Event files of synthetic runs, as a training would have written them, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2

from tb_nnhealth import schema
from tb_nnhealth.events import encode
from tb_nnhealth.events.framing import frame
from tb_nnhealth.messages import Capture
from tb_nnhealth.rules.synthetic import Network

START = 1_700_000_000.0


def write_log(directory: Path, network: Network, *, watch: str = schema.DEFAULT_WATCH, histograms: int = 10) -> Path:
    """Writes ``network`` as the run ``directory``, with a histogram record every ``histograms`` records."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"events.out.tfevents.{int(START)}.host.1.0"
    network.layout.watch = watch
    layout = network.layout.SerializeToString()
    events = [
        encode.file_version(START),
        encode.text(schema.layout_tag(watch), int(network.at[0]), START, layout, True),
    ]
    first = True
    for t, step in enumerate(network.at):
        wall = START + float(step)
        events.append(encode.stats(schema.stats_tag(watch), int(step), wall, network.values[t], first))
        if t % histograms == 0:
            events.append(encode.histograms(schema.histograms_tag(watch), int(step), wall, _counts(network), first))
        first = False
    for tag, points in network.scalars.items():
        events += [scalar(tag, step, value) for step, value in points]
    last = int(network.at[-1])
    capture = Capture(written=len(network.at), every=network.every, closed=True)
    events.append(encode.text(schema.CAPTURE_TAG, last, START + last, capture.SerializeToString(), True))
    path.write_bytes(b"".join(frame(event) for event in events))
    return path


def write_scalars(directory: Path, **curves: list[tuple[int, float]]) -> Path:
    """Writes plain scalars, as any TensorBoard writer does."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"events.out.tfevents.{int(START)}.host.1.0"
    events = [encode.file_version(START)]
    events += [scalar(tag, step, value) for tag, points in curves.items() for step, value in points]
    path.write_bytes(b"".join(frame(event) for event in events))
    return path


def scalar(tag: str, step: int, value: float) -> bytes:
    summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=value)])
    serialized: bytes = event_pb2.Event(wall_time=START + step, step=step, summary=summary).SerializeToString()
    return serialized


def _counts(network: Network) -> np.ndarray:
    """Every row's elements spread over three neighbouring exponents, an eighth of them zero."""
    counts = np.zeros((len(network.layout.rows), schema.HISTOGRAM_BINS), np.int32)
    counts[:, 0] = 8
    counts[:, 1 - schema.EXPONENT_LOW - 4 : 1 - schema.EXPONENT_LOW - 1] = (16, 24, 16)
    return counts
