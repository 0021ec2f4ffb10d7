"""Reading logs: from event files to the run in memory, beside TensorBoard's readers, in one process.

    python benchmarks/reading.py [--rounds 5] [--json FILE] [LOG ...]

The logs are plain scalars, as PyTorch's writer stores them and as TensorFlow 2 and Keras do, and packed health records
of 200 layers with 24 statistics each, without and with histograms. The readers take turns in an order shuffled anew
each round. A slow reader is given a shorter log of the same kind, so that a round takes seconds. Reported is processor
time, as megabytes read in a second of it, and against EventAccumulator in the same round: the median over the rounds,
and the middle half of them. "Reading and checksum" is the floor: the bytes brought into memory, and their CRC-32C.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import google_crc32c
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.scalar import summary_v2

from tb_nnhealth import schema
from tb_nnhealth.events import encode, run_values, scan
from tb_nnhealth.events.framing import frame
from tb_nnhealth.messages import Layout, Row
from tb_nnhealth.source.files import FileSource

FILE = "events.out.tfevents.1700000000.host.1.0"
START = 1.7e9
LAYERS, STATISTICS, TAGS = 200, 24, 20


# --- the logs ---------------------------------------------------------------------------------------------------------


def scalars() -> Iterator[bytes]:
    step = 0
    while True:
        for tag in range(TAGS):
            value = summary_pb2.Summary.Value(tag=f"train/loss_{tag}", simple_value=1 / (step + 1))
            summary = summary_pb2.Summary(value=[value])
            yield event_pb2.Event(wall_time=START + step, step=step, summary=summary).SerializeToString()
        step += 1


def tensor_scalars() -> Iterator[bytes]:
    step = 0
    while True:
        for tag in range(TAGS):
            summary = summary_v2.scalar_pb(f"train/loss_{tag}", 1 / (step + 1))
            yield event_pb2.Event(wall_time=START + step, step=step, summary=summary).SerializeToString()
        step += 1


def packed(histograms: bool) -> Iterator[bytes]:
    columns = [*schema.STATISTICS, *(f"more_{i}" for i in range(STATISTICS - len(schema.STATISTICS)))]
    rows = [Row(kind=schema.WEIGHT, subject=f"layer{i}.weight", shape=[64, 64]) for i in range(LAYERS)]
    layout = Layout(watch=schema.DEFAULT_WATCH, columns=columns, rows=rows).SerializeToString()
    yield encode.text(schema.layout_tag(schema.DEFAULT_WATCH), 0, START, layout, True)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((LAYERS, STATISTICS)).astype(np.float32)
    values[:, [schema.STATISTICS.index(name) for name in (schema.NAN_COUNT, schema.INF_COUNT)]] = 0
    counts = rng.integers(0, 4096, (LAYERS, schema.HISTOGRAM_BINS), dtype=np.int32)
    step = 0
    while True:
        tag = schema.stats_tag(schema.DEFAULT_WATCH)
        yield encode.stats(tag, step, START + step, values, step == 0)
        if histograms:
            tag = schema.histograms_tag(schema.DEFAULT_WATCH)
            yield encode.histograms(tag, step, START + step, counts, step == 0)
        step += 1


LOGS: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "scalars": ("scalars, simple_value", scalars),
    "tensors": ("scalars, tensors of TF 2 and Keras", tensor_scalars),
    "packed": ("packed records", lambda: packed(False)),
    "histograms": ("packed records and histograms", lambda: packed(True)),
}


def write(directory: Path, events: Iterator[bytes], megabytes: float) -> Path:
    directory.mkdir(parents=True)
    size = 0
    with (directory / FILE).open("wb") as file:
        size += file.write(frame(encode.file_version(START)))
        while size < megabytes * 1e6:
            size += file.write(frame(next(events)))
    return directory


# --- the readers ------------------------------------------------------------------------------------------------------


def floor(directory: Path) -> None:
    memory = np.empty(1 << 20, np.uint8)
    with (directory / FILE).open("rb", buffering=0) as file:
        while count := file.readinto(memory.data):
            google_crc32c.value(memory[:count].tobytes())


def ours(directory: Path) -> None:
    source = FileSource([directory])
    source.refresh()
    run = source.run(".")
    assert not run.problems, run.problems
    assert run.scalars or run.watches


def without_native(directory: Path) -> None:
    with ExitStack() as stack:
        for module in (scan, run_values):
            stack.enter_context(mock.patch.object(module, "core", None))
        ours(directory)


def event_accumulator(directory: Path) -> None:
    EventAccumulator(str(directory)).Reload()


def tbparse(directory: Path) -> None:
    from tbparse import SummaryReader

    assert len(SummaryReader(str(directory)).scalars)


def data_server(directory: Path) -> None:
    """TensorBoard's own, which checks no checksums, until it tells of the log's last step."""
    import grpc
    import tensorboard_data_server
    from tensorboard import context
    from tensorboard.data import grpc_provider

    begun, last = resource.getrusage(resource.RUSAGE_CHILDREN), json.loads((directory / "last.json").read_text())
    with tempfile.TemporaryDirectory() as place:
        port = Path(place) / "port"
        command = [tensorboard_data_server.server_binary(), f"--logdir={directory}", "--port=0", f"--port-file={port}"]
        command += ["--reload=once", "--samples-per-plugin=scalars=all,nnhealth=all", "--die-after-stdin"]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            while not port.exists() or not port.read_text():
                time.sleep(0.005)
            address = f"localhost:{port.read_text().strip()}"
            with grpc.insecure_channel(address) as channel:
                provider = grpc_provider.GrpcDataProvider(address, grpc_provider.make_stub(channel))
                ask = provider.list_scalars if last["plugin"] == "scalars" else provider.list_tensors
                at, deadline = -1, time.monotonic() + 60
                while at < last["step"]:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"expected step {last['step']} within a minute, found {at}")
                    time.sleep(0.01)
                    listed = ask(context.RequestContext(), experiment_id="", plugin_name=last["plugin"])
                    series = listed.get(".", {}).get(last["tag"])
                    at = -1 if series is None else series.max_step
        finally:
            server.kill()
            server.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    _children.append(used.ru_utime + used.ru_stime - begun.ru_utime - begun.ru_stime)


_children: list[float] = []
"""Processor seconds of the process that did the last reading, where it was another one."""

EVENT_ACCUMULATOR = "TensorBoard's EventAccumulator"
READERS: dict[str, tuple[Callable[[Path], None], float]] = {
    "reading and checksum": (floor, 1),
    "ours": (ours, 1),
    "ours without the native core": (without_native, 1 / 16),
    EVENT_ACCUMULATOR: (event_accumulator, 1 / 16),
    "TensorBoard's data server": (data_server, 1 / 2),
    "tbparse": (tbparse, 1 / 16),
}
"""Each with the share of the log that it is given."""


# --- the measurement --------------------------------------------------------------------------------------------------


@dataclass
class Result:
    log: str
    reader: str
    megabytes_per_second: tuple[float, float, float]
    """Of processor time: quartiles over the rounds."""
    times_event_accumulator: tuple[float, float, float]


def available(name: str, directory: Path) -> bool:
    try:
        READERS[name][0](directory)
    except Exception as error:
        print(f"{name} is left out: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return False
    return True


def measure(name: str, *, rounds: int, megabytes: float) -> list[Result]:
    title, events = LOGS[name]
    with tempfile.TemporaryDirectory() as place:
        shares = {share for _, share in READERS.values()}
        logs = {share: write(Path(place) / f"{share}", events(), megabytes * share) for share in shares}
        for directory in logs.values():
            note_last(directory)
        readers = [reader for reader, (_, share) in READERS.items() if available(reader, logs[share])]
        rates: dict[str, list[float]] = {reader: [] for reader in readers}
        for _ in range(rounds):
            for reader in random.sample(readers, len(readers)):
                read, share = READERS[reader]
                size = (logs[share] / FILE).stat().st_size / 1e6
                rates[reader].append(size / processor_seconds(read, logs[share]))
    slow = rates[EVENT_ACCUMULATOR]
    return [
        Result(title, r, quartiles(own), quartiles([a / b for a, b in zip(own, slow, strict=True)]))
        for r, own in rates.items()
    ]


def note_last(directory: Path) -> None:
    """Notes by what a reader in another process is seen to have read the log."""
    source = FileSource([directory])
    source.refresh()
    run = source.run(".")
    if run.scalars:
        tag, series = next(iter(run.scalars.items()))
        last = {"plugin": "scalars", "tag": tag, "step": int(series.steps[-1])}
    else:
        (history,) = run.watches.values()
        tag = schema.stats_tag(schema.DEFAULT_WATCH)
        last = {"plugin": schema.PLUGIN_NAME, "tag": tag, "step": int(history.steps[-1])}
    (directory / "last.json").write_text(json.dumps(last))


def processor_seconds(read: Callable[[Path], None], directory: Path) -> float:
    _children.clear()
    begun = time.process_time()
    read(directory)
    return _children[0] if _children else time.process_time() - begun


def quartiles(numbers: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(numbers, n=4)
    return low, middle, high


def table(results: list[Result]) -> str:
    lines = ["| log | reader | MB/s | × EventAccumulator |", "| --- | --- | ---: | ---: |"]
    for r in results:
        rate, times = ("{1:,.{d}f} ({0:,.{d}f} to {2:,.{d}f})".format(*q, d=0 if q[1] >= 20 else 1)
                       for q in (r.megabytes_per_second, r.times_event_accumulator))  # fmt: skip
        lines.append(f"| {r.log} | {r.reader} | {rate} | {times} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="*", metavar="LOG", help=f"any of {', '.join(LOGS)}; else all")
    parser.add_argument("--rounds", type=int, default=5, help="readings by each reader (default: %(default)s)")
    parser.add_argument("--megabytes", type=float, default=64, help="of the longest log (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    options = parser.parse_args(arguments)
    unknown = set(options.logs) - LOGS.keys()
    if unknown:
        parser.error(f"expected logs of {', '.join(LOGS)}, found {', '.join(sorted(unknown))}")
    if options.rounds < 2:
        parser.error(f"--rounds: expected 2 or more, found {options.rounds}")
    results = []
    for name in options.logs or list(LOGS):
        results += measure(name, rounds=options.rounds, megabytes=options.megabytes)
    print(table(results))
    if options.json:
        told = {"cores": os.cpu_count(), "rounds": options.rounds, "megabytes": options.megabytes}
        options.json.write_text(json.dumps({**told, "results": [asdict(r) for r in results]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
