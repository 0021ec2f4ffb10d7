"""``nnhealth inspect`` on a fleet of runs: first look, second look, S3 and Dask, beside a loop over other readers.

    python -m benchmarks fleet [--runs 1000] [--gigabytes 4] [--sample 24] [--s3-runs 100] [--json FILE] [--at DIR]

Reported are seconds on the clock, processor seconds of all processes that took part, the most memory that they held
at once, and what was found. "From disk" has the files dropped from the page cache before. S3 is moto's server on the
same machine, with ``--s3-runs`` of the runs: its own processor time is not counted, the time on the clock includes it.
"Grown" are a tenth of the runs: the end of their files is cut off before the first look and put back before the third.
Dask is a local cluster of two workers, its start not counted. EventAccumulator and tbparse only read, and judge
nothing: each reads ``--sample`` runs, one after the other in one process, drawn alike from every kind; what the fleet
would take is reckoned from the mean of each kind, and said to be so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.fleet_logs import Fleet, write_fleet
from benchmarks.machine import machine
from benchmarks.processes import Tree

INSPECT = [sys.executable, "-m", "tb_nnhealth.cli.main", "inspect"]
RESULTS = Path(__file__).parent / "results" / "fleet.json"
GROWN_BY = 0.1
"""Of a file's bytes."""
READERS = {"TensorBoard's EventAccumulator": "event_accumulator", "tbparse": "tbparse"}


@dataclass
class Result:
    what: str
    runs: int
    seconds: float
    processor_seconds: float
    peak_megabytes: float | None
    ill: int | None = None
    """Among the runs."""
    ill_found: int | None = None
    false_alarms: int | None = None
    reckoned_from: int | None = None
    """Runs that were read, where the seconds are reckoned for the fleet."""


