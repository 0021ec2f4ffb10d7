"""Logs to measure the tab on: many short runs and a very large one; and the like as PyTorch's writer stores it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.events import encode
from tb_nnhealth.events.framing import frame
from tb_nnhealth.history import RECORD_BYTES_KEPT
from tb_nnhealth.messages import Capture
from tb_nnhealth.rules.synthetic import Network

START = 1.7e9
FILE = "events.out.tfevents.1700000000.host.1.0"
LARGE = "large"
HISTOGRAM_EVERY = 10


def many(logdir: Path, runs: int, *, steps: int = 200) -> None:
    """``runs`` short runs of six layers, every tenth with gradients that explode."""
    for i in range(runs):
        loss = 2.3 * np.exp(-np.arange(steps) / 60) + 0.2
        network = Network(steps=steps, seed=i).loss(loss)
        if i % 10 == 0:
            network.scale(schema.GRADIENT, network.weight(3), np.geomspace(1, 1e7, steps))
        write(logdir / f"sweep/seed{i:03d}", network)


def large(logdir: Path, layers: int, steps: int) -> int:
    """One run, with as many records over its ``steps`` as a history keeps of it in memory; gives their number."""
    rows = len(Network(depth=layers, steps=1).layout.rows)
    records = min(steps, RECORD_BYTES_KEPT // (4 * rows * len(schema.STATISTICS)))
    network = Network(depth=layers, steps=steps, every=-(-steps // records))
    at = len(network.at)
    network.loss(2.3 * np.exp(-np.arange(at) / (at / 3)) + 0.2)
    factors = np.ones(at)
    factors[at - at // 4 :] = np.geomspace(1, 1e6, at // 4)
    network.scale(schema.UPDATE, network.weight(layers // 2), factors)
    write(logdir / LARGE, network)
    return at


def write(directory: Path, network: Network) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / FILE).open("wb") as file:
        for event in events(network):
            file.write(frame(event))


def events(network: Network) -> Iterator[bytes]:
    watch = schema.DEFAULT_WATCH
    yield encode.file_version(START)
    yield encode.text(schema.layout_tag(watch), int(network.at[0]), START, network.layout.SerializeToString(), True)
    counts = histogram(len(network.layout.rows))
    for t, step in enumerate(network.at):
        wall = START + float(step) / 10
        yield encode.stats(schema.stats_tag(watch), int(step), wall, network.values[t], t == 0)
        if t % HISTOGRAM_EVERY == 0:
            yield encode.histograms(schema.histograms_tag(watch), int(step), wall, counts, t == 0)
    for tag, points in network.scalars.items():
        for step, value in points:
            yield encode.scalar(tag, step, START + step / 10, value)
    last = int(network.at[-1])
    capture = Capture(written=len(network.at), every=network.every, closed=True)
    yield encode.text(schema.CAPTURE_TAG, last, START + last / 10, capture.SerializeToString(), True)


def histogram(rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    counts = np.zeros((rows, schema.HISTOGRAM_BINS), np.int32)
    counts[:, 28:34] = (50, 200, 400, 250, 80, 20)
    return counts


def by_pytorch(logdir: Path, layers: int, steps: int) -> None:
    """What our records hold of weights and gradients, as PyTorch's writer is used for it: histograms and norms."""
    import torch
    from torch.utils.tensorboard import SummaryWriter

    torch.manual_seed(0)
    values = torch.randn(4096)
    with SummaryWriter(str(logdir / "pytorch")) as writer:
        for step in range(steps):
            writer.add_scalar("loss/train", 2.3 * 0.99**step, step)
            for layer in range(layers):
                for kind in ("weight", "gradient"):
                    writer.add_scalar(f"norm/layers.{layer}.{kind}", float(1 + layer % 7), step)
                    if step % HISTOGRAM_EVERY == 0:
                        writer.add_histogram(f"layers.{layer}.{kind}", values, step)
