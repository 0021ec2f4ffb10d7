"""A TensorBoard with our tab under load, while its logs change: no fault of the server, nothing let in.

    python -m tests.reliability.server [--requests 10000] [--clients 32] [--pause 0.25]

A real TensorBoard serves runs to which a writer keeps adding. Clients ask for every route of the tab with real runs,
layers, findings and tags; one request in five is hostile: paths that leave the log directory, scripts, oversized
queries, wrong numbers. No reply may be of the 500s, a hostile request must be refused or answered harmlessly (never
with a file's content, never with markup that a browser would run), and the other tabs must go on answering.

Each client pauses for ``--pause`` seconds on average behind a reply, as people do; with 0 it asks at once, and its
latency is that of 32 questions that wait for one interpreter. What the clients' own work takes of a latency, the
processor's time of their threads, is told apart: they run on the machine that serves.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np

from tb_nnhealth import Recorder

BASE = "/data/plugin/nnhealth/"
RUNS, LAYERS, STEPS = 6, 20, 60
OTHERS = ("/data/plugins_listing", "/data/runs", "/data/environment", "/data/plugin/scalars/tags")
SECRET = "what-no-reply-may-hold"
STATISTICS = ("update-ratio", "gradient-norm", "activation-std", "weight-norm")
HOSTILE = (
    "../../../../etc/passwd", "..%2f..%2fsecret.txt", "/etc/passwd", "....//secret.txt", "\\..\\secret.txt",
    "file:///etc/passwd", "run0/../../secret.txt", "%2e%2e/secret.txt", "secret.txt\0", "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "javascript:alert(1)", "{{7*7}}", "${7*7}", "' OR 1=1 --", "\u202ereversed", "\r\nSet-Cookie: a=b", "a" * 4000, "",
)  # fmt: skip
NUMBERS = ("-1", "0", "1e99", "nan", "inf", "999999999999999999999", "1;2", "0x10", "", "１２")


@dataclass
class Tally:
    """What the clients met."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    own: float = 0.0
    """Seconds of the processor that the clients took."""
    hostile: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def grow(recorder: Recorder, step: int) -> None:
    """Adds one record of ``LAYERS`` layers."""
    rng = np.random.default_rng(step)
    statistics: dict[str, dict[str, float]] = {"loss": {"mean": float(2.0 / (1 + step) + rng.random() * 0.01)}}
    for layer in range(LAYERS):
        name = f"layers.{layer}.weight"
        statistics[name] = {"rms": 0.1, "mean": 0.0, "std": 0.1}
        statistics[f"{name}:gradient"] = {"rms": float(rng.random()) * 1e-2, "mean": 0.0}
        statistics[f"{name}:update"] = {"rms": 1e-4 * (1 + layer), "mean": 0.0}
    recorder.record(step, statistics)


@contextmanager
def tensorboard(logdir: Path) -> Iterator[int]:
    """A TensorBoard on ``logdir``; its port."""
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(logdir),
        "--port",
        "0",
        "--reload_interval",
        "1",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            port = next(
                int(found[1]) for line in server.stderr if (found := re.search(r"http://localhost:(\d+)/", line))
            )
            threading.Thread(target=server.stderr.read, daemon=True).start()
            yield port
        finally:
            server.kill()


def question(rng: random.Random) -> tuple[str, bool]:
    """A path to ask for, and whether it is hostile."""
    run, layer = f"run{rng.randrange(RUNS)}", f"layers.{rng.randrange(LAYERS)}"
    asked: dict[str, dict[str, Any]] = {
        "runs": {}, "report": {"run": run}, "model": {"run": run}, "layer": {"run": run, "layer": layer},
        "heatmap": {"run": run, "statistic": rng.choice(STATISTICS), "columns": rng.choice([100, 400])},
        "scalars": {"run": run}, "evidence": {"run": run, "finding": rng.randrange(3)}, "index.js": {}, "index.css": {},
    }  # fmt: skip
    route = rng.choice(list(asked))
    query = asked[route]
    if rng.random() < 0.8:
        return f"{BASE}{route}?{urlencode(query)}", False
    if not query or rng.random() < 0.3:
        return f"{BASE}{quote(rng.choice(HOSTILE)[:200], safe='/.%')}", True
    name = rng.choice(list(query))
    query[name] = rng.choice(NUMBERS if isinstance(query[name], int) else HOSTILE)
    if rng.random() < 0.1:
        query["padding"] = "x" * 20_000
    return f"{BASE}{route}?{urlencode(query)}", True


