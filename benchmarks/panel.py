"""How quick the tab is, in headless Chromium: ``python -m benchmarks.panel [--quick] [--json FILE]``.

TensorBoard serves generated logs: many runs, among them a very large one. From a TensorBoard whose page stands on
another tab, NN Health is clicked; measured is until list, verdict and heatmap have been painted, then how long an
interaction takes until its result is painted, what a frame costs while the cursor moves, and what is sent. "Painted"
is the end of the frame in which the page shows a text; of the one after where something is drawn, and the page no
longer busy. What opens the tab is measured five times, each on a TensorBoard that was started for it, and the median
told; in turns with it a plugin whose tab is one line of text, which tells what TensorBoard itself takes to open any
tab. Beside it TensorBoard's own Histograms and Time Series on fewer layers and steps, written with PyTorch's writer:
the same amount would take hours.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import panel_floor, panel_logs
from benchmarks.machine import machine
from benchmarks.panel_pages import CURSOR, FRAME, IDLE, PATIENCE, Text, act, click, go
from benchmarks.panel_table import table
from tb_nnhealth.plugin.page import STATIC

RESULTS = Path(__file__).parent / "results" / "panel.json"
STARTED = 5
"""Seconds in which TensorBoard has read the logs."""
JUDGED_WITHIN = 300
"""Seconds that judging all runs may take; longer than that and something else keeps the machine busy."""
SERVING = re.compile(r"at (http://\S+) \(Press CTRL")
HEATMAP = f"root.querySelector('.heatmap-cells') && {IDLE}"
VERDICT = "root.querySelector('.verdict h1')"
PEERS = {
    "Time Series": "deep(root, 'line-chart path, line-chart canvas, tb-histogram path')",
    "Histograms": "deep(deep(root, 'vz-histogram-timeseries')?.shadowRoot ?? document.createElement('i'), 'path[d]')"
    " ?? deep(root, 'vz-histogram-timeseries path[d]')",
}
"""TensorBoard's own tabs, and what there is when the first chart is drawn."""
Told = tuple[str, str, float | None]
"""What is measured, its unit and its goal."""
FIRST_CLICK: tuple[Told, ...] = (
    ("the runs are listed after the click", "ms", 1000),
    ("the first verdict after the click", "ms", 1000),
    ("all of the page that was opened", "ms", None),
)
FLOOR: tuple[Told, ...] = (("a tab of one line of text, in the same TensorBoard, after the click", "ms", None),)
LARGE_AT_ONCE: tuple[Told, ...] = (
    ("the large run, as soon as TensorBoard's page stands: its verdict", "ms", 1000),
    ("the same: its heatmap", "ms", None),
)
THEIRS: tuple[Told, ...] = tuple(
    told
    for name in PEERS
    for told in (
        (f"TensorBoard's {name}: its first chart after the click", "ms", None),
        (f"TensorBoard's {name}: sent for the first charts", "MB", None),
    )
)


@dataclass
class Row:
    what: str
    value: float
    unit: str
    goal: float | None = None


class Rows(list[Row]):
    """Rows that are told on standard error as they come: a measurement takes minutes."""

    def append(self, row: Row) -> None:
        print(f"{row.what}: {row.value:.4g} {row.unit}", file=sys.stderr, flush=True)
        super().append(row)


class Sent:
    """What has been sent, by route: the bytes of each answer, compressed as they were."""

    def __init__(self, page: Any, part: str) -> None:
        self.of: dict[str, list[int]] = {}
        self._part = part
        page.on("response", self._note)

    def _note(self, response: Any) -> None:
        route = response.url.partition(self._part)[2].partition("?")[0]
        if route and response.status == 200:
            self.of.setdefault(route, []).append(int(response.headers.get("content-length") or 0))

    @property
    def total(self) -> int:
        return sum(map(sum, self.of.values()))