def inspect(what: str, fleet: Fleet, place: str, *options: str, without: Sequence[int] = ()) -> Result:
    """``without``: processes whose work is not counted."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "report.json"
        tree, begun = Tree(without), time.monotonic()
        with tree.watched():
            command = [*INSPECT, place, "--format", "json", "--output", str(output), *options]
            subprocess.run(command, check=True, env=_as_installed())
        seconds = time.monotonic() - begun
        reports = json.loads(output.read_text("utf-8"))["runs"]
    alarmed = {report["run"] for report in reports if report["verdict"] in ("warning", "critical")}
    found, false = len(alarmed & fleet.ill), len(alarmed - fleet.ill)
    ill = len(fleet.ill & {report["run"] for report in reports})
    return Result(what, len(reports), seconds, tree.processor_seconds, tree.peak_bytes / 1e6, ill, found, false)


def _as_installed() -> dict[str, str]:
    """The environment in which Python keeps what it has compiled, as it does where a package is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def drop_from_cache(directory: Path) -> None:
    """Asks the system to forget the files' pages; needs no rights."""
    os.sync()
    for path in directory.rglob("*tfevents*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def local(fleet: Fleet, index: Path) -> Iterator[Result]:
    place = str(fleet.directory)
    subprocess.run([*INSPECT, "--help"], check=True, capture_output=True, env=_as_installed())
    grown = sorted(fleet.kinds)[:: max(1, len(fleet.kinds) // 100)]
    ends = [end for run in grown for end in cut(fleet.directory / run)]
    drop_from_cache(fleet.directory)
    yield inspect("first look, from disk", fleet, place, "--index", str(index))
    yield inspect("second look", fleet, place, "--index", str(index))
    for path, end in ends:
        with path.open("ab") as file:
            file.write(end)
    yield inspect(f"third look, {len(grown)} runs have grown", fleet, place, "--index", str(index))
    yield inspect("first look, from memory, without index", fleet, place, "--no-index")
    yield inspect("the same in one process", fleet, place, "--no-index", "--jobs", "1")


def cut(run: Path) -> Iterator[tuple[Path, bytes]]:
    """Cuts the last whole records off each event file of a run, ``GROWN_BY`` of it; gives path and what was cut."""
    for path in run.glob("*tfevents*"):
        content, at = path.read_bytes(), 0
        while at < (1 - GROWN_BY) * len(content):
            at += 16 + int.from_bytes(content[at : at + 8], "little")
        path.write_bytes(content[:at])
        yield path, content[at:]


@contextmanager
def s3(fleet: Fleet, runs: int) -> Iterator[tuple[str, int]]:
    """The URL of a bucket with some of the runs, and the server's process id."""
    import boto3

    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}"
    account = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(account, AWS_ENDPOINT_URL=endpoint)
    try:
        client = boto3.client("s3", endpoint_url=endpoint)
        _until(lambda: client.create_bucket(Bucket="fleet"))
        for run in random.Random(1).sample(sorted(fleet.kinds), min(runs, len(fleet.kinds))):
            for path in (fleet.directory / run).glob("*tfevents*"):
                client.upload_file(str(path), "fleet", f"{run}/{path.name}")
        yield "s3://fleet", server.pid
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _until(call: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            call()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def on_s3(fleet: Fleet, runs: int, index: Path) -> Iterator[Result]:
    with s3(fleet, runs) as (url, server):
        yield inspect("S3, first look", fleet, url, "--index", str(index), without=[server])
        yield inspect("S3, second look", fleet, url, "--index", str(index), without=[server])


def on_dask(fleet: Fleet) -> Iterator[Result]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        address = cluster.scheduler_address
        yield inspect("Dask, two workers", fleet, str(fleet.directory), "--no-index", "--scheduler", address)


def reader(what: str, name: str, fleet: Fleet, sample: int) -> Result:
    """One of the readers that others have written, on a sample of the runs."""
    draw, runs = random.Random(2), []
    kinds = sorted(set(fleet.kinds.values()))
    for kind in kinds:
        of_kind = sorted(run for run, its in fleet.kinds.items() if its == kind)
        runs += draw.sample(of_kind, min(len(of_kind), max(1, sample // len(kinds))))
    command = [sys.executable, "-m", "benchmarks.fleet_readers", name, *(str(fleet.directory / run) for run in runs)]
    tree = Tree()
    with tree.watched():
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    took = dict(zip(runs, json.loads(done.stdout), strict=True))
    seconds = processor = 0.0
    for kind in kinds:
        read = [took[run] for run in runs if fleet.kinds[run] == kind and took[run] is not None]
        many = sum(its == kind for its in fleet.kinds.values())
        if not read:
            what += f"; reads no {kind}"
            continue
        seconds += many * sum(t[0] for t in read) / len(read)
        processor += many * sum(t[1] for t in read) / len(read)
    return Result(what, len(fleet.kinds), seconds, processor, tree.peak_bytes / 1e6, reckoned_from=len(runs))


def table(results: Sequence[Result]) -> str:
    lines = ["| what | runs | seconds | processor s | peak MB | ill found | false alarms |", "|" + " --- |" * 7]
    for r in results:
        reckoned = "" if r.reckoned_from is None else f", reckoned from {r.reckoned_from} runs"
        found = "–" if r.ill_found is None else f"{r.ill_found} of {r.ill}"
        false = "–" if r.false_alarms is None else f"{r.false_alarms} of {r.runs - (r.ill or 0)}"
        seconds = f"{r.seconds:,.1f} | {r.processor_seconds:,.1f} | {r.peak_megabytes or 0:,.0f}"
        lines.append(f"| {r.what}{reckoned} | {r.runs:,} | {seconds} | {found} | {false} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of the fleet (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=24, help="runs read by others' readers (default: %(default)s)")
    parser.add_argument("--s3-runs", type=int, default=100, help="0 to leave S3 out (default: %(default)s)")
    parser.add_argument("--no-dask", action="store_true")
    parser.add_argument(
        "--at", type=Path, help="where to write the fleet, removed afterwards; default: a temporary place"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results there as well; `make bench-fleet`: " + RESULTS.name
    )
    options = parser.parse_args(arguments)
    place = Path(tempfile.mkdtemp(prefix="fleet", dir=options.at))
    results: list[Result] = []
    try:
        need, free = options.gigabytes * 1.2e9, shutil.disk_usage(place).free
        if need > free:
            parser.error(
                f"--gigabytes {options.gigabytes} needs {need / 1e9:.1f} GB, {place} has {free / 1e9:.1f} GB free"
            )
        fleet = write_fleet(place, options.runs, options.gigabytes)
        print(f"{len(fleet.kinds):,} runs, {fleet.bytes / 1e9:.2f} GB, {len(fleet.ill)} of them ill", flush=True)
        for result in _all(options, fleet, place):
            results.append(result)
            print(table([result]).splitlines()[-1], flush=True)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print("\n" + table(results))
    if options.json:
        command = " ".join(["python -m benchmarks fleet", *(arguments or [])])
        told: dict[str, Any] = {"command": command, "machine": machine()}
        told |= {"runs": len(fleet.kinds), "bytes": fleet.bytes, "ill": len(fleet.ill)}
        told |= {"kinds": dict(Counter(fleet.kinds.values()))}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**told, "results": [asdict(r) for r in results]}, indent=2) + "\n")


def _all(options: argparse.Namespace, fleet: Fleet, place: Path) -> Iterator[Result]:
    yield from local(fleet, place / "index.sqlite")
    for what, name in READERS.items():
        yield reader(what, name, fleet, options.sample)
    if not options.no_dask:
        yield from on_dask(fleet)
    if options.s3_runs:
        yield from on_s3(fleet, options.s3_runs, place / "index-s3.sqlite")


if __name__ == "__main__":
    main()