def wrong(path: str, hostile: bool, status: int, kind: str, body: bytes) -> str | None:
    """What is wrong with a reply, None where nothing is."""
    if status >= 500:
        return f"{path[:200]}: status {status}: {body[:200]!r}"
    if SECRET.encode() in body or b"root:x:" in body:
        return f"{path[:200]}: the reply holds what lies outside the log directory"
    if hostile and "html" in kind:
        return f"{path[:200]}: answered with {kind}"
    if not hostile and status not in (200, 304, 404):
        return f"{path[:200]}: status {status}: {body[:200]!r}"
    return None


def client(port: int, requests: int, seed: int, pause: float, tally: Tally) -> None:
    """Asks ``requests`` questions over one connection, which it opens anew where the server ends it."""
    rng = random.Random(seed)
    connection = http.client.HTTPConnection("localhost", port, timeout=60)
    for number in range(requests):
        path, hostile = (rng.choice(OTHERS), False) if number % 20 == 19 else question(rng)
        if pause:
            time.sleep(rng.expovariate(1 / pause))
        begun, own = time.perf_counter(), time.thread_time()
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            body = reply.read()
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            if not isinstance(error, (http.client.RemoteDisconnected, ConnectionError)):
                with tally.lock:
                    tally.failures.append(f"{path[:200]}: {type(error).__name__}: {error}")
            continue
        seconds, own = time.perf_counter() - begun, time.thread_time() - own
        problem = wrong(path, hostile, reply.status, reply.getheader("Content-Type") or "", body)
        with tally.lock:
            tally.statuses[reply.status] += 1
            tally.seconds.append(seconds)
            tally.own += own
            tally.hostile += hostile
            if problem is not None:
                tally.failures.append(problem)
    connection.close()


def run(requests: int, clients: int, pause: float = 0.0) -> dict[str, Any]:
    """Asks; what came back as numbers, and the failures as sentences."""
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="server-") as base:
        logdir = Path(base) / "logs"
        (Path(base) / "secret.txt").write_text(SECRET)
        recorders = [Recorder(logdir / f"run{i}") for i in range(RUNS)]
        for recorder in recorders:
            for step in range(STEPS):
                grow(recorder, step)
            recorder.flush()
        done = threading.Event()

        def write_on() -> None:
            step = STEPS
            while not done.wait(0.2):
                for recorder in recorders:
                    grow(recorder, step)
                    recorder.flush()
                step += 1

        with tensorboard(logdir) as port:
            _until_judged(port)
            writing = threading.Thread(target=write_on, daemon=True)
            writing.start()
            begun = time.monotonic()
            with ThreadPoolExecutor(clients) as pool:
                list(pool.map(lambda i: client(port, -(-requests // clients), i, pause, tally), range(clients)))
            elapsed = time.monotonic() - begun
            done.set()
            writing.join()
        for recorder in recorders:
            recorder.close()
    taken = sorted(tally.seconds)
    return {
        "requests": len(taken),
        "clients": clients,
        "pause": pause,
        "hostile": tally.hostile,
        "seconds": elapsed,
        "statuses": dict(sorted(tally.statuses.items())),
        "own_ms": 1e3 * tally.own / len(taken),
        "median_ms": 1e3 * taken[len(taken) // 2],
        "p99_ms": 1e3 * taken[int(len(taken) * 0.99)],
        "slowest_ms": 1e3 * taken[-1],
        "failures": tally.failures,
    }


def _until_judged(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("localhost", port, timeout=60)
        connection.request("GET", f"{BASE}runs")
        reply = connection.getresponse()
        told = json.loads(reply.read()) if reply.status == 200 else {"runs": [], "pending": 1}
        if len(told["runs"]) == RUNS and not told["pending"]:
            return
        time.sleep(0.2)
    raise TimeoutError("TensorBoard had not shown the runs after two minutes")


def said(told: dict[str, Any]) -> str:
    return (
        f"{told['requests']:,} requests of {told['clients']} clients, "
        f"{told['requests'] / told['seconds']:.0f} a second, "
        f"{told['hostile']:,} of them hostile: {len(told['failures'])} wrong, statuses {told['statuses']}; "
        f"median {told['median_ms']:.0f} ms ({told['own_ms']:.1f} ms of a reply are the client's own work), "
        f"p99 {told['p99_ms']:.0f} ms, slowest {told['slowest_ms']:.0f} ms"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--pause", type=float, default=0.25, help="seconds behind a reply, on average")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    told = run(options.requests, options.clients, options.pause)
    for failure in told["failures"][:20]:
        print(failure)
    print(said(told))
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))
    return int(bool(told["failures"]))


if __name__ == "__main__":
    sys.exit(main())