@contextmanager
def served(logdir: Path, plugins: Path | None = None) -> Iterator[str]:
    """A TensorBoard, started for this; ``plugins``: a directory from which it takes more of them."""
    paths = [*([] if plugins is None else [str(plugins)]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile("w+") as told:
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, env=environment)
        try:
            while not (found := SERVING.search(os.pread(told.fileno(), 100_000, 0).decode())):
                if process.poll() is not None:
                    raise SystemExit("TensorBoard did not start")
                time.sleep(0.1)
            yield found[1]
        finally:
            process.terminate()
            process.wait()


def named(run: str) -> str:
    return f"p.nnhealth.run={run.replace('/', '%2F')}"


def titled(run: str) -> str:
    return f"root.querySelector('.run-title')?.textContent === '{run}'"


def standing(page: Any, address: str, name: str) -> Any:
    """The tab of this ``name``, with TensorBoard's page standing on another one."""
    page.goto(f"{address}#timeseries")
    tab = page.get_by_role("tab", name=re.compile(f"^{name}$", re.IGNORECASE))
    tab.wait_for()
    time.sleep(STARTED)
    return tab


def one_line(page: Any, address: str) -> list[float]:
    """What opening any tab costs in TensorBoard itself."""
    return click(page, standing(page, address, panel_floor.TAB), [Text("root.querySelector('.one-line')")])


def first_click(page: Any, address: str) -> list[float]:
    """The tab's first opening: list, first verdict, all of it."""
    tab = standing(page, address, "NN Health")
    listed = Text("root.querySelector('.runs li, .overview tbody tr, .verdict h1')")
    return click(page, tab, [listed, Text(f"{VERDICT} ?? root.querySelector('.overview tbody tr')"), IDLE])


def large_at_once(page: Any, address: str) -> list[float]:
    """The large run opened as soon as TensorBoard's page stands, seconds after its start: verdict, heatmap."""
    time.sleep(STARTED)
    page.goto(f"{address}#timeseries")
    page.get_by_role("tab", name=re.compile("^NN Health$", re.IGNORECASE)).wait_for()
    return go(page, named(panel_logs.LARGE), [Text(f"{titled(panel_logs.LARGE)} && {VERDICT}"), HEATMAP])


def until_judged(address: str) -> None:
    """Waits until every run has its verdict: what follows is measured with nothing else going on."""
    deadline = time.monotonic() + JUDGED_WITHIN
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{address}data/plugin/nnhealth/runs") as answer:
            found = json.load(answer)
        if not (found["pending"] or found["judging"]):
            return
        time.sleep(0.5)
    raise SystemExit(f"expected all runs to be judged in {JUDGED_WITHIN} s, found {found['pending']} pending")


def ours(page: Any, address: str, rounds: int, last: int, rows: list[Row]) -> None:
    sent = Sent(page, "/plugin/nnhealth/")
    large_at_once(page, address)
    until_judged(address)
    page.reload()
    drawn = f"{titled(panel_logs.LARGE)} && {HEATMAP}"
    times = act(page, "", [Text(f"{titled(panel_logs.LARGE)} && {VERDICT}"), drawn])
    rows.append(Row("the large run, page loaded anew: its verdict", times[0], "ms", 1000))
    rows.append(Row("the same: its heatmap", times[1], "ms", 1000))
    interactions(page, rounds, last, rows)
    work, frames = page.evaluate(CURSOR, 120)
    rows.append(
        Row("a frame's work while the cursor moves, 95 of 100 within", statistics.quantiles(work, n=20)[18], "ms", 16.7)
    )
    rows.append(Row("the time between such frames, 95 of 100 within", statistics.quantiles(frames, n=20)[18], "ms"))
    routes = [route for route in sent.of if "." not in route]  # the others are the frontend's files
    for route in sorted(routes, key=lambda route: -max(sent.of[route])):
        rows.append(Row(f"the longest reply of `{route}`", max(sent.of[route]) / 1e6, "MB", 1))
    rows.append(Row("all replies together", sent.total / 1e6, "MB"))


def interactions(page: Any, rounds: int, last: int, rows: list[Row]) -> None:
    """Median time until the result of a statistic, a zoom and another run is painted, each new and when known."""

    def told(what: str, goal: float, measure: Callable[[int], list[float]], *, parts: tuple[str, ...] = ("",)) -> None:
        for title in ("new", "seen before"):
            times = [measure(i) for i in range(rounds)]
            for part, measured in zip(parts, zip(*times, strict=True), strict=True):
                rows.append(Row(f"{what}, {title}{part}", statistics.median(measured), "ms", goal))

    chooser = page.frame_locator(FRAME).get_by_label("Statistic", exact=True)
    options = chooser.locator("option").evaluate_all("(all) => all.map((o) => [o.value, o.textContent.trim()])")

    def statistic(place: int) -> list[float]:
        value, name = options[place % len(options)]
        change = "select.dispatchEvent(new Event('change', { bubbles: true }))"
        trigger = f"const select = root.querySelector('[aria-label=Statistic]'); select.value = '{value}'; {change}"
        shown = f"root.querySelector('.heatmap-cells').getAttribute('aria-label').startsWith('Heatmap of {name}.')"
        return act(page, trigger, [f"{shown} && {IDLE}"])

    def zoom(place: int) -> list[float]:
        steps = f"{last * (place + 1) // 100}-{last * (60 + place) // 100}"
        shown = f"root.body.textContent.replaceAll(',', '').includes('{steps.replace('-', '–')}')"
        return go(page, f"{named(panel_logs.LARGE)}&p.nnhealth.steps={steps}", [shown, f"{shown} && {IDLE}"])

    def another(place: int) -> list[float]:
        run = f"sweep/seed{place + 1:03d}"
        return go(page, named(run), [f"{titled(run)} && {IDLE}"])

    told("another statistic of the large run", 100, lambda i: statistic(i + 1))
    told("a zoom into it", 100, zoom, parts=(": the picture stretched", ": in full detail"))
    go(page, named(panel_logs.LARGE), [HEATMAP])
    time.sleep(4)
    ahead = [statistic(i + 1)[0] for i in range(rounds)]
    rows.append(Row("another statistic after a rest, fetched ahead", statistics.median(ahead), "ms", 100))
    told("another run", 100, another)
    go(page, named(panel_logs.LARGE), [f"{titled(panel_logs.LARGE)} && {HEATMAP}"])


def theirs(page: Any, address: str) -> list[float]:
    """Of each of TensorBoard's own tabs: milliseconds from the click to its first chart, and MB sent for it."""
    from playwright.sync_api import Error

    found = []
    for name, drawn in PEERS.items():
        sent = Sent(page, "/data/")
        page.goto(f"{address}#scalars")
        tab = page.get_by_role("tab", name=re.compile(f"^{name}$", re.IGNORECASE))
        tab.wait_for()
        time.sleep(STARTED)
        before = sent.total
        try:
            found += click(page, tab, [drawn])
        except Error:
            found.append(PATIENCE)
        page.wait_for_load_state("networkidle")
        found.append((sent.total - before) / 1e6)
    return found


def bundle() -> Row:
    size = sum(len(gzip.compress((STATIC / name).read_bytes())) for name in ("index.js", "index.css"))
    return Row("what the first page loads, gzipped", size / 1e3, "kB", 60)


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small logs, to see that it runs")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    runs, layers, steps, rounds = (10, 50, 2_000, 2) if given.quick else (200, 1_000, 100_000, 5)
    peer_layers, peer_steps = (5, 50) if given.quick else (50, 500)
    rows: list[Row] = Rows()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        mine, peers, more = Path(folder) / "ours", Path(folder) / "theirs", Path(folder) / "plugins"
        panel_floor.install(more)
        panel_logs.many(mine, runs - 1)
        records = panel_logs.large(mine, layers, steps)
        panel_logs.by_pytorch(peers, peer_layers, peer_steps)
        executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])

        @contextmanager
        def opened(logdir: Path, plugins: Path | None = None) -> Iterator[tuple[Any, str]]:
            """A page that nothing was loaded in, and the address of a TensorBoard that has just been started."""
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.set_default_timeout(PATIENCE)
            with served(logdir, plugins) as address:
                yield page, address
            page.close()

        def afresh(logdir: Path, *measures: tuple[Callable[[Any, str], list[float]], Sequence[Told]]) -> None:
            """The median over as many TensorBoards, each started for it, with a page of its own, in turns."""
            times: list[list[list[float]]] = [[] for _ in measures]
            for _ in range(rounds):
                for (measure, _), found in zip(measures, times, strict=True):
                    with opened(logdir, more) as (page, address):
                        found.append(measure(page, address))
            for (_, told), found in zip(measures, times, strict=True):
                for (what, unit, goal), measured in zip(told, zip(*found, strict=True), strict=True):
                    rows.append(Row(what, statistics.median(measured), unit, goal))

        afresh(mine, (first_click, FIRST_CLICK), (one_line, FLOOR))
        afresh(mine, (large_at_once, LARGE_AT_ONCE))
        with opened(mine) as (page, address):
            ours(page, address, rounds, steps, rows)
        afresh(peers, (theirs, THEIRS))
        version = browser.version
        browser.close()
        sizes = {
            name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            for name, path in (("ours", mine), ("theirs", peers))
        }
    rows.append(bundle())
    logs = {"runs": runs, "layers": layers, "steps": steps, "records": records, "bytes": sizes}
    told = {
        "quick": given.quick,
        "machine": machine(),
        "browser": version,
        "logs": {**logs, "peer_layers": peer_layers, "peer_steps": peer_steps},
        "rows": [asdict(row) for row in rows],
    }
    results = given.json or (Path("artifacts/bench/panel.json") if given.quick else RESULTS)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(told, indent=1) + "\n")
    print(table(told))


if __name__ == "__main__":
    main()
